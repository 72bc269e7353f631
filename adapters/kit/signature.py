"""Who sent a webhook: signatures as Standard Webhooks has them, by a secret that both sides know.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

import base64
import hmac
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

PREFIX = "whsec_"
VERSION = "v1"
# An older message may have been listened to, and is sent again by somebody else.
TOLERANCE = timedelta(minutes=5)


class Unsigned(Exception):
    """The message is not of whom it should be, or too old; its text says which."""


def sign(secret: str, message_id: str, body: bytes, at: datetime) -> dict[str, str]:
    """The headers of a message that is sent at *at*."""
    timestamp = str(int(at.timestamp()))
    return {
        "webhook-id": message_id,
        "webhook-timestamp": timestamp,
        "webhook-signature": f"{VERSION},{_signature(secret, message_id, timestamp, body)}",
    }


def verify(secrets: Sequence[str], headers: Mapping[str, str], body: bytes, at: datetime) -> None:
    """Return when *body* was signed by one of *secrets* not long before *at*; else `Unsigned`.

    Two secrets are live while a new one is brought in.
    """
    given = {name.lower(): value for name, value in headers.items()}
    try:
        message_id, timestamp = given["webhook-id"], given["webhook-timestamp"]
        signatures = given["webhook-signature"].split()
        sent_at = int(timestamp)
    except (KeyError, ValueError):
        raise Unsigned("headers of a signature are missing or malformed") from None
    if abs(at.timestamp() - sent_at) > TOLERANCE.total_seconds():
        raise Unsigned("the message is too old, or of the future")
    expected = [
        f"{VERSION},{_signature(secret, message_id, timestamp, body)}" for secret in secrets
    ]
    found = [
        hmac.compare_digest(one.encode(), wanted.encode())
        for one in signatures
        for wanted in expected
    ]
    if not any(found):
        raise Unsigned("no signature is of a secret that is known here")


def key_of(secret: str) -> bytes:
    """The bytes of *secret*; raises `ValueError` for what is none."""
    try:
        return base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except ValueError:
        raise ValueError(f"a secret is {PREFIX} and base64") from None


def _signature(secret: str, message_id: str, timestamp: str, body: bytes) -> str:
    content = f"{message_id}.{timestamp}.".encode() + body
    return base64.b64encode(hmac.digest(key_of(secret), content, "sha256")).decode()
