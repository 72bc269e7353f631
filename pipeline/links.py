"""Signed links: what one says, and whether we said it. Without the signature anyone could approve.

The token of an approval link is the base64url text of a signature (HMAC-SHA256) and what it signs:
a version, the purpose, the job, the end of its life, the tenant. Nothing of it is stored; a new
secret voids all.
"""

import base64
import binascii
import hashlib
import hmac
import re
import struct
from datetime import UTC, datetime
from enum import StrEnum
from typing import NamedTuple
from uuid import UUID

# Below it stands the token itself, which no log and no trace may show.
APPROVALS = "/approvals"
VERSION = 1
# The secret signs nothing else in this form.
DOMAIN = b"limner approval link\x00"
PICTURE_DOMAIN = b"limner picture link\x00"
PICTURE_STEP_SECONDS = 300
PICTURE_QUERY = re.compile(r"expires=([1-9]\d{0,11})&signature=([A-Za-z0-9_-]{43})", re.ASCII)
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


def sign_picture(path: str, secret: bytes, now: datetime) -> str:
    """The query under which *path* may be read without a key, for 10 to 15 minutes.

    It is the same for some minutes, so that a browser that shows a page again knows the picture.
    """
    expires = (int(now.timestamp()) // PICTURE_STEP_SECONDS + 3) * PICTURE_STEP_SECONDS
    return f"expires={expires}&signature={_picture_signature(path, expires, secret)}"


def may_see_picture(path: str, query: str, secret: bytes, now: datetime) -> bool:
    """Whether *query* is what `sign_picture` gave for *path*, and has not expired."""
    found = PICTURE_QUERY.fullmatch(query)
    if found is None:
        return False
    expires, signature = int(found[1]), found[2]
    good = hmac.compare_digest(signature, _picture_signature(path, expires, secret))
    return good and now.timestamp() < expires


def _picture_signature(path: str, expires: int, secret: bytes) -> str:
    said = PICTURE_DOMAIN + f"{expires} {path}".encode()
    return base64.urlsafe_b64encode(hmac.digest(secret, said, "sha256")).rstrip(b"=").decode()


def _signature(said: bytes, secret: bytes) -> bytes:
    return hmac.digest(secret, DOMAIN + said, "sha256")
