"""The job: one request for pictures, its state and everything a worker needs to go on with it."""

from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any, ClassVar
from uuid import UUID

import sqlalchemy as sa
from sqlmodel import Field

from schemas.columns import Json, Money, choice, partial_index
from schemas.tables.row import Row
from states.table import TERMINAL, State


class Waiting(StrEnum):
    """Why a queued job is put off."""

    # Its place in the line of those whom the provider's rate lets through.
    RATE_LIMIT = "rate_limit"
    # The provider asked everybody to wait (Retry-After).
    PAUSED = "provider_paused"
    # The provider takes nothing before a person acts.
    UNUSABLE = "provider_unusable"
    # The provider did not take this very job.
    BUSY = "provider_busy"


_TERMINAL = ", ".join(f"'{state.value}'" for state in sorted(TERMINAL))


class JobRow(Row):
    WRITTEN_ONCE: ClassVar[frozenset[str]] = frozenset(
        {
            "tenant", "kind", "quality", "is_draft", "request", "blog_id", "blog_job_id",
            "batch_id", "role", "position", "draft_job_id", "created_at",
        }
    )  # fmt: skip

    id: UUID = Field(primary_key=True)
    tenant: str
    kind: str
    state: State = Field(sa_type=choice(State, "job_state"))
    version: int
    attempt: int = 1
    retry_count: int = 0
    # Which sending of this attempt; part of the task's name, since names stay reserved.
    dispatch: int = 1
    dispatched_to: str | None = None
    # How often a paid result was taken up again after a death.
    resumes: int = 0
    # How often in a row a free provider's answer was lost.
    lost_calls: int = 0
    wake_at: datetime | None = None
    lease_until: datetime | None = None
    lease_token: str | None = None
    not_before: datetime | None = None
    # Why a queued job is put off (`Waiting`), and since when its provider has been busy.
    waiting: str | None = None
    busy_since: datetime | None = None
    deadline_at: datetime | None = None
    # The last working stage entered; survives completion, failure and cancellation.
    stage: State = Field(sa_type=choice(State, "job_stage"))
    quality: str
    is_draft: bool
    provider: str
    request: dict[str, Any] = Field(sa_type=Json)
    # Who was asked in vain before `provider`, and what differs for it from the request.
    fallback: dict[str, Any] | None = Field(default=None, sa_type=Json)
    warnings: list[str] = Field(default_factory=list, sa_type=Json)
    # Key of the manifest whose bytes are the result; its attempt may be older than the job's.
    staged: str | None = None
    result: dict[str, Any] | None = Field(default=None, sa_type=Json)
    error: dict[str, Any] | None = Field(default=None, sa_type=Json)
    cost: Decimal | None = Field(default=None, sa_type=Money)
    blog_id: str | None = None
    blog_job_id: str | None = None
    batch_id: UUID | None = None
    role: str | None = None
    position: int | None = None
    draft_job_id: UUID | None = None
    final_job_id: UUID | None = None
    created_at: datetime
    queued_at: datetime
    started_at: datetime | None = None
    # When the job came to rest (completed, failed or cancelled); empty while it is open.
    ended_at: datetime | None = None


class Job(JobRow, table=True):
    __tablename__ = "jobs"
    __table_args__ = (
        sa.CheckConstraint("ended_at IS NOT NULL OR wake_at IS NOT NULL", name="job_never_stuck"),
        sa.CheckConstraint(
            f"(ended_at IS NOT NULL) = (state IN ({_TERMINAL}))", name="job_ended_or_open"
        ),
        # The predicate names ended_at and not state: PostgreSQL rewrites every index of a row
        # when an update touches a column that some index, or its predicate, mentions.
        partial_index("jobs_open", "id", where="ended_at IS NULL"),
        sa.Index("jobs_by_tenant", "tenant", "id"),
        partial_index("jobs_by_blog", "tenant", "blog_id", where="blog_id IS NOT NULL"),
        partial_index("jobs_by_batch", "batch_id", where="batch_id IS NOT NULL"),
        partial_index("jobs_waiting", "provider", "id", where="waiting IS NOT NULL"),
        # A page has room for a new version of each of its rows: a group moves neighbours together.
        {"postgresql_with": {"fillfactor": "45"}},
    )
