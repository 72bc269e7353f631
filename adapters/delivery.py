"""Deliver one event to one subscriber: tried again, put aside when it can never be digested.

Without it every bus would count failures in its own way, and a poisoned event would come for ever.
"""

import traceback
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import Enum
from uuid import UUID

import structlog

from adapters import traces
from adapters.errors import Unavailable
from adapters.ports import Backoff, Clock, EventHandler, HandlerOfMany, Ids
from schemas.events import CloudEvent, read_event

log = structlog.get_logger()

MOST_ERROR_CHARACTERS = 2000
MOST_FAILING = 1_000

# (subscriber, event, failures, error); durable when it returns.
Quarantine = Callable[[str, CloudEvent, int, str], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Subscription:
    """Who wants which types. *handler* returns when the event's effect is durable.

    *together* does so for several events at once, where that takes less: it answers for each, in
    the same order, None or what *handler* would have raised. Where it raises itself, nothing is
    known of any of them, and each is delivered alone.
    """

    name: str
    types: frozenset[str]
    handler: EventHandler
    together: HandlerOfMany | None = None


@dataclass(frozen=True, slots=True)
class Patience:
    """How often and how fast an event is tried again."""

    clock: Clock
    ids: Ids
    backoff: Backoff = Backoff()
    deterministic_failures: int = 5

    async def wait(self, tries: int) -> None:
        await self.clock.sleep(self.ids.jitter(self.backoff.after(tries)))


@dataclass(slots=True)
class Delivery:
    """One event on its way to one subscriber. Only deterministic failures are counted."""

    subscription: Subscription
    event: CloudEvent
    quarantine: Quarantine
    deterministic_failures: int
    # Attempts, and those of them that the subscriber failed deterministically.
    tries: int = 0
    failures: int = 0
    _error: str = field(default="")

    async def attempt(self) -> bool:
        """Try once; True when the event was handled or put aside, False when it is to come again.

        Raises `Unavailable`, which never counts, and whatever the quarantine itself raises.
        """
        self.tries += 1
        try:
            if self.failures < self.deterministic_failures:
                with traces.span_of_delivery(self.event, self.subscription.name):
                    await self.subscription.handler(self.event)
                return True
        except Unavailable as error:
            self.note_failure(error)
            raise
        except Exception as error:
            self.note_failure(error)
            return False
        try:
            await self.quarantine(self.subscription.name, self.event, self.failures, self._error)
        except Exception as error:
            self._log_failed(error)
            raise
        self._log_quarantined()
        return True

    def note_failure(self, error: Exception) -> None:
        """Note that the subscriber did not handle the event."""
        if not isinstance(error, Unavailable):
            self.failures += 1
            self._error = error_text(error)
        self._log_failed(error)

    def _log_failed(self, error: Exception) -> None:
        log.warning(
            "subscriber_failed",
            subscriber=self.subscription.name,
            event_id=str(self.event.id),
            event_type=self.event.type,
            failures=self.failures,
            error=type(error).__name__,
            exc_info=not isinstance(error, Unavailable) and error,
        )

    def _log_quarantined(self) -> None:
        log.error(
            "event_quarantined",
            subscriber=self.subscription.name,
            event_id=str(self.event.id),
            event_type=self.event.type,
            failures=self.failures,
            error=self._error,
        )


class Verdict(Enum):
    """What became of one delivery."""

    DONE = "done"
    # The bus delivers it again, later.
    AGAIN = "again"
    # It is no event, and never will be one.
    REFUSED = "refused"


class Consumer:
    """Takes the messages of a durable bus for one subscriber, and says what became of each.

    An event that fails deterministically is tried again on the spot, and then put aside: the
    bus's own count of deliveries also counts those that an unreachable database sent back.
    """

    def __init__(
        self, subscription: Subscription, *, quarantine: Quarantine, patience: Patience
    ) -> None:
        self.subscription = subscription
        self.refused = 0
        # Events that failed and come again, so that their count outlasts an unreachable database.
        self._failing: dict[UUID, Delivery] = {}
        self._quarantine = quarantine
        self._patience = patience

    async def take(self, message: bytes) -> Verdict:
        """Handle *message*, a CloudEvent as JSON. DONE only when its effect is durable."""
        event = self._read(message)
        if event is None:
            return Verdict.REFUSED
        if event.type not in self.subscription.types:
            return Verdict.DONE
        limit = self._patience.deterministic_failures
        delivery = self._failing.pop(event.id, None) or Delivery(
            self.subscription, event, self._quarantine, limit
        )
        try:
            while not await delivery.attempt():
                await self._patience.wait(delivery.failures)
        except Exception:  # the delivery has told of it
            if delivery.failures and len(self._failing) < MOST_FAILING:
                self._failing[event.id] = delivery
            return Verdict.AGAIN
        return Verdict.DONE

    def refuse(self, reason: str) -> None:
        """Count what came in the place of an event."""
        self.refused += 1
        log.warning(
            "message_refused",
            subscriber=self.subscription.name,
            reason=reason,
            refused_so_far=self.refused,
        )

    def _read(self, message: bytes) -> CloudEvent | None:
        try:
            return read_event(message)
        except ValueError:
            self.refuse("it is no CloudEvent of ours")
            return None


def error_text(error: BaseException) -> str:
    return "".join(traceback.format_exception_only(error)).strip()[:MOST_ERROR_CHARACTERS]
