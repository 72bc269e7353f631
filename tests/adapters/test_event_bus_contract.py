"""What every event bus promises. An adapter joins by a maker in `BUSES`."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from itertools import pairwise
from typing import Any
from uuid import UUID

import pytest
from structlog.testing import capture_logs

from adapters.delivery import Subscription
from adapters.errors import BusUnavailable, StoreUnavailable
from adapters.local.bus import LocalEventBus
from adapters.local.ids import RandomIds
from adapters.ports import Backoff
from schemas.events import CloudEvent
from schemas.tables import EventRow
from tests.fakes.clock import START, FakeClock
from tests.fakes.google.here import CloudBus

COMPLETED, FAILED = "image.job.completed", "image.job.failed"


def event(number: int, kind: str = COMPLETED) -> EventRow:
    return EventRow(
        stream_kind="job",
        stream_id=str(UUID(int=0)),
        seq=number,
        event_id=UUID(int=number),
        tenant="local",
        type=kind,
        data="{}",
        occurred_at=START,
    )


@dataclass
class Linker:
    """A subscriber that notes what it handled and fails as it is told, event by event."""

    clock: FakeClock
    errors: dict[int, list[Exception]] = field(default_factory=dict)
    seconds: float = 0
    tried: list[tuple[int, float]] = field(default_factory=list)
    handled: list[int] = field(default_factory=list)
    busy: int = 0
    most_busy: int = 0

    async def __call__(self, event: CloudEvent) -> None:
        number = event.id.int
        self.tried.append((number, self.clock.monotonic()))
        self.busy += 1
        self.most_busy = max(self.busy, self.most_busy)
        try:
            if self.seconds:
                await self.clock.sleep(self.seconds)
            if self.errors.get(number):
                raise self.errors[number].pop(0)
        finally:
            self.busy -= 1
        self.handled.append(number)

    def wants(self, *kinds: str, name: str = "linker") -> Subscription:
        return Subscription(name, frozenset(kinds or (COMPLETED,)), self)


@dataclass
class DeadLetters:
    errors: list[Exception] = field(default_factory=list)
    kept: list[tuple[str, int, int, str]] = field(default_factory=list)

    async def __call__(self, name: str, event: CloudEvent, failures: int, error: str) -> None:
        if self.errors:
            raise self.errors.pop(0)
        self.kept.append((name, event.id.int, failures, error))


@dataclass
class Delivery:
    clock: FakeClock
    make: Callable[..., Any]
    dead_letters: DeadLetters = field(default_factory=DeadLetters)

    def bus(self, *subscriptions: Subscription, **options: Any) -> Any:
        return self.make(subscriptions, self.clock, self.dead_letters, **options)


def local(
    subscriptions: tuple[Subscription, ...],
    clock: FakeClock,
    quarantine: Callable[..., Awaitable[None]],
    **options: Any,
) -> LocalEventBus:
    ids = RandomIds(clock)
    return LocalEventBus(subscriptions, clock=clock, ids=ids, quarantine=quarantine, **options)


def local_together(
    subscriptions: tuple[Subscription, ...], *args: Any, **options: Any
) -> LocalEventBus:
    """Its subscribers take several events at once."""

    def many(one: Subscription) -> Subscription:
        async def together(events: Sequence[CloudEvent]) -> list[Exception | None]:
            ends = await asyncio.gather(*map(one.handler, events), return_exceptions=True)
            return [end if isinstance(end, Exception) else None for end in ends]

        return replace(one, together=together)

    return local(tuple(map(many, subscriptions)), *args, **options)


def cloud(
    subscriptions: tuple[Subscription, ...],
    clock: FakeClock,
    quarantine: Callable[..., Awaitable[None]],
    **options: Any,
) -> CloudBus:
    ids = RandomIds(clock)
    return CloudBus(subscriptions, clock=clock, ids=ids, quarantine=quarantine, **options)


BUSES = {"local": local, "local, together": local_together, "cloud": cloud}
LOCAL = pytest.mark.parametrize("delivery", ["local", "local, together"], indirect=True)


@pytest.fixture(params=BUSES)
def delivery(request: pytest.FixtureRequest) -> Delivery:
    return Delivery(FakeClock(), BUSES[request.param])


@pytest.fixture
def linker(delivery: Delivery) -> Linker:
    return Linker(delivery.clock)


def soon(answers: Awaitable[list[Exception | None]]) -> asyncio.Future[list[Exception | None]]:
    return asyncio.ensure_future(answers)


async def test_every_subscriber_gets_the_types_it_wants_and_no_other(delivery: Delivery) -> None:
    one, other = Linker(delivery.clock), Linker(delivery.clock)
    bus = delivery.bus(one.wants(COMPLETED), other.wants(COMPLETED, FAILED, name="other"))
    answers = await bus.publish([event(1), event(2, FAILED), event(3, "image.job.queued")])
    assert answers == [None, None, None]
    await delivery.clock.settle()
    assert one.handled == [1]
    assert other.handled == [1, 2]


@LOCAL
async def test_events_that_nobody_wants_leave_at_once(delivery: Delivery, linker: Linker) -> None:
    bus = delivery.bus(linker.wants())
    publishing = bus.publish([event(1, FAILED)])
    with pytest.raises(StopIteration) as answer:  # not one turn of the event loop
        publishing.send(None)
    assert answer.value.value == [None]
    assert await bus.publish([]) == []


@LOCAL
async def test_an_event_has_left_only_when_every_effect_is_durable(delivery: Delivery) -> None:
    quick, slow = Linker(delivery.clock), Linker(delivery.clock, seconds=5)
    published = soon(delivery.bus(quick.wants(), slow.wants(name="slow")).publish([event(1)]))
    await delivery.clock.advance(4)
    assert quick.handled == [1]
    assert not published.done()
    await delivery.clock.advance(1)
    assert published.result() == [None]
    assert slow.handled == [1]


async def test_events_of_one_publish_are_handled_at_the_same_time(
    delivery: Delivery, linker: Linker
) -> None:
    linker.seconds = 1
    published = soon(delivery.bus(linker.wants()).publish([event(n) for n in range(50)]))
    await delivery.clock.advance(1)
    assert published.result() == [None] * 50
    assert linker.most_busy == 50


@pytest.mark.parametrize("error", [ValueError("a defect"), StoreUnavailable("down")])
async def test_where_several_at_once_raise_each_is_delivered_alone_and_at_once(
    error: Exception,
) -> None:
    delivery = Delivery(FakeClock(), local)
    linker = Linker(delivery.clock, errors={2: [ValueError("poison")] * 99})
    asked: list[int] = []

    async def together(events: Sequence[CloudEvent]) -> list[Exception | None]:
        asked.append(len(events))
        raise error

    bus = delivery.bus(replace(linker.wants(), together=together))
    with capture_logs() as logs:
        published = soon(bus.publish([event(1), event(2), event(3)]))
        await delivery.clock.settle()
    (told,) = [one for one in logs if one["event"] == "events_delivered_alone"]
    assert (told["subscriber"], told["events"]) == ("linker", 3)
    assert (asked, sorted(linker.handled)) == ([3], [1, 3])
    await delivery.clock.advance(600)
    assert published.result() == [None] * 3
    assert [(number, failures) for _, number, failures, _ in delivery.dead_letters.kept] == [(2, 5)]
    assert len([number for number, _ in linker.tried if number == 2]) == 5


async def test_what_fails_among_several_comes_again_alone() -> None:
    delivery = Delivery(FakeClock(), local)
    linker = Linker(delivery.clock, errors={2: [ValueError("poison")] * 99})
    asked: list[list[int]] = []

    async def together(events: Sequence[CloudEvent]) -> list[Exception | None]:
        asked.append([event.id.int for event in events])
        return [linker.errors[2].pop() if event.id.int == 2 else None for event in events]

    bus = delivery.bus(replace(linker.wants(), together=together), concurrency_per_subscriber=2)
    published = soon(bus.publish([event(1), event(2), event(3)]))
    await delivery.clock.advance(600)
    assert (asked, linker.handled) == ([[1, 2], [3]], [])
    assert [number for number, _ in linker.tried] == [2] * 4
    assert [(number, failures) for _, number, failures, _ in delivery.dead_letters.kept] == [(2, 5)]
    assert published.result() == [None] * 3


async def test_too_few_answers_say_nothing_of_any_event() -> None:
    delivery = Delivery(FakeClock(), local)
    linker = Linker(delivery.clock)

    async def together(events: Sequence[CloudEvent]) -> list[Exception | None]:
        return [None]

    bus = delivery.bus(replace(linker.wants(), together=together))
    assert await bus.publish([event(1), event(2)]) == [None] * 2
    assert (sorted(linker.handled), bus.in_flight) == ([1, 2], 0)


async def test_a_bus_says_which_types_are_wanted_where_it_knows(delivery: Delivery) -> None:
    linker = Linker(delivery.clock)
    bus = delivery.bus(linker.wants(COMPLETED), linker.wants(COMPLETED, FAILED, name="other"))
    known = isinstance(bus, LocalEventBus)
    assert bus.wanted == ({COMPLETED, FAILED} if known else None)


@LOCAL
async def test_an_event_that_one_of_two_subscribers_may_miss_has_not_left(
    delivery: Delivery,
) -> None:
    failing, well = Linker(delivery.clock), Linker(delivery.clock)
    failing.errors[1] = [StoreUnavailable("down") for _ in range(99)]
    backoff = Backoff(first=timedelta(seconds=60))
    bus = delivery.bus(failing.wants(), well.wants(name="well"), backoff=backoff)
    published = soon(bus.publish([event(1)]))
    await delivery.clock.settle()
    await bus.drain(timeout_seconds=1)
    (answer,) = await published
    assert isinstance(answer, BusUnavailable)
    assert well.handled == [1]


@LOCAL
async def test_what_was_handled_before_a_drain_gave_up_has_left(delivery: Delivery) -> None:
    linker = Linker(delivery.clock, errors={2: [ValueError("once")]})
    bus = delivery.bus(linker.wants())
    published = soon(bus.publish([event(1), event(2), event(3)]))
    await delivery.clock.settle()
    linker.seconds = 500
    await delivery.clock.advance(10)
    draining = asyncio.create_task(bus.drain(timeout_seconds=10))
    await delivery.clock.advance(10)
    assert draining.done()
    first, hanging, last = published.result()
    assert (first, last, sorted(linker.handled)) == (None, None, [1, 3])
    assert isinstance(hanging, BusUnavailable)


@LOCAL
async def test_a_cancelled_publish_cancels_what_goes_on_alone(delivery: Delivery) -> None:
    linker = Linker(delivery.clock, errors={1: [ValueError("once")]})
    bus = delivery.bus(linker.wants())
    published = soon(bus.publish([event(1), event(2)]))
    await delivery.clock.settle()
    published.cancel()
    await delivery.clock.advance(600)
    assert published.cancelled()
    assert (linker.handled, bus.in_flight) == ([2], 0)


async def test_a_subscriber_gets_no_more_at_once_than_it_is_allowed(delivery: Delivery) -> None:
    narrow, wide = Linker(delivery.clock, seconds=1), Linker(delivery.clock, seconds=1)
    bus = delivery.bus(narrow.wants(), wide.wants(FAILED, name="w"), concurrency_per_subscriber=4)
    events = [event(n) for n in range(8)]
    publishes = [soon(bus.publish(events[:4])), soon(bus.publish(events[4:]))]
    publishes.append(soon(bus.publish([event(9, FAILED)])))
    await delivery.clock.advance(1)
    assert wide.handled == [9]
    await delivery.clock.advance(1)
    assert [one.done() for one in publishes] == [True] * 3
    assert narrow.most_busy == 4


async def test_unavailability_is_outlasted_and_never_counts(
    delivery: Delivery, linker: Linker
) -> None:
    linker.errors[1] = [StoreUnavailable("down") for _ in range(40)]
    backoff = Backoff(first=timedelta(seconds=1), most=timedelta(seconds=8))
    published = soon(delivery.bus(linker.wants(), backoff=backoff).publish([event(1)]))
    await delivery.clock.advance(3600)
    assert published.result() == [None]
    assert linker.handled == [1]
    assert delivery.dead_letters.kept == []
    moments = [moment for _, moment in linker.tried]
    waits = [after - before for before, after in pairwise(moments)]
    full = [1, 2, 4] + [8] * 37
    assert all(most / 2 <= wait <= most for wait, most in zip(waits, full, strict=True))


async def test_the_fifth_deterministic_failure_quarantines_the_event(
    delivery: Delivery, linker: Linker
) -> None:
    linker.errors[1] = [ValueError("no such slot") for _ in range(99)]
    published = soon(delivery.bus(linker.wants()).publish([event(1), event(2)]))
    await delivery.clock.advance(60)
    assert published.result() == [None, None]
    assert delivery.dead_letters.kept == [("linker", 1, 5, "ValueError: no such slot")]
    assert [number for number, _ in linker.tried].count(1) == 5
    assert linker.handled == [2]


async def test_failures_are_counted_apart_for_each_subscriber(delivery: Delivery) -> None:
    broken, sound = Linker(delivery.clock), Linker(delivery.clock)
    broken.errors[1] = [ValueError("no") for _ in range(99)]
    bus = delivery.bus(sound.wants(name="sound"), broken.wants(name="broken"))
    published = soon(bus.publish([event(1)]))
    await delivery.clock.advance(60)
    assert published.result() == [None]
    assert sound.handled == [1]
    assert [name for name, *_ in delivery.dead_letters.kept] == ["broken"]


async def test_four_failures_and_any_unavailability_between_are_forgiven(
    delivery: Delivery, linker: Linker
) -> None:
    linker.errors[1] = [
        error for _ in range(4) for error in (ValueError("no"), StoreUnavailable("down"))
    ]
    published = soon(delivery.bus(linker.wants()).publish([event(1)]))
    await delivery.clock.advance(600)
    assert published.result() == [None]
    assert linker.handled == [1]
    assert delivery.dead_letters.kept == []


async def test_quarantining_outlasts_unavailability_without_bothering_the_subscriber(
    delivery: Delivery, linker: Linker
) -> None:
    linker.errors[1] = [ValueError("no") for _ in range(99)]
    delivery.dead_letters.errors = [StoreUnavailable("down") for _ in range(10)]
    published = soon(delivery.bus(linker.wants()).publish([event(1)]))
    await delivery.clock.advance(1)
    assert delivery.dead_letters.kept == []
    await delivery.clock.advance(600)
    assert published.result() == [None]
    assert delivery.dead_letters.kept == [("linker", 1, 5, "ValueError: no")]
    assert len(linker.tried) == 5


@LOCAL
async def test_an_event_that_cannot_be_quarantined_has_not_left(
    delivery: Delivery, linker: Linker
) -> None:
    linker.errors[1] = [ValueError("no") for _ in range(99)]
    broken = TypeError("the dead letters are broken")
    delivery.dead_letters.errors = [broken]
    published = soon(delivery.bus(linker.wants()).publish([event(1), event(2)]))
    await delivery.clock.advance(60)
    assert published.result() == [broken, None]


async def test_an_event_that_waits_for_its_next_try_takes_no_place(
    delivery: Delivery, linker: Linker
) -> None:
    linker.errors[1] = [StoreUnavailable("down")] * 3
    bus = delivery.bus(linker.wants(), concurrency_per_subscriber=1)
    published = soon(bus.publish([event(1), event(2)]))
    await delivery.clock.settle()
    assert linker.handled == [2]
    await delivery.clock.advance(60)
    assert published.result() == [None, None]


async def test_failures_and_quarantine_are_logged(delivery: Delivery, linker: Linker) -> None:
    linker.errors[1] = [StoreUnavailable("down"), *(ValueError("no") for _ in range(5))]
    with capture_logs() as logs:
        published = soon(delivery.bus(linker.wants()).publish([event(1)]))
        await delivery.clock.advance(60)
    assert published.done()
    told = [(one["event"], one["log_level"], one["failures"]) for one in logs]
    assert told == [
        *(("subscriber_failed", "warning", failures) for failures in range(6)),
        ("event_quarantined", "error", 5),
    ]
    assert {(one["subscriber"], one["event_id"]) for one in logs} == {("linker", str(UUID(int=1)))}


@LOCAL
async def test_drain_lets_running_deliveries_end_and_gives_up_those_that_wait(
    delivery: Delivery, linker: Linker
) -> None:
    linker.errors[1] = [StoreUnavailable("down") for _ in range(99)]
    bus = delivery.bus(linker.wants(), backoff=Backoff(first=timedelta(seconds=60)))
    waiting = soon(bus.publish([event(1)]))
    await delivery.clock.settle()
    linker.seconds = 5
    running = soon(bus.publish([event(2)]))
    await delivery.clock.settle()
    draining = asyncio.create_task(bus.drain(timeout_seconds=30))
    await delivery.clock.settle()
    assert isinstance(waiting.result()[0], BusUnavailable)
    assert not draining.done()
    await delivery.clock.advance(5)
    assert running.result() == [None]
    assert draining.done()
    assert (bus.in_flight, delivery.clock.sleepers) == (0, 0)


@LOCAL
async def test_drain_cancels_what_outlasts_it_and_publish_says_so(
    delivery: Delivery, linker: Linker
) -> None:
    linker.seconds = 500
    bus = delivery.bus(linker.wants())
    published = soon(bus.publish([event(1), event(2, FAILED)]))
    await delivery.clock.settle()
    draining = asyncio.create_task(bus.drain(timeout_seconds=10))
    await delivery.clock.advance(10)
    assert draining.done()
    unfinished, unwanted = published.result()
    assert isinstance(unfinished, BusUnavailable)
    assert unwanted is None
    assert linker.handled == []


@LOCAL
async def test_a_closed_bus_takes_nothing_that_somebody_wants(
    delivery: Delivery, linker: Linker
) -> None:
    bus = delivery.bus(linker.wants())
    await bus.drain(timeout_seconds=1)
    (answer,) = await bus.publish([event(1)])
    assert isinstance(answer, BusUnavailable)
    assert linker.tried == []


@LOCAL
async def test_a_cancelled_publish_cancels_its_deliveries(
    delivery: Delivery, linker: Linker
) -> None:
    linker.seconds = 5
    bus = delivery.bus(linker.wants())
    published = soon(bus.publish([event(1)]))
    await delivery.clock.settle()
    published.cancel()
    await delivery.clock.advance(10)
    assert published.cancelled()
    assert (linker.handled, bus.in_flight) == ([], 0)
