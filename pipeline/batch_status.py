"""A batch as callers see it: its jobs, what is still owed, what it costs."""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from adapters.store import job_reads, money_reads, picture_reads
from pipeline.addresses import BaseUrl
from pipeline.errors import NoSuchBatch
from pipeline.estimates import Estimates
from pipeline.final import final_price, final_quality, job_price
from pipeline.journal import Journal
from pipeline.key_words import waits
from pipeline.ledger import Calls, Spending, spending
from pipeline.providers import Providers
from pipeline.status import status_reply
from schemas.replies import (
    BatchImage,
    BatchStatus,
    BatchStatusResponse,
    ImageJobStatusResponse,
    WaitingResponse,
)
from schemas.requests import Approval, Quality
from schemas.tables import BatchRow, ImageRow, JobRow, PromotionRow, ProviderCallRow
from states.table import OPEN, State


async def batch_status(
    batch_id: UUID,
    *,
    tenant: str,
    journal: Journal,
    providers: Providers,
    base_url: BaseUrl,
    estimates: Estimates,
) -> BatchStatusResponse:
    """The batch's reply; raises `NoSuchBatch` for an absent one and for another tenant's."""
    batch = await journal.read(job_reads.batch, tenant, batch_id)
    if batch is None:
        raise NoSuchBatch(batch_id)
    jobs = await journal.read(job_reads.jobs_of_batch, tenant, batch_id)
    done = [job.id for job in jobs if job.state is State.COMPLETED]
    images = await journal.read(picture_reads.images_of_jobs, tenant, done) if done else []
    drafts = [job.id for job in jobs if job.is_draft]
    decided = await journal.read(job_reads.promotions_of, tenant, drafts) if drafts else []
    calls = await journal.read(money_reads.calls_of_batch, tenant, batch_id)
    now = journal.now()
    latest = {one.draft_job_id: one for one in decided}
    undecided = [
        job
        for job in jobs
        if job.is_draft and job.state is State.COMPLETED and job.id not in latest
    ]
    promised = undecided if batch.awaits_promotion else []
    owed = [job for job in jobs if job.state in OPEN]
    states = Counter(job.state for job in jobs)
    waiting = await waits(jobs, journal, providers)
    replies = _replies(jobs, images, calls, latest, waiting, now, base_url, estimates)
    spent = spending(Calls(call.state, call.amount) for call in calls)
    return BatchStatusResponse(
        batch_id=batch.id,
        status=_status(batch, jobs),
        version=batch.version,
        workflow=batch.workflow,
        approval=batch.approval,
        final_quality=Quality(batch.final_quality),
        blog_id=batch.blog_id,
        blog_job_id=batch.blog_job_id,
        created_at=batch.created_at,
        completed_at=batch.ended_at,
        cancelled_at=batch.cancelled_at,
        total_images=len(drafts) or len(jobs),
        counts={state: states[state] for state in State},
        jobs_owed=len(owed),
        promotions_owed=len(promised),
        waiting_for_approval=(
            [job.id for job in undecided]
            if batch.approval is Approval.REQUIRED and batch.cancelled_at is None
            else []
        ),
        **spent._asdict(),
        estimated_cost=_estimated(spent, owed, promised, batch, providers),
        estimated_time_remaining=_remaining(owed, promised, batch, estimates),
        images=_pictures(jobs, replies, decided),
    )


def _status(batch: BatchRow, jobs: Sequence[JobRow]) -> BatchStatus:
    if batch.cancelled_at is not None:
        return BatchStatus.CANCELLED
    if batch.ended_at is not None:
        return BatchStatus.COMPLETED
    begun = any(job.state is not State.QUEUED or job.attempt > 1 for job in jobs)
    return BatchStatus.RUNNING if begun else BatchStatus.QUEUED


def _replies(
    jobs: Sequence[JobRow],
    images: Sequence[ImageRow],
    calls: Sequence[ProviderCallRow],
    decided: Mapping[UUID, PromotionRow],
    waiting: Mapping[UUID, WaitingResponse],
    now: datetime,
    base_url: BaseUrl,
    estimates: Estimates,
) -> dict[UUID, ImageJobStatusResponse]:
    return {
        job.id: status_reply(
            job,
            [image for image in images if image.job_id == job.id],
            [call for call in calls if call.job_id == job.id],
            now=now,
            base_url=base_url,
            estimates=estimates,
            decision=decided[job.id].decision if job.id in decided else None,
            waiting=waiting.get(job.id),
        )
        for job in jobs
    }


def _pictures(
    jobs: Sequence[JobRow],
    replies: Mapping[UUID, ImageJobStatusResponse],
    decided: Sequence[PromotionRow],
) -> list[BatchImage]:
    """In the order of the request; a draft's finals stand with it."""
    pictures = []
    for job in jobs:
        reply = replies[job.id]
        if not job.is_draft and job.draft_job_id is None:
            pictures.append(
                BatchImage(draft=None, decision=None, final=reply, final_job_ids=[job.id])
            )
        elif job.is_draft:
            finals = [
                one.final_job_id
                for one in decided
                if one.draft_job_id == job.id and one.final_job_id is not None
            ]
            final = replies.get(finals[-1]) if finals else None
            pictures.append(
                BatchImage(draft=reply, decision=reply.decision, final=final, final_job_ids=finals)
            )
    return pictures


def _estimated(
    spent: Spending,
    owed: Sequence[JobRow],
    promised: Sequence[JobRow],
    batch: BatchRow,
    providers: Providers,
) -> Decimal | None:
    """The cost so far, of what is open, and of the finals that it leads to by itself."""
    prices: list[Decimal | None] = []
    prices += (job_price(job, providers) for job in owed)
    for draft in _leading(owed, promised, batch):
        provider = providers.by_name.get(draft.provider)
        prices.append(final_price(draft, provider) if provider else None)
    if spent.unknown_prices or None in prices:
        return None
    return sum((price for price in prices if price is not None), spent.cost_confirmed)


def _remaining(
    owed: Sequence[JobRow],
    promised: Sequence[JobRow],
    batch: BatchRow,
    estimates: Estimates,
) -> int | None:
    if batch.owed == 0:
        return None
    qualities = [Quality(job.quality) for job in owed]
    qualities += [final_quality(draft) for draft in _leading(owed, promised, batch)]
    return estimates.batch_seconds(qualities)


def _leading(owed: Sequence[JobRow], promised: Sequence[JobRow], batch: BatchRow) -> list[JobRow]:
    """The drafts that get finals without being asked for: completed ones, and those under way."""
    under_way = [job for job in owed if job.is_draft] if batch.awaits_promotion else []
    return [*promised, *under_way]
