"""What all processes know of a provider's key: how fast it is asked, its pause, its circuit."""

from datetime import datetime
from enum import StrEnum
from uuid import UUID

import sqlalchemy as sa
from sqlmodel import Field

from schemas.columns import Json, choice
from schemas.tables.row import Row


class Circuit(StrEnum):
    CLOSED = "closed"
    # Nothing starts before `retry_at`.
    OPEN = "open"
    # One job tries it; where it is not back by `retry_at`, another one does.
    HALF_OPEN = "half_open"


class ProviderRow(Row):
    """A stream; its versions tell of models that are gone, all else changes without an event."""

    provider: str = Field(primary_key=True)
    # A short digest of the API key: two keys have two rows.
    fingerprint: str = Field(primary_key=True)
    # 0 is the row without an event.
    version: int = 0
    # The generic cell rate's arrival time of the next start, and what it will be once all who
    # stand in line have started.
    spent_until: datetime | None = None
    line_until: datetime | None = None
    # The provider asked for it (Retry-After).
    paused_until: datetime | None = None
    circuit: Circuit = Field(default=Circuit.CLOSED, sa_type=choice(Circuit, "provider_circuit"))
    # Why it is open: a word for programs, and the provider's own.
    reason: str | None = None
    detail: str | None = None
    opened_at: datetime | None = None
    retry_at: datetime | None = None
    closed_at: datetime | None = None
    # How often in a row it was found unusable.
    failures: int = 0
    probe_job_id: UUID | None = None
    # Models that the provider has given up, each with the time at which it said so (ISO 8601).
    retired: dict[str, str] = Field(default_factory=dict, sa_type=Json)


class Provider(ProviderRow, table=True):
    __tablename__ = "providers"
    __table_args__ = (
        sa.CheckConstraint(
            "(circuit = 'closed') = (retry_at IS NULL) AND (circuit = 'closed') ="
            " (opened_at IS NULL) AND (circuit = 'half_open') = (probe_job_id IS NOT NULL)",
            name="provider_circuit_is_whole",
        ),
    )
