"""Watchers see every event once and in order, whatever is committed at the same time."""

import asyncio
import shutil
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
from sqlalchemy.engine import make_url

from adapters.local.clock import SystemClock
from adapters.ports import Clock
from adapters.store import machine_reads
from adapters.store.database import open_store
from pipeline.feed import PING_SECONDS, POLL_SECONDS, Reset, Seen
from schemas.cursors import EventCursor, EventFilter, Place
from schemas.tables import JobRow
from tests.fakes.clock import START, FakeClock
from tests.jobs import NOW, create, new_job
from tests.world import TENANT, World, world_on


@asynccontextmanager
async def watched(url: str, clock: Clock | None = None) -> AsyncIterator[World]:
    """A world whose feed runs, on real time where no *clock* is given."""
    async with world_on(url, clock=clock or SystemClock()) as world:
        running = asyncio.create_task(world.feed.run())
        yield world
        world.feed.close()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


Watching = AsyncGenerator[Sequence[Seen] | Reset]


async def take(watching: Watching, count: int) -> list[Seen]:
    """The next *count* events and no more; another `take` goes on after all that came with them."""
    async with asyncio.timeout(20):
        found: list[Seen] = []
        while len(found) < count:
            some = await anext(watching)
            assert not isinstance(some, Reset)
            found += some
        return found[:count]


async def there_is(watching: Watching) -> list[Seen | Reset]:
    """What a stream gives that ends where the events end."""
    found: list[Seen | Reset] = []
    async for some in watching:
        found += [some] if isinstance(some, Reset) else some
    return found


def subjects(found: Sequence[Seen | Reset]) -> list[str]:
    return [one.event.stream_id if isinstance(one, Seen) else "reset" for one in found]


def cursors(found: Sequence[Seen | Reset]) -> list[str]:
    return [str(one.cursor) for one in found]


async def test_a_watcher_sees_what_happens_from_now_on(database_url: str) -> None:
    async with watched(database_url) as world:
        await world.submit()
        watching = world.feed.watch(EventFilter(TENANT))
        first = asyncio.ensure_future(take(watching, 3))
        await asyncio.sleep(0)
        async with asyncio.timeout(20):
            while not world.feed._watchers:
                await world.journal.read(machine_reads.alive)
        jobs = [await world.submit() for _ in range(3)]
        assert subjects(await first) == [str(job) for job in jobs]


async def test_a_watcher_goes_on_after_its_cursor_without_gap_or_repetition(
    database_url: str,
) -> None:
    async with watched(database_url) as world:
        start = await world.feed.tail()
        jobs = [str(await world.submit()) for _ in range(10)]
        watching = world.feed.watch(EventFilter(TENANT), start)
        seen = await take(watching, 4)
        await watching.aclose()
        jobs += [str(await world.submit()) for _ in range(5)]
        again = world.feed.watch(EventFilter(TENANT), EventCursor.parse(str(seen[-1].cursor)))
        assert subjects(seen) + subjects(await take(again, 11)) == jobs


async def test_without_follow_the_stream_ends_where_the_events_end(database_url: str) -> None:
    async with watched(database_url) as world:
        start = await world.feed.tail()
        await world.submit()
        found = await there_is(world.feed.watch(EventFilter(TENANT), start, follow=False))
        assert len(found) == 1
        await world.submit()
        everything = await there_is(world.feed.watch(EventFilter(TENANT), follow=False))
        assert len(everything) == 2


async def test_without_follow_the_stream_does_not_wait_for_the_feed(sqlite_url: str) -> None:
    async with world_on(sqlite_url) as world:  # where no feed runs
        follower = asyncio.ensure_future(anext(world.feed.watch(EventFilter(TENANT)), None))
        async with asyncio.timeout(10):
            while not world.feed._watchers:
                await world.journal.read(machine_reads.alive)
        start = await world.feed.tail()
        await world.submit()
        found = await there_is(world.feed.watch(EventFilter(TENANT), start, follow=False))
        assert len(found) == 1
        world.feed.close()
        await follower


async def test_watchers_see_only_what_they_asked_for_live_and_from_the_database(
    database_url: str,
) -> None:
    async with watched(database_url) as world:
        start = await world.feed.tail()
        mine = await world.submit(blog_id="post")
        numbers = {
            EventFilter(TENANT): 5,
            EventFilter(TENANT, types=frozenset({"image.job.completed"})): 1,
            EventFilter(TENANT, blog_id="post"): 4,
            EventFilter(TENANT, job_id=mine): 4,
            EventFilter(TENANT, batch_id=uuid4()): 0,
            EventFilter("somebody-else"): 0,
        }
        live = {
            wanted: asyncio.ensure_future(take(world.feed.watch(wanted, start), number or 1))
            for wanted, number in numbers.items()
        }
        async with asyncio.timeout(10):
            while world.feed._watchers < len(live):
                await world.journal.read(machine_reads.alive)
        await world.deliver(mine)
        await world.submit(blog_id="other")
        for wanted, number in numbers.items():
            stored = await there_is(world.feed.watch(wanted, start, follow=False))
            assert len(stored) == number
            if number:
                assert cursors(await live[wanted]) == cursors(stored)
        for wanted, number in numbers.items():
            assert live[wanted].done() == bool(number)
            live[wanted].cancel()
        await asyncio.gather(*live.values(), return_exceptions=True)


@pytest.mark.parametrize(
    "changes",
    [
        {"lineage": uuid4()},
        {"event_id": uuid4()},
        {"place": Place(1, 0, 0)},
        {"place": Place(10**9 - 1, 10**18 - 1, 10**18 - 1)},
    ],
    ids=["lineage", "event", "epoch", "far"],
)
async def test_a_foreign_cursor_is_reset(database_url: str, changes: dict[str, Any]) -> None:
    async with watched(database_url) as world:
        await world.submit()
        tail = await world.feed.tail()
        cursor = EventCursor.parse(str(tail._replace(**changes)))
        assert cursor is not None
        found = await there_is(world.feed.watch(EventFilter(TENANT), cursor, follow=False))
        assert found == [Reset(tail)]


@pytest.mark.parametrize(
    "text", ["", "7", "x" * 32 + "-0-0-0", f"{0:032}-0-0-{10**18}-{0:032}", "\x00", "-" * 40]
)
def test_what_is_no_cursor_is_not_taken_for_one(text: str) -> None:
    assert EventCursor.parse(text) is None


async def insert_event(connection: "asyncpg.Connection[Any]", job: JobRow, *, seq: int = 1) -> None:
    """An event of a job, past the program."""
    await connection.execute(
        "INSERT INTO events (stream_kind, stream_id, seq, event_id, tenant, type, data,"
        " occurred_at) VALUES ('job', $1, $2, $3, 'default', 'image.job.queued', '{}', $4)",
        str(job.id),
        seq,
        uuid4(),
        NOW,
    )


async def test_a_lower_position_that_is_committed_late_is_delivered(postgres_url: str) -> None:
    """One transaction takes its position first and commits last."""
    early, late = new_job(), new_job()
    other = await asyncpg.connect(postgres_url)
    async with watched(postgres_url) as world:
        start = await world.feed.tail()
        transaction = other.transaction()
        await transaction.start()
        await insert_event(other, early)
        await world.journal.record(create(late))
        assert await there_is(world.feed.watch(EventFilter(TENANT), start, follow=False)) == []
        await transaction.commit()
        found = await take(world.feed.watch(EventFilter(TENANT), start), 2)
        assert subjects(found) == [str(early.id), str(late.id)]
        positions = [one.cursor.place.position for one in found]
        assert positions == sorted(positions)
    await other.close()


async def test_a_jobs_stream_has_what_is_readable_late_with_a_lower_sequence(
    postgres_url: str,
) -> None:
    """The order is that of transaction ids, and ids are taken before rows are locked."""
    job = new_job()
    first, between, second = [await asyncpg.connect(postgres_url) for _ in range(3)]
    async with watched(postgres_url) as world:
        await world.journal.record(create(job))
        for connection in (first, between, second):
            await connection.execute("BEGIN")
            await connection.execute("SELECT pg_current_xact_id()")
        await insert_event(second, job, seq=2)
        await second.execute("COMMIT")
        await insert_event(first, job, seq=3)
        await first.execute("COMMIT")
        watching = world.feed.watch_job(TENANT, job.id)
        assert [one.event.seq for one in await take(watching, 2)] == [1, 3]
        await between.execute("COMMIT")
        assert [one.event.seq for one in await take(watching, 1)] == [2]
    for connection in (first, between, second):
        await connection.close()


async def test_another_processs_commit_wakes_the_listener(postgres_url: str) -> None:
    heard = asyncio.Event()
    listener = open_store(postgres_url)
    listening = asyncio.create_task(listener.listen(heard.set))
    async with world_on(postgres_url, clock=SystemClock()) as world:
        await asyncio.wait_for(heard.wait(), 10)  # it listens
        heard.clear()
        await world.submit()
        await asyncio.wait_for(heard.wait(), 10)
    listening.cancel()
    await asyncio.gather(listening, return_exceptions=True)
    await listener.close()


async def restored_from_a_dump(world: World, other: "asyncpg.Connection[Any]") -> None:
    """As on another server: events carry transaction ids that this one has yet to give."""
    await other.execute("UPDATE events SET xid = xid + 1000000000")
    await world.store.prepare()


async def test_a_restored_database_begins_a_new_epoch(postgres_url: str) -> None:
    other = await asyncpg.connect(postgres_url)
    async with watched(postgres_url) as world:
        await world.submit()
        before = await world.feed.tail()
        await restored_from_a_dump(world, other)
        await world.submit()
        tail = await world.feed.tail()
        assert tail.place.epoch == before.place.epoch + 1
        await world.store.prepare()
        await world.submit()
        assert (await world.feed.tail()).place.epoch == tail.place.epoch
    await other.close()


async def test_a_reader_goes_through_older_epochs_into_the_present_one(postgres_url: str) -> None:
    other = await asyncpg.connect(postgres_url)
    async with watched(postgres_url) as world:
        jobs = []
        for _ in range(3):
            jobs += [str(await world.submit()) for _ in range(3)]
            await restored_from_a_dump(world, other)
        tail = await world.feed.tail()
        watching = world.feed.watch(EventFilter(TENANT), EventCursor.beginning(tail.lineage))
        found = await take(watching, 9)
        jobs.append(str(await world.submit()))
        found += await take(watching, 1)
        assert subjects(found) == jobs
        assert [one.cursor.place.epoch for one in found] == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3]
        for number, one in enumerate(found[:-1]):
            again = world.feed.watch(EventFilter(TENANT), EventCursor.parse(str(one.cursor)))
            assert subjects(await take(again, 9 - number)) == jobs[number + 1 :]
    await other.close()


async def test_only_the_present_epoch_waits_for_open_transactions(postgres_url: str) -> None:
    early, late = new_job(), new_job()
    other = await asyncpg.connect(postgres_url)
    async with watched(postgres_url) as world:
        old = [str(await world.submit()) for _ in range(2)]
        await restored_from_a_dump(world, other)
        transaction = other.transaction()
        await transaction.start()
        await insert_event(other, early)
        await world.journal.record(create(late))
        readable = await there_is(world.feed.watch(EventFilter(TENANT), follow=False))
        assert subjects(readable) == old
        await transaction.commit()
        found = await there_is(
            world.feed.watch(EventFilter(TENANT), readable[-1].cursor, follow=False)
        )
        assert subjects(found) == [str(early.id), str(late.id)]
    await other.close()


@asynccontextmanager
async def backup_of(url: str) -> AsyncIterator[str]:
    """A copy of the database as it is now; nobody may be connected to it."""
    parsed = make_url(url)
    name = f"{parsed.database}_restored"
    restored = parsed.set(database=name).render_as_string(hide_password=False)
    if parsed.get_backend_name() == "sqlite":
        shutil.copy(str(parsed.database), name)
        yield restored
        return
    server = parsed.set(database="postgres").render_as_string(hide_password=False)
    connection = await asyncpg.connect(server)
    await connection.execute(f"CREATE DATABASE {name} TEMPLATE {parsed.database}")
    try:
        yield restored
    finally:
        await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
        await connection.close()


async def test_what_a_restore_kept_is_gone_on_from_and_what_it_has_undone_is_reset(
    database_url: str,
) -> None:
    async with watched(database_url) as world:
        jobs = [str(await world.submit()) for _ in range(3)]
        _, kept, _ = await there_is(world.feed.watch(EventFilter(TENANT), follow=False))
    async with backup_of(database_url) as restored:
        async with watched(database_url) as world:
            for _ in range(2):
                await world.submit()
            undone = await world.feed.tail()
        async with watched(restored) as world:
            jobs += [str(await world.submit()) for _ in range(4)]
            found = await there_is(world.feed.watch(EventFilter(TENANT), kept.cursor, follow=False))
            assert subjects(found) == jobs[2:]
            tail = await world.feed.tail()
            assert undone.place < tail.place  # what is new would seem to be old
            found = await there_is(world.feed.watch(EventFilter(TENANT), undone, follow=False))
            assert found == [Reset(tail)]


async def test_a_watcher_that_is_far_behind_reads_the_database(sqlite_url: str) -> None:
    async with watched(sqlite_url) as world:
        start = await world.feed.tail()
        jobs = [new_job() for _ in range(1_200)]
        await asyncio.gather(*(world.journal.record(create(job)) for job in jobs))
        found = await take(world.feed.watch(EventFilter(TENANT), start), 1_200)
        assert sorted(subjects(found)) == sorted(str(job.id) for job in jobs)


async def test_an_event_is_serialised_once_for_all_watchers(sqlite_url: str) -> None:
    async with watched(sqlite_url) as world:
        watching = [
            world.feed.watch(EventFilter(TENANT), await world.feed.tail()) for _ in range(3)
        ]
        first = [asyncio.ensure_future(take(one, 1)) for one in watching]
        async with asyncio.timeout(10):
            while world.feed._watchers < 3:
                await world.journal.read(machine_reads.alive)
        await world.submit()
        one, *others = [seen for (seen,) in await asyncio.gather(*first)]
        assert all(other.wire is one.wire for other in others)


async def test_a_watcher_without_news_gets_a_sign_of_life(sqlite_url: str) -> None:
    clock = FakeClock()
    async with watched(sqlite_url, clock) as world:
        life = asyncio.ensure_future(anext(world.feed.watch(EventFilter(TENANT))))
        async with asyncio.timeout(20):
            while not life.done():
                await clock.sleeping()
                await clock.advance(POLL_SECONDS)
        assert not await life
        assert (clock.now() - START).total_seconds() >= PING_SECONDS


async def test_a_watcher_that_memory_has_left_behind_misses_nothing(sqlite_url: str) -> None:
    async with watched(sqlite_url) as world:
        world.feed.most_remembered = 10
        slow = world.feed.watch(EventFilter(TENANT), await world.feed.tail())
        quick = world.feed.watch(EventFilter(TENANT), await world.feed.tail())
        jobs = [str(await world.submit())]
        seen = await take(slow, 1)
        for _ in range(50):
            jobs.append(str(await world.submit()))
        assert subjects(await take(quick, 51)) == jobs
        assert len(world.feed._remembered) < 20
        assert subjects(seen + await take(slow, 50)) == jobs


async def test_closing_the_feed_ends_every_stream(sqlite_url: str) -> None:
    async with watched(sqlite_url) as world:
        streams = [
            asyncio.ensure_future(anext(world.feed.watch(EventFilter(TENANT)), None))
            for _ in range(5)
        ]
        async with asyncio.timeout(10):
            while world.feed._watchers < 5:
                await world.journal.read(machine_reads.alive)
        world.feed.close()
        assert await asyncio.gather(*streams) == [None] * 5
