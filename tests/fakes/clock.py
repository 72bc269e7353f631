"""Time that moves only when a test says so: without it every test of a wait would wait."""

import asyncio
import heapq
import math
from datetime import UTC, datetime, timedelta
from itertools import count

START = datetime(2026, 1, 1, tzinfo=UTC)
NANOSECONDS = 1_000_000_000
MOST_ROUNDS = 100_000


class FakeClock:
    """A `Clock` whose sleepers are woken by `advance`, one by one, in the order of their time.

    Between two sleepers the event loop comes to rest, so the same test always takes the same
    course. What happens in threads, processes and sockets is real and is not waited for: await its
    result, or `sleeping`, before time is moved.
    """

    def __init__(self, start: datetime = START) -> None:
        self._start = start
        # Whole nanoseconds: ten steps of 0.1 s must make one second.
        self._elapsed = 0
        self._sleepers: list[tuple[int, int, asyncio.Future[None]]] = []
        self._order = count()
        self._watchers: list[tuple[int, asyncio.Future[None]]] = []

    def now(self) -> datetime:
        return self._start + timedelta(microseconds=self._elapsed // 1000)

    def monotonic(self) -> float:
        return self._elapsed / NANOSECONDS

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        woken = asyncio.get_running_loop().create_future()
        if seconds < math.inf:
            due = self._elapsed + max(1, round(seconds * NANOSECONDS))
            heapq.heappush(self._sleepers, (due, next(self._order), woken))
            self._tell_watchers()
        await woken

    @property
    def sleepers(self) -> int:
        """How many wait for the time to move."""
        return sum(not woken.done() for _, _, woken in self._sleepers)

    async def sleeping(self, least: int = 1) -> None:
        """Return when at least so many wait for the time to move. No time passes."""
        if self.sleepers < least:
            reached = asyncio.get_running_loop().create_future()
            self._watchers.append((least, reached))
            await reached

    async def advance(self, seconds: float) -> None:
        """Let *seconds* pass; whoever sleeps until then runs, at the moment that was asked for."""
        target = self._elapsed + round(seconds * NANOSECONDS)
        await self.settle()
        while self._sleepers and self._sleepers[0][0] <= target:
            due, _, woken = heapq.heappop(self._sleepers)
            if not woken.done():
                self._elapsed = max(self._elapsed, due)
                woken.set_result(None)
                await self.settle()
        self._elapsed = max(self._elapsed, target)

    async def settle(self) -> None:
        """Let the event loop run until nothing can go on without time or the outer world."""
        loop = asyncio.get_running_loop()
        for _ in range(MOST_ROUNDS):
            await asyncio.sleep(0)
            # This task was queued last, so an empty queue means that nobody has work left.
            if not loop._ready:  # type: ignore[attr-defined]  # asyncio says it in no other way
                return
        raise RuntimeError("the event loop does not come to rest: something spins")

    def set_wall_clock(self, now: datetime) -> None:
        """Turn the hands, as an NTP correction does; monotonic time and sleepers stay."""
        self._start += now - self.now()

    def _tell_watchers(self) -> None:
        sleepers = self.sleepers
        for least, reached in self._watchers:
            if sleepers >= least and not reached.done():
                reached.set_result(None)
        self._watchers = [one for one in self._watchers if not one[1].done()]
