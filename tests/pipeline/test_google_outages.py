"""Cloud Tasks and Pub/Sub are away for a while under load, or take a part: nothing is lost."""

import asyncio
from collections import Counter
from typing import Any

import grpc
from google.pubsub_v1.types import PublishRequest

from adapters.errors import BusUnavailable
from adapters.local.ids import RandomIds
from adapters.store import machine_reads, picture_reads
from states.table import State
from tests.adapters.test_event_bus_contract import event
from tests.fakes.clock import FakeClock
from tests.fakes.google.here import CloudBus, CloudQueue
from tests.fakes.google.rpc import Refused
from tests.world import TENANT, World, world_on

OUTAGE_SECONDS = 60
A_SECOND = 5
# A port is tried again after 5 s at the latest; what it refused is offered again every 5 s, an
# event when it is 10 s old.
CATCH_UP_SECONDS = 20


def away(_: Any) -> None:
    raise Refused(grpc.StatusCode.UNAVAILABLE, "failed to connect to all addresses")


async def passes(world: World, seconds: float) -> None:
    """Let time pass in small steps, and between them whatever waits for the database alone."""
    assert isinstance(world.clock, FakeClock)
    for _ in range(round(seconds * 4)):
        await world.clock.advance(0.25)
        steps = -1
        while steps != world.journal.steps:
            steps = world.journal.steps
            await world.journal.read(machine_reads.alive)


async def test_an_outage_of_both_for_a_minute_loses_nothing_and_is_caught_up_with(
    sqlite_url: str,
) -> None:
    async with world_on(
        sqlite_url, run=True, repeatable=True, queue_kind=CloudQueue, bus_kind=CloudBus
    ) as world:
        queue: Any = world.queue
        bus: Any = world.bus
        sweeping = asyncio.create_task(world.sweep.run())
        tried: Counter[str] = Counter()

        def refuse(request: Any) -> None:
            tried[type(request).__name__] += 1
            away(request)

        queue.service.trouble = bus.service.trouble = refuse
        jobs = []
        for second in range(OUTAGE_SECONDS):
            for number in range(A_SECOND):
                place = second * A_SECOND + number + 1
                jobs.append(await world.submit(blog_id=f"post-{place}", role="hero"))
            await passes(world, 1)
        assert not world.provider.calls, "nothing was to reach a worker"
        # Of 300 jobs and 300 events, tried again and again, a few show that the other side is away.
        assert tried["CreateTaskRequest"] < 50
        assert tried["PublishRequest"] < 50
        queue.service.trouble = bus.service.trouble = lambda _: None
        await passes(world, CATCH_UP_SECONDS)
        states = Counter([(await world.job(job_id)).state for job_id in jobs])
        assert states == {State.COMPLETED: len(jobs)}
        assert set(world.provider.calls.values()) == {1}
        for place in range(1, len(jobs) + 1):
            assert await world.store.read(picture_reads.slots, TENANT, f"post-{place}"), place
        sweeping.cancel()


def idle_bus() -> CloudBus:
    clock = FakeClock()
    return CloudBus((), clock=clock, ids=RandomIds(clock), quarantine=_never)


async def _never(*_: object) -> None:
    raise AssertionError("nothing is to be put aside")


async def test_of_a_batch_that_fails_in_its_middle_only_the_failed_part_stays() -> None:
    bus = idle_bus()

    def second_part(request: PublishRequest) -> None:
        if any(one.attributes["sequence"].endswith("150") for one in request.messages):
            away(request)

    bus.service.trouble = second_part
    events = [event(number) for number in range(250)]
    answers = await bus.publish(events)
    failed = [number for number, answer in enumerate(answers) if answer is not None]
    assert failed == list(range(100, 200))
    assert all(isinstance(answers[number], BusUnavailable) for number in failed)
    bus.service.trouble = lambda _: None
    again = await bus.publish([events[number] for number in failed])
    assert again == [None] * 100
    sequences = Counter(one.attributes["sequence"] for one in bus.service.published)
    assert len(sequences) == 250
    assert set(sequences.values()) == {1}


async def test_an_event_that_pubsub_refuses_holds_up_no_other() -> None:
    bus = idle_bus()
    events = [event(number) for number in range(100)]
    events[37].data = '{"blog_id": "' + "x" * 2_000 + '"}'  # longer than an attribute may be
    answers = await bus.publish(events)
    assert [number for number, answer in enumerate(answers) if answer is not None] == [37]
    assert len(bus.service.published) == 99
