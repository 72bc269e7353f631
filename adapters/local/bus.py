"""The local event bus: without it a completed picture would never reach its blog."""

import asyncio
import contextlib
from collections.abc import Coroutine, Sequence
from typing import Any, TypeAlias

import structlog

from adapters import traces
from adapters.delivery import Delivery, Patience, Quarantine, Subscription
from adapters.errors import BusUnavailable, Unavailable
from adapters.local.drain import finish_or_cancel
from adapters.ports import Backoff, Clock, HandlerOfMany, Ids
from schemas.events import CloudEvent, cloud_event
from schemas.tables import EventRow

log = structlog.get_logger()

# For each event of a delivery None, or why its subscriber may still miss it.
Ends: TypeAlias = Sequence[Exception | None]
NO_ERROR: Ends = (None,)


class LocalEventBus:
    """Pub/Sub in one process: an event has left when every subscriber has dealt with it.

    A subscriber that raises `Unavailable` is tried again for as long as it takes. Any other
    exception counts; at the *deterministic_failures*-th the event goes to *quarantine*
    (subscriber, event, failures, error), which must be durable when it returns.
    """

    def __init__(
        self,
        subscriptions: Sequence[Subscription],
        *,
        clock: Clock,
        ids: Ids,
        quarantine: Quarantine,
        concurrency_per_subscriber: int = 64,
        backoff: Backoff | None = None,
        deterministic_failures: int = 5,
    ) -> None:
        self._wanted: dict[str, list[_Subscriber]] = {}
        for subscription in subscriptions:
            subscriber = _Subscriber(subscription, concurrency_per_subscriber)
            for event_type in subscription.types:
                self._wanted.setdefault(event_type, []).append(subscriber)
        self._clock = clock
        self._quarantine = quarantine
        self._patience = Patience(clock, ids, backoff or Backoff(), deterministic_failures)
        self._running: set[asyncio.Task[Ends]] = set()
        self._pausing: set[asyncio.Task[Any]] = set()
        self._drained = False

    @property
    def wanted(self) -> frozenset[str]:
        return frozenset(self._wanted)

    @property
    def in_flight(self) -> int:
        """Tasks that deliver, or wait for another try."""
        return len(self._running)

    async def publish(self, events: Sequence[EventRow]) -> list[Exception | None]:
        answers: list[Exception | None] = [None] * len(events)
        # For each subscriber its events, with their places among all.
        wanted: dict[_Subscriber, dict[int, CloudEvent]] = {}
        for place, event in enumerate(events):
            subscribers = self._wanted.get(event.type)
            if not subscribers:  # most events: not even their wire form is made
                continue
            try:
                travelling = cloud_event(event)
            except ValueError as error:  # one that cannot travel holds up no other
                log.error("event_unpublishable", event_id=str(event.event_id), exc_info=error)
                answers[place] = error
                continue
            for subscriber in subscribers:
                wanted.setdefault(subscriber, {})[place] = travelling
        deliveries = [one for taken in wanted.items() for one in self._deliver_all(*taken)]
        if deliveries:
            try:
                await asyncio.wait([task for task, _ in deliveries])
            except asyncio.CancelledError:
                for task, _ in deliveries:
                    task.cancel()
                raise
        for task, places in deliveries:
            for place, end in zip(places, _ends(task, len(places)), strict=True):
                answers[place] = end or answers[place]
        return answers

    async def drain(self, timeout_seconds: float) -> None:
        """Start no delivery more, let the running ones end, then cancel what remains.

        Those that wait for another try end now. What did not end well is `BusUnavailable`.
        """
        self._drained = True
        for task in self._pausing:
            task.cancel()
        await finish_or_cancel(self._running, timeout_seconds=timeout_seconds, clock=self._clock)

    def _deliver_all(
        self, subscriber: "_Subscriber", wanted: dict[int, CloudEvent]
    ) -> list[tuple[asyncio.Task[Ends], list[int]]]:
        """Start to deliver; gives tasks, each with the places of its events."""
        together = subscriber.subscription.together
        if together is None or traces.enabled():  # each delivery has its own part of a trace
            return [
                (self._soon(self._deliver(subscriber, self._delivery(subscriber, event))), [place])
                for place, event in wanted.items()
            ]
        events = list(wanted.values())
        return [(self._soon(self._deliver_together(subscriber, together, events)), [*wanted])]

    def _soon(self, delivering: Coroutine[None, None, Ends]) -> asyncio.Task[Ends]:
        task = asyncio.create_task(delivering)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task

    def _delivery(self, subscriber: "_Subscriber", event: CloudEvent) -> Delivery:
        return Delivery(
            subscriber.subscription,
            event,
            self._quarantine,
            self._patience.deterministic_failures,
        )

    async def _deliver_together(
        self, subscriber: "_Subscriber", together: HandlerOfMany, events: list[CloudEvent]
    ) -> Ends:
        """Deliver as many at once as there is room for; those that fail go on by themselves."""
        ends: list[Exception | None] = []
        alone: dict[int, asyncio.Task[Ends]] = {}
        try:
            while len(ends) < len(events) and not self._drained:
                free = await subscriber.take_slots(len(events) - len(ends))
                try:
                    some = events[len(ends) : len(ends) + free]
                    left = await self._try_together(subscriber, together, some)
                finally:
                    subscriber.free_slots(free)
                for delivery in left:
                    if delivery is not None:
                        alone[len(ends)] = self._soon(self._deliver(subscriber, delivery))
                    ends.append(None)
            if alone:
                await asyncio.wait(alone.values())
        except asyncio.CancelledError:
            for task in alone.values():
                task.cancel()
            if not self._drained:
                raise
            if alone:  # the bus gives up what is left: what has ended well is told all the same
                await asyncio.wait(alone.values())
        for place, task in alone.items():
            (ends[place],) = _ends(task, 1)
        return [*ends, *(_closed() for _ in events[len(ends) :])]

    async def _try_together(
        self, subscriber: "_Subscriber", together: HandlerOfMany, events: list[CloudEvent]
    ) -> list[Delivery | None]:
        """Have *events* handled at once; for each None, or its delivery, which goes on alone."""
        try:
            failures = await together(events)
            if len(failures) != len(events):
                raise ValueError(f"{len(failures)} answers for {len(events)} events")
        except Exception as error:  # perhaps for the sake of one of them
            log.warning(
                "events_delivered_alone",
                subscriber=subscriber.subscription.name,
                events=len(events),
                error=type(error).__name__,
                exc_info=not isinstance(error, Unavailable) and error,
            )
            return [self._delivery(subscriber, event) for event in events]
        left: list[Delivery | None] = [None] * len(events)
        for place, failure in enumerate(failures):
            if failure is not None:
                left[place] = delivery = self._delivery(subscriber, events[place])
                delivery.tries = 1
                delivery.note_failure(failure)
        return left

    async def _deliver(self, subscriber: "_Subscriber", delivery: Delivery) -> Ends:
        """Return when the subscriber has handled or quarantined its event."""
        while True:
            if delivery.tries:
                await self._pause(delivery.tries)
            if self._drained:
                raise _closed()
            async with subscriber.slots:
                with contextlib.suppress(Unavailable):
                    if await delivery.attempt():
                        return NO_ERROR

    async def _pause(self, tries: int) -> None:
        task = asyncio.current_task()
        assert task is not None
        if self._drained:
            return
        self._pausing.add(task)
        try:
            await self._patience.wait(tries)
        finally:
            self._pausing.discard(task)


class _Subscriber:
    def __init__(self, subscription: Subscription, concurrency: int) -> None:
        self.subscription = subscription
        self.slots = asyncio.Semaphore(concurrency)

    async def take_slots(self, most: int) -> int:
        """Take as many slots as are free, up to *most*; wait for the first one."""
        await self.slots.acquire()
        taken = 1
        while taken < most and not self.slots.locked():
            await self.slots.acquire()
            taken += 1
        return taken

    def free_slots(self, number: int) -> None:
        for _ in range(number):
            self.slots.release()


def _closed() -> BusUnavailable:
    return BusUnavailable("the bus is closed")


def _ends(task: asyncio.Task[Ends], events: int) -> Ends:
    """For each event of a delivery a reason why its subscriber may still miss it, or None."""
    if task.cancelled():
        return [_closed()] * events
    error = task.exception()
    if isinstance(error, Exception):
        return [error] * events
    return task.result()
