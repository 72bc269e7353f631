"""Send what was committed: jobs to the task queue, events to the bus, once the journal tells of it.

Woken by its own journal. What it fails to send stays unsent in the database, where the sweep
finds it; nothing is kept here that a death could lose.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Sequence
from datetime import datetime, timedelta
from itertools import islice
from typing import Any
from uuid import UUID

import structlog

from adapters import traces
from adapters.errors import QueueUnavailable, Unavailable
from adapters.ports import Backoff, Clock, EventBus, TaskQueue
from adapters.store.machine_reads import Sending
from pipeline.journal import Journal, JournalClosed
from schemas.events import cloud_event
from schemas.step import Look, SentMark, Step, Writes
from schemas.tables import EventRow, JobRow
from schemas.tasks import ImageTask
from states.table import OPEN, State

log = structlog.get_logger(__name__)

# Beyond this many the rest is left to the sweep, so that a dead bus cannot fill the memory.
MAX_WAITING = 20_000
EVENTS_AT_ONCE = 500
MARKS_AT_ONCE = 5_000
SENDS_AT_ONCE = 256
PUBLISHES_AT_ONCE = 16
# A job that a worker takes up within this time needs no mark of its own; none waits for one longer
# than twice this time.
MARK_AFTER_SECONDS = 2.0
# Between two tries of a port that takes nothing.
PAUSES = Backoff(timedelta(milliseconds=100), timedelta(seconds=5))


class Relay:
    """Sends jobs and events of committed groups; marks what was sent."""

    def __init__(
        self,
        journal: Journal,
        queue: TaskQueue,
        bus: EventBus,
        clock: Clock,
        is_paused: Callable[[], bool] = lambda: False,
        *,
        marks_at_once: int = MARKS_AT_ONCE,
    ) -> None:
        self._is_paused = is_paused
        self._marks_at_once = marks_at_once
        self._journal = journal
        self._queue = queue
        self._bus = bus
        self._wanted = bus.wanted
        self._clock = clock
        self._jobs: deque[Sending] = deque()
        self._events: deque[EventRow] = deque()
        self._jobs_wait, self._events_wait = asyncio.Event(), asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        # The loops without which nothing is sent; the sweep would offer in vain.
        self.vital: tuple[asyncio.Task[None], ...] = ()
        self._sends = asyncio.Semaphore(SENDS_AT_ONCE)
        # What is on its way, so that the sweep does not send it a second time.
        self._publishes = asyncio.Semaphore(PUBLISHES_AT_ONCE)
        self._under_way: set[object] = set()
        # Sent, and neither marked nor taken up yet.
        self._unmarked: dict[UUID, Sending] = {}
        # The same, but for long enough: the next to be marked.
        self._marking: dict[UUID, Sending] = {}
        self._sent = asyncio.Event()
        self._to_queue, self._to_bus = _Line(clock), _Line(clock)

    def start(self) -> None:
        self._journal.send_only(self._wanted)
        self._journal.subscribe(self.take)
        self.vital = tuple(
            self._spawn(loop)
            for loop in (self._send_jobs(), self._send_events(), self._mark_jobs())
        )

    async def stop(self) -> None:
        """Stop sending. What is on its way and unmarked is sent again by the next process."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def take(self, committed: Sequence[Writes]) -> None:
        """Note what a commit made ready to be sent; called by the journal."""
        events: list[Any] = []
        jobs: list[Any] = []
        wanted = self._wanted
        for writes in committed:
            for key, row in writes.inserts:
                if key.row is EventRow:
                    if wanted is None or row.type in wanted:  # type: ignore[attr-defined]  # the key names the type
                        events.append(row)
                elif key.row is JobRow:
                    jobs.append(row)
            for key, row in writes.updates:
                if key.row is JobRow:
                    jobs.append(row)
        for job in jobs:
            if job.lease_token or job.state not in OPEN:
                self._taken_up(job)
        self.offer_events(events)
        self.offer_jobs(Sending.of(job) for job in jobs if self._wants_sending(job))

    def offer_jobs(self, jobs: Iterable[Sending]) -> bool:
        """Take *jobs* that are not under way; False when there is no room for more."""
        if self._is_paused():
            return True
        waiting, under_way = self._jobs, self._under_way
        for job in jobs:
            if job not in under_way and len(waiting) < MAX_WAITING:
                under_way.add(job)
                waiting.append(job)
        if waiting:
            self._jobs_wait.set()
        return len(waiting) < MAX_WAITING

    def offer_events(self, events: Iterable[EventRow]) -> bool:
        """Take *events* that are not under way; False when there is no room for more."""
        waiting, under_way = self._events, self._under_way
        for event in events:
            if event.event_id not in under_way and len(waiting) < MAX_WAITING:
                under_way.add(event.event_id)
                waiting.append(event)
        if waiting:
            self._events_wait.set()
        return len(waiting) < MAX_WAITING

    async def send_again(self, events: Sequence[EventRow]) -> list[Exception | None]:
        """Give stored events to the bus once more; for each None, or why it did not leave."""
        return await self._bus.publish(events)

    def _wants_sending(self, job: JobRow) -> bool:
        if job.state not in OPEN or job.dispatched_to == self._queue.incarnation:
            return False
        # A received job whose worker holds the lease goes on by itself.
        return job.state is State.QUEUED or job.lease_token is None

    async def _send_jobs(self) -> None:
        while True:
            while not self._jobs:
                self._jobs_wait.clear()
                await self._jobs_wait.wait()
            await self._sends.acquire()
            self._spawn(self._send_some())
            # A queue that takes jobs at once leaves none for another sender.
            await asyncio.sleep(0)

    async def _send_some(self) -> None:
        """Send one job after the other, until none waits."""
        try:
            while self._jobs:
                await self._to_queue.until_open()
                if self._jobs:
                    await self._send_job(self._jobs.popleft())
        finally:
            self._sends.release()

    async def _send_job(self, job: Sending) -> None:
        task = ImageTask(job_id=job.job_id, attempt=job.attempt, dispatch=job.dispatch)
        begun_ns = time.time_ns()
        try:
            not_before = self._by_the_queues_clock(job.not_before)
            await self._queue.create_image_generation_task(task, not_before=not_before)
        except QueueUnavailable as exc:
            self._under_way.discard(job)
            self._to_queue.failed()
            log.warning("task_not_sent", job_id=str(job.job_id), error=str(exc))
        except Exception:  # a defect of the queue: the sweep must be able to offer the job again
            self._under_way.discard(job)
            self._to_queue.failed()
            log.exception("task_not_sent", job_id=str(job.job_id))
        else:
            self._to_queue.worked()
            traces.tell_sent(task, begun_ns)
            self._unmarked[job.job_id] = job
            self._sent.set()

    def _taken_up(self, job: JobRow) -> None:
        """A worker has the job: it says itself that it was sent."""
        sending = self._unmarked.pop(job.id, None) or self._marking.pop(job.id, None)
        if sending is not None:
            self._under_way.discard(sending)

    def _by_the_queues_clock(self, moment: datetime | None) -> datetime | None:
        """Jobs go by the database's clock, the queue by this machine's."""
        if moment is None:
            return None
        return self._clock.now() + (moment - self._journal.now())

    async def _mark_jobs(self) -> None:
        """Mark what waits in the queue as sent; most jobs are taken up before it comes to that."""
        while True:
            if not self._marking:
                await self._sent.wait()
            self._sent.clear()
            await self._clock.sleep(MARK_AFTER_SECONDS)
            # By parts, so that no other step waits long behind them.
            while part := list(islice(self._marking, self._marks_at_once)):
                await self._mark_sent([self._marking.pop(job_id) for job_id in part])
            self._marking, self._unmarked = self._unmarked, {}

    async def _mark_sent(self, jobs: list[Sending]) -> None:
        target = self._queue.incarnation
        marks = [SentMark(job.job_id, job.attempt, job.dispatch, target) for job in jobs]

        def decide(_: Look, writes: Writes) -> None:
            writes.sent.extend(marks)

        try:
            await self._journal.record(Step("mark_sent", decide))
        except (Unavailable, JournalClosed) as exc:
            log.warning("sent_marks_lost", jobs=len(jobs), error=str(exc))
        except Exception:  # unmarked jobs are sent again under the same name: no harm
            log.exception("sent_marks_lost", jobs=len(jobs))
        finally:
            self._under_way.difference_update(jobs)

    async def _send_events(self) -> None:
        while True:
            while not self._events:
                self._events_wait.clear()
                await self._events_wait.wait()
            batch = [self._events.popleft() for _ in range(min(len(self._events), EVENTS_AT_ONCE))]
            # While all are busy, events wait in the bounded queue and then in the database.
            await self._to_bus.until_open()
            await self._publishes.acquire()
            self._spawn(self._publish(batch))

    async def _publish(self, batch: list[EventRow]) -> None:
        begun_ns = time.time_ns()
        try:
            answers = await self._bus.publish(batch)
            if any(isinstance(answer, Unavailable) for answer in answers):
                self._to_bus.failed()
            else:
                self._to_bus.worked()
            sent = []
            for event, answer in zip(batch, answers, strict=True):
                if answer is None:
                    sent.append(event.event_id)
                    if traces.enabled():
                        traces.tell_published(cloud_event(event), begun_ns)
                else:
                    log.warning(
                        "event_not_published",
                        stream_id=event.stream_id,
                        error=type(answer).__name__,
                    )
            await self._mark_published(sent)
        except (Unavailable, JournalClosed) as exc:
            log.warning("published_mark_lost", events=len(batch), error=str(exc))
        except Exception:
            self._to_bus.failed()
            log.exception("publish_failed", events=len(batch))
        finally:
            self._under_way.difference_update(event.event_id for event in batch)
            self._publishes.release()

    async def _mark_published(self, sent: list[UUID]) -> None:
        if not sent:
            return

        def decide(_: Look, writes: Writes) -> None:
            writes.published.extend(sent)

        await self._journal.record(Step("mark_published", decide))

    def _spawn(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


class _Line:
    """The way to a port. While it takes nothing, one try at a time is made, after growing pauses.

    Without it a port that is down would be tried, and the log told, for every single job.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._failures = 0
        self._closed_until = 0.0
        self._trying = False
        self._news = asyncio.Event()

    async def until_open(self) -> None:
        """Return when something may be sent: at once, or as the one that tries."""
        while self._failures:
            if self._trying:
                self._news.clear()
                await self._news.wait()
                continue
            pause = self._closed_until - self._clock.monotonic()
            if pause <= 0:
                self._trying = True
                return
            await self._clock.sleep(pause)

    def worked(self) -> None:
        self._failures = 0
        self._end_try()

    def failed(self) -> None:
        now = self._clock.monotonic()
        # What was under way when the port went down fails with the first: one failure of the port.
        if not self._failures or self._trying:
            self._failures += 1
            self._closed_until = now + PAUSES.after(self._failures)
        self._end_try()

    def _end_try(self) -> None:
        self._trying = False
        self._news.set()
