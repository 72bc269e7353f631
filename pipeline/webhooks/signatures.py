"""Sign what is sent, so that a receiver knows who sent it, and when (Standard Webhooks).

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

import base64
import hmac
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from adapters.ports import Ids

SECRET_PREFIX = "whsec_"
# While a receiver learns a new secret, both sign.
MOST_SECRETS = 2


def new_secret(ids: Ids, at: datetime) -> dict[str, Any]:
    """A fresh secret of 256 bits, as `WebhookRow.secrets` keeps it."""
    key = base64.urlsafe_b64decode(ids.token() + "=")
    text = SECRET_PREFIX + base64.b64encode(key).decode()
    return {"secret": text, "created_at": at.isoformat(), "ends_at": None}


def rotated(
    secrets: Sequence[dict[str, Any]], fresh: dict[str, Any], at: datetime, overlap: timedelta
) -> list[dict[str, Any]]:
    """*fresh* and the one before it, which signs as well until *overlap* is over."""
    before = secrets[0] | {"ends_at": (at + overlap).isoformat()}
    return [fresh, before] if overlap else [fresh]


def live_secrets(secrets: Sequence[dict[str, Any]], at: datetime) -> list[dict[str, Any]]:
    return [
        one
        for one in secrets
        if one["ends_at"] is None or datetime.fromisoformat(one["ends_at"]) > at
    ][:MOST_SECRETS]


def signed(
    event_id: UUID, body: bytes, secrets: Sequence[dict[str, Any]], at: datetime
) -> dict[str, str]:
    """The headers by which a receiver knows the message; one signature a live secret."""
    timestamp = int(at.timestamp())
    content = f"{event_id}.{timestamp}.".encode() + body
    signatures = [_signature(one["secret"], content) for one in live_secrets(secrets, at)]
    return {
        "webhook-id": str(event_id),
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(signatures),
    }


def _signature(secret: str, content: bytes) -> str:
    key = base64.b64decode(secret.removeprefix(SECRET_PREFIX))
    return "v1," + base64.b64encode(hmac.digest(key, content, "sha256")).decode()
