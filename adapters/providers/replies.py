"""What providers' replies are read by: JSON of a service that may send anything, and pictures."""

import base64
import binascii
import json
from dataclasses import dataclass, field
from typing import Any

from adapters.errors import OutcomeUnknown
from adapters.http import Reply

MAGIC = {b"\x89PNG\r\n\x1a\n": "image/png", b"\xff\xd8\xff": "image/jpeg"}


@dataclass(frozen=True, slots=True)
class Drawn:
    """A picture that came and may be shown."""

    data: bytes = field(repr=False)
    content_type: str
    seed: int


def content_type_of(data: bytes) -> str | None:
    """By the first bytes, never by what anybody claims; None for what is no picture."""
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "image/webp"
    return next((kind for magic, kind in MAGIC.items() if data.startswith(magic)), None)


def json_of(service: str, reply: Reply, **options: Any) -> dict[str, Any]:
    """The object in *reply* of a *service*, as people call it. Raises `OutcomeUnknown`."""
    try:
        told = json.loads(reply.body, **options)
    except (ValueError, RecursionError) as exc:
        raise OutcomeUnknown(f"{service}'s reply is not the JSON that it should be") from exc
    if not isinstance(told, dict):
        raise OutcomeUnknown(f"{service}'s reply is JSON of another kind")
    return told


def decoded(encoded: Any) -> bytes:
    """Bytes of base64; none where it is anything else."""
    try:
        return base64.b64decode(encoded, validate=True)
    except (ValueError, TypeError, binascii.Error):
        return b""
