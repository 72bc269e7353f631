"""The ledger: one row for each call that may cost money, written before the call is made."""

from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from uuid import UUID

import sqlalchemy as sa
from sqlmodel import Field

from schemas.columns import Money, choice, partial_index
from schemas.tables.row import Row


class CallState(StrEnum):
    INTENT = "intent"
    ACCEPTED = "accepted"
    ANSWERED = "answered"
    NOT_CHARGED = "not_charged"
    REFUSED = "refused"
    UNKNOWN = "unknown"


OPEN_CALLS = frozenset({CallState.INTENT, CallState.ACCEPTED})


class ProviderCallRow(Row):
    job_id: UUID = Field(primary_key=True)
    attempt: int = Field(primary_key=True)
    tenant: str
    provider: str
    model: str
    state: CallState = Field(sa_type=choice(CallState, "call_state"))
    lease_token: str
    provider_ref: str | None = None
    # What the call costs if it was charged (USD, from the price book); None = unknown, never 0.
    amount: Decimal | None = Field(default=None, sa_type=Money)
    # Version of the price book that says so.
    price_book: str | None = None
    # The day (UTC, 2026-01-31) on whose budgets it counts: that of its hold, else of the call.
    day: str
    # What budgets hold for it once its job does not any more, and which of them do.
    held: Decimal | None = Field(default=None, sa_type=Money)
    held_in: int | None = None
    # A paid result that no job took: kept, booked, shown.
    surplus: bool = False
    detail: str | None = None
    due_at: datetime | None = None
    created_at: datetime
    settled_at: datetime | None = None
    # When a person said what became of a call whose outcome was unknown.
    resolved_at: datetime | None = None


_OPEN = ", ".join(f"'{state.value}'" for state in sorted(OPEN_CALLS))


class ProviderCall(ProviderCallRow, table=True):
    __tablename__ = "provider_calls"
    __table_args__ = (
        sa.CheckConstraint(
            f"(due_at IS NOT NULL) = (state IN ({_OPEN}))", name="call_open_or_settled"
        ),
        partial_index("provider_calls_due", "due_at", where="due_at IS NOT NULL"),
        partial_index("provider_calls_unknown", "tenant", "job_id", where="state = 'unknown'"),
        # Calls lie in the order of their time, so that a summary of each range of pages will do.
        sa.Index("provider_calls_by_day", "created_at", postgresql_using="brin"),
    )
