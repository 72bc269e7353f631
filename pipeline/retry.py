"""Retry a job that failed or was cancelled: its paid result first, a new attempt only then."""

from decimal import Decimal
from uuid import UUID

import structlog

from adapters.ports import BlobStore, Ids
from adapters.store import job_reads
from pipeline.budgets import hold, hold_keys
from pipeline.errors import (
    BatchCancelled,
    BlogDeleted,
    CannotRetry,
    DraftRejected,
    FinalReplaced,
    NoSuchJob,
)
from pipeline.final import job_price
from pipeline.finish import receive
from pipeline.journal import Journal
from pipeline.move import JobMoved, job_key, retry_job
from pipeline.promote import Candidate, DecidedMeanwhile, candidate
from pipeline.providers import Providers
from pipeline.staging import Manifest, find_manifest, manifest_key
from pipeline.tally import batch_keys, record_moves
from schemas.step import Look, RowKey, Step, Writes
from schemas.tables import BatchRow, BlogRow, Decision, JobRow
from states.table import State

log = structlog.get_logger(__name__)

RETRIABLE = frozenset({State.FAILED, State.CANCELLED})
# Bytes that were found to be no picture are not worth another look.
UNUSABLE = frozenset({"bad_picture"})


async def retry(
    job_id: UUID,
    *,
    tenant: str,
    journal: Journal,
    ids: Ids,
    blobs: BlobStore,
    providers: Providers,
) -> JobRow:
    """Bring a job that failed or was cancelled back to work and return it.

    A result that was delivered and never used is taken (nothing is paid); otherwise the job gets a
    new attempt, which may cost once more, and which the budgets must admit. A job that is at work
    or completed is a 409, and so is the final of a draft that was rejected or has another final.
    """
    while True:
        job = await journal.read(job_reads.job, tenant, job_id)
        if job is None:
            raise NoSuchJob(job_id)
        if job.state not in RETRIABLE:
            raise CannotRetry(job_id, job.state.value)
        draft = await _draft_of(job, journal)
        manifest = await _unused_result(job, blobs)
        if manifest is not None:
            return await _take(manifest, job, journal, ids)
        try:
            return await _new_attempt(job, draft, journal, ids, job_price(job, providers))
        except DecidedMeanwhile:
            continue


async def _draft_of(final: JobRow, journal: Journal) -> Candidate | None:
    """The draft of a final; raises `DraftRejected` where nobody wants that final any more."""
    if final.draft_job_id is None:
        return None
    draft = await candidate(final.draft_job_id, final.tenant, journal)
    if draft is not None and draft.last and draft.last.decision is Decision.REJECTED:
        raise DraftRejected(final.draft_job_id)
    return draft


async def _take(manifest: Manifest, job: JobRow, journal: Journal, ids: Ids) -> JobRow:
    log.info("retry_takes_staged_result", job_id=str(job.id), attempt=manifest.attempt)
    try:
        return await receive(
            job.id,
            manifest,
            tenant=job.tenant,
            journal=journal,
            ids=ids,
            lease_token=None,
            by_person=True,
        )
    except JobMoved as exc:  # somebody else was faster
        state = exc.job.state.value if exc.job is not None else "gone"
        raise CannotRetry(job.id, state) from exc


async def _unused_result(job: JobRow, blobs: BlobStore) -> Manifest | None:
    """The newest staged result of any attempt, save one that proved unusable."""
    refused = job.staged if (job.error or {}).get("code") in UNUSABLE else None
    for attempt in range(job.attempt, 0, -1):
        if manifest_key(job.id, attempt) != refused:
            manifest = await find_manifest(job.id, attempt, blobs)
            if manifest is not None:
                return manifest
    return None


async def _new_attempt(
    job: JobRow, found: Candidate | None, journal: Journal, ids: Ids, price: Decimal | None
) -> JobRow:
    event_id, now = ids.new(), journal.now()
    blog = (job.tenant, job.blog_id) if job.blog_id is not None else None

    def decide(look: Look, writes: Writes) -> JobRow:
        current = look.get(JobRow, job.id)
        if current is None:
            raise NoSuchJob(job.id)
        if current.state not in RETRIABLE:
            raise CannotRetry(job.id, current.state.value)
        kept = look.get(BlogRow, *blog) if blog else None
        if kept is not None and kept.deleted_at is not None:
            raise BlogDeleted(kept.blog_id)
        batch = look.get(BatchRow, job.batch_id) if job.batch_id else None
        if batch is not None and batch.cancelled_at is not None:
            raise BatchCancelled(batch.id)
        draft = look.get(JobRow, job.draft_job_id) if job.draft_job_id else None
        if draft is not None and draft.final_job_id not in (None, job.id):
            raise FinalReplaced(job.id, draft.final_job_id)
        if draft is not None and found is not None and draft.version != found.draft.version:
            raise DecidedMeanwhile("the draft was decided meanwhile")
        (admitted,) = hold(look, writes, [current], [price], at=now)
        return retry_job(writes, admitted, at=now, event_id=event_id, reason="retry")

    blogs = (RowKey(BlogRow, blog),) if blog else ()
    shared = (*blogs, *batch_keys(job), *hold_keys([job], [price]))
    # A draft's row is locked by whoever buys its next final: never both.
    keys = [job_key(one) for one in (job.id, job.draft_job_id) if one is not None]
    return await record_moves(journal, Step("retry", decide, tuple(keys), shared))
