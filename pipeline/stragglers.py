"""Fetch what a provider has accepted where no worker asks: the job went another way, or is late.

Without it the picture of a job that was cancelled while its provider worked would be paid for and
never seen. Two processes that fetch the same do no harm: the ledger's row gives each poll to one.
"""

import asyncio
from dataclasses import dataclass
from datetime import datetime

import structlog

from adapters.errors import BlobStoreUnavailable, Unavailable
from adapters.ports import Painting
from adapters.store import job_reads, money_reads
from pipeline.finish import receive
from pipeline.generate import paint_request
from pipeline.journal import JournalClosed
from pipeline.move import JobMoved
from pipeline.poll import WAIT_AFTER_ERROR, NotYet, ask_about, wait_on
from pipeline.settle import settle_call
from pipeline.settlement import Settlement
from pipeline.staging import Manifest, find_manifest, stage
from pipeline.worker import Worker
from schemas.step import Look, Lost, RowKey, Step, Writes
from schemas.tables import CallState, JobRow, ProviderCall, ProviderCallRow

log = structlog.get_logger(__name__)

READ_AT_ONCE = 200
POLLED_AT_ONCE = 16


class PolledElsewhere(Lost):
    """Another process asks, or the call was settled."""


@dataclass(slots=True)
class Stragglers:
    worker: Worker
    interval_seconds: float = 5.0

    async def run(self) -> None:
        """Look again and again until cancelled."""
        while True:
            await self.worker.clock.sleep(self.interval_seconds)
            try:
                await self.once()
            except (Unavailable, JournalClosed) as exc:
                log.warning("stragglers_interrupted", error=str(exc))
            except Exception:
                log.exception("stragglers_failed")

    async def once(self) -> None:
        """Poll each accepted call that is overdue."""
        now = self.worker.journal.now()
        calls = await self.worker.journal.read(
            money_reads.overdue_calls, CallState.ACCEPTED, now, READ_AT_ONCE
        )
        limit = asyncio.Semaphore(POLLED_AT_ONCE)

        async def bounded(call: ProviderCall) -> None:
            async with limit:
                await self._guarded(call, now)

        await asyncio.gather(*(bounded(call) for call in calls))

    async def _guarded(self, call: ProviderCall, now: datetime) -> None:
        """One call that cannot be asked about comes again when its turn has passed."""
        try:
            await self._poll(call, now)
        except (JobMoved, PolledElsewhere) as exc:
            log.info("poll_not_needed", job_id=str(call.job_id), reason=str(exc))
        except (Unavailable, JournalClosed) as exc:
            log.warning("poll_postponed", job_id=str(call.job_id), error=str(exc))
        except Exception:
            log.exception("poll_failed", job_id=str(call.job_id))

    async def _poll(self, call: ProviderCall, now: datetime) -> None:
        worker = self.worker
        job = await worker.journal.read(job_reads.job, call.tenant, call.job_id)
        if job is None:
            return
        asked = JobRow.of(**job.model_dump()).changed(attempt=call.attempt, lease_token=None)
        await worker.journal.record(self._turn(call, now))
        found = await self._fetched(call, asked)
        if isinstance(found, NotYet):
            await wait_on(asked, found, worker)
        elif isinstance(found, Settlement):
            await settle_call(asked, found, worker)
        else:
            await receive(
                call.job_id,
                found,
                tenant=call.tenant,
                journal=worker.journal,
                ids=worker.ids,
                lease_token=None,
            )

    async def _fetched(self, call: ProviderCall, asked: JobRow) -> Manifest | NotYet | Settlement:
        """What is staged of the call, at once or by a poll."""
        manifest = await find_manifest(call.job_id, call.attempt, self.worker.blobs)
        if manifest is not None:
            return manifest
        answer = await ask_about(call, paint_request(asked), self.worker)
        return await self._staged(call, answer) if isinstance(answer, Painting) else answer

    def _turn(self, call: ProviderCall, now: datetime) -> Step[None]:
        """Take the poll that is due; when it is not answered, the next is due after a lease."""
        key = RowKey(ProviderCallRow, (call.job_id, call.attempt))
        until = now + self.worker.budgets.lease

        def decide(look: Look, writes: Writes) -> None:
            current = look.get(ProviderCallRow, *key.key)
            due = current.due_at if current is not None else None
            if current is None or current.state is not CallState.ACCEPTED or due != call.due_at:
                raise PolledElsewhere("somebody else asks, or it is settled")
            writes.update(current.changed(due_at=until), *key.key)

        return Step("poll", decide, (key,))

    async def _staged(self, call: ProviderCall, painting: Painting) -> Manifest | NotYet:
        elapsed = (self.worker.journal.now() - call.created_at).total_seconds()
        try:
            staged = await stage(
                painting,
                job_id=call.job_id,
                attempt=call.attempt,
                provider=call.provider,
                elapsed_seconds=elapsed,
                blobs=self.worker.blobs,
            )
        except BlobStoreUnavailable as exc:
            return NotYet(WAIT_AFTER_ERROR, f"its picture could not be stored: {exc}")
        return staged.manifest
