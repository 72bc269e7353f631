"""Remove what is older than it is kept, by hand."""

from fastapi import APIRouter

from pipeline.routes.dependencies import Running
from schemas.retention import SweepRequest, SweepResponse

router = APIRouter(prefix="/api/v1/retention", tags=["operations"])


@router.post("/sweep")
async def sweep_old(limner: Running, request: SweepRequest | None = None) -> SweepResponse:
    """Remove what is older than it is kept, of all kinds, or say what would be (`dry_run`). What
    stands in a post stays, and everything of a post that is held. Repeating it does no harm."""
    dry_run = request.dry_run if request is not None else False
    removed = await limner.retention.once(dry_run=dry_run)
    return SweepResponse(dry_run=dry_run, removed=removed)
