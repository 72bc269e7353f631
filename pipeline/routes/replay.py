"""Send stored events once more."""

from fastapi import APIRouter

from pipeline.routes.dependencies import Running, Tenant
from schemas.redelivery import ReplayRequest, ReplayResponse

router = APIRouter(prefix="/api/v1/replay", tags=["events"])


@router.post("")
async def replay_events(asked: ReplayRequest, limner: Running, tenant: Tenant) -> ReplayResponse:
    """Send one part of the stored events again, to whoever subscribes or to one `subscriber`. Ask
    with `cursor` as `after`, and `end`, for the next part until it is `done`. Whoever has handled
    an event passes it over; nothing is bought."""
    return await limner.replay.part(asked, tenant)
