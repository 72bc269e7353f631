"""The sweep: see to it that no job is ever stuck. Reads what is due, rescues it, sends the unsent.

Two sweeps at once do no harm: every rescue decides again under the job's lock. One row that cannot
be rescued is put off and holds up no other.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

import structlog

from adapters.errors import BlobStoreUnavailable, StoreUnavailable, Unavailable
from adapters.store import event_reads, job_reads, machine_reads, money_reads
from adapters.store.machine_reads import Sending
from pipeline.circuits import wake_held
from pipeline.dispatch import Dispatching
from pipeline.finish import receive
from pipeline.journal import JournalClosed
from pipeline.move import JobMoved, exceed_deadline, fail_job, job_key, patience
from pipeline.poll import send_again
from pipeline.relay import Relay
from pipeline.settle import settle_call
from pipeline.settlement import Settlement
from pipeline.staging import find_manifest
from pipeline.tally import record_moves
from pipeline.worker import Worker
from schemas.step import Look, RowKey, Step, Writes
from schemas.tables import CallState, Job, JobRow, ProviderCall, ProviderCallRow
from states.table import OPEN, State

log = structlog.get_logger(__name__)

# Younger unpublished events are still in the hands of a relay.
PUBLISH_PATIENCE = timedelta(seconds=10)
# What is committed longer after its request than this is found by the next round, not by the news.
NEWS_REACH = timedelta(seconds=0.5)
# Who has just been given many jobs has work for a while: news wait for so long for each of them.
REST_PER_JOB = timedelta(milliseconds=0.2)
MOST_REST = timedelta(seconds=0.5)
FEW_JOBS = 50
# How long a row that could not be rescued is left alone.
PUT_OFF = timedelta(minutes=1)
READ_AT_ONCE = 1_000
# So many rescues share their commits.
RESCUED_AT_ONCE = 64
MAX_RESUMES = 5


@dataclass(slots=True)
class Sweep:
    worker: Worker
    relay: Relay
    incarnation: str
    dispatching: Dispatching
    interval_seconds: float = 5.0
    _news: asyncio.Event = field(default_factory=asyncio.Event)
    _news_until: datetime | None = None
    # Before this (monotonic) no news are read.
    _rest_until: float = 0.0

    def wake(self, *, for_all: bool = False) -> None:
        """Another process has committed: look for what came; *for_all*: for all that is unsent."""
        if for_all:
            self._news_until = None
        self._news.set()

    async def run(self) -> None:
        """Sweep again and again until cancelled; between two rounds send what others committed."""
        clock = self.worker.clock
        next_round = clock.monotonic() + self.interval_seconds
        while True:
            await self._wait(next_round - clock.monotonic())
            if clock.monotonic() >= next_round:
                await self.once()
                next_round = clock.monotonic() + self.interval_seconds
            else:
                await self._guarded(self._send_news)

    async def follow_pauses(self) -> None:
        """Where another process sweeps: see, as often, whether jobs are paused."""
        while True:
            await self.worker.clock.sleep(self.interval_seconds)
            await self._guarded(self._see_pauses)

    async def _see_pauses(self, _: datetime) -> None:
        await self.dispatching.refresh()

    async def _wait(self, seconds: float) -> None:
        timer = asyncio.ensure_future(self.worker.clock.sleep(seconds))
        news = asyncio.ensure_future(self._rested_news())
        try:
            await asyncio.wait({timer, news}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            timer.cancel()
            news.cancel()
        self._news.clear()

    async def _rested_news(self) -> None:
        await self._news.wait()
        rest = self._rest_until - self.worker.clock.monotonic()
        if rest > 0:
            await self.worker.clock.sleep(rest)

    async def once(self) -> None:
        """One round: rescue what is due, settle overdue calls, wake the held, send what is unsent.

        Each part is done whatever became of the parts before it.
        """
        parts = (
            self._rescue_due,
            self._settle_overdue_calls,
            self._wake_held,
            self._send_unsent_rows,
        )
        for part in parts:
            await self._guarded(part)

    async def _guarded(self, part: Callable[[datetime], Awaitable[None]]) -> None:
        name = getattr(part, "__name__", "part")
        try:
            await part(self.worker.journal.now())
        except (Unavailable, JournalClosed) as exc:
            log.warning("sweep_interrupted", part=name, error=str(exc))
        except Exception:
            log.exception("sweep_failed", part=name)

    async def take_over(self) -> None:
        """At the start of a process that is alone on its database: nobody holds any lease.

        Every working job is rescued at once instead of after its lease, and everything that an
        earlier process had not sent is sent.
        """
        journal = self.worker.journal
        now = journal.now()
        jobs = await journal.read(machine_reads.working_jobs)
        await self._all(self._rescue(job, now, alone=True) for job in jobs)
        await self.dispatching.refresh()
        await self._send_unsent_jobs()
        await self._send_unpublished(now)

    async def _rescue_due(self, now: datetime) -> None:
        jobs = await self.worker.journal.read(machine_reads.due_jobs, now, READ_AT_ONCE)
        # A job that somebody may have paid for comes before one that only waits.
        working_first = sorted(jobs, key=lambda job: job.state is State.QUEUED)
        await self._all(self._rescue(job, now) for job in working_first)

    async def _settle_overdue_calls(self, now: datetime) -> None:
        # Those that were accepted are not lost: they are polled.
        calls = await self.worker.journal.read(
            money_reads.overdue_calls, CallState.INTENT, now, READ_AT_ONCE
        )
        await self._all(self._settle_overdue(call, now) for call in calls)

    async def _wake_held(self, _: datetime) -> None:
        await wake_held(self.worker.providers, self.worker.journal)

    async def _send_unsent_rows(self, now: datetime) -> None:
        await self.dispatching.refresh()
        await self._send_unsent_jobs()
        await self._send_unpublished(now - PUBLISH_PATIENCE)

    async def _send_news(self, now: datetime) -> None:
        """Send the jobs that came since the last news; a backlog is not read again for each."""
        since = self._news_until
        found = await self._send_unsent_jobs(since - NEWS_REACH if since is not None else None)
        if found > FEW_JOBS:
            rest = min(found * REST_PER_JOB, MOST_REST)
            self._rest_until = self.worker.clock.monotonic() + rest.total_seconds()
        # After a pause everything is looked for.
        self._news_until = None if self.dispatching.is_paused() else now

    async def _all(self, rescues: Iterable[Awaitable[None]]) -> None:
        limit = asyncio.Semaphore(RESCUED_AT_ONCE)

        async def bounded(rescue: Awaitable[None]) -> None:
            async with limit:
                await rescue

        await asyncio.gather(*(bounded(rescue) for rescue in rescues))

    async def _rescue(self, job: Job, now: datetime, *, alone: bool = False) -> None:
        async def rescue() -> None:
            match job.state:
                case State.QUEUED:
                    await self._send_again(job.id, now)
                case State.RUNNING:
                    await self._rescue_running(job, now, alone=alone)
                case State.PROCESSING_RESULT:
                    await self._resume(job.id, now, alone=alone)
                case _:
                    log.warning("due_job_at_rest", job_id=str(job.id), state=job.state.value)

        await self._or_put_off(rescue, job_key(job.id), now)

    async def _settle_overdue(self, call: ProviderCall, now: datetime) -> None:
        """An intent is settled when it is due, whatever has become of its job."""

        async def settle() -> None:
            job = await self.worker.journal.read(job_reads.job, call.tenant, call.job_id)
            if job is not None and not await self._salvage(call):
                # Another provider may paint the job by now: the call is that of whom it asked.
                asked = _row(job).changed(attempt=call.attempt, provider=call.provider)
                await self._settle_lost(
                    asked, call.provider, "no answer was stored before the lease ended"
                )

        key = RowKey(ProviderCallRow, (call.job_id, call.attempt))
        await self._or_put_off(settle, key, now)

    async def _or_put_off(
        self, rescue: Callable[[], Awaitable[None]], key: RowKey, now: datetime
    ) -> None:
        """Rescue one row; when that fails put it off, so that it is not first for ever."""
        try:
            await rescue()
        except JobMoved as exc:
            log.info("rescue_not_needed", job_id=str(key.key[0]), reason=str(exc))
        except (StoreUnavailable, JournalClosed):
            raise
        except BlobStoreUnavailable as exc:
            log.warning("rescue_postponed", job_id=str(key.key[0]), error=str(exc))
        except Exception:
            log.exception("rescue_failed", job_id=str(key.key[0]))
            await self._put_off(key, now + PUT_OFF)

    async def _put_off(self, key: RowKey, until: datetime) -> None:
        def decide(look: Look, writes: Writes) -> None:
            row = look.get(key.row, *key.key)
            if isinstance(row, JobRow) and row.state in OPEN:
                writes.update(row.changed(wake_at=until), *key.key)
            elif isinstance(row, ProviderCallRow) and row.due_at is not None:
                writes.update(row.changed(due_at=until), *key.key)

        await self.worker.journal.record(Step("put_off", decide, (key,)))

    async def _rescue_running(self, job: Job, now: datetime, *, alone: bool) -> None:
        """The worker is gone: take its staged result, or settle what can be known of its call."""
        if await self._salvage(job):
            return
        call = await self.worker.journal.read(money_reads.call, job.tenant, job.id, job.attempt)
        if call is None:  # nobody was asked, so nothing can have been charged
            await settle_call(_row(job), Settlement.busy("no call was made", now), self.worker)
        elif call.state is CallState.ACCEPTED:
            await send_again(job.id, now, self.worker, alone=alone)
        else:
            reason = "the worker died before an answer was stored"
            await self._settle_lost(_row(job), call.provider, reason)

    async def _salvage(self, asked: Job | ProviderCall) -> bool:
        """Take the staged result of a job's attempt, or of a call, if there is one."""
        job_id = asked.id if isinstance(asked, Job) else asked.job_id
        manifest = await find_manifest(job_id, asked.attempt, self.worker.blobs)
        if manifest is None:
            return False
        await receive(
            job_id,
            manifest,
            tenant=asked.tenant,
            journal=self.worker.journal,
            ids=self.worker.ids,
            lease_token=None,
        )
        log.info("result_salvaged", job_id=str(job_id), attempt=asked.attempt)
        return True

    async def _settle_lost(self, job: JobRow, asked: str, reason: str) -> None:
        provider = self.worker.providers.by_name.get(asked)
        repeatable = provider is not None and provider.repeatable
        # What its provider has accepted meanwhile is not lost.
        lost = Settlement.unknown(reason, repeatable=repeatable)
        await settle_call(job, lost, self.worker, only=frozenset({CallState.INTENT}))

    async def _send_again(self, job_id: UUID, now: datetime) -> None:
        """Send a job to the queue under a new task name; fail it when its deadline has passed."""
        event_id = self.worker.ids.new()

        def decide(look: Look, writes: Writes) -> None:
            job = look.get(JobRow, job_id)
            if job is None or job.wake_at is None or job.wake_at > now:
                raise JobMoved(job, "the job moved on")
            overdue = job.deadline_at is not None and job.deadline_at <= now
            if overdue and job.state is State.QUEUED:
                exceed_deadline(writes, job, at=now, event_id=event_id)
                return
            writes.update(_sent_again(job, now), job_id)

        await record_moves(self.worker.journal, Step("send_again", decide, (job_key(job_id),)))

    async def _resume(self, job_id: UUID, now: datetime, *, alone: bool) -> None:
        """A paid result waits for a worker: send it again, or give up after several deaths."""
        event_id = self.worker.ids.new()

        def decide(look: Look, writes: Writes) -> None:
            job = look.get(JobRow, job_id)
            if job is None or job.state is not State.PROCESSING_RESULT:
                raise JobMoved(job, "the job moved on")
            if not alone and (job.wake_at is None or job.wake_at > now):
                raise JobMoved(job, "a worker is at it")
            # Only a lease that ran out is a death; a job without one was just never taken up.
            died = job.lease_token is not None and not alone
            if died and job.resumes >= MAX_RESUMES:
                _give_up(job, writes)
                return
            # A restart of the whole program is no failure of the job: its tries begin anew.
            resumes = 0 if alone else job.resumes
            free = _sent_again(job, now).changed(
                lease_token=None, lease_until=None, resumes=resumes
            )
            writes.update(free, job_id)

        def _give_up(job: JobRow, writes: Writes) -> None:
            message = (
                f"The delivered picture could not be processed in {MAX_RESUMES} tries. It was paid"
                " for; the delivered bytes are kept. Retry the job to process them again."
            )
            fail_job(
                writes,
                job,
                "processing_failed",
                message,
                at=now,
                event_id=event_id,
                staged=job.staged,
            )

        await record_moves(self.worker.journal, Step("resume", decide, (job_key(job_id),)))

    async def _send_unsent_jobs(self, queued_since: datetime | None = None) -> int:
        """Offer what is unsent to the relay; return how many jobs that are."""
        if self.dispatching.is_paused():
            return 0
        found = 0
        after: Sending | None = None
        while True:
            jobs = await self.worker.journal.read(
                machine_reads.unsent_jobs,
                self.incarnation,
                READ_AT_ONCE,
                queued_since=queued_since,
                after=after,
            )
            found += len(jobs)
            if not self.relay.offer_jobs(jobs) or len(jobs) < READ_AT_ONCE:
                return found
            after = jobs[-1]

    async def _send_unpublished(self, before: datetime) -> None:
        after: UUID | None = None
        while True:
            events = await self.worker.journal.read(
                event_reads.unpublished_events, before, READ_AT_ONCE, after=after
            )
            if not self.relay.offer_events(events) or len(events) < READ_AT_ONCE:
                return
            after = events[-1].event_id


def _sent_again(job: JobRow, now: datetime) -> JobRow:
    dispatch = job.dispatch + 1
    wake_at = now + patience(dispatch)
    if job.deadline_at is not None and job.state is State.QUEUED:
        wake_at = min(wake_at, job.deadline_at)
    return job.changed(dispatch=dispatch, dispatched_to=None, wake_at=wake_at)


def _row(job: Job) -> JobRow:
    return JobRow.of(**job.model_dump())
