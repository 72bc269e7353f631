"""Register, change and remove endpoints, and change their secrets."""

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import structlog

from adapters.errors import AddressRefused, NoReply
from adapters.ports import Ids, Web
from adapters.store import event_reads, webhook_reads
from pipeline.journal import Journal
from pipeline.webhooks.errors import NoSuchWebhook, TooManyWebhooks, UrlRefused
from pipeline.webhooks.rows import READER_KEY, SUBSCRIBER, raise_generation, webhook_key
from pipeline.webhooks.signatures import live_secrets, new_secret, rotated
from schemas.step import Look, Step, Writes
from schemas.tables import DeliveryState, DisabledBecause, WebhookRow
from schemas.webhooks import (
    DeliveryCounts,
    SecretResponse,
    WebhookRequest,
    WebhookResponse,
    WebhookUpdate,
    WebhookWithSecretResponse,
)

log = structlog.get_logger(__name__)

MOST_WEBHOOKS = 100
MESSAGES = {
    DisabledBecause.PERSON: "It was disabled by a person. Enable it to go on.",
    DisabledBecause.GONE: (
        "The endpoint answered 410 Gone, so nothing more is sent to it. If that was a mistake,"
        " mend the address and enable the webhook; what was waiting is sent then."
    ),
    DisabledBecause.FAILING: (
        "No attempt has succeeded for five days, so nothing more is sent to it. Mend the endpoint"
        " and enable the webhook; what was waiting is sent then, and what was given up can be"
        " redelivered."
    ),
}
FAILING = "Attempts fail since {}. The deliveries say why."

# What a change makes of a webhook's row.
Change = Callable[[WebhookRow], WebhookRow]


async def register(
    asked: WebhookRequest, *, tenant: str, journal: Journal, ids: Ids, web: Web
) -> WebhookWithSecretResponse:
    """Tell an endpoint of everything that is committed after this has returned."""
    await _check(asked.url, web)
    if len(await journal.read(webhook_reads.webhooks, tenant)) >= MOST_WEBHOOKS:
        raise TooManyWebhooks(MOST_WEBHOOKS)
    since = str(await journal.read(event_reads.tail))
    now = journal.now()
    secret = new_secret(ids, now)
    row = WebhookRow.of(
        id=ids.new(),
        tenant=tenant,
        url=asked.url,
        description=asked.description,
        types=_names(asked.types),
        blog_id=asked.blog_id,
        secrets=[secret],
        since=since,
        created_at=now,
        updated_at=now,
    )

    def decide(look: Look, writes: Writes) -> None:
        raise_generation(look, writes, since)
        writes.insert(row, row.id)

    await journal.record(Step("register_webhook", decide, (), (READER_KEY,)))
    log.info("webhook_registered", webhook_id=str(row.id), types=row.types)
    return WebhookWithSecretResponse(
        **_response(row, Counter(), now).model_dump(), secret=secret["secret"]
    )


async def webhooks(*, tenant: str, journal: Journal) -> list[WebhookResponse]:
    rows = await journal.read(webhook_reads.webhooks, tenant)
    return await _responses(rows, tenant, journal)


async def webhook(webhook_id: UUID, *, tenant: str, journal: Journal) -> WebhookResponse:
    row = await journal.read(webhook_reads.webhook, tenant, webhook_id)
    if row is None:
        raise NoSuchWebhook(webhook_id)
    (told,) = await _responses([row], tenant, journal)
    return told


async def change(
    webhook_id: UUID, asked: WebhookUpdate, *, tenant: str, journal: Journal, web: Web
) -> WebhookResponse:
    """Change what is named of an endpoint; another address begins with a clean slate."""
    named = asked.named
    await webhook(webhook_id, tenant=tenant, journal=journal)
    if "url" in named:
        await _check(asked.url, web)
    if "types" in named:
        named["types"] = _names(asked.types)
    enabled = named.pop("enabled", None)
    since, now = str(await journal.read(event_reads.tail)), journal.now()

    def changed(row: WebhookRow) -> WebhookRow:
        if named.get("url", row.url) != row.url:
            row = row.changed(failing_since=None, paused_until=None)
        row = row.changed(**named, updated_at=now)
        if enabled is True and row.disabled_at is not None:
            return row.changed(**_ENABLED, since=since)
        if enabled is False and row.disabled_at is None:
            return row.changed(disabled_at=now, disabled_because=DisabledBecause.PERSON)
        return row

    await _write(webhook_id, tenant, changed, since, journal)
    log.info("webhook_changed", webhook_id=str(webhook_id), enabled=enabled)
    return await webhook(webhook_id, tenant=tenant, journal=journal)


_ENABLED: dict[str, Any] = {
    "disabled_at": None,
    "disabled_because": None,
    "failing_since": None,
    "paused_until": None,
}


async def remove(webhook_id: UUID, *, tenant: str, journal: Journal) -> None:
    """Send nothing to an endpoint any more, and forget its secrets."""
    now = journal.now()
    since = str(await journal.read(event_reads.tail))
    await _write(
        webhook_id,
        tenant,
        lambda row: row.changed(deleted_at=now, secrets=[], updated_at=now),
        since,
        journal,
    )
    log.info("webhook_removed", webhook_id=str(webhook_id))


async def rotate(
    webhook_id: UUID, overlap: timedelta, *, tenant: str, journal: Journal, ids: Ids
) -> WebhookWithSecretResponse:
    """Give an endpoint a new secret; the present one signs beside it until *overlap* is over."""
    now = journal.now()
    fresh = new_secret(ids, now)
    since = str(await journal.read(event_reads.tail))
    await _write(
        webhook_id,
        tenant,
        lambda row: row.changed(secrets=rotated(row.secrets, fresh, now, overlap), updated_at=now),
        since,
        journal,
    )
    log.info("webhook_secret_rotated", webhook_id=str(webhook_id))
    told = await webhook(webhook_id, tenant=tenant, journal=journal)
    return WebhookWithSecretResponse(**told.model_dump(), secret=fresh["secret"])


async def _write(
    webhook_id: UUID, tenant: str, changed: Change, since: str, journal: Journal
) -> None:
    key = webhook_key(webhook_id)

    def decide(look: Look, writes: Writes) -> None:
        row = look.get(WebhookRow, webhook_id)
        if row is None or row.tenant != tenant or row.deleted_at is not None:
            raise NoSuchWebhook(webhook_id)
        writes.update(changed(row), webhook_id)
        raise_generation(look, writes, since)

    await journal.record(Step("change_webhook", decide, (key,), (READER_KEY,)))


async def _check(url: str, web: Web) -> None:
    try:
        await web.check(url)
    except (AddressRefused, NoReply) as exc:
        raise UrlRefused(str(exc)) from exc


def _names(types: Sequence[str]) -> list[str]:
    return sorted({str(one) for one in types})


async def _responses(
    rows: Sequence[WebhookRow], tenant: str, journal: Journal
) -> list[WebhookResponse]:
    targets = [row.id for row in rows]
    counts = await journal.read(webhook_reads.delivery_counts, tenant, SUBSCRIBER, targets)
    now = journal.now()
    return [_response(row, counts[row.id], now) for row in rows]


def _response(row: WebhookRow, counts: Counter[DeliveryState], now: datetime) -> WebhookResponse:
    return WebhookResponse(
        webhook_id=row.id,
        **{name: getattr(row, name) for name in _TOLD},
        enabled=row.disabled_at is None,
        message=_message(row),
        paused_until=_to_come(row.paused_until, now),
        secrets=[
            SecretResponse(created_at=one["created_at"], ends_at=one["ends_at"])
            for one in live_secrets(row.secrets, now)
        ],
        deliveries=DeliveryCounts(**{state.value: counts[state] for state in DeliveryState}),
    )


_TOLD = (
    "url", "types", "blog_id", "description", "disabled_at", "disabled_because", "failing_since",
    "created_at", "updated_at",
)  # fmt: skip


def _to_come(moment: datetime | None, now: datetime) -> datetime | None:
    return moment if moment is not None and moment > now else None


def _message(row: WebhookRow) -> str | None:
    if row.disabled_because is not None:
        return MESSAGES[row.disabled_because]
    if row.failing_since is not None:
        return FAILING.format(row.failing_since.isoformat(timespec="seconds"))
    return None
