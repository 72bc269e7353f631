"""Take a request: one commit makes the job, its event, its place in the blog and the first reply.

No call leaves the process before the reply; the relay sends what was committed.
"""

from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

from adapters.ports import Ids
from adapters.store import reads
from pipeline.errors import (
    BatchCancelled,
    DraftNotUsable,
    DraftRejected,
    PipelineError,
    StrategyWithoutDraft,
)
from pipeline.estimates import seconds_until
from pipeline.final import asked_final, check_draft
from pipeline.idempotency import earlier_reply, first_reply, kept_key, kept_reply
from pipeline.journal import Journal
from pipeline.move import job_event
from pipeline.new_job import (
    blog_keys,
    chosen_fallback,
    chosen_provider,
    new_job,
    take_places,
)
from pipeline.promote import Candidate, DecidedMeanwhile, approve, candidate
from pipeline.providers import Providers
from schemas.replies import CreateImageJobResponse
from schemas.requests import ImageGenerationRequest, Quality
from schemas.step import Look, Lost, RowKey, Step, Writes
from schemas.tables import BlogRow, DecidedBy, Decision, JobRow
from states.table import State

ROUTE = "generate-async"


@dataclass(frozen=True, slots=True)
class Accepted:
    """The reply, and whether it is the repetition of an earlier one."""

    reply: CreateImageJobResponse
    replayed: bool


class DraftsToLookAt(Lost):
    """The blog has drafts, and the final could be that of one of them."""


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
    under the same key raises `IdempotencyKeyReused`. A final that names no draft and no place
    adopts the one undecided draft of its prompt in its blog, and the reply says so.
    """
    asked = _Asked(request, tenant, idempotency_key, journal, ids, providers, estimate)
    try:
        if request.draft_job_id is not None:
            return await _of_draft(asked, request.draft_job_id)
        if _may_adopt(request):
            return await _of_any_draft(asked)
        return await _of_nothing(asked)
    except PipelineError:
        if idempotency_key is None:
            raise
        first = await earlier_reply(
            request,
            CreateImageJobResponse,
            tenant=tenant,
            route=ROUTE,
            key=idempotency_key,
            journal=journal,
        )
        if first is None:
            raise
        return Accepted(first, replayed=True)


@dataclass(frozen=True, slots=True)
class _Asked:
    """A request and what it takes to do it."""

    request: ImageGenerationRequest
    tenant: str
    idempotency_key: str | None
    journal: Journal
    ids: Ids
    providers: Providers
    estimate: Callable[[Quality], int]


async def _of_nothing(asked: _Asked) -> Accepted:
    if asked.request.strategy is not None:
        raise StrategyWithoutDraft
    return await asked.journal.record(_creation(asked, _new(asked)))


async def _of_draft(asked: _Asked, draft_id: UUID) -> Accepted:
    while True:
        draft = await _usable_draft(asked, draft_id)
        try:
            return await asked.journal.record(_creation(asked, _final(asked, draft), draft))
        except DecidedMeanwhile:
            continue


async def _of_any_draft(asked: _Asked) -> Accepted:
    """Adopt a draft where one matches. Blogs that never had a draft do not pay for the search."""
    if asked.request.strategy is None:
        try:
            step = _creation(asked, _new(asked), unless_drafts=True)
            return await asked.journal.record(step)
        except DraftsToLookAt:
            pass
    while True:
        draft = await _matching_draft(asked)
        if draft is None:
            return await _of_nothing(asked)
        note = (
            f"this is the final of draft {draft.draft.id}, the one of this prompt in blog"
            f" {asked.request.blog_id}; name draft_job_id to say so yourself"
        )
        final = _final(asked, draft)
        final = final.changed(warnings=[*final.warnings, note])
        try:
            return await asked.journal.record(_creation(asked, final, draft))
        except (DecidedMeanwhile, BatchCancelled):
            continue


def _new(asked: _Asked) -> JobRow:
    provider, warnings = chosen_provider(asked.request, asked.providers)
    return new_job(
        asked.request,
        tenant=asked.tenant,
        job_id=asked.ids.new(),
        now=asked.journal.now(),
        seed=asked.request.seed or asked.ids.seed(),
        provider=provider.name,
        warnings=warnings,
        fallback=chosen_fallback(asked.request, provider, asked.providers),
    )


def _final(asked: _Asked, draft: Candidate) -> JobRow:
    given = asked.request.model_dump(exclude_unset=True) | {"quality": asked.request.quality}
    return asked_final(
        draft.draft,
        given,
        job_id=asked.ids.new(),
        now=asked.journal.now(),
        providers=asked.providers,
    )


def _creation(
    asked: _Asked, job: JobRow, draft: Candidate | None = None, *, unless_drafts: bool = False
) -> Step[Accepted]:
    """The step that stores *job*; *unless_drafts* makes it lose where its blog ever had a draft."""
    queued_id, approved_id = asked.ids.new(), asked.ids.new()
    reply = CreateImageJobResponse(
        job_id=job.id,
        status=State.QUEUED,
        message="Image generation job queued successfully",
        estimated_completion_time=(
            asked.estimate(Quality(job.quality))
            + round(seconds_until(job.not_before, job.created_at))
        ),
        is_draft=job.is_draft,
        warnings=job.warnings,
        draft_job_id=job.draft_job_id,
        strategy=job.request.get("strategy"),
    )
    kept = (
        kept_reply(
            asked.request,
            reply,
            tenant=asked.tenant,
            route=ROUTE,
            key=asked.idempotency_key,
            now=job.created_at,
        )
        if asked.idempotency_key is not None
        else None
    )

    def decide(look: Look, writes: Writes) -> Accepted:
        if kept is not None:
            first = first_reply(look, kept, CreateImageJobResponse)
            if first is not None:
                return Accepted(first, replayed=True)
            writes.insert(kept, *kept_key(kept).key)
        if unless_drafts:
            blog = look.get(BlogRow, job.tenant, job.blog_id)
            if blog is not None and blog.has_drafts:
                raise DraftsToLookAt
        if draft is not None:
            decided_by = DecidedBy.PERSON
            event_ids = (approved_id, queued_id)
            approve(look, writes, draft, job, decided_by=decided_by, event_ids=event_ids)
        else:
            (placed,) = take_places(look, writes, [job])
            writes.insert(placed, placed.id)
            writes.insert(job_event(placed, at=placed.created_at, event_id=queued_id))
        return Accepted(reply, replayed=False)

    keys: tuple[RowKey, ...] = (kept_key(kept),) if kept is not None else ()
    if draft is None:
        return Step("submit", decide, keys, blog_keys([job]), creates=True)
    return Step("submit", decide, (*keys, *draft.keys), draft.shared, creates=True)


def _may_adopt(request: ImageGenerationRequest) -> bool:
    """Whether the request could be for the final of a draft that it does not name."""
    return (
        request.quality is not Quality.DRAFT
        and request.blog_id is not None
        and request.role is None
        and request.position is None
    )


async def _matching_draft(asked: _Asked) -> Candidate | None:
    """The one undecided draft of the same prompt in the same blog; None where there are more."""
    request = asked.request
    assert request.blog_id is not None
    drafts = await asked.journal.read(
        reads.undecided_drafts, asked.tenant, request.blog_id, request.prompt, 2
    )
    return Candidate(drafts[0]) if len(drafts) == 1 else None


async def _usable_draft(asked: _Asked, draft_id: UUID) -> Candidate:
    """The named draft; raises what makes it unfit for this final."""
    found = await candidate(draft_id, asked.tenant, asked.journal)
    if found is None:
        raise DraftNotUsable(draft_id, "there is no such job")
    check_draft(found.draft)
    if asked.request.quality is Quality.DRAFT:
        raise DraftNotUsable(draft_id, "a draft cannot be the final of another draft")
    if (final := found.standing_final) is not None:
        raise DraftNotUsable(draft_id, f"its final is job {final.id} already")
    if found.last is not None and found.last.decision is Decision.REJECTED:
        raise DraftRejected(draft_id)
    own = found.draft.blog_id
    if asked.request.blog_id not in (None, own):
        owner = f"blog {own}" if own is not None else "no blog"
        raise DraftNotUsable(
            draft_id, f"it belongs to {owner}, not to blog {asked.request.blog_id}"
        )
    return found
