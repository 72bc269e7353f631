"""The log of an endpoint: what was sent to it, what is sent again, and a message to try the way."""

from uuid import UUID

from adapters.store import webhook_reads
from pipeline.journal import Journal
from pipeline.webhooks.attempt import Sender
from pipeline.webhooks.endpoints import webhook
from pipeline.webhooks.errors import NoSuchDelivery, NoSuchWebhook, WebhookDisabled
from pipeline.webhooks.rows import (
    SUBSCRIBER,
    delivery_key,
    insert_delivery,
    new_delivery,
    update_delivery,
    webhook_key,
)
from pipeline.webhooks.verdict import ATTEMPTS
from schemas.events import SEQUENCE_DIGITS, CloudEvent
from schemas.step import Look, Step, Writes
from schemas.tables import DeliveryRow, DeliveryState, WebhookRow
from schemas.webhooks import (
    TEST_TYPE,
    DeliveryFilters,
    DeliveryListResponse,
    DeliveryResponse,
    DeliveryStatus,
)

REDELIVERED_AT_ONCE = 200


async def deliveries(
    webhook_id: UUID, filters: DeliveryFilters, *, tenant: str, journal: Journal
) -> DeliveryListResponse:
    """One page of the log, the newest event first."""
    await webhook(webhook_id, tenant=tenant, journal=journal)
    rows = await journal.read(
        webhook_reads.deliveries_page,
        tenant,
        SUBSCRIBER,
        webhook_id,
        before=filters.cursor,
        limit=filters.limit + 1,
        state=filters.state,
    )
    shown = rows[: filters.limit]
    return DeliveryListResponse(
        deliveries=[_response(row) for row in shown],
        next_cursor=shown[-1].event_id if len(rows) > len(shown) else None,
    )


async def redeliver(
    webhook_id: UUID, event_id: UUID, *, tenant: str, journal: Journal
) -> DeliveryResponse:
    """Send a delivery again, whatever became of it, with as many attempts as a new one has."""
    row = await journal.read(webhook_reads.delivery, tenant, SUBSCRIBER, webhook_id, event_id)
    await webhook(webhook_id, tenant=tenant, journal=journal)
    if row is None:
        raise NoSuchDelivery(webhook_id, event_id)
    (again,) = await journal.record(_again(webhook_id, [event_id], tenant, journal))
    return _response(again)


async def redeliver_failed(webhook_id: UUID, *, tenant: str, journal: Journal) -> int:
    """Send again whatever was given up; how many deliveries that are."""
    await webhook(webhook_id, tenant=tenant, journal=journal)
    number, before = 0, None
    while True:
        rows = await journal.read(
            webhook_reads.deliveries_page,
            tenant,
            SUBSCRIBER,
            webhook_id,
            before=before,
            limit=REDELIVERED_AT_ONCE,
            state=DeliveryState.FAILED,
        )
        # Also where nothing has failed: a disabled endpoint is told of in every case.
        ids = [row.event_id for row in rows]
        again = await journal.record(_again(webhook_id, ids, tenant, journal))
        number += len(again)
        if len(rows) < REDELIVERED_AT_ONCE:
            return number
        before = rows[-1].event_id


def _again(
    webhook_id: UUID, event_ids: list[UUID], tenant: str, journal: Journal
) -> Step[list[DeliveryRow]]:
    now = journal.now()
    keys = tuple(delivery_key(webhook_id, event_id) for event_id in event_ids)

    def decide(look: Look, writes: Writes) -> list[DeliveryRow]:
        hook = look.get(WebhookRow, webhook_id)
        if hook is None or hook.tenant != tenant or hook.deleted_at is not None:
            raise NoSuchWebhook(webhook_id)
        if hook.disabled_at is not None:
            raise WebhookDisabled(webhook_id)
        found = []
        for key in keys:
            row = look.get(DeliveryRow, *key.key)
            if row is None:
                continue
            if not row.sending:  # what is on its way just now is not sent a second time
                row = row.changed(
                    state=DeliveryState.PENDING,
                    due_at=now,
                    ended_at=None,
                    attempts_allowed=row.attempts + ATTEMPTS,
                )
                update_delivery(writes, row)
            found.append(row)
        return found

    return Step("redeliver", decide, keys, (webhook_key(webhook_id),))


async def try_out(webhook_id: UUID, *, tenant: str, sender: Sender) -> DeliveryResponse:
    """Send a message that means nothing, once and at once, also to a disabled endpoint.

    Whatever comes of it says nothing of the endpoint's health.
    """
    journal, now = sender.journal, sender.journal.now()
    event = CloudEvent(
        id=sender.ids.new(),
        type=TEST_TYPE,
        subject=str(webhook_id),
        time=now,
        dataschema=f"urn:limner:schema:{TEST_TYPE}:1",
        sequence="1".zfill(SEQUENCE_DIGITS),
        tenant=tenant,
        data={"webhook_id": str(webhook_id), "message": "This is a test. Nothing has happened."},
    )
    row = new_delivery(event, webhook_id, now, attempts_allowed=1)
    # Claimed from the start, so that no courier sends it as well.
    row = row.changed(attempts=1, sending=True, due_at=now + sender.lease)

    def decide(look: Look, writes: Writes) -> WebhookRow:
        hook = look.get(WebhookRow, webhook_id)
        if hook is None or hook.tenant != tenant or hook.deleted_at is not None:
            raise NoSuchWebhook(webhook_id)
        insert_delivery(writes, row)
        return hook

    hook = await journal.record(Step("try_webhook", decide, (), (webhook_key(webhook_id),)))
    tried = await sender.attempt(row, hook)
    return _response(await sender.settle(row, hook, tried, counts=False))


def _response(row: DeliveryRow) -> DeliveryResponse:
    return DeliveryResponse(
        delivery_id=row.event_id,
        type=row.type,
        subject=row.subject,
        status=DeliveryStatus.SENDING if row.sending else DeliveryStatus(row.state.value),
        attempts=row.attempts,
        next_attempt_at=None if row.sending else row.due_at,
        tries=row.tries,
        created_at=row.created_at,
        ended_at=row.ended_at,
    )
