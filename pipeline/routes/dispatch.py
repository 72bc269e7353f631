"""Pause and resume the sending of jobs to workers."""

from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, StringConstraints

from pipeline.routes.dependencies import Running
from schemas.replies import DispatchResponse
from schemas.requests import Text
from schemas.tables import DispatchRow

router = APIRouter(prefix="/api/v1/dispatch", tags=["operations"])


class PauseRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    reason: Annotated[Text, StringConstraints(max_length=500)] | None = None


@router.get("")
async def get_dispatch(limner: Running) -> DispatchResponse:
    """Whether jobs are sent to workers."""
    await limner.dispatching.refresh()
    return _reply(limner.dispatching.state)


@router.post("/pause")
async def pause_dispatch(limner: Running, request: PauseRequest | None = None) -> DispatchResponse:
    """Send no job any more. Requests are still accepted; what runs goes on to its end."""
    return _reply(await limner.dispatching.pause(request.reason if request else None))


@router.post("/resume")
async def resume_dispatch(limner: Running) -> DispatchResponse:
    """Send jobs again, those first that waited longest."""
    state = await limner.dispatching.resume()
    limner.sweep.wake(for_all=True)
    return _reply(state)


def _reply(state: DispatchRow) -> DispatchResponse:
    return DispatchResponse(
        paused=state.paused_at is not None, paused_at=state.paused_at, reason=state.reason
    )
