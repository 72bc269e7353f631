"""The sweep: see to it that no job is ever stuck. Reads what is due, rescues it, sends the unsent.

Two sweeps at once do no harm: every rescue decides again under the job's lock.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import structlog

from adapters.errors import BlobStoreUnavailable, Unavailable
from adapters.store import reads
from pipeline.finish import UNLEASED_PATIENCE, receive
from pipeline.generate import Worker
from pipeline.journal import JournalClosed
from pipeline.move import QUEUED_PATIENCE, JobMoved, error_facts, job_key, move_job
from pipeline.relay import Relay
from pipeline.settle import Settlement, settle_call
from pipeline.staging import find_manifest
from schemas.step import Look, Step, Writes
from schemas.tables import CallState, Job, JobRow, ProviderCall
from states.table import State, Trigger

log = structlog.get_logger(__name__)

# Younger unpublished events are still in the hands of a relay.
PUBLISH_PATIENCE = timedelta(seconds=10)
AT_ONCE = 1_000
MAX_RESUMES = 5


@dataclass(slots=True)
class Sweep:
    worker: Worker
    relay: Relay
    incarnation: str
    interval_seconds: float = 5.0

    async def run(self) -> None:
        """Sweep again and again until cancelled."""
        while True:
            await self.worker.clock.sleep(self.interval_seconds)
            await self.once()

    async def once(self) -> None:
        """One round: rescue what is due, settle overdue calls, send what is unsent."""
        journal = self.worker.journal
        try:
            now = journal.now()
            for job in await journal.read(reads.due_jobs, now, AT_ONCE):
                await self._rescue(job, now)
            for call in await journal.read(reads.overdue_calls, now, AT_ONCE):
                await self._settle_overdue(call, now)
            await self._send_unsent(now - PUBLISH_PATIENCE)
        except (Unavailable, JournalClosed) as exc:
            log.warning("sweep_interrupted", error=str(exc))
        except Exception:
            log.exception("sweep_failed")

    async def take_over(self) -> None:
        """At the start of a process that is alone on its database: nobody holds any lease.

        Every working job is rescued at once instead of after its lease, and everything that an
        earlier process had not sent is sent.
        """
        journal = self.worker.journal
        now = journal.now()
        for job in await journal.read(reads.working_jobs):
            await self._rescue(job, now, alone=True)
        await self._send_unsent(now)

    async def _rescue(self, job: Job, now: datetime, *, alone: bool = False) -> None:
        try:
            match job.state:
                case State.QUEUED:
                    await self._send_again(job.id, now)
                case State.RUNNING:
                    await self._rescue_running(job, now)
                case State.PROCESSING_RESULT:
                    await self._resume(job.id, now, alone=alone)
                case _:
                    log.warning("due_job_at_rest", job_id=str(job.id), state=job.state.value)
        except JobMoved as exc:
            log.info("rescue_not_needed", job_id=str(job.id), reason=str(exc))
        except BlobStoreUnavailable as exc:
            log.warning("rescue_postponed", job_id=str(job.id), error=str(exc))

    async def _rescue_running(self, job: Job, now: datetime) -> None:
        """The worker is gone: take its staged result, or settle what can be known of its call."""
        if await self._salvage(job.id, job.attempt):
            return
        call = await self.worker.journal.read(reads.call, job.tenant, job.id, job.attempt)
        if call is None:  # nobody was asked, so nothing can have been charged
            await settle_call(_row(job), Settlement.busy("no call was made", now), self.worker)
            return
        if call.state is CallState.ACCEPTED:
            await self._send_again(job.id, now)
            return
        await self._settle_lost(_row(job), "the worker died before an answer was stored", now)

    async def _salvage(self, job_id: UUID, attempt: int) -> bool:
        manifest = await find_manifest(job_id, attempt, self.worker.blobs)
        if manifest is None:
            return False
        await receive(
            job_id, manifest, journal=self.worker.journal, ids=self.worker.ids, lease_token=None
        )
        log.info("result_salvaged", job_id=str(job_id), attempt=attempt)
        return True

    async def _settle_overdue(self, call: ProviderCall, now: datetime) -> None:
        """An open call is settled when it is due, whatever has become of its job."""
        job = await self.worker.journal.read(reads.job, call.tenant, call.job_id)
        if job is None:
            return
        try:
            if not await self._salvage(call.job_id, call.attempt):
                asked = _row(job).changed(attempt=call.attempt)
                await self._settle_lost(asked, "no answer was stored before the lease ended", now)
        except JobMoved as exc:
            log.info("late_result_kept", job_id=str(call.job_id), reason=str(exc))
        except BlobStoreUnavailable as exc:
            log.warning("settlement_postponed", job_id=str(call.job_id), error=str(exc))

    async def _settle_lost(self, job: JobRow, reason: str, now: datetime) -> None:
        provider = self.worker.providers.by_name.get(job.provider)
        repeatable = provider is not None and provider.repeatable
        settlement = Settlement.unknown(reason, repeatable=repeatable, attempt=1, now=now)
        await settle_call(job, settlement, self.worker)

    async def _send_again(self, job_id: UUID, now: datetime) -> None:
        """Send a job to the queue under a new task name."""

        def decide(look: Look, writes: Writes) -> None:
            job = look.get(JobRow, job_id)
            if job is None or job.wake_at is None or job.wake_at > now:
                raise JobMoved(job, "the job moved on")
            writes.update(
                job.changed(
                    dispatch=job.dispatch + 1,
                    dispatched_to=None,
                    wake_at=now + QUEUED_PATIENCE,
                ),
                job_id,
            )

        await self.worker.journal.record(Step("send_again", decide, (job_key(job_id),)))

    async def _resume(self, job_id: UUID, now: datetime, *, alone: bool) -> None:
        """A paid result waits for a worker: send it again, or give up after several deaths."""
        event_id = self.worker.ids.new()

        def decide(look: Look, writes: Writes) -> None:
            job = look.get(JobRow, job_id)
            if job is None or job.state is not State.PROCESSING_RESULT:
                raise JobMoved(job, "the job moved on")
            if not alone and (job.wake_at is None or job.wake_at > now):
                raise JobMoved(job, "a worker is at it")
            if job.resumes >= MAX_RESUMES and not alone:
                move_job(
                    writes,
                    job,
                    Trigger.FAIL,
                    at=now,
                    event_id=event_id,
                    reason="processing_failed",
                    error=error_facts(
                        "processing_failed",
                        f"The delivered picture could not be processed in {MAX_RESUMES} tries."
                        " It was paid for; the delivered bytes are kept. Retry the job to process"
                        " them again.",
                        staged=job.staged,
                    ),
                    data={"code": "processing_failed"},
                )
                return
            writes.update(
                job.changed(
                    dispatch=job.dispatch + 1,
                    dispatched_to=None,
                    # A restart of the whole program is not the job's failure.
                    resumes=job.resumes + (0 if alone else 1),
                    lease_token=None,
                    lease_until=None,
                    wake_at=now + UNLEASED_PATIENCE,
                ),
                job_id,
            )

        await self.worker.journal.record(Step("resume", decide, (job_key(job_id),)))

    async def _send_unsent(self, events_before: datetime) -> None:
        journal = self.worker.journal
        jobs = await journal.read(reads.unsent_jobs, self.incarnation, AT_ONCE)
        self.relay.offer_jobs(_row(job) for job in jobs if job.lease_token is None)
        events = await journal.read(reads.unpublished_events, events_before, AT_ONCE)
        self.relay.offer_events(events)


def _row(job: Job) -> JobRow:
    return JobRow.of(**job.model_dump())
