"""Look at a batch, cancel it, bring back what failed of it."""

from uuid import UUID

from fastapi import APIRouter

from pipeline.batch_changes import cancel_batch, retry_batch
from pipeline.batch_status import batch_status
from pipeline.routes.dependencies import BaseUrl, Running, Tenant
from pipeline.wiring import Limner
from schemas.replies import BatchRetryResponse, BatchStatusResponse

router = APIRouter(prefix="/api/v1/images/batches", tags=["batches"])


@router.get("/{batch_id}")
async def get_batch(
    batch_id: UUID, limner: Running, tenant: Tenant, base_url: BaseUrl
) -> BatchStatusResponse:
    """Where a batch stands: its jobs by state, what is owed, what was paid, every picture."""
    return await _status(batch_id, limner, tenant, base_url)


@router.post("/{batch_id}/cancel")
async def cancel_image_batch(
    batch_id: UUID, limner: Running, tenant: Tenant, base_url: BaseUrl
) -> BatchStatusResponse:
    """Cancel all jobs that have not come to rest, and buy nothing more. Cancelling it again
    changes nothing."""
    await cancel_batch(batch_id, tenant=tenant, journal=limner.journal, ids=limner.ids)
    return await _status(batch_id, limner, tenant, base_url)


@router.post("/{batch_id}/retry")
async def retry_image_batch(
    batch_id: UUID, limner: Running, tenant: Tenant, base_url: BaseUrl
) -> BatchRetryResponse:
    """Bring the failed jobs back. Delivered results that were never used are taken first;
    otherwise the provider is asked again, which may cost once more."""
    retried = await retry_batch(
        batch_id,
        tenant=tenant,
        journal=limner.journal,
        ids=limner.ids,
        blobs=limner.blobs,
        providers=limner.providers,
    )
    batch = await _status(batch_id, limner, tenant, base_url)
    return BatchRetryResponse(retried_job_ids=retried, batch=batch)


async def _status(
    batch_id: UUID, limner: Limner, tenant: str, base_url: BaseUrl
) -> BatchStatusResponse:
    return await batch_status(
        batch_id,
        tenant=tenant,
        journal=limner.journal,
        providers=limner.providers,
        base_url=base_url,
        estimates=limner.estimates,
    )
