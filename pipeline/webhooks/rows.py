"""Keys of the rows that webhooks are made of, and the first form of a delivery."""

from datetime import datetime
from uuid import UUID

from schemas.events import CloudEvent
from schemas.step import Look, RowKey, Writes
from schemas.tables import (
    DeliveryRow,
    DeliveryState,
    WebhookReaderRow,
    WebhookRow,
)
from schemas.tables.webhooks import THE_READER

# In the key of every delivery to an endpoint; it never changes.
SUBSCRIBER = "webhooks"
READER_KEY = RowKey(WebhookReaderRow, (THE_READER,))


def webhook_key(webhook_id: UUID) -> RowKey:
    return RowKey(WebhookRow, (webhook_id,))


def delivery_key(webhook_id: UUID, event_id: UUID) -> RowKey:
    return RowKey(DeliveryRow, (SUBSCRIBER, webhook_id, event_id))


def insert_delivery(writes: Writes, row: DeliveryRow) -> None:
    writes.insert(row, *delivery_key(row.target_id, row.event_id).key)


def update_delivery(writes: Writes, row: DeliveryRow) -> None:
    writes.update(row, *delivery_key(row.target_id, row.event_id).key)


def new_delivery(
    event: CloudEvent, webhook_id: UUID, now: datetime, *, attempts_allowed: int
) -> DeliveryRow:
    """The message that tells an endpoint of *event*, due at once."""
    return DeliveryRow.of(
        subscriber=SUBSCRIBER,
        target_id=webhook_id,
        event_id=event.id,
        tenant=event.tenant,
        type=event.type,
        subject=event.subject,
        body=event.model_dump_json(),
        state=DeliveryState.PENDING,
        attempts_allowed=attempts_allowed,
        due_at=now,
        created_at=now,
    )


def raise_generation(look: Look, writes: Writes, cursor: str) -> None:
    """Make everybody read anew what endpoints want; *cursor* is where reading begins if ever."""
    reader = look.get(WebhookReaderRow, THE_READER)
    if reader is None:
        writes.insert(WebhookReaderRow.of(id=THE_READER, cursor=cursor, generation=1), THE_READER)
    else:
        writes.update(reader.changed(generation=reader.generation + 1), THE_READER)
