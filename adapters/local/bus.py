"""The local event bus: without it a completed picture would never reach its blog."""

import asyncio
import traceback
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import structlog

from adapters.errors import BusUnavailable, Unavailable
from adapters.local.drain import finish_or_cancel
from adapters.ports import Backoff, Clock, EventHandler, Ids
from schemas.events import CloudEvent, cloud_event
from schemas.tables import EventRow

log = structlog.get_logger()

MOST_ERROR_CHARACTERS = 2000

Quarantine = Callable[[str, CloudEvent, int, str], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Subscription:
    """Who wants which types. *handler* returns when the event's effect is durable."""

    name: str
    types: frozenset[str]
    handler: EventHandler


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
        self._ids = ids
        self._quarantine = quarantine
        self._backoff = backoff or Backoff()
        self._deterministic_failures = deterministic_failures
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
        tries = failures = 0
        error_text = ""
        while not self._drained:
            try:
                async with subscriber.slots:
                    if failures < self._deterministic_failures:
                        await subscriber.handler(event)
                    else:
                        await self._quarantine(subscriber.name, event, failures, error_text)
                        _log_quarantined(subscriber, event, failures, error_text)
                return
            except Unavailable as error:
                _log_failed(subscriber, event, failures, error)
            except Exception as error:
                if failures >= self._deterministic_failures:
                    raise
                failures += 1
                error_text = _text_of(error)
                _log_failed(subscriber, event, failures, error)
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
            await self._clock.sleep(self._ids.jitter(self._backoff.after(tries)))
        finally:
            self._pausing.discard(task)


class _Subscriber:
    def __init__(self, subscription: Subscription, concurrency: int) -> None:
        self.name = subscription.name
        self.handler = subscription.handler
        self.slots = asyncio.Semaphore(concurrency)


def _answer(deliveries: Sequence[asyncio.Task[None]]) -> Exception | None:
    """What publish says of one event: a reason why some subscriber may still miss it, or None."""
    answer: Exception | None = None
    for task in deliveries:
        error = BusUnavailable("the bus is closed") if task.cancelled() else task.exception()
        if isinstance(error, Exception):
            answer = error
    return answer


def _text_of(error: BaseException) -> str:
    return "".join(traceback.format_exception_only(error)).strip()[:MOST_ERROR_CHARACTERS]


def _log_failed(
    subscriber: _Subscriber, event: CloudEvent, failures: int, error: Exception
) -> None:
    log.warning(
        "subscriber_failed",
        subscriber=subscriber.name,
        event_id=str(event.id),
        event_type=event.type,
        failures=failures,
        error=type(error).__name__,
        exc_info=not isinstance(error, Unavailable) and error,
    )


def _log_quarantined(
    subscriber: _Subscriber, event: CloudEvent, failures: int, error_text: str
) -> None:
    log.error(
        "event_quarantined",
        subscriber=subscriber.name,
        event_id=str(event.id),
        event_type=event.type,
        failures=failures,
        error=error_text,
    )
