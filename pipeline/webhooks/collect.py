"""Make deliveries of what has happened: the history is read in order, once for all endpoints.

How far it was read is a row, and moves in the commit that stores the deliveries: whatever dies,
no event is left out and none is taken twice. Nothing of a job waits for this, and while no endpoint
is enabled nothing of it is done.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import NamedTuple

import structlog

from adapters.store import event_reads, webhook_reads
from adapters.store.webhook_reads import Listening
from pipeline.journal import Journal
from pipeline.webhooks.rows import READER_KEY, insert_delivery, new_delivery
from pipeline.webhooks.verdict import ATTEMPTS
from schemas.cursors import EventCursor, Place
from schemas.events import cloud_event
from schemas.step import Look, Lost, Step, Writes
from schemas.tables import DeliveryRow, EventRow, Webhook, WebhookReaderRow, WebhookRow
from schemas.tables.webhooks import THE_READER

log = structlog.get_logger(__name__)

PAGE = 200


class ReadElsewhere(Lost):
    """Another process has read on, or an endpoint has changed: look again."""


class Collected(NamedTuple):
    """The enabled endpoints, and whether there may be more to read."""

    webhooks: Sequence[Webhook]
    more: bool


async def collect(journal: Journal) -> Collected:
    """Read one page of the history and store what it brings for each endpoint."""
    listening = await journal.read(webhook_reads.listening)
    if listening.reader is None or not listening.webhooks:
        return Collected(listening.webhooks, more=False)
    begin = _beginning(listening)
    events, end = await journal.read(event_reads.events_after, begin, PAGE)
    if not events:
        return Collected(listening.webhooks, more=False)
    found = list(_deliveries(events, listening.webhooks, journal.now()))
    try:
        await journal.record(_read_on(listening.reader, str(end), found))
    except ReadElsewhere:
        return Collected(listening.webhooks, more=True)
    return Collected(listening.webhooks, more=len(events) == PAGE)


def _beginning(listening: Listening) -> EventCursor:
    """Where to read on. What happened while no endpoint was enabled interests nobody."""
    assert listening.reader is not None
    wanted = min((_cursor(one.since) for one in listening.webhooks), key=_place)
    return max(_cursor(listening.reader.cursor), wanted, key=_place)


def _deliveries(
    events: Sequence[EventRow], webhooks: Sequence[Webhook], now: datetime
) -> Iterator[DeliveryRow]:
    begins = [(one, _cursor(one.since).place) for one in webhooks]
    for event in events:
        wanting = [one for one, since in begins if Place.of(event) > since and wants(one, event)]
        if not wanting:
            continue
        try:
            travelling = cloud_event(event)
        except ValueError as exc:  # one that cannot travel holds up no other
            log.error("event_unpublishable", event_id=str(event.event_id), exc_info=exc)
            continue
        for one in wanting:
            yield new_delivery(travelling, one.id, now, attempts_allowed=ATTEMPTS)


def wants(webhook: WebhookRow, event: EventRow) -> bool:
    return (
        webhook.tenant == event.tenant
        and (not webhook.types or event.type in webhook.types)
        and (webhook.blog_id is None or webhook.blog_id == event.blog_id)
    )


def _read_on(seen: WebhookReaderRow, cursor: str, found: Sequence[DeliveryRow]) -> Step[None]:
    def decide(look: Look, writes: Writes) -> None:
        reader = look.get(WebhookReaderRow, THE_READER)
        if reader is None or (reader.cursor, reader.generation) != (seen.cursor, seen.generation):
            raise ReadElsewhere
        writes.update(reader.changed(cursor=cursor), THE_READER)
        for row in found:
            insert_delivery(writes, row)

    return Step("collect_deliveries", decide, (READER_KEY,))


def _cursor(text: str) -> EventCursor:
    found = EventCursor.parse(text)
    assert found is not None, "cursors are stored as they were given"
    return found


def _place(cursor: EventCursor) -> Place:
    return cursor.place
