"""Who paints here, and what each of them takes."""

from fastapi import APIRouter

from pipeline.capabilities import provider_list
from pipeline.circuits import reset
from pipeline.provider_health import provider_health
from pipeline.routes.dependencies import Running
from schemas.replies import ProviderHealth, ProviderHealthResponse, ProviderListResponse

router = APIRouter(prefix="/api/v1/images/providers", tags=["providers"])


@router.get("")
async def list_providers(limner: Running) -> ProviderListResponse:
    """The providers that are configured: models, styles, aspect ratios, strategies and prices."""
    return await provider_list(limner.providers, limner.journal)


@router.get("/health")
async def get_provider_health(limner: Running) -> ProviderHealthResponse:
    """Whether each provider paints; if not, why, since when, what to do, and who waits."""
    return await provider_health(limner.providers, limner.journal)


@router.post("/{name}/reset")
async def reset_provider(name: str, limner: Running) -> ProviderHealth:
    """Say that a provider is mended: the jobs that waited for it start at once. Doing it again
    changes nothing."""
    await reset(name, limner.providers, limner.journal)
    found = await provider_health(limner.providers, limner.journal)
    return next(one for one in found.providers if one.name == name)
