"""Look at a job, cancel it, retry it; decide about a draft."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Response

from pipeline.cancel import cancel
from pipeline.fallback import asked_of
from pipeline.promote import promote, reject
from pipeline.retry import retry
from pipeline.routes.dependencies import BaseUrl, Running, Tenant
from pipeline.status import job_status, list_jobs, status_reply
from schemas.replies import ImageJobStatusResponse, JobListResponse, PromotionResponse
from schemas.requests import JobFilters, PromotionRequest, Quality, RejectionRequest
from states.table import OPEN

router = APIRouter(prefix="/api/v1/images/jobs", tags=["jobs"])


@router.get("")
async def list_image_jobs(
    filters: Annotated[JobFilters, Query()], limner: Running, tenant: Tenant, base_url: BaseUrl
) -> JobListResponse:
    """Jobs, the newest request first. Follow `next_cursor` for more."""
    return await list_jobs(
        filters,
        tenant=tenant,
        journal=limner.journal,
        providers=limner.providers,
        base_url=base_url,
        estimates=limner.estimates,
    )


@router.get("/{job_id}")
async def get_job(
    job_id: UUID, limner: Running, tenant: Tenant, base_url: BaseUrl
) -> ImageJobStatusResponse:
    """Where a job stands, and its pictures once it is completed."""
    return await job_status(
        job_id,
        tenant=tenant,
        journal=limner.journal,
        providers=limner.providers,
        base_url=base_url,
        estimates=limner.estimates,
    )


@router.post("/{job_id}/retry")
async def retry_job(
    job_id: UUID, limner: Running, tenant: Tenant, base_url: BaseUrl
) -> ImageJobStatusResponse:
    """Bring a failed or cancelled job back. A delivered result that was never used is taken first;
    otherwise the provider is asked again, which may cost once more."""
    job = await retry(
        job_id, tenant=tenant, journal=limner.journal, ids=limner.ids, blobs=limner.blobs
    )
    return status_reply(
        job, [], now=limner.journal.now(), base_url=base_url, estimates=limner.estimates
    )


@router.post(
    "/{job_id}/promote",
    status_code=202,
    responses={200: {"model": PromotionResponse, "description": "The draft has its final already"}},
)
async def promote_draft(
    job_id: UUID,
    response: Response,
    limner: Running,
    tenant: Tenant,
    wishes: PromotionRequest | None = None,
) -> PromotionResponse:
    """Buy the final of a completed draft: 202. A draft that has its final keeps it: 200. After a
    failed, cancelled or blocked one the next is bought."""
    promoted = await promote(
        job_id,
        tenant,
        wishes,
        journal=limner.journal,
        ids=limner.ids,
        providers=limner.providers,
    )
    final = promoted.final
    if not promoted.new:
        response.status_code = 200
    response.headers["Location"] = f"/api/v1/images/jobs/{final.id}"
    quality = Quality(final.quality)
    return PromotionResponse(
        job_id=final.id,
        final_job_id=final.id,
        draft_job_id=job_id,
        status=final.state,
        message=(
            "The draft was approved; its final is queued"
            if promoted.new
            else "The draft has its final already"
        ),
        estimated_completion_time=(
            limner.estimates.total_seconds(quality) if final.state in OPEN else 0
        ),
        is_draft=False,
        warnings=final.warnings,
        strategy=asked_of(final).get("strategy"),
        quality=quality,
    )


@router.post("/{job_id}/reject")
async def reject_draft(
    job_id: UUID,
    limner: Running,
    tenant: Tenant,
    base_url: BaseUrl,
    wishes: RejectionRequest | None = None,
) -> ImageJobStatusResponse:
    """Decide that a completed draft gets no final, for good. Rejecting it again changes nothing."""
    await reject(
        job_id,
        tenant,
        reason=wishes.reason if wishes is not None else None,
        journal=limner.journal,
        ids=limner.ids,
    )
    return await job_status(
        job_id,
        tenant=tenant,
        journal=limner.journal,
        providers=limner.providers,
        base_url=base_url,
        estimates=limner.estimates,
    )


@router.post("/{job_id}/cancel")
@router.delete("/{job_id}", operation_id="delete_job")
async def cancel_job(
    job_id: UUID, limner: Running, tenant: Tenant, base_url: BaseUrl
) -> ImageJobStatusResponse:
    """Cancel a job that has not come to rest. Cancelling it again changes nothing."""
    job = await cancel(job_id, tenant=tenant, journal=limner.journal, ids=limner.ids)
    return status_reply(
        job, [], now=limner.journal.now(), base_url=base_url, estimates=limner.estimates
    )
