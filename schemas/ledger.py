"""What is asked and told of the ledger: calls whose outcome is unknown, and the costs of a day."""

from datetime import date, datetime
from typing import Annotated, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from schemas.replies import Exact
from schemas.requests import MAX_PAGE, Dollars, OnUnknown, Quality
from schemas.tables.calls import CallState
from states.table import ImageJobStatus

# JOB_ID/ATTEMPT, as a page's `next_cursor` tells it.
CURSOR_PATTERN = r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/[1-9][0-9]{0,8}$"


class CallFilters(BaseModel):
    """The query of `GET /api/v1/images/calls`."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    state: list[CallState] = []
    """May be given several times; `unknown` are those that a person has to decide."""
    job_id: UUID | None = None
    limit: Annotated[int, Field(ge=1, le=MAX_PAGE)] = 50
    cursor: Annotated[str, StringConstraints(pattern=CURSOR_PATTERN)] | None = None
    """The `next_cursor` of the page before."""

    @property
    def before(self) -> tuple[UUID, int] | None:
        """The last call of the page before."""
        if self.cursor is None:
            return None
        job_id, _, attempt = self.cursor.partition("/")
        return UUID(job_id), int(attempt)


class ResolutionRequest(BaseModel):
    """What a person found out at the provider about a call whose outcome was unknown."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    charged: Annotated[bool, Field(strict=True)]
    amount: Dollars | None = None
    """US dollars, where other than the price list says were charged."""

    @model_validator(mode="after")
    def _amount_of_a_charge(self) -> Self:
        if self.amount is not None and not self.charged:
            raise ValueError("amount belongs to a charge; leave it out, or say charged: true")
        return self


class CallResponse(BaseModel):
    """One call of a provider, as the ledger knows it."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    job_id: UUID
    attempt: int
    state: CallState
    provider: str
    model: str
    amount: Exact | None
    """US dollars that it costs if it was charged; null where nobody knows."""
    asked_at: datetime
    settled_at: datetime | None
    """When it came to be known, or known to be unknown; null while it is open."""
    due_at: datetime | None
    """When an open call is looked at again."""
    resolved_at: datetime | None
    """When a person said what became of it."""
    provider_ref: str | None
    """The provider's own name for it, where it has told one."""
    detail: str | None
    """What is known of it."""
    look_for: str | None
    """Of an unknown call: what to look for in the provider's account."""
    surplus: bool
    job_status: ImageJobStatus
    quality: Quality
    blog_id: str | None
    on_unknown: OnUnknown | None


class CallListResponse(BaseModel):
    """One page of `GET /api/v1/images/calls`, those of the newest jobs first."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    calls: list[CallResponse]
    next_cursor: str | None
    """Give it as `cursor` for the next page; null on the last one."""


class ResolvedCallResponse(CallResponse):
    what_now: str
    """What it means for the job: nothing by itself."""


class ModelCost(BaseModel):
    """What one model of one provider was asked for on a day."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    provider: str
    model: str
    calls: int
    """Calls that were, or may have been, charged."""
    cost_confirmed: Exact
    cost_possible: Exact
    unknown_prices: int
    credits_confirmed: Exact | None
    """The same in the provider's credits, at its present rate; null where it has none."""
    credits_possible: Exact | None


class DayCostsResponse(BaseModel):
    """The reply of `GET /api/v1/images/costs`. Money is text: exact US dollars."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    day: date
    """In UTC. A call counts on the day on which the provider was asked."""
    currency: str = "USD"
    calls: int
    """Calls that were, or may have been, charged."""
    cost_confirmed: Exact
    """US dollars that are known to be charged."""
    cost_possible: Exact
    """US dollars that lost or open calls may add to it, by the price list."""
    unknown_prices: int
    """Calls that were, or may have been, charged at a price nobody knows; in neither sum."""
    by_model: list[ModelCost]
