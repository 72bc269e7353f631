"""Pictures that jobs produced, and the places in blogs where they stand."""

from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlmodel import Field

from schemas.columns import Json
from schemas.tables.row import Row


class ImageRow(Row):
    id: UUID = Field(primary_key=True)
    tenant: str
    job_id: UUID
    index: int
    # Object key, relative to the bucket.
    key: str
    content_type: str
    width: int
    height: int
    size_bytes: int
    sha256: str
    # [{name, key, content_type, width, height, size_bytes, sha256}], narrowest first
    variants: list[dict[str, Any]] = Field(default_factory=list, sa_type=Json)
    created_at: datetime
    # A deleted picture keeps its row, so that its job's history stays whole; its bytes are gone.
    deleted_at: datetime | None = None


class Image(ImageRow, table=True):
    __tablename__ = "images"
    __table_args__ = (sa.UniqueConstraint("job_id", "index", name="images_one_per_place"),)


class BlogRow(Row):
    tenant: str = Field(primary_key=True)
    blog_id: str = Field(primary_key=True)
    # The highest inline position given so far; the next one is allocated under this row's lock.
    last_inline: int = 0
    # Whether a draft was ever asked for: if none was, a final has none to look for.
    has_drafts: bool = False
    deleted_at: datetime | None = None
    # Since when nothing of the post may be removed for its age.
    held_since: datetime | None = None


class Blog(BlogRow, table=True):
    __tablename__ = "blogs"


class BlogSlotRow(Row):
    tenant: str = Field(primary_key=True)
    blog_id: str = Field(primary_key=True)
    role: str = Field(primary_key=True)
    position: int = Field(primary_key=True)
    version: int
    # What stands here. Empty until a final does: drafts are candidates only.
    image_id: UUID | None = None
    job_id: UUID | None = None
    # Rank of what stands here (final over draft) and its event's sequence within its job.
    rank: int = 0
    seq: int = 0
    # Only jobs requested later than this one may fill the slot (set by rollback and unlink).
    floor_job_id: UUID | None = None
    # As a person wrote them; empty: what the requests said, which stands with the candidates.
    alt_text: str | None = None
    caption: str | None = None
    # {x, y}, each 0 … 1 from the left and the top: what must stay in sight when it is cropped.
    focal_point: dict[str, float] | None = Field(default=None, sa_type=Json)
    updated_at: datetime


class BlogSlot(BlogSlotRow, table=True):
    __tablename__ = "blog_slots"
