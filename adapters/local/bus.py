"""The local event bus: without it a completed picture would never reach its blog."""

import asyncio
from collections.abc import Sequence

import structlog

from adapters.delivery import Delivery, Patience, Quarantine, Subscription
from adapters.errors import BusUnavailable, Unavailable
from adapters.local.drain import finish_or_cancel
from adapters.ports import Backoff, Clock, Ids
from schemas.events import CloudEvent, cloud_event
from schemas.tables import EventRow

log = structlog.get_logger()


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
        self._running: set[asyncio.Task[None]] = set()
        self._pausing: set[asyncio.Task[None]] = set()
        self._drained = False

    @property
    def in_flight(self) -> int:
        """Deliveries under way, those that wait for another try included."""
        return len(self._running)

    async def publish(self, events: Sequence[EventRow]) -> list[Exception | None]:
        deliveries: list[list[asyncio.Task[None]] | Exception] = []
        for event in events:
            try:
                deliveries.append(self._deliver_to_all(event))
            except ValueError as error:  # one that cannot travel holds up no other
                log.error("event_unpublishable", event_id=str(event.event_id), exc_info=error)
                deliveries.append(error)
        tasks = [task for one in deliveries if isinstance(one, list) for task in one]
        if tasks:
            try:
                await asyncio.wait(tasks)
            except asyncio.CancelledError:
                for task in tasks:
                    task.cancel()
                raise
        return [_answer(one) if isinstance(one, list) else one for one in deliveries]

    async def drain(self, timeout_seconds: float) -> None:
        """Start no delivery more, let the running ones end, then cancel what remains.

        Those that wait for another try end now. What did not end well is `BusUnavailable`.
        """
        self._drained = True
        for task in self._pausing:
            task.cancel()
        await finish_or_cancel(self._running, timeout_seconds=timeout_seconds, clock=self._clock)

    def _deliver_to_all(self, event: EventRow) -> list[asyncio.Task[None]]:
        wanted = self._wanted.get(event.type)
        if not wanted:  # most events: not even their wire form is made
            return []
        travelling = cloud_event(event)
        return [self._deliver_soon(subscriber, travelling) for subscriber in wanted]

    def _deliver_soon(self, subscriber: "_Subscriber", event: CloudEvent) -> asyncio.Task[None]:
        task = asyncio.create_task(self._deliver(subscriber, event))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task

    async def _deliver(self, subscriber: "_Subscriber", event: CloudEvent) -> None:
        """Return when the subscriber has handled or quarantined *event*."""
        delivery = Delivery(
            subscriber.subscription,
            event,
            self._quarantine,
            self._patience.deterministic_failures,
        )
        tries = 0
        while not self._drained:
            await subscriber.slots.acquire()
            try:
                if await delivery.attempt():
                    return
            except Unavailable:
                pass
            finally:
                subscriber.slots.release()
            tries += 1
            await self._pause(tries)
        raise BusUnavailable("the bus is closed")

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


def _answer(deliveries: Sequence[asyncio.Task[None]]) -> Exception | None:
    """What publish says of one event: a reason why some subscriber may still miss it, or None."""
    answer: Exception | None = None
    for task in deliveries:
        error = BusUnavailable("the bus is closed") if task.cancelled() else task.exception()
        if isinstance(error, Exception):
            answer = error
    return answer
