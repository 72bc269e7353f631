"""Cancel a batch, or bring back what failed of it."""

from uuid import UUID

import structlog

from adapters.ports import BlobStore, Ids
from adapters.store import job_reads
from pipeline.errors import (
    BatchCancelled,
    BlogDeleted,
    BudgetExceeded,
    CannotCancelBatch,
    CannotRetry,
    DraftRejected,
    FinalReplaced,
    NoSuchBatch,
    PipelineError,
    PriceUnknown,
)
from pipeline.journal import Journal
from pipeline.move import job_key, move_job
from pipeline.providers import Providers
from pipeline.retry import retry
from pipeline.tally import batch_key, record_moves
from schemas.requests import Approval
from schemas.step import Look, Lost, Step, Writes
from schemas.tables import BatchRow, JobRow
from states.table import OPEN, State, Trigger

log = structlog.get_logger(__name__)


class BatchGrew(Lost):
    """The batch got a final since its jobs were read: read them again."""


async def cancel_batch(batch_id: UUID, *, tenant: str, journal: Journal, ids: Ids) -> None:
    """Cancel every open job of the batch and buy nothing more for it, in one commit.

    What a provider was already asked for is still settled in the ledger. Cancelling it again
    changes nothing; raises `CannotCancelBatch` when there is nothing left to be cancelled.
    """
    while True:
        if await journal.read(job_reads.batch, tenant, batch_id) is None:
            raise NoSuchBatch(batch_id)
        jobs = await journal.read(job_reads.jobs_of_batch, tenant, batch_id)
        try:
            step = _cancellation(batch_id, [job.id for job in jobs], journal, ids)
            cancelled = await record_moves(journal, step, cancels=batch_id)
        except BatchGrew:
            continue
        log.info("batch_cancelled", batch_id=str(batch_id), jobs=cancelled)
        return


def _cancellation(batch_id: UUID, job_ids: list[UUID], journal: Journal, ids: Ids) -> Step[int]:
    now = journal.now()
    event_ids = [ids.new() for _ in job_ids]

    def decide(look: Look, writes: Writes) -> int:
        batch = look.get(BatchRow, batch_id)
        if batch is None:
            raise NoSuchBatch(batch_id)
        if batch.cancelled_at is not None:
            return 0
        if batch.drafts + batch.finals != len(job_ids):
            raise BatchGrew
        waiting = batch.approval is Approval.REQUIRED and batch.undecided > 0
        if batch.owed == 0 and not waiting:
            raise CannotCancelBatch(batch_id)
        moved = 0
        for job_id, event_id in zip(job_ids, event_ids, strict=True):
            job = look.get(JobRow, job_id)
            if job is not None and job.state in OPEN:
                reason = "batch_cancelled"
                move_job(writes, job, Trigger.CANCEL, at=now, event_id=event_id, reason=reason)
                moved += 1
        return moved

    keys = tuple(job_key(job_id) for job_id in job_ids)
    return Step("cancel_batch", decide, keys, (batch_key(batch_id),))


async def retry_batch(
    batch_id: UUID,
    *,
    tenant: str,
    journal: Journal,
    ids: Ids,
    blobs: BlobStore,
    providers: Providers,
) -> list[UUID]:
    """Bring the batch's failed jobs back, each as `retry` does; return those that came back.

    A failed final whose draft got another one since, or was rejected, is left alone. Interrupted,
    it is simply called again. Raises `BatchCancelled`; `BlogDeleted`, `BudgetExceeded` or
    `PriceUnknown` where that is why no failed job came back.
    """
    batch = await journal.read(job_reads.batch, tenant, batch_id)
    if batch is None:
        raise NoSuchBatch(batch_id)
    if batch.cancelled_at is not None:
        raise BatchCancelled(batch_id)
    jobs = await journal.read(job_reads.jobs_of_batch, tenant, batch_id)
    newest = {job.final_job_id for job in jobs}
    retried: list[UUID] = []
    refused: PipelineError | None = None
    for job in jobs:
        replaced = job.draft_job_id is not None and job.id not in newest
        if job.state is not State.FAILED or replaced:
            continue
        try:
            await retry(
                job.id, tenant=tenant, journal=journal, ids=ids, blobs=blobs, providers=providers
            )
        except (CannotRetry, DraftRejected, FinalReplaced) as exc:
            log.info("retry_not_needed", job_id=str(job.id), reason=str(exc))
        except (BlogDeleted, BudgetExceeded, PriceUnknown) as exc:
            refused = exc  # its other pictures may be for other posts, or cheaper
        else:
            retried.append(job.id)
    if refused is not None and not retried:
        raise refused
    return retried
