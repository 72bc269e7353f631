"""Events: the history of every stream and the outbox in one; and what consumers did with them."""

from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlmodel import Field

from schemas.columns import Json, partial_index
from schemas.tables.row import Row


class EventRow(Row):
    # Given by the database; the order in which one reader sees all streams.
    position: int | None = Field(
        default=None,
        primary_key=True,
        sa_type=sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
    )
    stream_kind: str
    stream_id: str
    seq: int
    event_id: UUID
    tenant: str
    type: str
    blog_id: str | None = None
    # JSON, serialised once when the event is made.
    data: str
    occurred_at: datetime
    published_at: datetime | None = None


class Event(EventRow, table=True):
    __tablename__ = "events"
    __table_args__ = (
        sa.UniqueConstraint(
            "tenant", "stream_kind", "stream_id", "seq", name="events_one_per_version"
        ),
        partial_index("events_unpublished", "occurred_at", where="published_at IS NULL"),
        {"sqlite_autoincrement": True},
    )


class InboxRow(Row):
    subscriber: str = Field(primary_key=True)
    event_id: UUID = Field(primary_key=True)
    handled_at: datetime


class Inbox(InboxRow, table=True):
    __tablename__ = "inbox"


class DeadLetterRow(Row):
    subscriber: str = Field(primary_key=True)
    event_id: UUID = Field(primary_key=True)
    tenant: str
    failures: int
    error: str
    # The event as it travelled (CloudEvents JSON), so that a redrive needs nothing else.
    event: dict[str, Any] = Field(sa_type=Json)
    quarantined_at: datetime


class DeadLetter(DeadLetterRow, table=True):
    __tablename__ = "dead_letters"
