"""Who paints here, and what each of them takes."""

from fastapi import APIRouter

from pipeline.capabilities import provider_list
from pipeline.routes.dependencies import Running
from schemas.replies import ProviderListResponse

router = APIRouter(prefix="/api/v1/images/providers", tags=["providers"])


@router.get("")
async def list_providers(limner: Running) -> ProviderListResponse:
    """The providers that are configured: models, styles, aspect ratios, strategies and prices."""
    return provider_list(limner.providers)
