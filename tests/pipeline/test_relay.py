"""What was committed is sent, once the other side takes it; one bad row holds up no other."""

import asyncio
import sqlite3
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from adapters.errors import ProviderBusy
from adapters.store import event_reads, machine_reads, picture_reads
from pipeline.cancel import cancel
from pipeline.relay import Relay
from schemas.step import Look, Step, Writes
from schemas.tables import EventRow
from schemas.tasks import ImageTask
from states.table import State
from tests.fakes.clock import START, FakeClock
from tests.fakes.provider import raises
from tests.jobs import create, new_job
from tests.world import TENANT, World, world_on


async def all_linked(world: World, blog_id: str, slots: int) -> None:
    async with asyncio.timeout(20):
        while len(await world.store.read(picture_reads.slots, TENANT, blog_id)) < slots:
            pass


async def test_a_committed_job_goes_its_way_without_the_sweep(database_url: str) -> None:
    async with world_on(database_url, run=True) as world:
        job_id = await world.submit(blog_id="post")
        await all_linked(world, "post", 1)
        job = await world.job(job_id)
        assert (job.state, job.dispatch, job.resumes) == (State.COMPLETED, 1, 0)


async def test_a_job_that_waits_in_the_queue_is_marked_as_sent(database_url: str) -> None:
    async with world_on(database_url) as world:
        world.relay.start()
        job_id = await world.submit()
        assert isinstance(world.clock, FakeClock)
        async with asyncio.timeout(20):
            while (await world.job(job_id)).dispatched_to != world.queue.incarnation:
                await world.clock.advance(0.1)
        assert not await world.store.read(machine_reads.unsent_jobs, world.queue.incarnation, 10)
        await world.relay.stop()


async def test_a_job_is_given_two_seconds_to_be_taken_up_before_it_is_marked(
    sqlite_url: str,
) -> None:
    clock = FakeClock()
    async with world_on(sqlite_url, clock=clock) as world:
        world.relay.start()
        first = await world.submit()
        await clock.advance(1.9)
        second = await world.submit()
        await clock.advance(0.2)
        await world.submit()  # what was to be marked by now is committed before it
        assert (await world.job(first)).dispatched_to is None
        assert (await world.job(second)).dispatched_to is None
        async with asyncio.timeout(20):
            while (await world.job(second)).dispatched_to != world.queue.incarnation:
                await clock.advance(0.1)
        assert (await world.job(first)).dispatched_to == world.queue.incarnation
        await world.relay.stop()


async def test_many_are_marked_part_by_part_and_those_taken_up_meanwhile_are_not(
    database_url: str,
) -> None:
    async with world_on(database_url) as world:
        relay = Relay(world.journal, world.queue, world.bus, world.clock, marks_at_once=2)
        marked: list[list[UUID]] = []
        record = world.journal.record

        async def watch(step: Step[Any]) -> Any:
            answer = await record(step)
            if step.name == "mark_sent":
                step.decide(Look({}, ()), writes := Writes())
                marked.append([mark.job_id for mark in writes.sent])
                if len(marked) == 1:
                    await cancel(
                        jobs[3], tenant=TENANT, journal=world.journal, ids=world.worker.ids
                    )
            return answer

        world.journal.record = watch  # type: ignore[method-assign]  # listens
        relay.start()
        jobs = [await world.submit() for _ in range(5)]
        assert isinstance(world.clock, FakeClock)
        async with asyncio.timeout(20):
            while sum(map(len, marked)) < 4:
                await world.clock.advance(0.1)
        assert marked == [jobs[:2], [jobs[2], jobs[4]]]
        here = world.queue.incarnation
        assert [(await world.job(job)).dispatched_to for job in jobs] == [here] * 3 + [None, here]
        await relay.stop()


async def test_every_event_that_left_is_marked(database_url: str) -> None:
    async with world_on(database_url, run=True) as world:
        await world.submit(blog_id="post")
        await all_linked(world, "post", 1)
        async with asyncio.timeout(20):
            while await world.store.read(event_reads.unpublished_events, world.journal.now(), 10):
                pass


async def test_an_event_that_nobody_wants_has_left_as_it_is_written(database_url: str) -> None:
    async with world_on(database_url) as world:
        await world.submit()  # by a process that does not know what is wanted
        unsent = await world.store.read(event_reads.unpublished_events, world.journal.now(), 10)
        assert [event.type for event in unsent] == ["image.job.queued"]
        world.relay.start()
        await world.sweep.take_over()
        assert world.bus.wanted == {"image.job.completed"}
        given: list[tuple[str, str]] = []
        take = world.bus.publish

        async def note(events: Sequence[EventRow]) -> list[Exception | None]:
            given.extend((event.stream_id, event.type) for event in events)
            return await take(events)

        world.bus.publish = note  # type: ignore[method-assign]  # listens
        job_id = await world.submit(blog_id="post")
        await world.deliver(job_id)
        await all_linked(world, "post", 1)
        async with asyncio.timeout(20):
            while await world.store.read(event_reads.unpublished_events, world.journal.now(), 10):
                pass
        assert [kind for stream, kind in given if stream == str(job_id)] == ["image.job.completed"]
        history = await world.history("job", str(job_id))
        assert [event.seq for event in history] == [1, 2, 3, 4]
        await world.relay.stop()


async def test_a_moment_is_told_to_the_queue_by_the_queues_own_clock(sqlite_url: str) -> None:
    """This machine's clock runs an hour ahead of the database's."""
    clock = FakeClock()
    async with world_on(sqlite_url, clock=clock) as world:
        told: list[datetime | None] = []

        async def note(_: ImageTask, *, not_before: datetime | None = None) -> None:
            told.append(not_before)

        world.queue.create_image_generation_task = note  # type: ignore[method-assign]  # listens
        clock.set_wall_clock(START + timedelta(hours=1))
        world.journal.database_clock.offset = timedelta(hours=-1)
        job_id = await world.submit()
        world.provider.script.append(raises(ProviderBusy("429", timedelta(seconds=30))))
        await world.deliver(job_id)
        assert (await world.job(job_id)).not_before == START + timedelta(seconds=30)
        world.relay.start()
        await world.sweep.take_over()
        async with asyncio.timeout(10):
            while not told:
                await world.journal.read(machine_reads.alive)
        assert told == [START + timedelta(hours=1, seconds=30)]
        await world.relay.stop()


async def test_an_event_that_cannot_travel_holds_up_no_other(sqlite_url: str) -> None:
    async with world_on(sqlite_url) as world:
        for position in (1, 2):
            await world.deliver(await world.submit(blog_id="post", position=position))
        bad = await world.submit(blog_id="post", position=3)
        await world.deliver(bad)
        with sqlite3.connect(sqlite_url.removeprefix("sqlite:///")) as connection:
            connection.execute(
                "UPDATE events SET data = '{torn' WHERE type = 'image.job.completed'"
                " AND stream_id = ?",
                (str(bad),),
            )
        connection.close()
        world.relay.start()
        await world.sweep.take_over()
        await all_linked(world, "post", 2)
        await world.relay.stop()


async def test_events_of_two_tenants_about_the_same_place_do_not_collide(
    database_url: str,
) -> None:
    async with world_on(database_url) as world:
        job_id = await world.submit(blog_id="post")
        await world.deliver(job_id)
        stored = (await world.history("job", str(job_id)))[-1]
        mine = EventRow.of(**stored.model_dump())
        theirs = mine.changed(tenant="other", event_id=world.worker.ids.new())
        assert await world.bus.publish([mine, theirs]) == [None, None]
        for tenant in (TENANT, "other"):
            assert len(await world.store.read(picture_reads.slots, tenant, "post")) == 1
            history = await world.store.read(
                event_reads.events_of_stream, tenant, "slot", "post/inline/1"
            )
            assert [event.seq for event in history] == [1]


async def test_a_queue_with_a_defect_keeps_no_job_for_itself(sqlite_url: str) -> None:
    """Whatever it raises: the sweep offers the job again, and it goes its way."""
    async with world_on(sqlite_url, run=True) as world:
        create, broken = world.queue.create_image_generation_task, asyncio.Event()

        async def breaks(*_: object, **__: object) -> None:
            broken.set()
            raise RuntimeError("a defect")

        world.queue.create_image_generation_task = breaks  # type: ignore[method-assign]  # broken
        await world.submit(blog_id="post")
        await asyncio.wait_for(broken.wait(), 10)
        world.queue.create_image_generation_task = create  # type: ignore[method-assign]  # mended
        await world.sweep.once()
        assert isinstance(world.clock, FakeClock)
        await world.clock.advance(0.1)  # what failed is not tried again at once
        await all_linked(world, "post", 1)


async def test_after_many_jobs_the_next_news_wait_until_some_are_done(postgres_url: str) -> None:
    async with world_on(postgres_url) as world:
        assert isinstance(world.clock, FakeClock)
        world.relay.start()
        sweeping = asyncio.create_task(world.sweep.run())

        async def committed_elsewhere(jobs: int) -> None:
            at = world.journal.now()
            rows = [new_job(queued_at=at, wake_at=at + timedelta(days=1)) for _ in range(jobs)]
            await world.store.commit([create(row) for row in rows])
            world.sweep.wake()

        async def waiting(jobs: int) -> None:
            async with asyncio.timeout(20):
                while world.queue.waiting < jobs:
                    await world.store.read(machine_reads.dispatch)

        await committed_elsewhere(100)
        await waiting(100)
        await committed_elsewhere(1)
        for _ in range(10):
            await world.store.read(machine_reads.dispatch)
        assert world.queue.waiting == 100
        await world.clock.advance(0.02)  # 0.2 ms for each of a hundred
        await waiting(101)
        sweeping.cancel()
        await world.relay.stop()


async def test_news_of_another_process_sends_what_came_and_the_end_of_a_pause_sends_all(
    database_url: str,
) -> None:
    async with world_on(database_url) as world:
        world.relay.start()
        sweeping = asyncio.create_task(world.sweep.run())

        async def committed_elsewhere(age: timedelta) -> None:
            queued_at = world.journal.now() - age
            job = new_job(queued_at=queued_at, wake_at=queued_at + timedelta(days=1))
            await world.store.commit([create(job)])

        async def waiting(jobs: int) -> None:
            async with asyncio.timeout(20):
                while world.queue.waiting < jobs:
                    await world.store.read(machine_reads.dispatch)

        for sent in (1, 2):
            await committed_elsewhere(timedelta())
            world.sweep.wake()
            await waiting(sent)
        await committed_elsewhere(timedelta(hours=1))
        await committed_elsewhere(timedelta())
        world.sweep.wake()
        await waiting(3)
        assert world.queue.waiting == 3  # a backlog is not read again for each news
        world.sweep.wake(for_all=True)
        await waiting(4)
        sweeping.cancel()
        await world.relay.stop()
