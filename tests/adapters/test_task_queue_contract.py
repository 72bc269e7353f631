"""What every task queue promises. An adapter joins by a maker in `QUEUES`."""

import asyncio
import contextvars
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import pairwise
from typing import Any
from uuid import UUID

import pytest
from structlog.testing import capture_logs

from adapters.errors import QueueUnavailable, Unavailable
from adapters.local.ids import RandomIds
from adapters.local.queue import LocalTaskQueue
from adapters.ports import Backoff, TaskAnswer
from schemas.tasks import ImageTask
from tests.fakes.clock import FakeClock
from tests.fakes.google.here import CloudQueue

DONE = TaskAnswer(done=True, reason="done")
AGAIN = TaskAnswer(done=False, reason="the database cannot be reached")


def task(number: int, *, attempt: int = 1, dispatch: int = 1) -> ImageTask:
    return ImageTask(job_id=UUID(int=number), attempt=attempt, dispatch=dispatch)


@dataclass
class Worker:
    """Stands where the worker's route would: notes what comes and answers as it is told."""

    clock: FakeClock
    answers: list[TaskAnswer | Exception] = field(default_factory=list)
    seconds: float = 0
    came: list[tuple[int, float]] = field(default_factory=list)
    ended: list[int] = field(default_factory=list)
    busy: int = 0
    most_busy: int = 0

    async def __call__(self, task: ImageTask) -> TaskAnswer:
        self.came.append((task.job_id.int, self.clock.monotonic()))
        self.busy += 1
        self.most_busy = max(self.busy, self.most_busy)
        try:
            if self.seconds:
                await self.clock.sleep(self.seconds)
        finally:
            self.busy -= 1
        self.ended.append(task.job_id.int)
        answer = self.answers.pop(0) if self.answers else DONE
        if isinstance(answer, Exception):
            raise answer
        return answer

    @property
    def numbers(self) -> list[int]:
        return [number for number, _ in self.came]

    @property
    def moments(self) -> list[float]:
        return [moment for _, moment in self.came]


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def worker(clock: FakeClock) -> Worker:
    return Worker(clock)


def local(worker: Worker, **limits: Any) -> LocalTaskQueue:
    queue = LocalTaskQueue(worker, clock=worker.clock, ids=RandomIds(worker.clock), **limits)
    queue.start()
    return queue


def cloud(worker: Worker, **limits: Any) -> CloudQueue:
    return CloudQueue(worker, clock=worker.clock, ids=RandomIds(worker.clock), **limits)


QUEUES = {"local": local, "cloud": cloud}
LOCAL = pytest.mark.parametrize("make", ["local"], indirect=True)


@pytest.fixture(params=QUEUES)
def make(request: pytest.FixtureRequest) -> Callable[..., Any]:
    return QUEUES[request.param]


async def test_a_task_reaches_the_worker(make: Callable[..., Any], worker: Worker) -> None:
    await make(worker).create_image_generation_task(task(7))
    await worker.clock.settle()
    assert worker.numbers == [7]


async def test_a_name_that_is_taken_counts_as_sent(
    make: Callable[..., Any], worker: Worker
) -> None:
    worker.seconds = 10
    queue = make(worker)
    for _ in range(3):
        await queue.create_image_generation_task(task(1))
        await worker.clock.advance(4)  # waiting, running and done
    await queue.create_image_generation_task(task(1, attempt=2))
    await queue.create_image_generation_task(task(1, dispatch=2))
    await worker.clock.advance(20)
    assert len(worker.numbers) == 3


async def test_a_name_stays_taken_for_an_hour_after_its_task(
    make: Callable[..., Any], worker: Worker
) -> None:
    queue = make(worker)
    await queue.create_image_generation_task(task(1))
    await worker.clock.advance(3599)
    await queue.create_image_generation_task(task(1))
    await worker.clock.settle()
    assert len(worker.numbers) == 1
    await worker.clock.advance(2)
    await queue.create_image_generation_task(task(1))
    await worker.clock.settle()
    assert len(worker.numbers) == 2


async def test_a_name_is_taken_while_its_task_is_tried_for_hours(
    make: Callable[..., Any], worker: Worker
) -> None:
    worker.answers = [AGAIN] * 1000
    queue = make(worker, backoff=Backoff(most=timedelta(hours=3)))
    await queue.create_image_generation_task(task(1))
    await worker.clock.advance(8 * 3600)
    tries = len(worker.numbers)
    await queue.create_image_generation_task(task(1))
    await worker.clock.settle()
    assert len(worker.numbers) == tries


async def test_a_task_waits_for_its_time_and_holds_up_nobody(
    make: Callable[..., Any], worker: Worker
) -> None:
    queue = make(worker)
    start = worker.clock.now()
    for number, seconds in ((30, 30), (10, 10), (20, 20), (0, 0), (5, -5)):
        await queue.create_image_generation_task(
            task(number), not_before=start + timedelta(seconds=seconds)
        )
    assert queue.waiting == 3
    await worker.clock.advance(60)
    assert worker.came == [(0, 0), (5, 0), (10, 10), (20, 20), (30, 30)]
    assert queue.waiting == 0


async def test_dispatches_keep_to_the_rate(make: Callable[..., Any], worker: Worker) -> None:
    queue = make(worker, dispatches_per_second=50)
    for number in range(200):
        await queue.create_image_generation_task(task(number))
    await worker.clock.advance(1)
    burst = 10  # a fifth of a second's
    assert worker.moments.count(0) == burst
    assert len(worker.numbers) == burst + 50
    await worker.clock.advance(10)
    assert worker.numbers == list(range(200))
    assert max(worker.moments) == pytest.approx((200 - burst) / 50)


async def test_a_rest_saves_up_no_more_than_one_burst(
    make: Callable[..., Any], worker: Worker
) -> None:
    queue = make(worker, dispatches_per_second=50)
    await worker.clock.advance(100)
    for number in range(30):
        await queue.create_image_generation_task(task(number))
    await worker.clock.settle()
    assert len(worker.numbers) == 10


@LOCAL
async def test_without_a_rate_everything_goes_at_once_and_no_timer_is_set(
    make: Callable[..., Any], worker: Worker
) -> None:
    queue = make(worker, dispatches_per_second=None, concurrent_dispatches=10)
    for number in range(5000):
        await queue.create_image_generation_task(task(number))
    assert worker.clock.sleepers == 0
    await worker.clock.settle()
    assert worker.numbers == list(range(5000))
    assert set(worker.moments) == {0.0}


async def test_no_more_run_at_once_than_allowed_and_a_free_place_is_filled(
    make: Callable[..., Any], worker: Worker
) -> None:
    worker.seconds = 1
    queue = make(worker, dispatches_per_second=None, concurrent_dispatches=3)
    for number in range(10):
        await queue.create_image_generation_task(task(number))
    assert (queue.waiting, queue.in_flight) == (7, 3)
    await worker.clock.advance(4)
    assert worker.most_busy == 3
    assert Counter(worker.moments) == {0: 3, 1: 3, 2: 3, 3: 1}


@pytest.mark.parametrize("answer", [AGAIN, RuntimeError("broken"), Unavailable("down")])
async def test_what_is_not_done_comes_again_after_a_growing_wait(
    make: Callable[..., Any], worker: Worker, answer: TaskAnswer | Exception
) -> None:
    worker.answers = [answer] * 8
    backoff = Backoff(first=timedelta(seconds=1), most=timedelta(seconds=20))
    await make(worker, backoff=backoff).create_image_generation_task(task(1))
    await worker.clock.advance(300)
    waits = [after - before for before, after in pairwise(worker.moments)]
    full = [1, 2, 4, 8, 16, 20, 20, 20]
    assert all(most / 2 <= wait <= most for wait, most in zip(waits, full, strict=True))


async def test_a_task_that_waits_to_come_again_takes_no_place(
    make: Callable[..., Any], worker: Worker
) -> None:
    worker.answers = [AGAIN]
    queue = make(worker, concurrent_dispatches=1)
    await queue.create_image_generation_task(task(1))
    await queue.create_image_generation_task(task(2))
    await worker.clock.settle()
    assert worker.numbers == [1, 2]
    await worker.clock.advance(1)
    assert worker.numbers == [1, 2, 1]


@LOCAL
async def test_a_handler_that_raises_is_logged_with_its_task(
    make: Callable[..., Any], worker: Worker
) -> None:
    worker.answers = [Unavailable("down"), RuntimeError("broken")]
    with capture_logs() as logs:
        await make(worker).create_image_generation_task(task(1))
        await worker.clock.advance(10)
    told = [(one["event"], one["log_level"], one["error"], one["tries"]) for one in logs]
    assert told == [
        ("task_handler_failed", "warning", "Unavailable", 1),
        ("task_handler_failed", "error", "RuntimeError", 2),
    ]
    assert {one["job_id"] for one in logs} == {str(UUID(int=1))}


async def test_an_earlier_task_is_not_held_up_by_the_alarm_of_a_later_one(
    make: Callable[..., Any], worker: Worker
) -> None:
    queue = make(worker)
    now = worker.clock.now()
    for number in (100, 50, 75):
        await queue.create_image_generation_task(
            task(number), not_before=now + timedelta(seconds=number)
        )
    await worker.clock.advance(100)
    assert worker.came == [(50, 50), (75, 75), (100, 100)]


@LOCAL
async def test_drain_starts_nothing_more_and_lets_the_running_end(
    make: Callable[..., Any], worker: Worker
) -> None:
    worker.seconds = 5
    queue = make(worker, concurrent_dispatches=2)
    for number in range(4):
        await queue.create_image_generation_task(task(number))
    later = worker.clock.now() + timedelta(seconds=50)
    await queue.create_image_generation_task(task(5), not_before=later)
    await worker.clock.settle()
    draining = asyncio.create_task(queue.drain(timeout_seconds=60))
    await worker.clock.advance(4)
    assert not draining.done()
    await worker.clock.advance(1)
    assert draining.done()
    assert worker.ended == [0, 1]
    assert (queue.in_flight, worker.clock.sleepers) == (0, 0)
    await worker.clock.advance(100)
    assert worker.numbers == [0, 1]
    with pytest.raises(QueueUnavailable):
        await queue.create_image_generation_task(task(9))


@LOCAL
async def test_drain_cancels_what_outlasts_it(make: Callable[..., Any], worker: Worker) -> None:
    worker.seconds = 500
    queue = make(worker)
    await queue.create_image_generation_task(task(1))
    await worker.clock.settle()
    draining = asyncio.create_task(queue.drain(timeout_seconds=10))
    await worker.clock.advance(9)
    assert worker.busy == 1
    await worker.clock.advance(1)
    assert draining.done()
    assert (worker.busy, worker.ended) == (0, [])


class TestLocal:
    async def test_waits_are_spread_so_that_what_failed_together_does_not_come_together(
        self, worker: Worker
    ) -> None:
        worker.answers = [AGAIN] * 8
        backoff = Backoff(first=timedelta(seconds=1), most=timedelta(seconds=1))
        await local(worker, backoff=backoff).create_image_generation_task(task(1))
        await worker.clock.advance(300)
        waits = [after - before for before, after in pairwise(worker.moments)]
        assert len(set(waits)) == 8

    async def test_one_timer_is_enough_for_all_that_wait(self, worker: Worker) -> None:
        queue = local(worker)
        for number in (100, 50, 75):
            later = worker.clock.now() + timedelta(seconds=number)
            await queue.create_image_generation_task(task(number), not_before=later)
        assert worker.clock.sleepers <= 1

    async def test_what_is_created_before_the_start_waits_for_it(self, clock: FakeClock) -> None:
        worker = Worker(clock)
        queue = LocalTaskQueue(worker, clock=clock, ids=RandomIds(clock))
        await queue.create_image_generation_task(task(1))
        await clock.settle()
        assert worker.numbers == []
        queue.start()
        await clock.settle()
        assert worker.numbers == [1]

    async def test_every_queue_is_an_incarnation_of_its_own(self, clock: FakeClock) -> None:
        ids = RandomIds(clock)
        one, other = (LocalTaskQueue(Worker(clock), clock=clock, ids=ids) for _ in range(2))
        assert one.incarnation.startswith("local-")
        assert one.incarnation == one.incarnation != other.incarnation

    async def test_a_handler_does_not_run_in_the_context_of_who_created_the_task(
        self, clock: FakeClock
    ) -> None:
        request: contextvars.ContextVar[str] = contextvars.ContextVar("request", default="none")
        seen: list[str] = []

        async def look(task: ImageTask) -> TaskAnswer:
            seen.append(request.get())
            return DONE

        queue = LocalTaskQueue(look, clock=clock, ids=RandomIds(clock))
        queue.start()
        request.set("POST /api/v1/images/generate-async")
        await queue.create_image_generation_task(task(1))
        await clock.settle()
        assert seen == ["none"]
