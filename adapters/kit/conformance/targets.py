"""Where the events go: an address, as a webhook or as Pub/Sub's push, or a function."""

import base64
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Protocol
from urllib.parse import quote

import httpx2

from adapters.kit.signature import sign
from schemas.contract import MEDIA_TYPE

SUBJECT = "{subject}"

# What the subscriber made of a subject, as JSON.
Effects = Callable[[str], Awaitable[Any]]


class Unreachable(Exception):
    """Nobody answers at the address; nothing can be said of the subscriber."""


class Target(Protocol):
    async def deliver(self, body: bytes, event_id: str) -> int:
        """Send one event, or what is none; the HTTP status of the answer."""


class Form(StrEnum):
    WEBHOOK = "webhook"
    PUSH = "push"


@dataclass(frozen=True, slots=True)
class HttpTarget:
    """*url* takes events in *form*; a webhook's are signed where its *secret* is known."""

    http: httpx2.AsyncClient
    url: str
    form: Form = Form.WEBHOOK
    secret: str | None = None
    # The full name of the subscription that pushes.
    subscription: str = "projects/conformance/subscriptions/conformance"
    authorization: str | None = None

    async def deliver(self, body: bytes, event_id: str) -> int:
        headers = {"authorization": self.authorization} if self.authorization else {}
        if self.form is Form.PUSH:
            message = {"data": base64.b64encode(body).decode(), "messageId": event_id}
            envelope = {"message": message, "subscription": self.subscription}
            headers["content-type"] = "application/json"
            return await self.post(json.dumps(envelope).encode(), headers)
        headers["content-type"] = MEDIA_TYPE
        if self.secret is not None:
            headers |= sign(self.secret, event_id, body, datetime.now(UTC))
        return await self.post(body, headers)

    async def post(self, body: bytes, headers: dict[str, str]) -> int:
        try:
            reply = await self.http.post(self.url, content=body, headers=headers)
        except httpx2.ConnectError as exc:
            raise Unreachable(f"nobody answers at {self.url}") from exc
        except httpx2.TransportError:
            # Cut off or out of time: for a sender the same as a failure.
            return 0
        return reply.status_code


def http_effects(http: httpx2.AsyncClient, url: str) -> Effects:
    """Effects as an address tells them; `{subject}` in *url* is the subject."""

    async def effects(subject: str) -> Any:
        address = url.replace(SUBJECT, quote(subject, safe=""))
        try:
            reply = await http.get(address)
        except httpx2.TransportError as exc:
            raise Unreachable(f"nobody answers at {address}") from exc
        try:
            reply.raise_for_status()
            return reply.json()
        except (httpx2.HTTPStatusError, ValueError) as exc:
            raise Unreachable(f"{address} does not tell the effects as JSON: {exc}") from exc

    return effects
