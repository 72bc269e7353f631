"""The ledger: calls that a person has to decide, and what a day has cost."""

from datetime import date
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Path, Query

from pipeline.calls import list_calls, resolve_call
from pipeline.costs import day_costs
from pipeline.routes.dependencies import Running, Tenant
from schemas.ledger import (
    CallFilters,
    CallListResponse,
    DayCostsResponse,
    ResolutionRequest,
    ResolvedCallResponse,
)

router = APIRouter(prefix="/api/v1/images", tags=["costs"])

MOST_ATTEMPTS = 2**31 - 1


@router.get("/calls")
async def list_provider_calls(
    filters: Annotated[CallFilters, Query()], limner: Running, tenant: Tenant
) -> CallListResponse:
    """What providers were asked, and what is known of it; no prompts. `state=unknown` are calls
    whose answer was lost: nobody but the provider knows whether they were charged."""
    return await list_calls(filters, tenant=tenant, journal=limner.journal)


@router.post("/calls/{job_id}/{attempt}/resolve")
async def resolve_provider_call(
    job_id: UUID,
    attempt: Annotated[int, Path(ge=1, le=MOST_ATTEMPTS)],
    found: ResolutionRequest,
    limner: Running,
    tenant: Tenant,
) -> ResolvedCallResponse:
    """Say whether an unknown call was charged. Saying the same again changes nothing; saying
    otherwise is a 409. The job does nothing by itself."""
    return await resolve_call(job_id, attempt, found, tenant=tenant, journal=limner.journal)


@router.get("/costs")
async def get_day_costs(
    limner: Running, tenant: Tenant, day: Annotated[date | None, Query()] = None
) -> DayCostsResponse:
    """What was spent on pictures that were asked for on a day in UTC; today where none is given."""
    return await day_costs(day, tenant=tenant, journal=limner.journal, providers=limner.providers)
