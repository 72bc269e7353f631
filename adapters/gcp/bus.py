"""Pub/Sub: without it no event of this profile would reach a subscriber."""

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any

import structlog
from google.api_core.exceptions import GoogleAPICallError, InvalidArgument
from google.auth.exceptions import GoogleAuthError
from google.pubsub_v1 import PublisherAsyncClient
from google.pubsub_v1.types import PublishRequest, PubsubMessage

from adapters.errors import BusUnavailable
from adapters.traces import event_traceparent
from schemas.events import CloudEvent, cloud_event
from schemas.tables import EventRow

log = structlog.get_logger()

# One request is taken or refused as a whole, so a smaller one takes fewer others along.
MOST_MESSAGES = 100
MOST_BYTES = 1_000_000
MEDIA_TYPE = "application/cloudevents+json"
# What a subscription may filter by, beside the event's own type, tenant and sequence.
FROM_DATA = ("is_draft", "blog_id", "quality")


class PubSubBus:
    """Publishes what has piled up, at once and without a timer; subscribers are elsewhere."""

    def __init__(
        self, client: PublisherAsyncClient, *, topic_path: str, call_seconds: float
    ) -> None:
        self._client = client
        self._topic = topic_path
        self._call_seconds = call_seconds

    wanted = None  # Pub/Sub alone knows who has subscribed to what

    async def publish(self, events: Sequence[EventRow]) -> list[Exception | None]:
        answers: list[Exception | None] = [None] * len(events)
        messages: list[tuple[int, PubsubMessage]] = []
        for number, event in enumerate(events):
            try:
                messages.append((number, message_of(cloud_event(event))))
            except ValueError as error:  # one that cannot travel holds up no other
                log.error("event_unpublishable", event_id=str(event.event_id), exc_info=error)
                answers[number] = error
        requests = [self._send(part, answers) for part in _parts(messages)]
        await asyncio.gather(*requests)
        return answers

    async def drain(self, timeout_seconds: float) -> None:
        """Nothing waits here."""

    async def _send(
        self, part: Sequence[tuple[int, PubsubMessage]], answers: list[Exception | None]
    ) -> None:
        """Publish *part* in one request, and note at its places why it did not leave."""
        request = PublishRequest(topic=self._topic, messages=[message for _, message in part])
        try:
            # Not repeated here: the sweep offers again what did not leave.
            await self._client.publish(request, retry=None, timeout=self._call_seconds)
        except InvalidArgument as exc:
            if len(part) > 1:  # one bad message must hurt nobody else
                half = len(part) // 2
                await asyncio.gather(
                    self._send(part[:half], answers), self._send(part[half:], answers)
                )
                return
            log.error("event_unpublishable", place=part[0][0], error=str(exc))
            answers[part[0][0]] = BusUnavailable(f"Pub/Sub refuses the event: {exc}")
        except (GoogleAPICallError, GoogleAuthError) as exc:
            for number, _ in part:
                answers[number] = BusUnavailable(f"Pub/Sub: {type(exc).__name__}: {exc}")


def message_of(event: CloudEvent) -> PubsubMessage:
    """*event* as a message: CloudEvents in structured mode, and attributes for filters."""
    attributes = {
        "content-type": MEDIA_TYPE,
        "type": event.type,
        "tenant": event.tenant,
        "sequence": event.sequence,
        "traceparent": event_traceparent(event),
    }
    for name in FROM_DATA:
        value = event.data.get(name)
        if value is not None:
            attributes[name] = _text(value)
    return PubsubMessage(data=event.model_dump_json().encode(), attributes=attributes)


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _parts(
    messages: Iterable[tuple[int, PubsubMessage]],
) -> Iterable[list[tuple[int, PubsubMessage]]]:
    part: list[tuple[int, PubsubMessage]] = []
    size = 0
    for number, message in messages:
        length = len(message.data) + sum(len(k) + len(v) for k, v in message.attributes.items())
        if part and (len(part) == MOST_MESSAGES or size + length > MOST_BYTES):
            yield part
            part, size = [], 0
        part.append((number, message))
        size += length
    if part:
        yield part
