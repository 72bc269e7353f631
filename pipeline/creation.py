"""The step that stores a new job with its event, place, hold and first reply, or nothing of it."""

from collections.abc import Callable
from dataclasses import dataclass

from pydantic import BaseModel

from adapters.ports import Ids
from pipeline.budgets import hold, hold_keys
from pipeline.estimates import seconds_until
from pipeline.final import job_price
from pipeline.idempotency import first_reply, kept_key, kept_reply
from pipeline.move import job_event
from pipeline.new_job import blog_keys, take_places
from pipeline.promote import Candidate, approve
from pipeline.providers import Providers
from schemas.replies import CreateImageJobResponse
from schemas.requests import Quality
from schemas.step import Look, Lost, RowKey, Step, Writes
from schemas.tables import BlogRow, DecidedBy, JobRow
from states.table import State


@dataclass(frozen=True, slots=True)
class Accepted:
    """The reply, and whether it is the repetition of an earlier one."""

    reply: CreateImageJobResponse
    replayed: bool


class DraftsToLookAt(Lost):
    """The blog has drafts, and the final could be that of one of them."""


def creation(
    job: JobRow,
    request: BaseModel,
    *,
    route: str,
    key: str | None,
    ids: Ids,
    providers: Providers,
    estimate: Callable[[Quality], int],
    draft: Candidate | None = None,
    unless_drafts: bool = False,
) -> Step[Accepted]:
    """The step that stores *job*, which *request* asked for under the Idempotency-Key *key*.

    *unless_drafts* makes it lose where its blog ever had a draft.
    """
    queued_id, approved_id = ids.new(), ids.new()
    price = job_price(job, providers)
    reply = CreateImageJobResponse(
        job_id=job.id,
        status=State.QUEUED,
        message="Image generation job queued successfully",
        estimated_completion_time=(
            estimate(Quality(job.quality)) + round(seconds_until(job.not_before, job.created_at))
        ),
        is_draft=job.is_draft,
        warnings=job.warnings,
        draft_job_id=job.draft_job_id,
        strategy=job.request.get("strategy"),
        operation=job.request.get("operation"),
    )
    kept = (
        kept_reply(request, reply, tenant=job.tenant, route=route, key=key, now=job.created_at)
        if key is not None
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
            approve(look, writes, draft, job, price, decided_by=decided_by, event_ids=event_ids)
        else:
            held = hold(look, writes, [job], [price], at=job.created_at)
            (placed,) = take_places(look, writes, held)
            writes.insert(placed, placed.id)
            writes.insert(job_event(placed, at=placed.created_at, event_id=queued_id))
        return Accepted(reply, replayed=False)

    keys: tuple[RowKey, ...] = (kept_key(kept),) if kept is not None else ()
    shared = hold_keys([job], [price])
    if draft is None:
        return Step("submit", decide, keys, (*blog_keys([job]), *shared), creates=True)
    shared = (*draft.shared, *shared)
    return Step("submit", decide, (*keys, *draft.keys), shared, creates=True)
