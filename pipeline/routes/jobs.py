"""Look at a job, and cancel it."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query

from pipeline.cancel import cancel
from pipeline.retry import retry
from pipeline.routes.dependencies import BaseUrl, Running, Tenant
from pipeline.status import job_status, list_jobs, status_reply
from schemas.replies import ImageJobStatusResponse, JobListResponse
from schemas.requests import JobFilters

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
