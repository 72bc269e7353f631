"""PostgreSQL's store remembers rows, decides by them, and never commits by one that has changed."""

import asyncio
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from structlog.testing import capture_logs

from adapters.errors import CommitUnknown, StoreRejected
from adapters.failpoints import Failpoints
from adapters.store.columns import Flat, can_take_flat
from adapters.store.database import AnyStore, open_store
from adapters.store.memory import CAREFUL_GROUPS
from pipeline.move import JobMoved, job_key
from schemas.requests import Period
from schemas.step import Look, Outcome, RowKey, SentMark, Step, Writes
from schemas.tables import ALL, BlogRow, BlogSlotRow, BudgetRow, EventRow, InboxRow, JobRow
from states.table import State, Trigger
from tests.jobs import NOW, create, new_job, pull
from tests.pipeline.test_journal import blocked


@pytest.fixture
async def store(postgres_url: str) -> AsyncIterator[AnyStore]:
    opened = open_store(postgres_url)
    yield opened
    await opened.close()


@pytest.fixture
async def other(postgres_url: str) -> AsyncIterator[AnyStore]:
    """Another process."""
    opened = open_store(postgres_url)
    yield opened
    await opened.close()


@pytest.fixture
async def by_hand(postgres_url: str) -> AsyncIterator[Any]:
    opened = await asyncpg.connect(postgres_url)
    yield opened
    await opened.close()


async def record(store: AnyStore, *steps: Step[Any]) -> list[Outcome]:
    """Decide and commit *steps* as the journal does."""
    return await store.commit(steps, await store.decide(steps))


async def looked_at(store: AnyStore, job_id: UUID) -> JobRow | None:
    def decide(look: Look, _: Writes) -> JobRow | None:
        return look.get(JobRow, job_id)

    (outcome,) = await record(store, Step("look", decide, (job_key(job_id),)))
    found: JobRow | None = outcome.answer
    return found


def noting(job_id: UUID, note: str) -> Step[int | None]:
    """Answers the job's `resumes`, and writes something else: an event."""

    def decide(look: Look, writes: Writes) -> int | None:
        job = look.get(JobRow, job_id)
        resumes = job.resumes if job is not None else None
        writes.insert(
            EventRow.of(
                stream_kind="job",
                stream_id=note,
                seq=1,
                event_id=uuid4(),
                tenant="default",
                type="noted",
                blog_id=None,
                batch_id=None,
                data=str(resumes),
                occurred_at=NOW,
            )
        )
        return resumes

    return Step("note", decide, (job_key(job_id),))


async def known_job(store: AnyStore) -> JobRow:
    """A job that *store* remembers."""
    job = new_job()
    await record(store, create(job))
    assert await looked_at(store, job.id) == job
    return job


async def as_stored(url: str, job: JobRow) -> JobRow | None:
    """The row as a process sees it that knows nothing."""
    fresh = open_store(url)
    found = await looked_at(fresh, job.id)
    await fresh.close()
    return found


async def test_what_another_process_has_written_is_seen(store: AnyStore, postgres_url: str) -> None:
    job = await known_job(store)
    other = open_store(postgres_url)
    await other.commit([pull(job.id, Trigger.START, lease_token="other")])
    await other.close()
    found = await looked_at(store, job.id)
    assert found == await as_stored(postgres_url, job)
    assert found is not None
    assert found.lease_token == "other"


async def test_even_what_is_written_once_may_be_changed_by_hand(
    store: AnyStore, postgres_url: str
) -> None:
    job = await known_job(store)
    by_hand = await asyncpg.connect(postgres_url)
    await by_hand.execute("UPDATE jobs SET blog_id = 'elsewhere'")
    await by_hand.close()
    found = await looked_at(store, job.id)
    assert found is not None
    assert found.blog_id == "elsewhere"


async def test_a_look_that_waited_for_another_process_sees_what_that_one_wrote(
    store: AnyStore, postgres_url: str
) -> None:
    job = await known_job(store)
    other, watching = [await asyncpg.connect(postgres_url) for _ in range(2)]
    async with other.transaction():
        await other.execute("UPDATE jobs SET resumes = 3")
        looking = asyncio.create_task(looked_at(store, job.id))
        await blocked(watching)
    found = await looking
    assert found is not None
    assert found.resumes == 3
    await other.close()
    await watching.close()


@pytest.mark.parametrize(
    "columns",
    [
        {"cost": Decimal("0.0000005")},
        {"cost": Decimal("0.1")},
        {"result": {"fidelity": (1, 2), "b": 0.1, "a": None}},
        {"warnings": ["ä, 画, 🖼"], "error": {"code": "x", "details": {1: 2}}},
        {"lease_token": "mine", "cost": None},
    ],
)
async def test_what_it_wrote_itself_is_known_as_the_database_gives_it_back(
    store: AnyStore, postgres_url: str, columns: dict[str, Any]
) -> None:
    job = await known_job(store)
    await record(store, pull(job.id, Trigger.START, **columns))
    found, stored = await looked_at(store, job.id), await as_stored(postgres_url, job)
    assert found == stored
    assert found is not None
    assert stored is not None
    assert (str(found.cost), found.result) == (str(stored.cost), stored.result)  # 0.1 is 0.100000


async def test_a_sent_mark_does_not_wait_for_a_row_that_is_being_taken_up(
    store: AnyStore, by_hand: Any
) -> None:
    taken, waiting = new_job(), new_job()
    await record(store, create(taken), create(waiting))

    def mark(_: Look, writes: Writes) -> None:
        writes.sent += [SentMark(job.id, 1, 1, "queue-1") for job in (taken, waiting)]

    async with by_hand.transaction():
        await by_hand.execute("SELECT 1 FROM jobs WHERE id = $1 FOR UPDATE", taken.id)
        async with asyncio.timeout(10):
            await record(store, Step("mark_sent", mark))
    marked = [await looked_at(store, job.id) for job in (taken, waiting)]
    assert [job.dispatched_to for job in marked if job] == [None, "queue-1"]


async def test_a_sent_mark_of_the_same_group_is_seen(store: AnyStore) -> None:
    job = await known_job(store)
    started = pull(job.id, Trigger.START)

    def mark(_: Look, writes: Writes) -> None:
        writes.sent.append(SentMark(job.id, job.attempt, job.dispatch, "queue-1"))

    await record(store, started, Step("mark_sent", mark))
    found = await looked_at(store, job.id)
    assert found is not None
    assert (found.version, found.dispatched_to) == (2, "queue-1")


async def test_what_was_rolled_back_is_not_known(store: AnyStore, postgres_url: str) -> None:
    job, other = await known_job(store), new_job()
    impossible = create(other.changed(wake_at=None))
    with pytest.raises(StoreRejected):
        await record(store, pull(job.id, Trigger.START), impossible)
    assert await looked_at(store, job.id) == job
    await record(store, pull(job.id, Trigger.CANCEL))
    assert await looked_at(store, job.id) == await as_stored(postgres_url, job)


async def test_what_is_remembered_is_not_looked_at_again(store: AnyStore) -> None:
    job = await known_job(store)
    decided = await store.decide([pull(job.id, Trigger.START)])
    assert decided is not None
    assert not decided.found.unknown
    assert decided.is_one_statement
    (outcome,) = await store.commit([pull(job.id, Trigger.START)], decided)
    assert outcome.answer.version == 2


async def test_a_job_that_another_process_has_moved_is_decided_anew(
    store: AnyStore, other: AnyStore
) -> None:
    job = await known_job(store)
    await record(other, pull(job.id, Trigger.START))
    (outcome,) = await record(store, pull(job.id, Trigger.START))
    assert isinstance(outcome.error, JobMoved)


async def test_a_row_that_is_only_read_is_held_against_the_database_too(
    store: AnyStore, by_hand: Any
) -> None:
    job = await known_job(store)
    await by_hand.execute("UPDATE jobs SET resumes = 3")
    (outcome,) = await record(store, noting(job.id, "a"))
    assert outcome.answer == 3
    assert await by_hand.fetchval("SELECT data FROM events WHERE stream_id = 'a'") == "3"


async def test_a_row_that_is_gone_is_seen_to_be_gone(store: AnyStore, by_hand: Any) -> None:
    job = await known_job(store)
    await by_hand.execute("DELETE FROM jobs")
    (outcome,) = await record(store, noting(job.id, "a"))
    assert outcome.answer is None


@pytest.mark.parametrize("writes", [True, False])
async def test_a_write_waits_for_who_holds_the_row_and_sees_what_that_one_did(
    store: AnyStore, by_hand: Any, postgres_url: str, *, writes: bool
) -> None:
    job = await known_job(store)
    watching = await asyncpg.connect(postgres_url)
    async with by_hand.transaction():
        await by_hand.execute("UPDATE jobs SET resumes = 3")
        step = pull(job.id, Trigger.START) if writes else noting(job.id, "a")
        recording = asyncio.create_task(record(store, step))
        await blocked(watching)
    (outcome,) = await recording
    assert (outcome.answer.resumes if writes else outcome.answer) == 3
    await watching.close()


async def test_who_only_locked_the_row_has_changed_nothing(
    store: AnyStore, by_hand: Any, postgres_url: str
) -> None:
    job = await known_job(store)
    watching = await asyncpg.connect(postgres_url)
    decided = await store.decide([pull(job.id, Trigger.START)])
    async with by_hand.transaction():
        await by_hand.execute("SELECT 1 FROM jobs FOR UPDATE")
        committing = asyncio.create_task(store.commit([pull(job.id, Trigger.START)], decided))
        await blocked(watching)
    await committing
    assert (
        await store.decide([noting(job.id, "a")]) is not None
    )  # there was nothing to be careful of
    await watching.close()


async def test_losers_are_never_told_by_memory_alone(store: AnyStore, by_hand: Any) -> None:
    job = await known_job(store)
    await by_hand.execute("UPDATE jobs SET state = 'running', version = 2")
    complete = pull(job.id, Trigger.RELEASE)  # a queued job would refuse it
    (outcome,) = await record(store, complete)
    assert outcome.error is None


async def test_after_a_mistake_groups_are_decided_under_locks_for_a_while(
    store: AnyStore, by_hand: Any
) -> None:
    job = await known_job(store)
    await by_hand.execute("UPDATE jobs SET resumes = 3")
    await record(store, noting(job.id, "a"))
    group = [noting(job.id, "b")]
    found = [await store.decide(group) is not None for _ in range(CAREFUL_GROUPS + 1)]
    assert found == [False] * CAREFUL_GROUPS + [True]


async def test_beside_a_group_that_is_decided_under_locks_nothing_is_decided_ahead(
    store: AnyStore, by_hand: Any, postgres_url: str
) -> None:
    job = await known_job(store)
    watching = await asyncpg.connect(postgres_url)
    async with by_hand.transaction():
        await by_hand.execute("SELECT 1 FROM jobs FOR UPDATE")
        committing = asyncio.create_task(store.commit([pull(job.id, Trigger.START)]))
        await blocked(watching)
        assert await store.decide([pull(job.id, Trigger.CANCEL)]) is None
    await committing
    assert await store.decide([pull(job.id, Trigger.CANCEL)]) is not None
    await watching.close()


async def test_a_look_ahead_that_cannot_be_made_holds_up_nobody(
    store: AnyStore, by_hand: Any
) -> None:
    job = new_job()
    await store.commit([create(job)])  # over the connection that writes, the only one so far
    await by_hand.execute(
        "UPDATE pg_database SET datallowconn = false WHERE datname = current_database()"
    )
    start = pull(job.id, Trigger.START)
    with capture_logs() as logs:
        assert [await store.decide([start]) for _ in range(CAREFUL_GROUPS)] == [
            None
        ] * CAREFUL_GROUPS
    assert [line["event"] for line in logs] == ["groups_not_decided_ahead"]
    (outcome,) = await store.commit([start])
    assert outcome.answer.version == 2


async def test_a_row_that_another_process_has_made_is_not_made_again(
    store: AnyStore, other: AnyStore
) -> None:
    event_id = uuid4()

    def handle(look: Look, writes: Writes) -> str:
        if look.get(InboxRow, "me", event_id) is not None:
            return "handled before"
        row = InboxRow.of(subscriber="me", event_id=event_id, handled_at=NOW)
        writes.insert(row, "me", event_id)
        return "handled"

    step = Step("handle", handle, (RowKey(InboxRow, ("me", event_id)),))
    assert [o.answer for o in await record(other, step)] == ["handled"]
    assert [o.answer for o in await record(store, step)] == ["handled before"]


async def test_an_absence_by_which_something_else_is_decided_is_seen_to_last(
    store: AnyStore, other: AnyStore
) -> None:
    """Few tenants have budgets, and every charge asks for them."""
    job = await known_job(store)
    budget = RowKey(BudgetRow, ("default", ALL, Period.DAY))

    def spend(look: Look, writes: Writes) -> bool:
        noting(job.id, uuid4().hex).decide(look, writes)
        return look.get(BudgetRow, *budget.key) is not None

    def limit(_: Look, writes: Writes) -> None:
        row = BudgetRow.of(tenant="default", blog_id=ALL, period=Period.DAY, set_at=NOW)
        writes.insert(row, *budget.key)

    step = Step("spend", spend, (job_key(job.id),), (budget,))
    assert [o.answer for o in await record(store, step)] == [False]
    decided = await store.decide([step])
    assert decided is not None
    assert decided.found.absent == [budget]  # it is not looked at again
    await record(other, Step("limit", limit, (budget,)))
    assert [o.answer for o in await store.commit([step], decided)] == [True]
    assert [o.answer for o in await record(store, step)] == [True]


async def test_an_absence_that_was_seen_without_a_lock_is_seen_to_last(
    store: AnyStore, other: AnyStore
) -> None:
    job = await known_job(store)
    blog = RowKey(BlogRow, ("default", "post"))

    def note(look: Look, writes: Writes) -> bool:
        noting(job.id, uuid4().hex).decide(look, writes)
        return look.get(BlogRow, *blog.key) is not None

    def begin(_: Look, writes: Writes) -> None:
        writes.insert(BlogRow.of(tenant="default", blog_id="post"), *blog.key)

    step = Step("note", note, (job_key(job.id),), (blog,))
    decided = await store.decide([step])
    await record(other, Step("begin", begin, (blog,)))
    assert [o.answer for o in await store.commit([step], decided)] == [True]


async def test_what_is_decided_beside_a_group_that_fails_is_decided_again(
    postgres_url: str,
) -> None:
    failpoints = Failpoints()
    store = open_store(postgres_url, failpoints=failpoints)
    job = await known_job(store)
    start, release = pull(job.id, Trigger.START), pull(job.id, Trigger.RELEASE)
    failpoints.arm("store.after_commit", error=lambda: CommitUnknown("played"))
    first = await store.decide([start])
    ahead: list[Any] = []

    async def beside() -> None:
        ahead.append(await store.decide([release]))

    tasks: list[asyncio.Task[None]] = []
    with pytest.raises(CommitUnknown) as unknown:
        await store.commit([start], first, lambda: tasks.append(asyncio.create_task(beside())))
    await asyncio.gather(*tasks)
    assert await store.settle(unknown.value.ticket) is not None
    (outcome,) = await store.commit([release], ahead[0])
    assert outcome.answer.version == 3
    await store.close()


async def test_a_group_is_decided_by_what_the_one_before_it_is_about_to_write(
    store: AnyStore,
) -> None:
    job = await known_job(store)
    start, release = pull(job.id, Trigger.START), pull(job.id, Trigger.RELEASE)
    ahead: list[Any] = []

    async def beside() -> None:
        ahead.append(await store.decide([release]))

    tasks: list[asyncio.Task[None]] = []
    first = await store.decide([start])
    await store.commit([start], first, lambda: tasks.append(asyncio.create_task(beside())))
    await asyncio.gather(*tasks)
    assert ahead[0] is not None
    assert [outcome.answer.version for outcome in ahead[0].outcomes] == [3]
    (outcome,) = await store.commit([release], ahead[0])
    assert (outcome.answer.state, outcome.answer.version) == (State.QUEUED, 3)


async def test_what_was_marked_past_the_steps_voids_what_was_decided(store: AnyStore) -> None:
    job = await known_job(store)
    decided = await store.decide([pull(job.id, Trigger.START)])

    def mark(_: Look, writes: Writes) -> None:
        writes.sent.append(SentMark(job.id, job.attempt, job.dispatch, "queue-1"))

    await record(store, Step("mark_sent", mark))
    (outcome,) = await store.commit([pull(job.id, Trigger.START)], decided)
    assert outcome.answer.dispatched_to == "queue-1"


async def test_a_removed_row_is_not_remembered(store: AnyStore, postgres_url: str) -> None:
    key = RowKey(BlogSlotRow, ("default", "post", "hero", 1))
    made = BlogSlotRow.of(
        tenant="default", blog_id="post", role="hero", position=1, version=1, updated_at=NOW
    )

    def make(look: Look, writes: Writes) -> bool:
        absent = look.get(BlogSlotRow, *key.key) is None
        if absent:
            writes.insert(made, *key.key)
        return absent

    def remove(look: Look, writes: Writes) -> None:
        look.get(BlogSlotRow, *key.key)
        writes.delete(BlogSlotRow, *key.key)

    for _ in range(2):
        assert [o.answer for o in await record(store, Step("make", make, (key,)))] == [True]
        assert [o.answer for o in await record(store, Step("make", make, (key,)))] == [False]
        await record(store, Step("remove", remove, (key,)))


async def test_another_server_is_believed_from_the_start(store: AnyStore, by_hand: Any) -> None:
    """It may give ids of transactions again: with a new connection nothing is remembered."""
    job = await known_job(store)
    start = pull(job.id, Trigger.START)
    decided = await store.decide([start])
    await by_hand.execute("UPDATE jobs SET resumes = 3")
    await by_hand.execute(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
        " WHERE application_name = 'limner' AND datname = current_database()"
    )
    outcomes, doubts = None, []
    while outcomes is None:
        try:
            outcomes = await store.commit([start], decided)
        except CommitUnknown as exc:  # its statement may have left before the end was heard of
            doubts.append(await store.settle(exc.ticket))
    assert outcomes[0].answer.resumes == 3
    assert doubts in ([], [None])
    assert await store.decide([noting(job.id, "a")]) is not None  # nothing was mistaken


async def test_asyncpg_writes_flat_values_as_it_writes_lists(postgres_url: str) -> None:
    connection = await asyncpg.connect(postgres_url)
    assert await can_take_flat(connection)
    for kind, values in {
        "text": ["a", None, 'quotes " and \\', "画", ""],
        "int4": [1, None, -3],
        "uuid": [UUID(int=1), UUID(int=2)],
        "bool": [],
    }.items():
        statement = f"SELECT $1::{kind}[]"
        assert await connection.fetchval(statement, Flat(values)) == values
    await connection.close()
