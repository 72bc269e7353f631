"""Reads of endpoints and of what is on its way to them. Each takes the tenant, save those of the
machinery, which say so. Removed endpoints are not there."""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

import sqlalchemy as sa
from sqlmodel import Session, col, select

from schemas.tables import (
    Delivery,
    DeliveryState,
    Webhook,
    WebhookReader,
)


def webhook(session: Session, tenant: str, webhook_id: UUID) -> Webhook | None:
    return session.exec(
        select(Webhook).where(
            Webhook.id == webhook_id, Webhook.tenant == tenant, col(Webhook.deleted_at).is_(None)
        )
    ).one_or_none()


def webhooks(session: Session, tenant: str) -> Sequence[Webhook]:
    """In the order in which they were registered."""
    return session.exec(
        select(Webhook)
        .where(Webhook.tenant == tenant, col(Webhook.deleted_at).is_(None))
        .order_by(col(Webhook.id))
    ).all()


def delivery(
    session: Session, tenant: str, subscriber: str, target_id: UUID, event_id: UUID
) -> Delivery | None:
    return session.exec(
        select(Delivery).where(
            Delivery.subscriber == subscriber,
            Delivery.target_id == target_id,
            Delivery.event_id == event_id,
            Delivery.tenant == tenant,
        )
    ).one_or_none()


def deliveries_page(
    session: Session,
    tenant: str,
    subscriber: str,
    target_id: UUID,
    *,
    before: UUID | None,
    limit: int,
    state: DeliveryState | None = None,
) -> Sequence[Delivery]:
    """From the newest event to the oldest, those before the event *before*."""
    query = select(Delivery).where(
        Delivery.subscriber == subscriber,
        Delivery.target_id == target_id,
        Delivery.tenant == tenant,
    )
    if before is not None:
        query = query.where(col(Delivery.event_id) < before)
    if state is not None:
        query = query.where(Delivery.state == state)
    return session.exec(query.order_by(col(Delivery.event_id).desc()).limit(limit)).all()


def delivery_counts(
    session: Session, tenant: str, subscriber: str, target_ids: Sequence[UUID]
) -> dict[UUID, Counter[DeliveryState]]:
    """How many deliveries of each target are in each state."""
    found: dict[UUID, Counter[DeliveryState]] = {one: Counter() for one in target_ids}
    rows = session.exec(
        select(Delivery.target_id, Delivery.state, sa.func.count())
        .where(
            Delivery.subscriber == subscriber,
            col(Delivery.target_id).in_(target_ids),
            Delivery.tenant == tenant,
        )
        .group_by(col(Delivery.target_id), col(Delivery.state))
    ).all()
    for target_id, state, number in rows:
        found[target_id][DeliveryState(state)] = number
    return found


# The machinery's reads: they serve every tenant and answer to no caller.


class Listening(NamedTuple):
    """Who is to be told, and how far the history was read for them."""

    reader: WebhookReader | None
    webhooks: Sequence[Webhook]


def listening(session: Session) -> Listening:
    """The enabled endpoints of all tenants: the courier's.

    The reader comes first: an endpoint that is registered between the two is then in the list, and
    the reader's generation betrays it.
    """
    reader = session.exec(select(WebhookReader)).one_or_none()
    enabled = session.exec(
        select(Webhook).where(col(Webhook.disabled_at).is_(None), col(Webhook.deleted_at).is_(None))
    ).all()
    return Listening(reader, enabled)


def due_deliveries(
    session: Session, subscriber: str, room: Mapping[UUID, int], now: datetime
) -> Sequence[Delivery]:
    """Deliveries that are due, the longest due first, of each target as many as it has *room* for.

    All tenants: the courier's. By target, so that one that is slow or far behind delays no other.
    """
    found: list[Delivery] = []
    for target_id, limit in room.items():
        found += session.exec(
            select(Delivery)
            .where(
                Delivery.subscriber == subscriber,
                Delivery.target_id == target_id,
                col(Delivery.due_at) <= now,
            )
            .order_by(col(Delivery.due_at))
            .limit(limit)
        ).all()
    return found


def deliveries_being_sent(session: Session, subscriber: str, limit: int) -> Sequence[Delivery]:
    """Deliveries that some process has, or had, in hand. All tenants: the courier's, at start."""
    return session.exec(
        select(Delivery)
        .where(
            Delivery.subscriber == subscriber,
            col(Delivery.due_at).is_not(None),
            col(Delivery.sending).is_(True),
        )
        .limit(limit)
    ).all()
