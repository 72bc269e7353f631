"""Endpoints that are told of events, and the messages that are on their way to them."""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlmodel import Field

from schemas.columns import Json, choice, partial_index
from schemas.tables.row import Row

THE_READER = 1


class DisabledBecause(StrEnum):
    """Why nothing is sent to an endpoint."""

    PERSON = "person"
    GONE = "gone"
    FAILING = "failing"


class WebhookRow(Row):
    id: UUID = Field(primary_key=True)
    tenant: str
    # Addresses may carry tokens, so neither they nor the secrets are shown with the row.
    url: str = Field(repr=False)
    description: str | None = None
    # Which events: all of them where a part is empty.
    types: list[str] = Field(default_factory=list, sa_type=Json)
    blog_id: str | None = None
    # [{secret, created_at, ends_at}], the newest first. As they are: signing needs them.
    secrets: list[dict[str, Any]] = Field(sa_type=Json, repr=False)
    # Where in the history its events begin: an `EventCursor`.
    since: str
    created_at: datetime
    updated_at: datetime
    # Since when no attempt has succeeded; empty while they do.
    failing_since: datetime | None = None
    # The endpoint asked for patience (Retry-After).
    paused_until: datetime | None = None
    disabled_at: datetime | None = None
    disabled_because: DisabledBecause | None = Field(
        default=None, sa_type=choice(DisabledBecause, "webhook_disabled_because")
    )
    # A removed endpoint keeps its row for what is on its way to it; its secrets are gone.
    deleted_at: datetime | None = None


class Webhook(WebhookRow, table=True):
    __tablename__ = "webhooks"
    __table_args__ = (
        sa.CheckConstraint(
            "(disabled_at IS NOT NULL) = (disabled_because IS NOT NULL)",
            name="webhook_disabled_for_a_reason",
        ),
        sa.Index("webhooks_by_tenant", "tenant", "id"),
    )


class WebhookReaderRow(Row):
    """One row: how far the history was read for all endpoints."""

    id: int = Field(primary_key=True)
    # An `EventCursor`.
    cursor: str
    # Rises with every change of what some endpoint wants, so that nobody reads on with an old list.
    generation: int


class WebhookReader(WebhookReaderRow, table=True):
    __tablename__ = "webhook_reader"


class DeliveryState(StrEnum):
    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"


class DeliveryRow(Row):
    """An event's effect outside of the database. Its key is the inbox: one a target and event."""

    # Who makes the effect, and where.
    subscriber: str = Field(primary_key=True)
    target_id: UUID = Field(primary_key=True)
    # Also the marker by which the other side knows a message that comes again.
    event_id: UUID = Field(primary_key=True)
    tenant: str
    type: str
    # Of the event: what it is about.
    subject: str
    # What is sent, to the byte.
    body: str = Field(repr=False)
    state: DeliveryState = Field(sa_type=choice(DeliveryState, "delivery_state"))
    # Attempts so far; whoever sends holds its number. Given up when all that are allowed were made.
    attempts: int = 0
    attempts_allowed: int
    # When somebody looks at it next; while it is being sent, when its sender is given up for dead.
    due_at: datetime | None = None
    sending: bool = False
    # The last attempts: [{attempt, at, status, error, elapsed_ms}]
    tries: list[dict[str, Any]] = Field(default_factory=list, sa_type=Json)
    created_at: datetime
    ended_at: datetime | None = None


class Delivery(DeliveryRow, table=True):
    __tablename__ = "deliveries"
    __table_args__ = (
        sa.CheckConstraint(
            "(due_at IS NOT NULL) = (state = 'pending')", name="delivery_pending_or_ended"
        ),
        sa.CheckConstraint(
            "(ended_at IS NULL) = (state = 'pending')", name="delivery_ended_or_pending"
        ),
        partial_index("deliveries_due", "target_id", "due_at", where="due_at IS NOT NULL"),
    )
