"""Batches, and what was decided about drafts: which final was bought, or why none was."""

from datetime import datetime
from enum import StrEnum
from typing import ClassVar
from uuid import UUID

import sqlalchemy as sa
from sqlmodel import Field

from schemas.columns import choice
from schemas.requests import Approval, Workflow
from schemas.tables.row import Row


class Decision(StrEnum):
    APPROVED = "approved"
    REJECTED = "rejected"
    BLOCKED = "blocked"


class DecidedBy(StrEnum):
    AUTOMATIC = "automatic"
    PERSON = "person"
    LINK = "link"


class BatchRow(Row):
    """A stream. Its numbers change in the commits that move its jobs or decide its drafts."""

    WRITTEN_ONCE: ClassVar[frozenset[str]] = frozenset(
        {
            "tenant", "workflow", "approval", "final_quality", "blog_id", "blog_job_id",
            "created_at",
        }
    )  # fmt: skip

    id: UUID = Field(primary_key=True)
    tenant: str
    version: int
    workflow: Workflow = Field(sa_type=choice(Workflow, "batch_workflow"))
    approval: Approval = Field(sa_type=choice(Approval, "batch_approval"))
    final_quality: str
    blog_id: str | None = None
    blog_job_id: str | None = None
    # All jobs are drafts or finals; all are open, completed, failed or cancelled.
    drafts: int = 0
    finals: int = 0
    open: int = 0
    completed: int = 0
    failed: int = 0
    cancelled: int = 0
    # Completed drafts, by the latest decision about each.
    undecided: int = 0
    approved: int = 0
    rejected: int = 0
    blocked: int = 0
    created_at: datetime
    cancelled_at: datetime | None = None
    # When the batch came to owe nothing; empty while it owes something.
    ended_at: datetime | None = None

    @property
    def awaits_promotion(self) -> bool:
        """Whether completed drafts get their finals without being asked for."""
        return self.approval is Approval.AUTOMATIC and self.cancelled_at is None

    @property
    def owed(self) -> int:
        """Jobs that are not at rest, and drafts whose automatic promotion is undecided."""
        return self.open + (self.undecided if self.awaits_promotion else 0)


class Batch(BatchRow, table=True):
    __tablename__ = "batches"
    __table_args__ = (
        sa.CheckConstraint(
            "(ended_at IS NOT NULL) = (open = 0 AND (undecided = 0 OR approval = 'required'"
            " OR cancelled_at IS NOT NULL))",
            name="batch_ended_or_owing",
        ),
        sa.CheckConstraint(
            "drafts + finals = open + completed + failed + cancelled", name="batch_jobs_add_up"
        ),
        sa.CheckConstraint(
            "drafts >= 0 AND finals >= 0 AND open >= 0 AND completed >= 0 AND failed >= 0"
            " AND cancelled >= 0 AND undecided >= 0 AND approved >= 0 AND rejected >= 0"
            " AND blocked >= 0",
            name="batch_counts_are_counts",
        ),
        sa.Index("batches_by_tenant", "tenant", "id"),
    )


class PromotionRow(Row):
    """One decision about a draft. The key settles every race: one decision a generation."""

    draft_job_id: UUID = Field(primary_key=True)
    # 1 is the first decision; a later one follows a blocked promotion or a lost final.
    generation: int = Field(primary_key=True)
    tenant: str
    decision: Decision = Field(sa_type=choice(Decision, "promotion_decision"))
    decided_by: DecidedBy = Field(sa_type=choice(DecidedBy, "promotion_decided_by"))
    final_job_id: UUID | None = None
    # Why it was rejected or blocked.
    reason: str | None = None
    decided_at: datetime


class Promotion(PromotionRow, table=True):
    __tablename__ = "promotions"
    __table_args__ = (
        sa.CheckConstraint(
            "(final_job_id IS NOT NULL) = (decision = 'approved')", name="promotion_has_its_final"
        ),
    )
