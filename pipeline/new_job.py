"""The row of a job that was just asked for, and its places in blog posts."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from adapters.ports import ImageProvider
from pipeline.errors import BlogDeleted, NoPlaceLeft, UnknownProvider, UnknownStyle
from pipeline.fallback import LIST
from pipeline.move import first_wake
from pipeline.providers import Providers
from schemas.operations import GENERATE
from schemas.prices import DOCUMENT_MODELS
from schemas.requests import MAX_POSITION, ImageGenerationRequest, OnUnknown, Quality, Role
from schemas.step import Look, RowKey, Writes
from schemas.tables import BlogRow, JobRow
from states.table import INITIAL

# What is not stored as it was asked for: times become columns, a strategy is resolved first.
RESOLVED = {"not_before", "deadline_seconds", "strategy", LIST}


def chosen_provider(
    request: ImageGenerationRequest, providers: Providers
) -> tuple[ImageProvider, list[str]]:
    """Who paints *request*, and what its caller should be warned of."""
    provider, warnings = providers.choose(request.provider)
    if request.style is not None and request.style not in provider.styles:
        raise UnknownStyle(request.style, provider.name, sorted(provider.styles))
    return provider, warnings


def chosen_fallback(
    request: ImageGenerationRequest, provider: ImageProvider, providers: Providers
) -> list[str]:
    """Who paints *request*, in order, where *provider* cannot and charged nothing.

    A provider that was named stands alone, unless the request says otherwise.
    """
    own: Sequence[str] = providers.fallback if request.provider is None else ()
    names = request.fallback if request.fallback is not None else own
    for name in names:
        if name not in providers.known:
            raise UnknownProvider(name, providers.known, field="fallback")
    painters = dict.fromkeys(providers.choose(name)[0].name for name in names)
    return [name for name in painters if name != provider.name]


def new_job(
    request: ImageGenerationRequest,
    *,
    tenant: str,
    job_id: UUID,
    now: datetime,
    seed: int,
    provider: str,
    warnings: Sequence[str] = (),
    fallback: Sequence[str] = (),
    batch_id: UUID | None = None,
    on_unknown: OnUnknown | None = None,
    kind: str = GENERATE,
    **resolved: Any,
) -> JobRow:
    """A queued job for *request*. *resolved* is kept with what was asked for.

    *on_unknown* is what the job is promised.
    """
    asked: dict[str, Any] = request.model_dump(mode="json", exclude_none=True, exclude=RESOLVED)
    deadline_at = (
        now + timedelta(seconds=request.deadline_seconds) if request.deadline_seconds else None
    )
    # The seed is chosen now, so that whoever paints this job again paints the same picture.
    asked |= {"seed": seed, "requested_model": DOCUMENT_MODELS[request.quality], **resolved}
    if fallback:
        asked[LIST] = list(fallback)
    if on_unknown is not None:
        asked["on_unknown"] = on_unknown.value
    return JobRow.of(
        id=job_id,
        tenant=tenant,
        kind=kind,
        state=INITIAL,
        version=1,
        wake_at=first_wake(now, request.not_before, deadline_at),
        not_before=request.not_before,
        deadline_at=deadline_at,
        stage=INITIAL,
        quality=request.quality.value,
        is_draft=request.quality is Quality.DRAFT,
        provider=provider,
        request=asked,
        warnings=[*warnings, *_unplaced(request)],
        blog_id=request.blog_id,
        blog_job_id=request.blog_job_id,
        batch_id=batch_id,
        role=request.role.value if request.role else None,
        position=request.position,
        draft_job_id=request.draft_job_id,
        created_at=now,
        queued_at=now,
    )


def _unplaced(request: ImageGenerationRequest) -> list[str]:
    if request.blog_id is not None or (request.role, request.position) == (None, None):
        return []
    return ["role and position name a place in a blog post, and no blog_id was given"]


def blog_keys(jobs: Iterable[JobRow]) -> tuple[RowKey, ...]:
    """The blogs of *jobs*, which the step that creates them names as shared."""
    blogs = {(job.tenant, job.blog_id) for job in jobs if job.blog_id is not None}
    return tuple(RowKey(BlogRow, blog) for blog in sorted(blogs))


def blog_is_deleted(look: Look, job: JobRow) -> bool:
    """Whether the blog of *job*, which the step names, was deleted."""
    blog = look.get(BlogRow, job.tenant, job.blog_id) if job.blog_id is not None else None
    return blog is not None and blog.deleted_at is not None


def take_places(look: Look, writes: Writes, jobs: Sequence[JobRow]) -> list[JobRow]:
    """Give each of *jobs* its place; inline pictures get the next free positions of their blog.

    Raises `BlogDeleted` and `NoPlaceLeft`. Each blog's row is written once, and only where it
    changes.
    """
    blogs: dict[tuple[Any, ...], BlogRow] = {}
    for _, key in blog_keys(jobs):
        blog = look.get(BlogRow, *key)
        if blog is not None and blog.deleted_at is not None:
            raise BlogDeleted(blog.blog_id)
        blogs[key] = blog or BlogRow.of(tenant=key[0], blog_id=key[1])
    placed = [_placed(job, blogs) for job in jobs]
    for key, blog in blogs.items():
        before = look.get(BlogRow, *key)
        if before is None:
            writes.insert(blog, *key)
        elif blog is not before:
            writes.update(blog, *key)
    return placed


def _placed(job: JobRow, blogs: dict[tuple[Any, ...], BlogRow]) -> JobRow:
    if job.blog_id is None:
        return job
    blog = blogs[job.tenant, job.blog_id]
    role = job.role or Role.INLINE.value
    inline = role == Role.INLINE.value
    position = job.position or (blog.last_inline + 1 if inline else 1)
    if position > MAX_POSITION:  # no address leads there, and no final could be asked for it
        raise NoPlaceLeft(blog.blog_id, MAX_POSITION)
    last = max(blog.last_inline, position) if inline else blog.last_inline
    has_drafts = blog.has_drafts or job.is_draft
    if (last, has_drafts) != (blog.last_inline, blog.has_drafts):
        blogs[job.tenant, job.blog_id] = blog.changed(last_inline=last, has_drafts=has_drafts)
    return job.changed(role=role, position=position)
