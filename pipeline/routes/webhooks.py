"""Webhooks: endpoints of callers that are told of events, and the log of what was sent."""

from datetime import timedelta
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Response

from pipeline.routes.dependencies import Running, Tenant
from pipeline.webhooks import deliveries, endpoints
from schemas.webhooks import (
    DeliveryFilters,
    DeliveryListResponse,
    DeliveryResponse,
    RedeliveryResponse,
    RotationRequest,
    WebhookListResponse,
    WebhookRequest,
    WebhookResponse,
    WebhookUpdate,
    WebhookWithSecretResponse,
)

router = APIRouter(prefix="/api/v1/webhooks", tags=["webhooks"])
ONE = "/{webhook_id}"


@router.post("", status_code=201)
async def register_webhook(
    asked: WebhookRequest, limner: Running, tenant: Tenant
) -> WebhookWithSecretResponse:
    """Have every event that is committed from now on sent to an address, signed (Standard
    Webhooks). The reply holds the secret; it is told only once."""
    told = await endpoints.register(
        asked, tenant=tenant, journal=limner.journal, ids=limner.ids, web=limner.web
    )
    limner.courier.wake()
    return told


@router.get("")
async def list_webhooks(limner: Running, tenant: Tenant) -> WebhookListResponse:
    """All webhooks, those first that were registered first."""
    return WebhookListResponse(
        webhooks=await endpoints.webhooks(tenant=tenant, journal=limner.journal)
    )


@router.get(ONE)
async def get_webhook(webhook_id: UUID, limner: Running, tenant: Tenant) -> WebhookResponse:
    """One webhook: what it is told of, how it does, and why it is disabled if it is."""
    return await endpoints.webhook(webhook_id, tenant=tenant, journal=limner.journal)


@router.patch(ONE)
async def change_webhook(
    webhook_id: UUID, asked: WebhookUpdate, limner: Running, tenant: Tenant
) -> WebhookResponse:
    """Change what is named. Enabling sends what was waiting; what happened while the webhook was
    disabled is not sent."""
    told = await endpoints.change(
        webhook_id, asked, tenant=tenant, journal=limner.journal, web=limner.web
    )
    limner.courier.wake()
    return told


@router.delete(ONE, status_code=204, response_class=Response)
async def remove_webhook(webhook_id: UUID, limner: Running, tenant: Tenant) -> None:
    """Send nothing to the endpoint any more, and forget its secrets."""
    await endpoints.remove(webhook_id, tenant=tenant, journal=limner.journal)


@router.post(ONE + "/secret")
async def rotate_webhook_secret(
    webhook_id: UUID, limner: Running, tenant: Tenant, asked: RotationRequest | None = None
) -> WebhookWithSecretResponse:
    """Make a new secret. The present one signs as well for `overlap_seconds`, so that a receiver
    has time to change; one that was before it ends at once."""
    overlap = timedelta(seconds=(asked or RotationRequest()).overlap_seconds)
    return await endpoints.rotate(
        webhook_id, overlap, tenant=tenant, journal=limner.journal, ids=limner.ids
    )


@router.post(ONE + "/test")
async def test_webhook(webhook_id: UUID, limner: Running, tenant: Tenant) -> DeliveryResponse:
    """Send a message that means nothing (`limner.webhook.test`), once, and say what came of it."""
    return await deliveries.try_out(webhook_id, tenant=tenant, sender=limner.courier.sender)


@router.get(ONE + "/deliveries")
async def list_deliveries(
    webhook_id: UUID, filters: Annotated[DeliveryFilters, Query()], limner: Running, tenant: Tenant
) -> DeliveryListResponse:
    """What was sent, the newest event first, with the last attempts of each."""
    return await deliveries.deliveries(webhook_id, filters, tenant=tenant, journal=limner.journal)


@router.post(ONE + "/deliveries/{delivery_id}/redeliver", status_code=202)
async def redeliver(
    webhook_id: UUID, delivery_id: UUID, limner: Running, tenant: Tenant
) -> DeliveryResponse:
    """Send one delivery again, whatever became of it, under the same `webhook-id`."""
    told = await deliveries.redeliver(
        webhook_id, delivery_id, tenant=tenant, journal=limner.journal
    )
    limner.courier.wake()
    return told


@router.post(ONE + "/deliveries/redeliver", status_code=202)
async def redeliver_failed(webhook_id: UUID, limner: Running, tenant: Tenant) -> RedeliveryResponse:
    """Send again every delivery that was given up."""
    number = await deliveries.redeliver_failed(webhook_id, tenant=tenant, journal=limner.journal)
    limner.courier.wake()
    return RedeliveryResponse(redelivered=number)
