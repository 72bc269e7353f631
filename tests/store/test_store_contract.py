"""What every store promises, on SQLite and on PostgreSQL."""

import random
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import uuid4

import pytest

from adapters.errors import CommitUnknown, StoreConflict, StoreRejected
from adapters.failpoints import Failpoints
from adapters.store import event_reads, job_reads, machine_reads, money_reads
from adapters.store.database import AnyStore, open_store
from pipeline.move import JobMoved, job_key, move_job
from schemas.step import Look, RowKey, SentMark, Step, Writes
from schemas.tables import BlogRow, DeadLetterRow, InboxRow, JobRow, ProviderCallRow
from schemas.tables.calls import CallState
from states.table import State, Trigger
from tests.jobs import NOW, create, new_job, pull


@pytest.fixture
def failpoints() -> Failpoints:
    return Failpoints()


@pytest.fixture
async def store(database_url: str, failpoints: Failpoints) -> AsyncIterator[AnyStore]:
    opened = open_store(database_url, failpoints=failpoints)
    yield opened
    await opened.close()


async def stored(store: AnyStore, job: JobRow) -> JobRow | None:
    found = await store.read(job_reads.job, job.tenant, job.id)
    return JobRow.of(**found.model_dump()) if found else None


async def test_a_row_comes_back_as_it_was_written(store: AnyStore) -> None:
    job = new_job(
        cost=Decimal("0.123456"),
        warnings=["ä, 画, 🖼"],
        request={"prompt": 'quotes " and \\ and 画', "nested": {"a": [1, None, True]}},
        draft_job_id=uuid4(),
        error={"code": "x", "message": "y", "details": {}},
    )
    await store.commit([create(job)])
    assert await stored(store, job) == job


async def test_a_looked_up_row_equals_the_written_one(store: AnyStore) -> None:
    job = new_job(cost=Decimal("0.004000"), not_before=NOW)
    await store.commit([create(job)])
    seen: list[JobRow | None] = []

    def decide(look: Look, _: Writes) -> None:
        seen.append(look.get(JobRow, job.id))

    await store.commit([Step("look", decide, (job_key(job.id),))])
    assert seen[-1] == job


async def test_another_tenant_sees_nothing(store: AnyStore) -> None:
    job = new_job()
    await store.commit([create(job)])
    assert await store.read(job_reads.job, "somebody-else", job.id) is None
    assert not await store.read(event_reads.events_of_stream, "somebody-else", "job", str(job.id))


async def test_every_version_has_exactly_one_event(store: AnyStore) -> None:
    job = new_job()
    await store.commit([create(job)])
    await store.commit([pull(job.id, Trigger.START)])
    await store.commit([pull(job.id, Trigger.RELEASE)])
    events = await store.read(event_reads.events_of_stream, "default", "job", str(job.id))
    assert [(event.seq, event.type) for event in events] == [
        (1, "image.job.queued"),
        (2, "image.job.started"),
        (3, "image.job.queued"),
    ]


async def test_a_step_may_move_a_stream_twice(store: AnyStore) -> None:
    job = new_job()
    await store.commit([create(job)])
    await store.commit([pull(job.id, Trigger.START)])
    fail_id, retry_id = uuid4(), uuid4()

    def both(look: Look, writes: Writes) -> None:
        running = look.get(JobRow, job.id)
        assert running is not None
        error = {"code": "played"}
        failed = move_job(writes, running, Trigger.FAIL, at=NOW, event_id=fail_id, error=error)
        move_job(writes, failed, Trigger.RETRY, at=NOW, event_id=retry_id)

    (outcome,) = await store.commit([Step("fail and retry", both, (job_key(job.id),))])
    assert outcome.error is None
    found = await stored(store, job)
    assert found is not None
    assert (found.state, found.version, found.attempt) == (State.QUEUED, 4, 2)
    assert (found.retry_count, found.error, found.ended_at) == (1, None, None)


async def test_a_loser_writes_nothing_and_hurts_nobody(store: AnyStore) -> None:
    winner, loser = new_job(), new_job()
    await store.commit([create(winner), create(loser)])

    def lose(look: Look, writes: Writes) -> None:
        job = look.get(JobRow, loser.id)
        assert job is not None
        writes.update(job.changed(provider="never"), job.id)
        raise JobMoved(job, "lost on purpose")

    outcomes = await store.commit(
        [Step("lose", lose, (job_key(loser.id),)), pull(winner.id, Trigger.START)]
    )
    assert isinstance(outcomes[0].error, JobMoved)
    assert outcomes[1].answer.state is State.RUNNING
    assert (await stored(store, loser)) == loser


async def test_steps_that_share_a_row_see_each_other_in_order(store: AnyStore) -> None:
    shared = RowKey(BlogRow, ("default", "post"))

    def take(look: Look, writes: Writes) -> int:
        blog = look.get(BlogRow, "default", "post")
        last = blog.last_inline if blog else 0
        row = BlogRow(tenant="default", blog_id="post", last_inline=last + 1)
        (writes.update if blog else writes.insert)(row, "default", "post")
        return last + 1

    for expected in ([1, 2, 3], [4, 5, 6]):
        group = [Step("take", take, shared=(shared,)) for _ in range(3)]
        assert [outcome.answer for outcome in await store.commit(group)] == expected


async def test_an_update_that_changes_nothing_is_a_success(store: AnyStore) -> None:
    job = new_job()
    await store.commit([create(job)])
    blog_key = RowKey(BlogRow, ("default", "post"))

    def place(_: Look, writes: Writes) -> None:
        writes.insert(BlogRow.of(tenant="default", blog_id="post"), *blog_key.key)

    await store.commit([Step("place", place, shared=(blog_key,))])

    def touch(look: Look, writes: Writes) -> None:
        for row, key in ((BlogRow, blog_key.key), (JobRow, (job.id,))):
            found = look.get(row, *key)
            assert found is not None
            writes.update(found.changed(), *key)

    steps = [Step("touch", touch, (job_key(job.id),), (blog_key,)), create(other := new_job())]
    assert [outcome.error for outcome in await store.commit(steps)] == [None, None]
    assert await stored(store, job) == job
    assert await stored(store, other) == other


async def test_a_taken_key_is_a_conflict_and_nothing_of_the_group_stays(store: AnyStore) -> None:
    taken, other = new_job(), new_job()
    await store.commit([create(taken)])
    with pytest.raises(StoreConflict):
        await store.commit([create(other), create(taken)])
    assert await stored(store, other) is None


async def test_data_that_no_row_admits_is_rejected_and_nothing_of_the_group_stays(
    store: AnyStore,
) -> None:
    good, bad = new_job(), new_job(wake_at=None)
    with pytest.raises(StoreRejected):
        await store.commit([create(good), create(bad)])
    assert await stored(store, good) is None
    await store.commit([create(good)])
    assert await stored(store, good) is not None


async def test_a_lost_reply_after_the_commit_is_settled_as_committed(
    store: AnyStore, failpoints: Failpoints
) -> None:
    job = new_job()
    failpoints.arm("store.after_commit", error=lambda: CommitUnknown("played"))
    with pytest.raises(CommitUnknown) as caught:
        await store.commit([create(job)])
    outcomes = await store.settle(caught.value.ticket)
    assert outcomes is not None
    assert outcomes[0].answer == job.id
    assert await stored(store, job) == job


async def test_an_event_waits_to_leave_until_it_is_marked(store: AnyStore) -> None:
    left, waits = new_job(), new_job()
    await store.commit([create(left), create(waits)])
    events = await store.read(event_reads.events_of_stream, "default", "job", str(left.id))

    def publish(_: Look, writes: Writes) -> None:
        writes.published += [events[0].event_id] * 2

    for _ in range(2):
        await store.commit([Step("publish", publish)])
        unpublished = await store.read(event_reads.unpublished_events, NOW, 10)
        assert [event.stream_id for event in unpublished] == [str(waits.id)]
    assert await store.read(event_reads.events_of_stream, "default", "job", str(left.id)) == events


@pytest.mark.parametrize(
    ("types", "kept"),
    [
        (None, ["image.job.queued", "image.job.started"]),
        (frozenset({"image.job.started", "image.job.failed"}), ["image.job.started"]),
        (frozenset(), []),
    ],
)
async def test_only_events_that_are_to_be_sent_wait_to_leave(
    store: AnyStore, types: frozenset[str] | None, kept: list[str]
) -> None:
    job, other = new_job(), new_job()
    await store.commit([create(job)])
    store.send_only(types)
    await store.commit([pull(job.id, Trigger.START), create(other)])
    unpublished = await store.read(event_reads.unpublished_events, NOW, 10)
    assert sorted(event.type for event in unpublished) == ["image.job.queued", *kept]
    store.send_only(None)
    await store.commit([pull(other.id, Trigger.START)])
    unpublished = await store.read(event_reads.unpublished_events, NOW, 10)
    assert (str(other.id), "image.job.started") in {
        (event.stream_id, event.type) for event in unpublished
    }
    for one in (job, other):
        history = await store.read(event_reads.events_of_stream, "default", "job", str(one.id))
        assert [event.seq for event in history] == [1, 2]


async def test_a_sent_mark_touches_only_the_sending_that_it_names(store: AnyStore) -> None:
    sent, sent_again, ended = new_job(), new_job(dispatch=2), new_job()
    await store.commit([create(job) for job in (sent, sent_again, ended)])
    await store.commit([pull(ended.id, Trigger.CANCEL)])

    def mark(_: Look, writes: Writes) -> None:
        writes.sent += [SentMark(job.id, 1, 1, "here") for job in (sent, sent_again, ended)]

    await store.commit([Step("mark", mark)])
    targets = [await stored(store, job) for job in (sent, sent_again, ended)]
    assert [job.dispatched_to for job in targets if job] == ["here", None, None]


async def test_what_waits_to_be_sent_is_found(store: AnyStore) -> None:
    waiting, sent, resting = new_job(), new_job(dispatched_to="here"), new_job()
    await store.commit([create(job) for job in (waiting, sent, resting)])
    await store.commit([pull(resting.id, Trigger.CANCEL)])
    found = await store.read(machine_reads.unsent_jobs, "here", 10)
    assert [job.job_id for job in found] == [waiting.id]
    found = await store.read(machine_reads.unsent_jobs, "elsewhere", 10)
    assert {job.job_id for job in found} == {waiting.id, sent.id}
    assert len(await store.read(event_reads.unpublished_events, NOW, 10)) == 4


async def test_an_accepted_call_sends_its_running_job_to_be_polled(store: AnyStore) -> None:
    job = new_job()
    await store.commit([create(job)])
    await store.commit([pull(job.id, Trigger.START)])
    assert not await store.read(machine_reads.unsent_jobs, "here", 10)
    call = ProviderCallRow(
        job_id=job.id,
        attempt=1,
        tenant="default",
        provider="p",
        model="m",
        state=CallState.ACCEPTED,
        lease_token="t",
        day="2026-01-01",
        due_at=NOW,
        created_at=NOW,
    )

    def accept(_: Look, writes: Writes) -> None:
        writes.insert(call, job.id, 1)

    await store.commit([Step("accept", accept)])
    unsent = await store.read(machine_reads.unsent_jobs, "here", 10)
    assert [one.job_id for one in unsent] == [job.id]
    overdue = await store.read(money_reads.overdue_calls, CallState.ACCEPTED, NOW, 10)
    assert [one.job_id for one in overdue] == [job.id]
    assert not await store.read(money_reads.overdue_calls, CallState.INTENT, NOW, 10)


async def test_an_inbox_row_stands_for_one_effect(store: AnyStore) -> None:
    event_id = uuid4()
    key = RowKey(InboxRow, ("linker", event_id))

    def handle(look: Look, writes: Writes) -> bool:
        if look.get(InboxRow, "linker", event_id) is not None:
            return False
        row = InboxRow(subscriber="linker", event_id=event_id, handled_at=NOW)
        writes.insert(row, "linker", event_id)
        return True

    step = Step("handle", handle, (key,))
    assert [o.answer for o in await store.commit([step])] == [True]
    assert [o.answer for o in await store.commit([step])] == [False]


async def test_a_deleted_row_is_gone_for_the_steps_behind_and_for_good(store: AnyStore) -> None:
    event_id = uuid4()
    key = RowKey(DeadLetterRow, ("linker", event_id))
    letter = DeadLetterRow(
        subscriber="linker", event_id=event_id, tenant="default", failures=5, error="x",
        event={"type": "t"}, quarantined_at=NOW,
    )  # fmt: skip

    def put(_: Look, writes: Writes) -> None:
        writes.insert(letter, *key.key)

    def remove(look: Look, writes: Writes) -> bool:
        writes.delete(*key[:1], *key.key)
        return look.get(DeadLetterRow, *key.key) is not None

    def look_again(look: Look, _: Writes) -> bool:
        return look.get(DeadLetterRow, *key.key) is not None

    removal = Step("remove", remove, shared=(key,))
    await store.commit([Step("put", put, (key,))])
    group = [removal, Step("look", look_again, shared=(key,))]
    assert [one.answer for one in await store.commit(group)] == [True, False]
    assert await store.read(event_reads.dead_letters, "default") == []
    # An absent one is a success, and nothing else is hurt.
    assert [one.answer for one in await store.commit([removal])] == [False]


async def test_moments_come_back_to_the_microsecond(store: AnyStore) -> None:
    chance = random.Random(1)
    last = datetime(2199, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)
    span = last - datetime(2000, 1, 1, tzinfo=UTC)
    moments = [last, *(last - chance.random() * span for _ in range(200))]
    jobs = [new_job(not_before=moment) for moment in moments]
    await store.commit([create(job) for job in jobs])
    for job in jobs:
        assert await stored(store, job) == job


async def test_a_moment_that_postgresql_would_round_is_refused(postgres_url: str) -> None:
    store = open_store(postgres_url)
    too_late = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=2**53)
    for moment in (too_late, datetime.max.replace(tzinfo=UTC)):
        refused = new_job(not_before=moment)
        with pytest.raises(StoreRejected):
            await store.commit([create(refused)])
        assert await stored(store, refused) is None
    job = new_job(not_before=too_late - timedelta(microseconds=1))
    await store.commit([create(job)])
    assert await stored(store, job) == job
    await store.close()


async def test_a_moment_of_no_zone_is_refused(store: AnyStore) -> None:
    job = new_job(not_before=datetime(2026, 1, 1))  # noqa: DTZ001  # that is the fault
    with pytest.raises(StoreRejected):
        await store.commit([create(job)])
    assert await stored(store, job) is None
