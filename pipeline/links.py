"""Signed links: what one says, and whether we said it. Without the signature anyone could approve.

A token is the base64url text of a signature (HMAC-SHA256) and what it signs: a version, the
purpose, the job, the end of its life, the tenant. Nothing of it is stored; a new secret voids all.
"""

import base64
import binascii
import hashlib
import hmac
import struct
from datetime import UTC, datetime
from enum import StrEnum
from typing import NamedTuple
from uuid import UUID

VERSION = 1
# The secret signs nothing else in this form.
DOMAIN = b"limner approval link\x00"
LEAST_SECRET_BYTES = 32
MOST_TOKEN_CHARACTERS = 1_000

_FORM = struct.Struct(">BB16sQ")
_SIGNATURE_BYTES = hashlib.sha256().digest_size


class Purpose(StrEnum):
    APPROVE = "approve"
    REJECT = "reject"


_NUMBERS = {Purpose.APPROVE: 1, Purpose.REJECT: 2}
_PURPOSES = {number: purpose for purpose, number in _NUMBERS.items()}


class Link(NamedTuple):
    """What its bearer may do, once, until it expires."""

    purpose: Purpose
    tenant: str
    job_id: UUID
    # Whole seconds.
    expires_at: datetime


def sign(link: Link, secret: bytes) -> str:
    """The token of *link*, fit for a URL's path."""
    said = _FORM.pack(
        VERSION, _NUMBERS[link.purpose], link.job_id.bytes, int(link.expires_at.timestamp())
    )
    said += link.tenant.encode()
    return base64.urlsafe_b64encode(_signature(said, secret) + said).rstrip(b"=").decode()


def read(token: str, secret: bytes) -> Link | None:
    """The link that *token* is, expired or not; None for one that this secret did not sign."""
    if len(token) > MOST_TOKEN_CHARACTERS:
        return None
    try:
        data = base64.b64decode(
            token.encode() + b"=" * (-len(token) % 4), altchars=b"-_", validate=True
        )
    except (binascii.Error, ValueError):
        return None
    signature, said = data[:_SIGNATURE_BYTES], data[_SIGNATURE_BYTES:]
    if not hmac.compare_digest(signature, _signature(said, secret)):
        return None
    version, number, job_id, expires_at = _FORM.unpack_from(said)
    if version != VERSION:
        return None
    return Link(
        _PURPOSES[number],
        said[_FORM.size :].decode(),
        UUID(bytes=job_id),
        datetime.fromtimestamp(expires_at, UTC),
    )


def _signature(said: bytes, secret: bytes) -> bytes:
    return hmac.digest(secret, DOMAIN + said, "sha256")
