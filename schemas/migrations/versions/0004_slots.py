"""Candidates and history of the places of blogs; only finals stand in them by themselves."""

import json
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from alembic import op
from sqlmodel import UTCDateTime

from schemas.columns import Json

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

DRAFT, FINAL = 1, 2


def upgrade() -> None:
    candidates = op.create_table(
        "slot_candidates",
        sa.Column("image_id", sa.Uuid(), nullable=False),
        sa.Column("tenant", sa.String(), nullable=False),
        sa.Column("blog_id", sa.String(), nullable=False),
        sa.Column("role", sa.String(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("rank", sa.Integer(), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("alt_text", sa.String(), nullable=True),
        sa.Column("caption", sa.String(), nullable=True),
        sa.Column("offered_at", UTCDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("image_id"),
    )
    op.create_index("slot_candidates_by_blog", "slot_candidates", ["tenant", "blog_id"])
    changes = op.create_table(
        "slot_changes",
        sa.Column("tenant", sa.String(), nullable=False),
        sa.Column("blog_id", sa.String(), nullable=False),
        sa.Column("role", sa.String(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("change", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=True),
        sa.Column("image_id", sa.Uuid(), nullable=True),
        sa.Column("job_id", sa.Uuid(), nullable=True),
        sa.Column("rank", sa.Integer(), nullable=False),
        sa.Column("at", UTCDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "blog_id", "role", "position", "version"),
    )
    op.add_column("blog_slots", sa.Column("focal_point", Json, nullable=True))

    # What was offered and what stood there is told by the events until now.
    if rows := list(_offered()):
        op.bulk_insert(candidates, rows)
    if rows := list(_changed()):
        op.bulk_insert(changes, rows)
    # Until now a draft stood in its place; from now on it is its preview. Texts came from the
    # requests, nobody could edit them; they stand with the candidates.
    op.execute("UPDATE blog_slots SET alt_text = NULL, caption = NULL")
    op.execute(
        "UPDATE blog_slots SET image_id = NULL, job_id = NULL, rank = 0, seq = 0"
        f" WHERE rank = {DRAFT}"
    )


_EVENTS = sa.table(
    "events",
    sa.column("tenant", sa.String),
    sa.column("stream_kind", sa.String),
    sa.column("stream_id", sa.String),
    sa.column("seq", sa.Integer),
    sa.column("event_id", sa.Uuid),
    sa.column("type", sa.String),
    sa.column("data", sa.String),
    sa.column("occurred_at", UTCDateTime),
)
_INBOX = sa.table("inbox", sa.column("subscriber", sa.String), sa.column("event_id", sa.Uuid))


def _offered() -> Iterator[dict[str, Any]]:
    """The pictures that blog-linking was told of; the others are still to come."""
    told = (
        sa.select(_EVENTS)
        .join(_INBOX, _INBOX.c.event_id == _EVENTS.c.event_id)
        .where(_EVENTS.c.type == "image.job.completed", _INBOX.c.subscriber == "blog-linking")
    )
    for event in op.get_bind().execute(told).mappings():
        facts = json.loads(event["data"])
        if facts["blog_id"] is None:
            continue
        yield {
            "image_id": UUID(facts["images"][0]["image_id"]),
            "tenant": event["tenant"],
            "blog_id": facts["blog_id"],
            "role": facts["role"],
            "position": facts["position"],
            "job_id": UUID(facts["job_id"]),
            "rank": DRAFT if facts["is_draft"] else FINAL,
            "seq": event["seq"],
            "alt_text": facts["alt_text"],
            "caption": facts["caption"],
            "offered_at": event["occurred_at"],
        }


def _changed() -> Iterator[dict[str, Any]]:
    """The finals that came to stand somewhere."""
    told = sa.select(_EVENTS).where(
        _EVENTS.c.stream_kind == "slot",
        _EVENTS.c.type.in_(["blog.image.linked", "blog.image.replaced"]),
    )
    for event in op.get_bind().execute(told).mappings():
        facts = json.loads(event["data"])
        if facts["is_draft"]:
            continue
        yield {
            "tenant": event["tenant"],
            "blog_id": facts["blog_id"],
            "role": facts["role"],
            "position": facts["position"],
            "version": event["seq"],
            "change": event["type"],
            "reason": None,
            "image_id": UUID(facts["image_id"]),
            "job_id": UUID(facts["job_id"]),
            "rank": FINAL,
            "at": event["occurred_at"],
        }


def downgrade() -> None:
    op.drop_column("blog_slots", "focal_point")
    op.drop_table("slot_changes")
    op.drop_index("slot_candidates_by_blog", "slot_candidates")
    op.drop_table("slot_candidates")
