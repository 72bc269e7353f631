"""Take a request: one commit makes the job, its event, its place in the blog and the first reply.

No call leaves the process before the reply; the relay sends what was committed.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pydantic_core

from adapters.ports import Ids, ImageProvider
from adapters.store import reads
from pipeline.errors import (
    BlogDeleted,
    DraftNotUsable,
    IdempotencyKeyReused,
    UnknownStyle,
)
from pipeline.journal import Journal
from pipeline.move import first_wake, job_event, job_key
from pipeline.providers import Providers
from schemas.events import EventType
from schemas.prices import DOCUMENT_MODELS
from schemas.replies import CreateImageJobResponse
from schemas.requests import ImageGenerationRequest, Quality, Role
from schemas.step import Look, RowKey, Step, Writes
from schemas.tables import BlogRow, IdempotencyKeyRow, JobRow
from states.table import INITIAL, State

ROUTE = "generate-async"


@dataclass(frozen=True, slots=True)
class Accepted:
    """The reply, and whether it is the repetition of an earlier one."""

    reply: CreateImageJobResponse
    replayed: bool


async def submit(
    request: ImageGenerationRequest,
    *,
    tenant: str,
    idempotency_key: str | None,
    journal: Journal,
    ids: Ids,
    providers: Providers,
    estimate: Callable[[Quality], int],
) -> Accepted:
    """Store a job for *request* and return the reply; durable when this returns.

    With *idempotency_key* the same request is answered with the first reply; another request
    under the same key raises `IdempotencyKeyReused`.
    """
    provider, warnings = providers.choose(request.provider)
    if request.style is not None and request.style not in provider.styles:
        raise UnknownStyle(request.style, provider.name, sorted(provider.styles))
    job = _new_job(
        request,
        tenant,
        journal.now(),
        job_id=ids.new(),
        seed=request.seed or ids.seed(),
        provider=provider,
        warnings=warnings,
    )
    reply = CreateImageJobResponse(
        job_id=job.id,
        status=State.QUEUED,
        message="Image generation job queued successfully",
        estimated_completion_time=estimate(request.quality),
        is_draft=job.is_draft,
        warnings=warnings,
    )
    event_id, approved_id = ids.new(), ids.new()
    kept = _key_row(request, tenant, idempotency_key, reply, journal.now())

    def decide(look: Look, writes: Writes) -> Accepted:
        if kept is not None:
            first = look.get(IdempotencyKeyRow, *_kept_key(kept))
            if first is not None:
                if first.request_hash != kept.request_hash:
                    raise IdempotencyKeyReused(kept.key)
                return Accepted(CreateImageJobResponse.model_validate(first.reply), replayed=True)
            writes.insert(kept, *_kept_key(kept))
        placed = job
        if request.draft_job_id is not None:
            placed = _adopt_draft(look, writes, placed, job.created_at, approved_id)
        if placed.blog_id is not None:
            placed = _take_place(look, writes, placed)
        writes.insert(placed, placed.id)
        writes.insert(job_event(placed, at=placed.created_at, event_id=event_id))
        return Accepted(reply, replayed=False)

    keys: list[RowKey] = []
    if kept is not None:
        keys.append(RowKey(IdempotencyKeyRow, _kept_key(kept)))
    blog_id = job.blog_id
    if request.draft_job_id is not None:
        keys.append(job_key(request.draft_job_id))
        # A job never changes its blog, so reading it before the lock is safe.
        draft = await journal.read(reads.job, tenant, request.draft_job_id)
        blog_id = blog_id or (draft.blog_id if draft is not None else None)
    shared = (RowKey(BlogRow, (tenant, blog_id)),) if blog_id is not None else ()
    return await journal.record(Step("submit", decide, tuple(keys), shared, creates=True))


def _new_job(
    request: ImageGenerationRequest,
    tenant: str,
    now: datetime,
    *,
    job_id: UUID,
    seed: int,
    provider: ImageProvider,
    warnings: list[str],
) -> JobRow:
    asked: dict[str, Any] = request.model_dump(
        mode="json", exclude_none=True, exclude={"not_before", "deadline_seconds"}
    )
    deadline_at = (
        now + timedelta(seconds=request.deadline_seconds) if request.deadline_seconds else None
    )
    # The seed is chosen now, so that whoever paints this job again paints the same picture.
    asked |= {"seed": seed, "requested_model": DOCUMENT_MODELS[request.quality]}
    return JobRow.of(
        id=job_id,
        tenant=tenant,
        kind="generate",
        state=INITIAL,
        version=1,
        wake_at=first_wake(now, request.not_before, deadline_at),
        not_before=request.not_before,
        deadline_at=deadline_at,
        stage=INITIAL,
        quality=request.quality.value,
        is_draft=request.quality is Quality.DRAFT,
        provider=provider.name,
        request=asked,
        warnings=warnings,
        blog_id=request.blog_id,
        blog_job_id=request.blog_job_id,
        role=request.role.value if request.role else None,
        position=request.position,
        draft_job_id=request.draft_job_id,
        created_at=now,
        queued_at=now,
    )


def _adopt_draft(look: Look, writes: Writes, final: JobRow, at: datetime, event_id: UUID) -> JobRow:
    """Make *final* the final of its draft: both links, the draft's place and seed, one event."""
    draft_id = final.draft_job_id
    assert draft_id is not None
    draft = look.get(JobRow, draft_id)
    if draft is None or draft.tenant != final.tenant:
        raise DraftNotUsable(draft_id, "there is no such job")
    if not draft.is_draft:
        raise DraftNotUsable(draft_id, f"it is a {draft.quality} picture, not a draft")
    if final.is_draft:
        raise DraftNotUsable(draft_id, "a draft cannot be the final of another draft")
    if draft.state is not State.COMPLETED:
        raise DraftNotUsable(draft_id, f"it is {draft.state.value}, not completed")
    if draft.final_job_id is not None:
        raise DraftNotUsable(draft_id, f"its final is job {draft.final_job_id} already")
    if final.blog_id not in (None, draft.blog_id):
        owner = f"blog {draft.blog_id}" if draft.blog_id is not None else "no blog"
        raise DraftNotUsable(draft_id, f"it belongs to {owner}, not to blog {final.blog_id}")
    approved = draft.changed(final_job_id=final.id, version=draft.version + 1)
    writes.update(approved, draft.id)
    writes.insert(job_event(approved, at=at, event_id=event_id, kind=EventType.DRAFT_APPROVED))
    texts = {
        name: draft.request[name]
        for name in ("alt_text", "caption")
        if name in draft.request and name not in final.request
    }
    return final.changed(
        blog_id=draft.blog_id,
        blog_job_id=final.blog_job_id or draft.blog_job_id,
        role=final.role or draft.role,
        position=final.position or draft.position,
        request=final.request | texts | {"seed": draft.request["seed"]},
    )


def _take_place(look: Look, writes: Writes, job: JobRow) -> JobRow:
    """Give *job* its place in the blog; inline pictures get the next free position."""
    assert job.blog_id is not None
    blog = look.get(BlogRow, job.tenant, job.blog_id)
    if blog is not None and blog.deleted_at is not None:
        raise BlogDeleted(job.blog_id)
    role = job.role or Role.INLINE.value
    inline = role == Role.INLINE.value
    last = blog.last_inline if blog is not None else 0
    position = job.position or (last + 1 if inline else 1)
    kept = BlogRow.of(
        tenant=job.tenant, blog_id=job.blog_id, last_inline=max(last, position) if inline else last
    )
    if blog is None:
        writes.insert(kept, job.tenant, job.blog_id)
    elif kept.last_inline != last:
        writes.update(kept, job.tenant, job.blog_id)
    return job.changed(role=role, position=position)


def _key_row(
    request: ImageGenerationRequest,
    tenant: str,
    key: str | None,
    reply: CreateImageJobResponse,
    now: datetime,
) -> IdempotencyKeyRow | None:
    if key is None:
        return None
    body = pydantic_core.to_json(request.model_dump(mode="json"))
    return IdempotencyKeyRow.of(
        tenant=tenant,
        route=ROUTE,
        key=key,
        request_hash=hashlib.sha256(body).hexdigest(),
        reply=reply.model_dump(mode="json"),
        created_at=now,
    )


def _kept_key(kept: IdempotencyKeyRow) -> tuple[str, str, str]:
    return kept.tenant, kept.route, kept.key
