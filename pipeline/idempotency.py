"""First replies, kept under their Idempotency-Key in the very commit that they tell of."""

import hashlib
from datetime import datetime
from typing import TypeVar

from pydantic import BaseModel

from adapters.store import job_reads
from pipeline.errors import IdempotencyKeyReused
from pipeline.journal import Journal
from schemas.json_text import to_json
from schemas.step import Look, RowKey
from schemas.tables import IdempotencyKeyRow

R = TypeVar("R", bound=BaseModel)


def kept_reply(
    request: BaseModel, reply: BaseModel, *, tenant: str, route: str, key: str, now: datetime
) -> IdempotencyKeyRow:
    """The row that answers *request* with *reply* from now on."""
    return IdempotencyKeyRow.of(
        tenant=tenant,
        route=route,
        key=key,
        request_hash=_hash(request),
        reply=reply.model_dump(mode="json"),
        created_at=now,
    )


def kept_key(kept: IdempotencyKeyRow) -> RowKey:
    return RowKey(IdempotencyKeyRow, (kept.tenant, kept.route, kept.key))


def first_reply(look: Look, kept: IdempotencyKeyRow, reply: type[R]) -> R | None:
    """The reply that the key got before; raises `IdempotencyKeyReused` for another request."""
    first = look.get(IdempotencyKeyRow, *kept_key(kept).key)
    return _reply_of(first, kept.request_hash, reply) if first is not None else None


async def earlier_reply(
    request: BaseModel, reply: type[R], *, tenant: str, route: str, key: str, journal: Journal
) -> R | None:
    """As `first_reply`, without a step: what cannot be done now may have been done before."""
    first = await journal.read(job_reads.kept_reply, tenant, route, key)
    return _reply_of(first, _hash(request), reply) if first is not None else None


def _reply_of(first: IdempotencyKeyRow, request_hash: str, reply: type[R]) -> R:
    if first.request_hash != request_hash:
        raise IdempotencyKeyReused(first.key)
    return reply.model_validate(first.reply)


def _hash(request: BaseModel) -> str:
    # A field that a later release adds must not make another request of the same body.
    body = to_json(request.model_dump(mode="json", exclude_defaults=True))
    return hashlib.sha256(body.encode()).hexdigest()
