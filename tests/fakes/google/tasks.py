"""A double of Cloud Tasks: one queue, faithful in names, times, repetition, deadlines, headers.

Where it differs from the service is said, and tested, in tests/adapters/test_google_doubles.py.
"""

import asyncio
import re
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
from google.cloud.tasks_v2.types import CreateTaskRequest, Task

from adapters.ports import Clock
from tests.fakes.google.rpc import Method, Methods, Refused

NAME_KEPT_SECONDS = 3600.0
TASK_ID = re.compile(r"[A-Za-z0-9_-]{1,500}")
MOST_TASK_BYTES = 1_000_000
FARTHEST = timedelta(days=30)
DEADLINES = (timedelta(seconds=15), timedelta(minutes=30))
DEFAULT_DEADLINE = timedelta(minutes=10)
EARLY_SECONDS = 1e-6

# Sends one task, with its X-CloudTasks headers, and tells the status that was answered.
Post = Callable[[Task, dict[str, str]], Awaitable[int]]


@dataclass(frozen=True)
class Limits:
    """A queue's own settings; the service's defaults."""

    dispatches_per_second: float = 500
    concurrent_dispatches: int = 1000
    max_attempts: int = 100
    min_backoff: float = 0.1
    max_backoff: float = 3600
    max_doublings: int = 16

    def wait(self, failures: int) -> float:
        """Doubles up to `max_doublings` times, then grows by the same amount each time."""
        doublings = min(failures - 1, self.max_doublings)
        grown = self.min_backoff * 2.0**doublings
        return min(grown * (failures - doublings), self.max_backoff)


@dataclass
class _Sending:
    task: Task
    failures: int = 0
    answered: int = 0


class CloudTasks:
    """The queue named *path*. `trouble` may raise `Refused` first, `hold` keeps calls."""

    def __init__(self, path: str, post: Post, clock: Clock, limits: Limits | None = None) -> None:
        self.path = path
        self.post = post
        self.limits = limits or Limits()
        self.trouble: Callable[[CreateTaskRequest], None] = lambda _: None
        self.hold: asyncio.Event | None = None
        self.calls = 0
        self.dead: list[Task] = []
        self._clock = clock
        self._taken: dict[str, float | None] = {}
        self._ready: deque[_Sending] = deque()
        self._running: set[asyncio.Task[None]] = set()
        self._waiting: set[asyncio.Task[None]] = set()
        self._tokens = self._burst
        self._filled_at = clock.monotonic()
        self._refill: asyncio.Task[None] | None = None

    @property
    def methods(self) -> Methods:
        name = "/google.cloud.tasks.v2.CloudTasks/CreateTask"
        return {name: Method(CreateTaskRequest, Task, self.create)}

    @property
    def in_flight(self) -> int:
        return len(self._running)

    @property
    def waiting(self) -> int:
        return len(self._waiting) + len(self._ready)

    async def create(self, request: CreateTaskRequest) -> Task:
        self.calls += 1
        if self.hold is not None:
            await self.hold.wait()
        self.trouble(request)
        if request.parent != self.path:
            raise Refused(grpc.StatusCode.NOT_FOUND, "Queue does not exist.")
        task = request.task
        self._check(task)
        now = self._clock.monotonic()
        kept_until = self._taken.get(task.name, -1.0)
        if kept_until is None or kept_until > now:
            raise Refused(grpc.StatusCode.ALREADY_EXISTS, "Requested entity already exists")
        self._taken[task.name] = None
        wait = (_moment(task) - self._clock.now()).total_seconds() if task.schedule_time else 0.0
        self._later(_Sending(task), wait)
        return task

    async def stop(self) -> None:
        """End everything; the tasks are gone, as the service's never are."""
        tasks = [*self._running, *self._waiting, *([self._refill] if self._refill else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _check(self, task: Task) -> None:
        parent, _, name = task.name.rpartition("/tasks/")
        if parent != self.path or not TASK_ID.fullmatch(name):
            raise Refused(grpc.StatusCode.INVALID_ARGUMENT, "Task name must be formatted …")
        if len(Task.serialize(task)) > MOST_TASK_BYTES:
            raise Refused(grpc.StatusCode.INVALID_ARGUMENT, "Task size too large")
        if task.schedule_time and _moment(task) - self._clock.now() > FARTHEST:
            raise Refused(grpc.StatusCode.INVALID_ARGUMENT, "schedule_time too far in the future")
        deadline = task.dispatch_deadline
        if deadline and not DEADLINES[0] <= deadline <= DEADLINES[1]:
            raise Refused(grpc.StatusCode.INVALID_ARGUMENT, "dispatch_deadline out of range")

    def _later(self, sending: _Sending, seconds: float) -> None:
        if seconds <= 0:
            self._ready.append(sending)
            self._dispatch()
            return

        async def wait() -> None:
            await self._clock.sleep(seconds)
            self._ready.append(sending)

        waiting = asyncio.create_task(wait())
        self._waiting.add(waiting)
        waiting.add_done_callback(lambda one: (self._waiting.discard(one), self._dispatch()))

    @property
    def _burst(self) -> float:
        return max(1.0, self.limits.dispatches_per_second / 5)

    def _dispatch(self) -> None:
        """Send what is ready, as far as rate and concurrency allow."""
        now = self._clock.monotonic()
        rate = self.limits.dispatches_per_second
        self._tokens = min(self._burst, self._tokens + (now - self._filled_at) * rate)
        self._filled_at = now
        while self._ready and len(self._running) < self.limits.concurrent_dispatches:
            if self._tokens < 1 - EARLY_SECONDS:
                self._refill_in((1 - self._tokens) / rate)
                return
            self._tokens -= 1
            running = asyncio.create_task(self._send(self._ready.popleft()))
            self._running.add(running)
            running.add_done_callback(lambda one: (self._running.discard(one), self._dispatch()))

    def _refill_in(self, seconds: float) -> None:
        async def wait() -> None:
            await self._clock.sleep(seconds)
            self._refill = None
            self._dispatch()

        if self._refill is None:
            self._refill = asyncio.create_task(wait())

    async def _send(self, sending: _Sending) -> None:
        task = sending.task
        status = await self._within_deadline(task, self._headers(sending))
        if status is not None:
            sending.answered += 1
        if status is not None and 200 <= status < 300:
            self._end(task)
            return
        sending.failures += 1
        if sending.failures >= self.limits.max_attempts:
            self.dead.append(task)
            self._end(task)
            return
        self._later(sending, self.limits.wait(sending.failures))

    async def _within_deadline(self, task: Task, headers: dict[str, str]) -> int | None:
        """The answer's status; None where there was none, or none in time."""
        deadline = task.dispatch_deadline or DEFAULT_DEADLINE
        posting = asyncio.ensure_future(self.post(task, headers))
        timer = asyncio.ensure_future(self._clock.sleep(deadline.total_seconds()))
        try:
            await asyncio.wait({posting, timer}, return_when=asyncio.FIRST_COMPLETED)
            return posting.result() if posting.done() else None
        except OSError:
            return None
        finally:
            posting.cancel()
            timer.cancel()

    def _headers(self, sending: _Sending) -> dict[str, str]:
        task = sending.task
        return dict(task.http_request.headers) | {
            "User-Agent": "Google-Cloud-Tasks",
            "X-CloudTasks-QueueName": self.path.rpartition("/")[2],
            "X-CloudTasks-TaskName": task.name.rpartition("/")[2],
            "X-CloudTasks-TaskRetryCount": str(sending.failures),
            "X-CloudTasks-TaskExecutionCount": str(sending.answered),
            "X-CloudTasks-TaskETA": str(self._clock.now().timestamp()),
        }

    def _end(self, task: Task) -> None:
        self._taken[task.name] = self._clock.monotonic() + NAME_KEPT_SECONDS


def _moment(task: Task) -> datetime:
    moment: Any = task.schedule_time
    return datetime.fromtimestamp(moment.timestamp(), UTC)
