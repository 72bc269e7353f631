"""Jobs as callers see them. Addresses of pictures are minted on read, never stored."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from uuid import UUID

from adapters.store import job_reads, money_reads, picture_reads
from pipeline.addresses import BaseUrl
from pipeline.errors import NoSuchJob
from pipeline.estimates import Estimates, seconds_until
from pipeline.fallback import asked_of
from pipeline.journal import Journal
from pipeline.key_words import waits
from pipeline.ledger import Calls, spending
from pipeline.providers import Providers
from pipeline.staging import manifest_key
from schemas.replies import (
    ImageJobStatusResponse,
    ImageResponse,
    ImageResultResponse,
    ImageVariantResponse,
    JobListResponse,
    SurplusResponse,
    WaitingResponse,
)
from schemas.requests import JobFilters, Quality, Role
from schemas.tables import Decision, ImageRow, JobRow, ProviderCallRow
from states.table import TERMINAL, State

# How far a job is when it enters a stage, in percent; while running it nears the next.
PROGRESS: Mapping[State, float] = {
    State.QUEUED: 0.0,
    State.RUNNING: 10.0,
    State.PROCESSING_RESULT: 80.0,
    State.COMPLETED: 100.0,
}


async def job_status(
    job_id: UUID,
    *,
    tenant: str,
    journal: Journal,
    providers: Providers,
    base_url: BaseUrl,
    estimates: Estimates,
) -> ImageJobStatusResponse:
    """The job's reply; raises `NoSuchJob` for an absent job and for another tenant's."""
    job = await journal.read(job_reads.job, tenant, job_id)
    if job is None:
        raise NoSuchJob(job_id)
    return await told(
        job, journal=journal, providers=providers, base_url=base_url, estimates=estimates
    )


async def told(
    job: JobRow, *, journal: Journal, providers: Providers, base_url: BaseUrl, estimates: Estimates
) -> ImageJobStatusResponse:
    """The reply about *job* as it was read or moved just now."""
    images: Sequence[ImageRow] = []
    if job.state is State.COMPLETED:
        images = await journal.read(picture_reads.images_of_jobs, job.tenant, [job.id])
    decided = await decisions([job], tenant=job.tenant, journal=journal)
    now = journal.now()
    ahead = None
    if job.state is State.QUEUED and not seconds_until(job.not_before, now):
        ahead = await journal.read(job_reads.queued_count, job.id)
    return status_reply(
        job,
        images,
        await journal.read(money_reads.calls_of_jobs, job.tenant, [job.id]),
        now=now,
        base_url=base_url,
        estimates=estimates,
        ahead=ahead,
        decision=decided.get(job.id),
        waiting=(await waits([job], journal, providers)).get(job.id),
    )


async def decisions(
    jobs: Sequence[JobRow], *, tenant: str, journal: Journal
) -> dict[UUID, Decision]:
    """What was decided last about each of the drafts among *jobs*."""
    drafts = [job.id for job in jobs if job.is_draft and job.state is State.COMPLETED]
    if not drafts:
        return {}
    found = await journal.read(job_reads.promotions_of, tenant, drafts)
    return {one.draft_job_id: one.decision for one in found}


async def list_jobs(
    filters: JobFilters,
    *,
    tenant: str,
    journal: Journal,
    providers: Providers,
    base_url: BaseUrl,
    estimates: Estimates,
) -> JobListResponse:
    """One page of jobs, the newest first. New jobs never shift the pages behind a cursor."""
    jobs = await journal.read(
        job_reads.jobs_page,
        tenant,
        before=filters.cursor,
        limit=filters.limit + 1,  # one more tells whether there is a next page
        states=filters.state,
        blog_id=filters.blog_id,
        batch_id=filters.batch_id,
        quality=filters.quality,
        since=filters.since,
    )
    page = jobs[: filters.limit]
    done = [job.id for job in page if job.state is State.COMPLETED]
    images = await journal.read(picture_reads.images_of_jobs, tenant, done) if done else []
    calls = await journal.read(money_reads.calls_of_jobs, tenant, [job.id for job in page])
    decided = await decisions(page, tenant=tenant, journal=journal)
    waiting = await waits(page, journal, providers)
    now = journal.now()
    return JobListResponse(
        jobs=[
            status_reply(
                job,
                [image for image in images if image.job_id == job.id],
                [call for call in calls if call.job_id == job.id],
                now=now,
                base_url=base_url,
                estimates=estimates,
                decision=decided.get(job.id),
                waiting=waiting.get(job.id),
            )
            for job in page
        ],
        next_cursor=page[-1].id if len(jobs) > len(page) else None,
    )


def status_reply(
    job: JobRow,
    images: Sequence[ImageRow],
    calls: Sequence[ProviderCallRow],
    *,
    now: datetime,
    base_url: BaseUrl,
    estimates: Estimates,
    ahead: int | None = None,
    decision: Decision | None = None,
    waiting: WaitingResponse | None = None,
) -> ImageJobStatusResponse:
    """*calls* are the job's own; *ahead* is how many jobs wait before it, where it is known."""
    quality = Quality(job.quality)
    expected_seconds = estimates.seconds(quality)
    wait_seconds = estimates.wait_seconds(quality, ahead) if ahead is not None else 0.0
    error = job.error or {}
    return ImageJobStatusResponse(
        job_id=job.id,
        status=job.state,
        quality=Quality(job.quality),
        attempt=job.attempt,
        retry_count=job.retry_count,
        provider=job.provider,
        blog_id=job.blog_id,
        blog_job_id=job.blog_job_id,
        role=Role(job.role) if job.role else None,
        position=job.position,
        is_draft=job.is_draft,
        draft_job_id=job.draft_job_id,
        final_job_id=job.final_job_id,
        batch_id=job.batch_id,
        strategy=asked_of(job).get("strategy"),
        operation=job.request.get("operation"),
        source_image_id=job.request.get("source_image_id"),
        on_unknown=job.request.get("on_unknown"),
        decision=decision,
        created_at=job.created_at,
        queued_at=job.queued_at,
        started_at=job.started_at,
        completed_at=job.ended_at,
        progress_percentage=_progress(job, now, expected_seconds),
        current_stage=job.stage,
        estimated_time_remaining=_remaining(job, now, wait_seconds + expected_seconds),
        queue_position=ahead + 1 if ahead is not None else None,
        not_before=job.not_before if job.state is State.QUEUED else None,
        waiting=waiting,
        deadline_at=job.deadline_at,
        held=job.held,
        result=_result(job, images, base_url),
        **spending(Calls(call.state, call.amount) for call in calls)._asdict(),
        surplus=[_surplus(call) for call in calls if call.surplus],
        error_message=error.get("message"),
        error_details={"code": error["code"], **error["details"]} if error else None,
        warnings=job.warnings,
    )


def _progress(job: JobRow, now: datetime, expected_seconds: float) -> float:
    if job.state is State.COMPLETED:
        return PROGRESS[State.COMPLETED]
    begun = PROGRESS[job.stage]
    if job.state is not State.RUNNING or job.started_at is None:
        return begun
    share = min(1.0, (now - job.started_at).total_seconds() / expected_seconds)
    return round(begun + share * (PROGRESS[State.PROCESSING_RESULT] - begun), 1)


def _remaining(job: JobRow, now: datetime, expected_seconds: float) -> int | None:
    if job.state in TERMINAL:
        return None
    if job.state is State.QUEUED:
        return max(1, round(seconds_until(job.not_before, now) + expected_seconds))
    passed = (now - job.started_at).total_seconds() if job.started_at else 0.0
    return max(1, round(expected_seconds - passed))


def _result(
    job: JobRow, images: Sequence[ImageRow], base_url: BaseUrl
) -> ImageResultResponse | None:
    if job.state is not State.COMPLETED or job.result is None:
        return None
    return ImageResultResponse(
        success=True,
        images=[_image(image, base_url) for image in images],
        generation_time_seconds=job.result["generation_time_seconds"],
        provider=job.provider,
        model=job.result["model"],
        requested_model=job.request.get("requested_model"),
        resolved_model=job.result["model"],
        seed=job.result["seed"],
        cost=job.cost,
        # A job that was completed by an older release has none of these.
        price_book=job.result.get("price_book"),
        fidelity=job.result.get("fidelity"),
    )


def _surplus(call: ProviderCallRow) -> SurplusResponse:
    return SurplusResponse(
        attempt=call.attempt,
        provider=call.provider,
        model=call.model,
        cost=call.amount,
        received_at=call.settled_at,
        manifest=manifest_key(call.job_id, call.attempt),
    )


def _image(image: ImageRow, base_url: BaseUrl) -> ImageResponse:
    return ImageResponse(
        image_id=image.id,
        url=picture_url(base_url, image.id),
        width=image.width,
        height=image.height,
        content_type=image.content_type,
        size_bytes=image.size_bytes,
        sha256=image.sha256,
        variants=image_variants(image, base_url),
    )


def image_variants(image: ImageRow, base_url: BaseUrl) -> list[ImageVariantResponse]:
    return [
        ImageVariantResponse(
            url=picture_url(base_url, image.id, variant["name"]),
            width=variant["width"],
            height=variant["height"],
            content_type=variant["content_type"],
        )
        for variant in image.variants
    ]


def picture_url(base_url: BaseUrl, image_id: UUID, variant: str | None = None) -> str:
    path = f"/api/v1/images/{image_id}/content"
    return base_url.readable(f"{path}/{variant}" if variant else path)
