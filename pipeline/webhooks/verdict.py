"""What an attempt means for its delivery and for its endpoint. Pure: no clock, no database."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from schemas.tables import DeliveryRow, DeliveryState, DisabledBecause, WebhookRow

# After each failed attempt but the last; a wait is between half of it and all of it, so that the
# eight attempts take 16 to 32 hours.
WAITS = (
    timedelta(seconds=10),
    timedelta(minutes=10),
    timedelta(hours=1),
    timedelta(hours=3),
    timedelta(hours=6),
    timedelta(hours=10),
    timedelta(hours=12),
)
ATTEMPTS = len(WAITS) + 1
GIVEN_UP_AFTER = timedelta(days=5)
MOST_RETRY_AFTER = timedelta(days=1)
TRIES_KEPT = 20

GONE = 410
# Those whose Retry-After speaks for the whole endpoint.
BUSY = frozenset({429, 503})


@dataclass(frozen=True, slots=True)
class Tried:
    """One attempt: a status, or why there was none."""

    attempt: int
    at: datetime
    elapsed_ms: int
    status: int | None = None
    error: str | None = None
    retry_after: timedelta | None = None

    @property
    def succeeded(self) -> bool:
        return self.status is not None and 200 <= self.status < 300

    def shown(self) -> dict[str, Any]:
        return {
            "attempt": self.attempt,
            "at": self.at.isoformat(),
            "status": self.status,
            "error": self.error,
            "elapsed_ms": self.elapsed_ms,
        }


def wait_after(row: DeliveryRow) -> timedelta:
    """The longest wait after the attempt that *row* is at; a redelivery begins the waits anew."""
    number = row.attempts - (row.attempts_allowed - ATTEMPTS)
    return WAITS[min(max(number, 1), len(WAITS)) - 1]


def settled(row: DeliveryRow, tried: Tried, now: datetime, wait: timedelta) -> DeliveryRow:
    """The delivery after an attempt; *wait* is how long it is left alone where it failed."""
    tries = [*row.tries, tried.shown()][-TRIES_KEPT:]
    row = row.changed(sending=False, tries=tries)
    if tried.succeeded:
        return row.changed(state=DeliveryState.DELIVERED, due_at=None, ended_at=now)
    if tried.status == GONE and row.attempts < row.attempts_allowed:
        # It waits with all the others until somebody mends the endpoint.
        return row.changed(due_at=now)
    if row.attempts >= row.attempts_allowed:
        return row.changed(state=DeliveryState.FAILED, due_at=None, ended_at=now)
    return row.changed(due_at=now + max(wait, tried.retry_after or timedelta()))


def judged(hook: WebhookRow, tried: Tried, now: datetime) -> WebhookRow:
    """The endpoint after an attempt."""
    if tried.succeeded:
        return hook.changed(failing_since=None) if hook.failing_since is not None else hook
    failing_since = hook.failing_since or tried.at
    because = None
    if tried.status == GONE:
        because = DisabledBecause.GONE
    elif now - failing_since >= GIVEN_UP_AFTER:
        because = DisabledBecause.FAILING
    if because is not None and hook.disabled_at is None:
        hook = hook.changed(disabled_at=now, disabled_because=because)
    if tried.retry_after is not None:
        hook = hook.changed(paused_until=now + tried.retry_after)
    return hook.changed(failing_since=failing_since)
