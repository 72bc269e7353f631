"""`limner webhooks`: register endpoints, change them, look at what was sent, send it again."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from rich.table import Table
from rich.text import Text

from pipeline.cli.output import Output, clean, counted, facts
from pipeline.cli.reach import Place
from pipeline.cli.start import WrongUsage, checked
from schemas.webhooks import (
    DeliveryFilters,
    DeliveryResponse,
    DeliveryStatus,
    RotationRequest,
    WebhookRequest,
    WebhookResponse,
    WebhookUpdate,
    WebhookWithSecretResponse,
)

STYLES = {
    "enabled": "green", "failing": "yellow", "disabled": "red",
    "delivered": "green", "pending": "yellow", "sending": "cyan", "failed": "red",
}  # fmt: skip
LATER = "No server runs: the next `limner serve` sends it."


async def run_add(place: Place, out: Output, *, asked: Mapping[str, Any]) -> int:
    wanted = checked(WebhookRequest, _given(asked))
    async with place.reached(creates=True) as reached:
        told = await reached.client.add_webhook(wanted.model_dump(mode="json"))
    _show_secret(out, told)
    return 0


async def run_rotate(
    place: Place, out: Output, *, webhook_id: str, overlap_seconds: int | None
) -> int:
    wanted = _parsed(webhook_id)
    asked = checked(RotationRequest, _given({"overlap_seconds": overlap_seconds}))
    async with place.reached() as reached:
        told = await reached.client.rotate_secret(wanted, asked.model_dump(mode="json"))
    _show_secret(out, told)
    return 0


async def run_list(place: Place, out: Output) -> int:
    async with place.reached() as reached:
        told = await reached.client.webhooks()
    if out.as_json:
        out.document(told)
    elif out.for_person:
        out.person(_table(told.webhooks) if told.webhooks else Text("There are no webhooks."))
    else:
        for one in told.webhooks:
            counts = one.deliveries
            out.line(one.webhook_id, _health(one), counts.pending, counts.failed, one.url)
    return 0


async def run_show(place: Place, out: Output, *, webhook_id: str) -> int:
    wanted = _parsed(webhook_id)
    async with place.reached() as reached:
        _show(out, await reached.client.webhook(wanted))
    return 0


async def run_enable(place: Place, out: Output, *, webhook_id: str, enabled: bool) -> int:
    wanted = _parsed(webhook_id)
    asked = WebhookUpdate(enabled=enabled).model_dump(mode="json", exclude_unset=True)
    async with place.reached() as reached:
        _show(out, await reached.client.change_webhook(wanted, asked))
    return 0


async def run_remove(place: Place, out: Output, *, webhook_id: str) -> int:
    wanted = _parsed(webhook_id)
    async with place.reached() as reached:
        await reached.client.remove_webhook(wanted)
    if out.as_json:
        out.document({"webhook_id": str(wanted), "removed": True})
    else:
        out.note("Removed. Nothing is sent to it any more.")
    return 0


async def run_deliveries(
    place: Place, out: Output, *, webhook_id: str, filters: Mapping[str, Any]
) -> int:
    wanted = _parsed(webhook_id)
    query = checked(DeliveryFilters, _given(filters)).model_dump(mode="json", exclude_unset=True)
    async with place.reached() as reached:
        page = await reached.client.deliveries(wanted, query)
    if out.as_json:
        out.document(page)
        return 0
    rows = [
        (
            str(one.delivery_id),
            one.status.value,
            str(one.attempts),
            one.type,
            one.subject,
            _last(one),
        )
        for one in page.deliveries
    ]
    if not out.for_person:
        for row in rows:
            out.line(*row)
    elif not rows:
        out.person(Text("There are no such deliveries."))
    else:
        table = _columns("delivery", "status", "attempts", "type", "subject", "last answer")
        for delivery, status, *rest in rows:
            table.add_row(delivery, _styled(status), *map(clean, rest))
        out.person(table)
    if page.next_cursor is not None:
        out.note(f"There are more: --cursor {page.next_cursor}")
    return 0


async def run_redeliver(
    place: Place, out: Output, *, webhook_id: str, delivery_id: str | None
) -> int:
    wanted = _parsed(webhook_id)
    one = _parsed(delivery_id, "delivery") if delivery_id is not None else None
    async with place.reached() as reached:
        if one is not None:
            delivery = await reached.client.redeliver(wanted, one)
            _show_delivery(out, delivery)
            number = 1
        else:
            told = await reached.client.redeliver_failed(wanted)
            number = told.redelivered
            if out.as_json:
                out.document(told)
            else:
                out.note(f"Sent again: {counted(number, 'failed message')}.")
        here = reached.here
    if here and number:
        out.note(LATER)
    return 0


async def run_test(place: Place, out: Output, *, webhook_id: str) -> int:
    wanted = _parsed(webhook_id)
    async with place.reached() as reached:
        delivery = await reached.client.test_webhook(wanted)
    _show_delivery(out, delivery)
    return 0 if delivery.status is DeliveryStatus.DELIVERED else 1


def _given(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def _parsed(text: str, what: str = "webhook") -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise WrongUsage(
            f"{text!r} is no {what} id; `limner webhooks {_WHERE[what]}` shows it"
        ) from None


_WHERE = {"webhook": "list", "delivery": "deliveries"}


def _show_secret(out: Output, told: WebhookWithSecretResponse) -> None:
    if out.as_json:
        out.document(told)
    elif out.for_person:
        out.person(facts([("webhook", told.webhook_id), ("secret", told.secret)]))
        out.note("Keep the secret: it is told only now. Receivers check signatures by it.")
    else:
        out.line(told.webhook_id, told.secret)


def _show(out: Output, webhook: WebhookResponse) -> None:
    if out.as_json:
        out.document(webhook)
        return
    counts = webhook.deliveries
    pairs: list[tuple[str, object]] = [
        ("webhook", webhook.webhook_id),
        ("state", _health(webhook)),
        ("message", webhook.message),
        ("address", webhook.url),
        ("description", webhook.description),
        ("types", ", ".join(webhook.types) or "all"),
        ("blog", webhook.blog_id),
        ("deliveries", f"{counts.pending} pending, {counts.delivered} delivered,"
         f" {counts.failed} failed"),
        ("failing since", _time(webhook.failing_since)),
        ("disabled", _time(webhook.disabled_at)),
        ("secrets", len(webhook.secrets)),
    ]  # fmt: skip
    if out.for_person:
        out.person(facts(pairs))
        return
    for name, value in pairs:
        if value is not None:
            out.line(f"{name}: {clean(value)}")


def _show_delivery(out: Output, delivery: DeliveryResponse) -> None:
    if out.as_json:
        out.document(delivery)
    elif out.for_person:
        out.person(Text.assemble(_styled(delivery.status.value), f": {clean(_last(delivery))}"))
    else:
        out.line(delivery.delivery_id, delivery.status.value, _last(delivery))


def _table(webhooks: list[WebhookResponse]) -> Table:
    table = _columns("webhook", "state", "pending", "failed", "types", "address")
    for one in webhooks:
        table.add_row(
            str(one.webhook_id),
            _styled(_health(one)),
            str(one.deliveries.pending),
            str(one.deliveries.failed),
            ", ".join(one.types) or "all",
            clean(one.url),
        )
    return table


def _columns(*names: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in names:
        table.add_column(name, overflow="fold")
    return table


def _health(webhook: WebhookResponse) -> str:
    if not webhook.enabled:
        return "disabled"
    return "failing" if webhook.failing_since is not None else "enabled"


def _last(delivery: DeliveryResponse) -> str:
    """What came of the last attempt, in words."""
    if not delivery.tries:
        return "not sent yet"
    last = delivery.tries[-1]
    return last.error or f"it answered {last.status} in {last.elapsed_ms} ms"


def _styled(word: str) -> Text:
    return Text(word, style=STYLES.get(word, ""))


def _time(moment: Any) -> str | None:
    return moment.isoformat(timespec="seconds") if moment is not None else None
