"""What was ever offered to the places of a blog, and what stood in them, without any replay."""

from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
from sqlmodel import Field

from schemas.tables.row import Row


class SlotCandidateRow(Row):
    # A picture belongs to one job, and a job to one place.
    image_id: UUID = Field(primary_key=True)
    tenant: str
    blog_id: str
    role: str
    position: int
    job_id: UUID
    rank: int
    # Sequence of its event within its job.
    seq: int
    # What the request said of the picture; a person's own words stand in the slot.
    alt_text: str | None = None
    caption: str | None = None
    offered_at: datetime


class SlotCandidate(SlotCandidateRow, table=True):
    __tablename__ = "slot_candidates"
    __table_args__ = (sa.Index("slot_candidates_by_blog", "tenant", "blog_id"),)


class SlotChangeRow(Row):
    """One version of a slot in which another picture (or none) came to stand there."""

    tenant: str = Field(primary_key=True)
    blog_id: str = Field(primary_key=True)
    role: str = Field(primary_key=True)
    position: int = Field(primary_key=True)
    version: int = Field(primary_key=True)
    # The event's type.
    change: str
    reason: str | None = None
    image_id: UUID | None = None
    job_id: UUID | None = None
    rank: int = 0
    at: datetime


class SlotChange(SlotChangeRow, table=True):
    __tablename__ = "slot_changes"
