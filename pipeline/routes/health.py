"""Is the process alive, and can it serve?"""

from fastapi import APIRouter, Response

from pipeline.routes.dependencies import Running
from schemas.replies import HealthResponse

router = APIRouter(tags=["health"])


@router.get("/healthz")
async def healthz() -> HealthResponse:
    """The process is alive. Says nothing of the database: restarting would not mend that."""
    return HealthResponse(status="ok")


@router.get("/readyz")
async def readyz(limner: Running, response: Response) -> HealthResponse:
    """Requests can be served: 200, or 503 while starting, stopping or without a database."""
    if await limner.is_ready():
        return HealthResponse(status="ready")
    response.status_code = 503
    return HealthResponse(status="not ready")
