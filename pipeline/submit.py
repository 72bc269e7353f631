"""Take a request: one commit makes the job, its event, its place in the blog and the first reply.

No call leaves the process before the reply; the relay sends what was committed.
"""

from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

from adapters.ports import Ids
from adapters.store import job_reads
from pipeline.creation import Accepted, DraftsToLookAt, creation
from pipeline.errors import (
    BatchCancelled,
    DraftNotUsable,
    DraftRejected,
    PipelineError,
    StrategyWithoutDraft,
)
from pipeline.final import asked_final, check_draft
from pipeline.idempotency import earlier_reply
from pipeline.journal import Journal
from pipeline.new_job import chosen_fallback, chosen_provider, new_job
from pipeline.promote import Candidate, DecidedMeanwhile, candidate
from pipeline.providers import Providers
from schemas.replies import CreateImageJobResponse
from schemas.requests import ImageGenerationRequest, Quality
from schemas.step import Step
from schemas.tables import Decision, JobRow

ROUTE = "generate-async"


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


async def asked_job(
    request: ImageGenerationRequest,
    *,
    tenant: str,
    journal: Journal,
    ids: Ids,
    providers: Providers,
    estimate: Callable[[Quality], int],
) -> JobRow:
    """The job that `submit` would store now; nothing is stored. Raises what makes it unfit."""
    asked = _Asked(request, tenant, None, journal, ids, providers, estimate)
    if request.draft_job_id is not None:
        return _final(asked, await _usable_draft(asked, request.draft_job_id))
    draft = await _matching_draft(asked) if _may_adopt(request) else None
    if draft is not None:
        return _adopted(asked, draft)
    if request.strategy is not None:
        raise StrategyWithoutDraft
    return _new(asked)


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
        try:
            return await asked.journal.record(_creation(asked, _adopted(asked, draft), draft))
        except (DecidedMeanwhile, BatchCancelled):
            continue


def _new(asked: _Asked) -> JobRow:
    provider, warnings = chosen_provider(asked.request, asked.providers)
    is_draft = asked.request.quality is Quality.DRAFT
    return new_job(
        asked.request,
        tenant=asked.tenant,
        job_id=asked.ids.new(),
        now=asked.journal.now(),
        seed=asked.request.seed or asked.ids.seed(),
        provider=provider.name,
        warnings=warnings,
        on_unknown=asked.providers.on_unknown.promised(
            asked.request.on_unknown, provider, is_draft=is_draft
        ),
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


def _adopted(asked: _Asked, draft: Candidate) -> JobRow:
    final = _final(asked, draft)
    note = (
        f"this is the final of draft {draft.draft.id}, the one of this prompt in blog"
        f" {asked.request.blog_id}; name draft_job_id to say so yourself"
    )
    return final.changed(warnings=[*final.warnings, note])


def _creation(
    asked: _Asked, job: JobRow, draft: Candidate | None = None, *, unless_drafts: bool = False
) -> Step[Accepted]:
    return creation(
        job,
        asked.request,
        route=ROUTE,
        key=asked.idempotency_key,
        ids=asked.ids,
        providers=asked.providers,
        estimate=asked.estimate,
        draft=draft,
        unless_drafts=unless_drafts,
    )


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
        job_reads.undecided_drafts, asked.tenant, request.blog_id, request.prompt, 2
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
