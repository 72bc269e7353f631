"""Look at a job, and cancel it."""

from uuid import UUID

from fastapi import APIRouter

from pipeline.cancel import cancel
from pipeline.routes.dependencies import BaseUrl, Running, Tenant
from pipeline.status import job_status, status_reply
from schemas.replies import ImageJobStatusResponse

router = APIRouter(prefix="/api/v1/images/jobs", tags=["jobs"])


@router.get("/{job_id}")
async def get_job(
    job_id: UUID, limner: Running, tenant: Tenant, base_url: BaseUrl
) -> ImageJobStatusResponse:
    """Where a job stands, and its pictures once it is completed."""
    return await job_status(job_id, tenant=tenant, journal=limner.journal, base_url=base_url)


@router.post("/{job_id}/cancel")
@router.delete("/{job_id}", operation_id="delete_job")
async def cancel_job(
    job_id: UUID, limner: Running, tenant: Tenant, base_url: BaseUrl
) -> ImageJobStatusResponse:
    """Cancel a job that has not come to rest. Cancelling it again changes nothing."""
    job = await cancel(job_id, tenant=tenant, journal=limner.journal, ids=limner.ids)
    return status_reply(job, [], now=limner.journal.now(), base_url=base_url)
