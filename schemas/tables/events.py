"""Events: the history of every stream, what of it is to be sent, and what consumers did with it."""

from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlmodel import Field

from schemas.columns import GIVEN, Json
from schemas.tables.row import Row


class EventRow(Row):
    # Given by the database; the order in which one reader sees all streams.
    position: int | None = Field(
        default=None,
        primary_key=True,
        sa_type=sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
        sa_column_kwargs=GIVEN,
    )
    # On PostgreSQL positions are given before their commit, so a reader goes by (epoch, xid,
    # position) and waits for older transactions; the epoch rises when a restored database would
    # give transaction ids again. On SQLite, with its one writer, both stay 0.
    epoch: int = Field(default=0, sa_column_kwargs=GIVEN | {"server_default": "0"})
    xid: int = Field(
        default=0, sa_type=sa.BigInteger, sa_column_kwargs=GIVEN | {"server_default": "0"}
    )
    stream_kind: str
    stream_id: str
    seq: int
    event_id: UUID
    tenant: str
    type: str
    blog_id: str | None = None
    batch_id: UUID | None = None
    # JSON, serialised once when the event is made.
    data: str
    occurred_at: datetime


class Event(EventRow, table=True):
    __tablename__ = "events"
    __table_args__ = (
        sa.UniqueConstraint(
            "tenant", "stream_kind", "stream_id", "seq", name="events_one_per_version"
        ),
        sa.Index("events_in_order", "epoch", "xid", "position"),
        {"sqlite_autoincrement": True},
    )


class Outbox(Row, table=True):
    """Events that have yet to leave for the bus; the store adds each that does with its insert.

    A table of its own: a mark on the event would write its row and all of its indexes anew.
    """

    __tablename__ = "outbox"

    event_id: UUID = Field(primary_key=True)
    position: int = Field(sa_type=sa.BigInteger().with_variant(sa.Integer(), "sqlite"))


class InboxRow(Row):
    subscriber: str = Field(primary_key=True)
    event_id: UUID = Field(primary_key=True)
    handled_at: datetime


class Inbox(InboxRow, table=True):
    __tablename__ = "inbox"


class Lineage(Row, table=True):
    """One row: which database this is, so that a reader's cursor is never used on another; and
    whom its schema serves."""

    __tablename__ = "lineage"

    id: int = Field(primary_key=True)
    name: UUID
    epoch: int
    # The oldest revision whose programs may run on the schema as it is.
    serves: str | None = None


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
