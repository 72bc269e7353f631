"""Each promise of the journal, on SQLite and on PostgreSQL."""

import asyncio
import gc
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from adapters.errors import CommitUnknown, StoreConflict, StoreRejected, StoreUnavailable
from adapters.failpoints import Failpoints
from adapters.local.clock import SystemClock
from adapters.local.ids import RandomIds
from adapters.ports import Backoff
from adapters.store import event_reads, job_reads
from adapters.store.database import open_store
from pipeline.journal import MAX_CONFLICTS, Journal, JournalClosed, JournalFull
from pipeline.move import JobMoved, job_event, job_key, move_job
from schemas.ids import id_from
from schemas.step import Look, RowKey, RowsUnnamed, Step, Writes
from schemas.tables import BlogRow, JobRow
from states.table import State, Trigger
from tests.fakes.gate import GatedStore
from tests.fakes.wire import Cut, Wire
from tests.jobs import NOW, create, new_job, pull


class Bench:
    """A journal over a gated real store."""

    def __init__(self, url: str, **journal: Any) -> None:
        self.failpoints = Failpoints()
        self.store = open_store(url, failpoints=self.failpoints)
        self.gate = GatedStore(self.store)
        clock = SystemClock()
        ids = RandomIds(clock, random.Random(1))
        self.journal = Journal(self.gate, clock, ids, **journal)

    async def job(self, job_id: UUID) -> JobRow | None:
        return await self.store.read(job_reads.job, "default", job_id)

    async def hold(self) -> asyncio.Task[Any]:
        """Shut the gate with one commit before it, so that what follows gathers behind it."""
        self.gate.shut()
        first = asyncio.create_task(self.journal.record(create(new_job())))
        await self.gate.commit_waits()
        return first


@asynccontextmanager
async def bench_on(url: str, **journal: Any) -> AsyncIterator[Bench]:
    bench = Bench(url, **journal)
    await bench.journal.start()
    yield bench
    bench.gate.open()
    await bench.journal.close()
    await bench.store.close()


@pytest.fixture
async def bench(database_url: str) -> AsyncIterator[Bench]:
    async with bench_on(database_url) as opened:
        yield opened


def asleep(*steps: Step[Any], journal: Journal) -> list[asyncio.Task[Any]]:
    return [asyncio.create_task(journal.record(step)) for step in steps]


async def settled() -> None:
    """Let every task that is ready enter the journal."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_steps_that_arrive_during_a_commit_share_the_next_one(bench: Bench) -> None:
    first = await bench.hold()
    jobs = [new_job() for _ in range(100)]
    tasks = asleep(*(create(job) for job in jobs), journal=bench.journal)
    await settled()
    bench.gate.open()
    await asyncio.gather(first, *tasks)
    assert [len(group) for group in bench.gate.groups] == [1, 100]
    assert bench.store.commits == 2


async def test_a_lone_step_is_committed_at_once(bench: Bench) -> None:
    await bench.journal.record(create(new_job()))
    assert [len(group) for group in bench.gate.groups] == [1]


async def test_what_follows_many_steps_within_a_few_turns_of_the_loop_joins_them(
    bench: Bench,
) -> None:
    turns = [*[0] * 20, 1, 3]
    await asyncio.gather(*(after_turns(number, bench.journal) for number in turns))
    assert [len(group) for group in bench.gate.groups] == [22]


async def test_a_lone_step_waits_for_nobody(bench: Bench) -> None:
    await asyncio.gather(*(after_turns(number, bench.journal) for number in (0, 3)))
    assert [len(group) for group in bench.gate.groups] == [1, 1]


async def test_a_step_in_each_turn_of_the_loop_does_not_hold_up_the_first(bench: Bench) -> None:
    first = await bench.hold()
    bench.gate.open()
    await first
    turns = [*[0] * 20, *range(1, 100)]
    tasks = [asyncio.create_task(after_turns(number, bench.journal)) for number in turns]
    await tasks[0]
    assert not tasks[-1].done()
    await asyncio.gather(*tasks)
    assert 20 < len(bench.gate.groups[1]) < 40


async def after_turns(turns: int, journal: Journal) -> None:
    for _ in range(turns):
        await asyncio.sleep(0)
    await journal.record(create(new_job()))


async def test_a_group_is_decided_while_the_one_before_it_is_being_written(
    postgres_url: str,
) -> None:
    async with bench_on(postgres_url) as bench, holding_the_jobs(postgres_url) as held:
        first, second = new_job(), new_job()
        await bench.journal.record(create(first))
        async with held.transaction():
            await held.execute("SELECT 1 FROM jobs FOR UPDATE")
            started = asyncio.create_task(bench.journal.record(pull(first.id, Trigger.START)))
            async with asyncio.timeout(10):
                await bench.gate.has_decided(2)
                created = asyncio.create_task(bench.journal.record(create(second)))
                await bench.gate.has_decided(3)
            assert not started.done()
        await asyncio.gather(started, created)
        assert [decided for _, decided in bench.gate.decided] == [True, True, True]


async def test_what_was_decided_by_a_group_that_came_out_otherwise_is_decided_anew(
    postgres_url: str,
) -> None:
    async with bench_on(postgres_url) as bench, holding_the_jobs(postgres_url) as held:
        job = new_job()
        await bench.journal.record(create(job))
        async with held.transaction():
            await held.execute("UPDATE jobs SET lost_calls = 3")
            moves = (pull(job.id, trigger) for trigger in (Trigger.START, Trigger.RELEASE))
            tasks = asleep(*moves, journal=bench.journal)
            async with asyncio.timeout(10):
                await bench.gate.has_decided(3)
        started, released = await asyncio.gather(*tasks)
        assert (started.version, started.lost_calls) == (2, 3)
        assert (released.version, released.lost_calls) == (3, 3)
        await has_versions(bench, job.id, [1, 2, 3])


@asynccontextmanager
async def holding_the_jobs(url: str) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(url)
    yield connection
    await connection.close()


async def test_callers_of_a_large_group_go_on_by_halves_where_nothing_else_waits(
    postgres_url: str,
) -> None:
    """While one half's next steps are being written, the other half's are made."""
    async with bench_on(postgres_url) as bench:
        first = await bench.hold()

        async def both() -> None:
            job = new_job()
            await bench.journal.record(create(job))
            await bench.journal.record(pull(job.id, Trigger.START))

        tasks = [asyncio.create_task(both()) for _ in range(100)]
        await settled()
        bench.gate.open()
        await asyncio.gather(first, *tasks)
        assert [len(group) for group in bench.gate.groups] == [1, 100, 50, 50]


async def one_committed_and_one_before_the_gate(bench: Bench) -> list[list[asyncio.Task[Any]]]:
    """Two groups of twenty steps, on the same jobs; on PostgreSQL nobody has been told yet."""
    jobs = [new_job() for _ in range(20)]
    await asyncio.gather(*asleep(*(create(job) for job in jobs), journal=bench.journal))
    bench.gate.shut(after=1)
    tasks = [
        asleep(*(pull(job.id, trigger) for job in jobs), journal=bench.journal)
        for trigger in (Trigger.START, Trigger.RELEASE)
    ]
    await bench.gate.commit_waits()
    return tasks


async def test_whoever_is_committed_is_told_so_while_the_next_group_cannot_be_written(
    postgres_url: str,
) -> None:
    async with bench_on(postgres_url) as bench:
        started, released = await one_committed_and_one_before_the_gate(bench)
        bench.failpoints.arm(
            "store.before_commit", times=1, error=lambda: StoreUnavailable("played")
        )
        bench.gate.open()
        with pytest.raises(StoreUnavailable):
            await asyncio.gather(*released)
        assert all(task.done() for task in started)


async def test_a_later_step_waits_for_one_on_its_row_that_has_to_be_decided_again(
    postgres_url: str,
) -> None:
    async with bench_on(postgres_url) as bench:
        job, blog = new_job(), RowKey(BlogRow, ("default", "post"))
        await bench.journal.record(create(job))

        def lease(look: Look, writes: Writes, token: str) -> None:
            if token == "first":
                look.require([blog])
            found = look.get(JobRow, job.id)
            assert found is not None
            writes.update(found.changed(lease_token=token), job.id)

        first, second = (
            Step(token, partial(lease, token=token), (job_key(job.id),))
            for token in ("first", "second")
        )
        # Beside a group of two, one step is enough for the next.
        await asyncio.gather(*asleep(first, create(new_job()), second, journal=bench.journal))
        found = await bench.job(job.id)
        assert found is not None
        assert found.lease_token == "second"


async def test_whoever_is_committed_is_told_so_when_the_journal_closes(bench: Bench) -> None:
    """Those of a large group are told when the next one has been sent, which this one never is."""
    started, released = await one_committed_and_one_before_the_gate(bench)
    await bench.journal.close(within_seconds=0)
    answers = await asyncio.gather(*started, *released, return_exceptions=True)
    assert [isinstance(answer, JournalClosed) for answer in answers] == [False] * 20 + [True] * 20


async def test_steps_on_one_job_wait_for_the_next_group_and_keep_their_order(
    bench: Bench,
) -> None:
    job, other = new_job(), new_job()
    await asyncio.gather(*(bench.journal.record(create(one)) for one in (job, other)))
    first = await bench.hold()
    tasks = asleep(
        pull(job.id, Trigger.START),
        pull(job.id, Trigger.RECEIVE),
        pull(other.id, Trigger.START),
        pull(job.id, Trigger.COMPLETE),
        journal=bench.journal,
    )
    await settled()
    before = len(bench.gate.groups)
    bench.gate.open()
    await asyncio.gather(first, *tasks)
    names = [[step.name for step in group] for group in bench.gate.groups[before:]]
    assert names == [["start", "start"], ["receive"], ["complete"]]
    found = await bench.job(job.id)
    assert found is not None
    assert (found.state, found.version) == (State.COMPLETED, 4)


async def test_a_step_that_waits_is_not_overtaken_on_any_of_its_rows(bench: Bench) -> None:
    one, two = new_job(), new_job()
    await asyncio.gather(*(bench.journal.record(create(job)) for job in (one, two)))
    first = await bench.hold()
    order: list[str] = []

    def noting(name: str, *keys: RowKey) -> Step[None]:
        return Step(name, lambda _look, _writes: order.append(name), keys)

    tasks = asleep(
        noting("one", job_key(one.id)),
        noting("both", job_key(one.id), job_key(two.id)),
        noting("two", job_key(two.id)),
        journal=bench.journal,
    )
    await settled()
    bench.gate.open()
    await asyncio.gather(first, *tasks)
    assert list(dict.fromkeys(order)) == ["one", "both", "two"]  # a step may be decided twice


async def test_a_loser_is_told_and_the_others_of_its_group_are_committed(bench: Bench) -> None:
    job, other = new_job(), new_job()
    await bench.journal.record(create(job))
    first = await bench.hold()
    tasks = asleep(pull(job.id, Trigger.COMPLETE), create(other), journal=bench.journal)
    await settled()
    bench.gate.open()
    answers = await asyncio.gather(first, *tasks, return_exceptions=True)
    assert isinstance(answers[1], JobMoved)
    assert await bench.job(other.id) is not None
    unmoved = await bench.job(job.id)
    assert unmoved is not None
    assert (unmoved.state, unmoved.version) == (State.QUEUED, 1)


async def test_a_group_that_lost_to_another_transaction_is_repeated_from_look(
    bench: Bench,
) -> None:
    job = new_job()
    bench.failpoints.arm("store.before_commit", times=3, error=lambda: StoreConflict("played"))
    await bench.journal.record(create(job))
    assert await bench.job(job.id) is not None
    assert bench.failpoints.hits["store.before_commit"] == 4


async def test_a_group_that_always_loses_is_given_up_and_nothing_is_stored(
    database_url: str,
) -> None:
    at_once = Backoff(timedelta(0), timedelta(0))
    async with bench_on(database_url, conflict_backoff=at_once) as bench:
        job = new_job()
        bench.failpoints.arm(
            "store.before_commit", times=2 * MAX_CONFLICTS, error=lambda: StoreConflict("played")
        )
        with pytest.raises(StoreUnavailable):
            await bench.journal.record(create(job))
        assert await bench.job(job.id) is None


async def test_a_bad_row_is_found_by_halves_and_hurts_nobody_else(bench: Bench) -> None:
    first = await bench.hold()
    jobs = [new_job(wake_at=None) if number == 6 else new_job() for number in range(10)]
    tasks = asleep(*(create(job) for job in jobs), journal=bench.journal)
    await settled()
    bench.gate.open()
    answers = await asyncio.gather(first, *tasks, return_exceptions=True)
    rejected = [number for number, a in enumerate(answers[1:]) if isinstance(a, StoreRejected)]
    assert rejected == [6]
    stored = [await bench.job(job.id) is not None for job in jobs]
    assert stored == [number != 6 for number in range(10)]


async def test_creations_are_bounded_and_steps_of_existing_jobs_are_not(
    database_url: str,
) -> None:
    async with bench_on(database_url, max_creations_waiting=2) as bench:
        job = new_job()
        await bench.journal.record(create(job))
        first = await bench.hold()
        tasks = asleep(create(new_job()), create(new_job()), journal=bench.journal)
        await settled()
        with pytest.raises(JournalFull):
            await bench.journal.record(create(new_job()))
        started = asyncio.create_task(bench.journal.record(pull(job.id, Trigger.START)))
        await settled()
        bench.gate.open()
        await asyncio.gather(first, started, *tasks)
        await bench.journal.record(create(new_job()))


async def test_an_entered_step_is_not_withdrawn_when_its_caller_is_cancelled(
    bench: Bench,
) -> None:
    first = await bench.hold()
    waiting, committing = new_job(), first
    task = asyncio.create_task(bench.journal.record(create(waiting)))
    await settled()
    for one in (task, committing):
        one.cancel()
        with pytest.raises(asyncio.CancelledError):
            await one
    bench.gate.open()
    await bench.journal.record(create(new_job()))
    assert await bench.job(waiting.id) is not None
    assert bench.journal.steps == 3


async def test_steps_that_are_recorded_together_are_answered_each_for_itself(
    bench: Bench,
) -> None:
    job, other = new_job(), new_job()
    made, lost, made_too = await bench.journal.record_all(
        [create(job), pull(job.id, Trigger.COMPLETE), create(other)]
    )
    assert isinstance(lost, JobMoved)
    assert (made, made_too) == (job.id, other.id)
    assert await bench.journal.record_all([]) == []


async def test_steps_recorded_together_are_written_though_their_caller_is_cancelled(
    bench: Bench,
) -> None:
    told: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, said: told.append(said["message"]))
    first = await bench.hold()
    job = new_job()
    steps = [create(job), pull(job.id, Trigger.START), pull(job.id, Trigger.COMPLETE)]
    task = asyncio.create_task(bench.journal.record_all(steps))
    await settled()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    bench.gate.open()
    await first
    # Behind the one that loses.
    moved = await bench.journal.record(pull(job.id, Trigger.RECEIVE))
    assert moved.version == 3
    del task
    gc.collect()
    assert not told


async def test_a_lost_reply_is_answered_as_committed_and_done_once(bench: Bench) -> None:
    job = new_job()
    await bench.journal.record(create(job))
    bench.failpoints.arm("store.after_commit", error=lambda: CommitUnknown("played"))
    started = await bench.journal.record(pull(job.id, Trigger.START))
    assert started.state is State.RUNNING
    found = await bench.job(job.id)
    assert found is not None
    assert found.version == 2


@pytest.mark.parametrize("cut", list(Cut))
async def test_a_connection_cut_at_its_only_statement_neither_loses_nor_repeats_the_step(
    postgres_url: str, cut: Cut
) -> None:
    async with Wire(postgres_url) as wire, bench_on(wire.url) as bench:
        job = new_job()
        await bench.journal.record(create(job))
        wire.cut, wire.at_write = cut, True
        started = await asyncio.wait_for(bench.journal.record(pull(job.id, Trigger.START)), 15)
        assert wire.cuts == 1
        assert (started.state, started.version) == (State.RUNNING, 2)
        await has_versions(bench, job.id, [1, 2])


async def test_an_event_that_anybody_could_have_written_tells_nothing_of_a_lost_reply(
    postgres_url: str,
) -> None:
    """What another process did meanwhile must not pass for our own group."""
    event = job_event(new_job(), at=NOW, event_id=id_from(uuid4(), "2"))

    def tell(_: Look, writes: Writes) -> None:
        writes.insert(event)

    async with Wire(postgres_url) as wire, bench_on(wire.url) as bench:
        await bench.journal.record(create(new_job()))
        blog = BlogRow.of(tenant="default", blog_id="post")

        def begin(look: Look, writes: Writes) -> None:
            if look.get(BlogRow, *key.key) is None:
                writes.insert(blog, *key.key)

        key = RowKey(BlogRow, ("default", "post"))
        bench.gate.shut()
        tasks = asleep(Step("tell", tell), Step("begin", begin, (key,)), journal=bench.journal)
        await bench.gate.commit_waits()
        wire.cut, wire.at_write = Cut.BEFORE_ARRIVAL, True
        wire.refuse_after_cut()
        bench.gate.open()
        await wire.was_cut.wait()
        async with bench_on(postgres_url) as other:
            await other.journal.record(Step("tell", tell))
        wire.accept_again()
        told, begun = await asyncio.gather(*tasks, return_exceptions=True)
        by_hand = await asyncpg.connect(postgres_url)
        blogs = await by_hand.fetchval("SELECT count(*) FROM blogs")
        await by_hand.close()
        assert (blogs == 1) == (not isinstance(begun, Exception))
        assert isinstance(told, Exception)  # its event was there already


async def test_a_write_that_still_waits_at_the_server_is_ended_before_it_is_repeated(
    postgres_url: str,
) -> None:
    async with (
        Wire(postgres_url) as wire,
        bench_on(wire.url) as bench,
        holding_the_jobs(postgres_url) as held,
    ):
        job = new_job()
        await bench.journal.record(create(job))
        wire.cut, wire.at_write = Cut.AFTER_ARRIVAL, True
        async with held.transaction():
            await held.execute("SELECT 1 FROM jobs FOR UPDATE")
            starting = asyncio.create_task(bench.journal.record(pull(job.id, Trigger.START)))
            async with asyncio.timeout(10):
                while len(bench.gate.groups) < 3:
                    await held.execute("SELECT 1")
        assert (await starting).version == 2
        await has_versions(bench, job.id, [1, 2])


@pytest.mark.parametrize("cut", list(Cut))
async def test_a_connection_cut_at_commit_neither_loses_nor_repeats_the_step(
    postgres_url: str, cut: Cut
) -> None:
    """A job that moves twice in one step is written by two statements."""
    async with Wire(postgres_url) as wire, bench_on(wire.url) as bench:
        job = new_job()
        await bench.journal.record(create(job))
        ids = uuid4(), uuid4()

        def both(look: Look, writes: Writes) -> JobRow:
            queued = look.get(JobRow, job.id)
            assert queued is not None
            running = move_job(writes, queued, Trigger.START, at=NOW, event_id=ids[0])
            return move_job(writes, running, Trigger.RELEASE, at=NOW, event_id=ids[1])

        wire.cut = cut
        step = Step("both", both, (job_key(job.id),))
        released = await asyncio.wait_for(bench.journal.record(step), 15)
        assert wire.cuts == 1
        assert (released.state, released.version) == (State.QUEUED, 3)
        await has_versions(bench, job.id, [1, 2, 3])


async def has_versions(bench: Bench, job_id: UUID, versions: list[int]) -> None:
    found = await bench.job(job_id)
    assert found is not None
    assert found.version == versions[-1]
    events = await bench.store.read(event_reads.events_of_stream, "default", "job", str(job_id))
    assert [event.seq for event in events] == versions


def take_place() -> Step[int]:
    def decide(look: Look, writes: Writes) -> int:
        blog = look.get(BlogRow, "default", "post")
        place = blog.last_inline + 1 if blog else 1
        row = BlogRow(tenant="default", blog_id="post", last_inline=place)
        (writes.update if blog else writes.insert)(row, "default", "post")
        return place

    return Step("place", decide, shared=(RowKey(BlogRow, ("default", "post")),))


async def test_two_processes_that_make_the_same_row_both_succeed(postgres_url: str) -> None:
    async with bench_on(postgres_url) as one, bench_on(postgres_url) as two:
        rounds = [bench.journal.record(take_place()) for _ in range(10) for bench in (one, two)]
        assert sorted(await asyncio.gather(*rounds)) == list(range(1, 21))


async def test_a_unique_violation_waits_for_the_other_and_is_repeated(postgres_url: str) -> None:
    other = await asyncpg.connect(postgres_url)
    async with bench_on(postgres_url) as bench:
        transaction = other.transaction()
        await transaction.start()
        await other.execute("INSERT INTO blogs VALUES ('default', 'post', 7, NULL)")
        waiting = asyncio.create_task(bench.journal.record(take_place()))
        await blocked(other)
        await transaction.commit()
        assert await waiting == 8
    await other.close()


async def test_a_deadlock_is_repeated(postgres_url: str) -> None:
    low, high = sorted((new_job(), new_job()), key=lambda job: job.id)
    other = await asyncpg.connect(postgres_url)
    # The other transaction never gives up first.
    await other.execute("SET deadlock_timeout = '1min'")
    async with bench_on(postgres_url) as bench:
        await asyncio.gather(*(bench.journal.record(create(job)) for job in (low, high)))
        transaction = other.transaction()
        await transaction.start()
        await other.execute("UPDATE jobs SET dispatch = 2 WHERE id = $1", high.id)

        def both(look: Look, _: Writes) -> int:
            job = look.get(JobRow, high.id)
            assert job is not None
            return job.dispatch

        keys = (job_key(low.id), job_key(high.id))
        waiting = asyncio.create_task(bench.journal.record(Step("both", both, keys)))
        await blocked(other)
        await other.execute("UPDATE jobs SET dispatch = 2 WHERE id = $1", low.id)
        await transaction.commit()
        assert await waiting == 2
    await other.close()


async def blocked(connection: Any, backends: int = 1) -> None:
    """Return when so many *backends* wait for locks."""
    async with asyncio.timeout(10):
        while backends > await connection.fetchval(
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE wait_event_type = 'Lock' AND datname = current_database()"
        ):
            # A transaction sees the activity of its first look again and again, unless told not to.
            await connection.execute("SELECT pg_stat_clear_snapshot()")


async def test_a_closed_journal_commits_what_entered_and_takes_nothing_more(
    bench: Bench,
) -> None:
    first = await bench.hold()
    job = new_job()
    task = asyncio.create_task(bench.journal.record(create(job)))
    await settled()
    closing = asyncio.create_task(bench.journal.close())
    await settled()
    bench.gate.open()
    await asyncio.gather(first, task, closing)
    assert await bench.job(job.id) is not None
    with pytest.raises(JournalClosed):
        await bench.journal.record(create(new_job()))


async def test_a_broken_decide_answers_its_caller_only(bench: Bench) -> None:
    def broken(_: Look, __: Writes) -> None:
        raise ZeroDivisionError

    first = await bench.hold()
    job = new_job()
    tasks = asleep(Step("broken", broken), create(job), journal=bench.journal)
    await settled()
    bench.gate.open()
    answers = await asyncio.gather(first, *tasks, return_exceptions=True)
    assert isinstance(answers[1], ZeroDivisionError)
    assert await bench.job(job.id) is not None


async def test_listeners_hear_of_exactly_what_was_committed(bench: Bench) -> None:
    heard: list[Writes] = []
    bench.journal.subscribe(heard.extend)
    job = new_job()
    await bench.journal.record(create(job))
    with pytest.raises(JobMoved):
        await bench.journal.record(pull(job.id, Trigger.COMPLETE))
    rows = [row for writes in heard for _, row in writes.inserts]
    assert [type(row).__name__ for row in rows] == ["JobRow", "EventRow"]


async def test_a_row_that_no_step_named_cannot_be_looked_at(bench: Bench) -> None:
    step = Step("look", lambda look, _: look.get(JobRow, uuid4()), (job_key(uuid4()),))
    with pytest.raises(LookupError, match="it was not looked for"):
        await bench.journal.record(step)


async def test_one_step_that_always_collides_with_what_is_stored_hurts_nobody_else(
    bench: Bench,
) -> None:
    """A defect: its event's key is taken, however often the group is repeated from look."""
    job = new_job()
    await bench.journal.record(create(job))
    again = job_event(job, at=NOW, event_id=uuid4())

    def collide(_: Look, writes: Writes) -> None:
        writes.insert(again)

    first = await bench.hold()
    others = [new_job() for _ in range(3)]
    tasks = asleep(
        *(create(other) for other in others), Step("collide", collide), journal=bench.journal
    )
    await settled()
    bench.gate.open()
    answers = await asyncio.gather(first, *tasks, return_exceptions=True)
    assert isinstance(answers[-1], StoreUnavailable)
    assert answers[1:-1] == [other.id for other in others]


async def test_a_value_that_no_database_holds_is_rejected_alone(bench: Bench) -> None:
    first = await bench.hold()
    good, bad = new_job(), new_job().changed(request={"prompt": "\ud800"})
    large = new_job().changed(version=2**70)
    tasks = asleep(create(bad), create(good), create(large), journal=bench.journal)
    await settled()
    bench.gate.open()
    answers = await asyncio.gather(first, *tasks, return_exceptions=True)
    assert [type(answer) for answer in answers[1:]] == [StoreRejected, UUID, StoreRejected]
    assert await bench.job(good.id) is not None


async def test_a_rejected_row_does_not_appear_in_the_error(bench: Bench) -> None:
    secret = new_job(wake_at=None, request={"prompt": "SECRETPROMPT", "seed": 1})
    with pytest.raises(StoreRejected) as caught:
        await bench.journal.record(create(secret))
    assert "SECRETPROMPT" not in str(caught.value)


async def test_a_backend_that_is_ended_between_two_groups_costs_no_step(
    postgres_url: str,
) -> None:
    other = await asyncpg.connect(postgres_url)
    async with bench_on(postgres_url) as bench:
        jobs = [new_job() for _ in range(20)]
        for job in jobs:
            await bench.journal.record(create(job))
            await other.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE application_name = 'limner' AND datname = current_database()"
            )
        stored = await other.fetch("SELECT id FROM jobs")
        assert {row["id"] for row in stored} == {job.id for job in jobs}
    await other.close()


async def test_a_journal_whose_database_never_comes_back_can_be_closed(
    postgres_url: str,
) -> None:
    async with Wire(postgres_url) as wire:
        bench = Bench(wire.url)
        await bench.journal.start()
        wire.cut, wire.at_write = Cut.AFTER_ARRIVAL, True
        wire.refuse_after_cut()
        task = asyncio.create_task(bench.journal.record(create(new_job())))
        await wire.was_cut.wait()
        await bench.journal.close(within_seconds=0.2)
        with pytest.raises(JournalClosed):
            await task
        await bench.store.close()


async def test_a_column_that_is_written_once_cannot_be_changed(bench: Bench) -> None:
    job = new_job()
    await bench.journal.record(create(job))

    def reassign(look: Look, writes: Writes) -> None:
        found = look.get(JobRow, job.id)
        assert found is not None
        writes.update(found.changed(tenant="other"), job.id)

    with pytest.raises(ValueError, match="tenant of JobRow is written once"):
        await bench.journal.record(Step("reassign", reassign, (job_key(job.id),)))


def count_up(named: tuple[RowKey, ...], told: list[int]) -> Step[int]:
    """A step that finds only while it decides that it needs a blog's row, and counts there."""
    key = RowKey(BlogRow, ("default", "post"))

    def decide(look: Look, writes: Writes) -> int:
        look.require([key])
        blog = look.get(BlogRow, *key.key)
        number = blog.last_inline + 1 if blog is not None else 1
        if blog is None:
            writes.insert(BlogRow.of(tenant="default", blog_id="post", last_inline=1), *key.key)
        else:
            writes.update(blog.changed(last_inline=number), *key.key)
        told.append(number)
        return number

    return Step("count_up", decide, shared=named, creates=True)


async def test_a_step_that_needs_further_rows_is_decided_again_with_them_in_its_turn(
    bench: Bench,
) -> None:
    told: list[int] = []
    tasks = asleep(*(count_up((), told) for _ in range(3)), journal=bench.journal)
    tasks += asleep(create(new_job()), journal=bench.journal)
    assert (await asyncio.gather(*tasks))[:3] == told == [1, 2, 3]
    # One group found out, one has done it; what else was in the first was not done twice.
    assert [len(group) for group in bench.gate.groups] == [4, 3]
    assert bench.journal._creations_waiting == 0


async def test_a_step_that_is_decided_again_is_not_withdrawn_with_its_caller(bench: Bench) -> None:
    first = await bench.hold()
    (caller,) = asleep(count_up((), []), journal=bench.journal)
    await settled()
    caller.cancel()
    bench.gate.open()
    await first
    assert await bench.journal.record(count_up((), [])) == 2


async def test_a_step_that_asks_for_what_it_has_named_is_a_defect_and_ends(bench: Bench) -> None:
    unknown = job_key(uuid4())

    def decide(_: Look, __: Writes) -> None:
        raise RowsUnnamed([unknown])

    with pytest.raises(RowsUnnamed):
        await bench.journal.record(Step("greedy", decide))
