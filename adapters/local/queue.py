"""The local task queue: without it, no job of the local profile would ever be generated."""

import asyncio
import contextvars
import heapq
import math
from collections import deque
from datetime import datetime
from itertools import count
from typing import NamedTuple
from uuid import UUID

import structlog

from adapters.errors import QueueUnavailable, Unavailable
from adapters.local.drain import finish_or_cancel
from adapters.ports import Backoff, Clock, Ids, TaskHandler
from schemas.tasks import ImageTask

log = structlog.get_logger()

# As `ImageTask.name`, unhashed: job, attempt, dispatch.
_Name = tuple[UUID, int, int]

NAME_KEPT_SECONDS = 3600.0
MOST_NAMES_KEPT = 100_000
# Cloud Tasks lets a fifth of a second's dispatches burst (500 a second: 100).
BURST_SECONDS = 0.2
# A timer that fires this early counts as on time; setting it again would spin.
EARLY_SECONDS = 1e-6


class LocalTaskQueue:
    """Cloud Tasks in one process: the same limits, repetition and names, and no durability.

    It forgets everything with its process, so every instance is an incarnation of its own and the
    sweep sends again what another incarnation was given. A task is tried until its handler says
    that it is done; only the transport is repeated here, never a paid call.
    """

    def __init__(
        self,
        handler: TaskHandler,
        *,
        clock: Clock,
        ids: Ids,
        dispatches_per_second: float | None = 100,
        concurrent_dispatches: int = 500,
        backoff: Backoff | None = None,
    ) -> None:
        """Make a queue that takes tasks at once and dispatches them from `start` on.

        *dispatches_per_second* None means no limit, and then no timer either.
        """
        self._handler = handler
        self._clock = clock
        self._ids = ids
        self._pace = _Pace(dispatches_per_second)
        self._concurrent_dispatches = concurrent_dispatches
        self._backoff = backoff or Backoff()
        self._incarnation = f"local-{ids.new()}"
        self._names = _Names()
        self._ready: deque[_Waiting] = deque()
        self._later: list[_Waiting] = []
        self._order = count()
        self._running: set[asyncio.Task[None]] = set()
        self._alarm: asyncio.Task[None] | None = None
        self._alarm_at = math.inf
        self._context: contextvars.Context | None = None
        self._drained = False

    @property
    def incarnation(self) -> str:
        return self._incarnation

    @property
    def waiting(self) -> int:
        return len(self._ready) + len(self._later)

    @property
    def in_flight(self) -> int:
        return len(self._running)

    async def create_image_generation_task(
        self, task: ImageTask, *, not_before: datetime | None = None
    ) -> None:
        if self._drained:
            raise QueueUnavailable("the queue is closed")
        now = self._clock.monotonic()
        if not self._names.take(_name(task), now):
            return
        wait_seconds = 0.0
        if not_before is not None:
            wait_seconds = (not_before - self._clock.now()).total_seconds()
        self._add(task, wait_seconds, now)
        self._dispatch()

    def start(self) -> None:
        """Begin to dispatch, in the running event loop."""
        # Handlers run in this context, not in that of whoever happened to create the task.
        self._context = contextvars.copy_context()
        self._dispatch()

    async def drain(self, timeout_seconds: float) -> None:
        """Dispatch nothing more, let the running handlers end, then cancel what remains."""
        self._drained = True
        self._context = None
        self._set_alarm(math.inf)
        await finish_or_cancel(self._running, timeout_seconds=timeout_seconds, clock=self._clock)

    def _add(self, task: ImageTask, wait_seconds: float, now: float, tries: int = 0) -> None:
        waiting = _Waiting(now + wait_seconds, next(self._order), task, tries)
        if wait_seconds <= 0:
            self._ready.append(waiting)
        else:
            heapq.heappush(self._later, waiting)

    def _dispatch(self) -> None:
        """Start what is due and allowed, then set the alarm for what comes next."""
        if self._context is None:
            return
        now = self._clock.monotonic()
        while self._later and self._later[0].due <= now + EARLY_SECONDS:
            self._ready.append(heapq.heappop(self._later))
        wake_at = self._later[0].due if self._later else math.inf
        while self._ready and len(self._running) < self._concurrent_dispatches:
            allowed_at = self._pace.next_at
            if allowed_at > now + EARLY_SECONDS:
                wake_at = min(wake_at, allowed_at)
                break
            self._pace.count(now)
            waiting = self._ready.popleft()
            running = asyncio.create_task(self._handle(waiting), context=self._context.copy())
            self._running.add(running)
            running.add_done_callback(self._after)
        self._set_alarm(wake_at)

    async def _handle(self, waiting: "_Waiting") -> None:
        task = waiting.task
        try:
            done = (await self._handler(task)).done
        except Exception as error:
            done = False
            expected = isinstance(error, Unavailable)
            report = log.warning if expected else log.error
            report(
                "task_handler_failed",
                job_id=str(task.job_id),
                attempt=task.attempt,
                tries=waiting.tries + 1,
                error=type(error).__name__,
                exc_info=not expected and error,
            )
        now = self._clock.monotonic()
        if done:
            self._names.release(_name(task), now)
        else:
            tries = waiting.tries + 1
            self._add(task, self._ids.jitter(self._backoff.after(tries)), now, tries)

    def _after(self, ended: asyncio.Task[None]) -> None:
        self._running.discard(ended)
        self._dispatch()

    def _set_alarm(self, wake_at: float) -> None:
        """Have `_dispatch` run at *wake_at*; an alarm that rings earlier stays and looks again."""
        if self._alarm is not None and (wake_at == math.inf or wake_at < self._alarm_at):
            self._alarm.cancel()
            self._alarm = None
        if self._alarm is None and self._context is not None and wake_at < math.inf:
            self._alarm_at = wake_at
            context = self._context.copy()
            self._alarm = asyncio.create_task(self._ring(wake_at), context=context)

    async def _ring(self, wake_at: float) -> None:
        await self._clock.sleep(max(0.0, wake_at - self._clock.monotonic()))
        self._alarm = None
        self._dispatch()


class _Waiting(NamedTuple):
    due: float
    order: int
    task: ImageTask
    tries: int


class _Pace:
    """At most so many dispatches a second, by one moment: when the next one is allowed."""

    def __init__(self, per_second: float | None) -> None:
        limited = per_second is not None and per_second < math.inf
        self._interval = 1 / per_second if limited and per_second else 0.0
        self._slack = max(0.0, BURST_SECONDS - self._interval)
        self._spent_until = -math.inf
        self.next_at = -math.inf

    def count(self, now: float) -> None:
        if self._interval:
            self._spent_until = max(self._spent_until, now) + self._interval
            self.next_at = self._spent_until - self._slack


def _name(task: ImageTask) -> _Name:
    return task.job_id, task.attempt, task.dispatch


class _Names:
    """Which names are taken: while their task lives, and for an hour after."""

    def __init__(self) -> None:
        self._taken: set[_Name] = set()
        self._released: deque[tuple[float, _Name]] = deque()

    def take(self, name: _Name, now: float) -> bool:
        released = self._released
        while released and (released[0][0] <= now or len(released) > MOST_NAMES_KEPT):
            self._taken.discard(released.popleft()[1])
        if name in self._taken:
            return False
        self._taken.add(name)
        return True

    def release(self, name: _Name, now: float) -> None:
        self._released.append((now + NAME_KEPT_SECONDS, name))
