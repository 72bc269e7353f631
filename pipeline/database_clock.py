"""The time of day by the database's clock, so that it is equal on every process.

Between two looks at that clock this machine's own goes on, corrected by how far it was off.
"""

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

import structlog

from adapters.ports import Clock

log = structlog.get_logger(__name__)

REFRESHED_AFTER = timedelta(minutes=1)


class DatabaseClock:
    def __init__(self, ask: Callable[[], Awaitable[datetime]], clock: Clock) -> None:
        """*ask* asks the database what time it is."""
        self._ask = ask
        self._clock = clock
        self.offset = timedelta()
        self._taken_at: float | None = None

    def now(self) -> datetime:
        return self._clock.now() + self.offset

    async def look(self) -> None:
        """Look at the database's clock. Raises `StoreUnavailable`."""
        before = self._clock.monotonic()
        theirs = await self._ask()
        after = self._clock.monotonic()
        # Half of the round trip has passed since the database looked at its clock.
        self.offset = theirs + timedelta(seconds=(after - before) / 2) - self._clock.now()
        self._taken_at = after

    async def refresh(self) -> None:
        """Look again where the last look is long ago; goes on as before where that fails."""
        taken = self._taken_at
        if taken is None or self._clock.monotonic() - taken < REFRESHED_AFTER.total_seconds():
            return
        try:
            await self.look()
        except Exception as exc:  # the writer must outlive whatever a clock can do
            self._taken_at = self._clock.monotonic()
            log.warning("clock_offset_not_refreshed", error=type(exc).__name__)
