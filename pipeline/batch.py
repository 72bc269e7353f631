"""Take a batch: all of its jobs, their places, the batch itself and the reply in one commit.

Either every picture is accepted or none is, so that nobody has to find out which half of a post
was taken.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from adapters.ports import Ids
from pipeline.budgets import hold, hold_keys
from pipeline.errors import InvalidBatch, PipelineError
from pipeline.estimates import seconds_until
from pipeline.fallback import WANTED
from pipeline.final import job_price, resolved_strategy
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
from pipeline.providers import Providers
from pipeline.tally import OPEN, batch_event
from schemas.events import EventType
from schemas.replies import BatchImageGenerationResponse
from schemas.requests import (
    Approval,
    BatchImageGenerationRequest,
    ImageGenerationRequest,
    OnUnknown,
    Quality,
    Workflow,
)
from schemas.step import Look, RowKey, Step, Writes
from schemas.tables import BatchRow, JobRow
from states.table import State

ROUTE = "batch-generate"
NO_DRAFTS = "workflow final_only has no drafts to make finals of; remove it"


@dataclass(frozen=True, slots=True)
class AcceptedBatch:
    """The reply, and whether it is the repetition of an earlier one."""

    reply: BatchImageGenerationResponse
    replayed: bool


@dataclass(frozen=True, slots=True)
class _Image:
    """One picture of the batch: the request of its first job, and what its final is to be."""

    request: ImageGenerationRequest
    provider: str
    warnings: Sequence[str]
    fallback: Sequence[str]
    on_unknown: OnUnknown | None
    final: Mapping[str, Any] | None


async def submit_batch(
    request: BatchImageGenerationRequest,
    *,
    tenant: str,
    idempotency_key: str | None,
    most_images: int,
    journal: Journal,
    ids: Ids,
    providers: Providers,
    estimate: Callable[[Sequence[Quality]], int],
) -> AcceptedBatch:
    """Store the batch and all of its jobs; durable when this returns, and nothing is otherwise.

    Raises `InvalidBatch`, which names every bad entry by its index, `BlogDeleted`,
    `BudgetExceeded` and `PriceUnknown`. With
    *idempotency_key* the same batch is answered with the first reply.
    """
    try:
        images = _images(request, most_images, providers)
    except PipelineError:
        if idempotency_key is None:
            raise
        # What is refused by now (a provider that is gone) may have been accepted before.
        first = await earlier_reply(
            request,
            BatchImageGenerationResponse,
            tenant=tenant,
            route=ROUTE,
            key=idempotency_key,
            journal=journal,
        )
        if first is None:
            raise
        return AcceptedBatch(first, replayed=True)
    now = journal.now()
    batch_id = ids.new()
    jobs = [_job(image, tenant, batch_id, now, ids) for image in images]
    prices = [job_price(job, providers) for job in jobs]
    drafts = sum(job.is_draft for job in jobs)
    batch = BatchRow.of(
        id=batch_id,
        tenant=tenant,
        version=1,
        workflow=request.workflow,
        approval=request.approval,
        final_quality=request.final_quality.value,
        blog_id=request.blog_id,
        blog_job_id=request.blog_job_id,
        created_at=now,
        **{"drafts": drafts, "finals": len(jobs) - drafts, OPEN: len(jobs)},
    )
    reply = BatchImageGenerationResponse(
        batch_id=batch_id,
        job_ids=[job.id for job in jobs],
        status=State.QUEUED,
        total_images=len(jobs),
        estimated_completion_time=(
            estimate([Quality(job.quality) for job in jobs])
            + round(max(seconds_until(job.not_before, now) for job in jobs))
        ),
        warnings=_said_once(warning for job in jobs for warning in job.warnings),
    )
    kept = (
        kept_reply(request, reply, tenant=tenant, route=ROUTE, key=idempotency_key, now=now)
        if idempotency_key is not None
        else None
    )
    event_ids = [ids.new() for _ in jobs]

    def decide(look: Look, writes: Writes) -> AcceptedBatch:
        if kept is not None:
            first = first_reply(look, kept, BatchImageGenerationResponse)
            if first is not None:
                return AcceptedBatch(first, replayed=True)
            writes.insert(kept, *kept_key(kept).key)
        writes.insert(batch, batch.id)
        writes.insert(batch_event(batch, EventType.BATCH_CREATED, at=now))
        placed = take_places(look, writes, hold(look, writes, jobs, prices, at=now))
        for job, event_id in zip(placed, event_ids, strict=True):
            writes.insert(job, job.id)
            writes.insert(job_event(job, at=now, event_id=event_id))
        return AcceptedBatch(reply, replayed=False)

    keys: tuple[RowKey, ...] = (kept_key(kept),) if kept is not None else ()
    shared = (*blog_keys(jobs), *hold_keys(jobs, prices))
    return await journal.record(Step("submit_batch", decide, keys, shared, creates=True))


def asked_jobs(
    request: BatchImageGenerationRequest,
    *,
    tenant: str,
    most_images: int,
    journal: Journal,
    ids: Ids,
    providers: Providers,
) -> list[JobRow]:
    """The jobs that `submit_batch` would store now; nothing is stored. Raises `InvalidBatch`."""
    images = _images(request, most_images, providers)
    batch_id, now = ids.new(), journal.now()
    return [_job(image, tenant, batch_id, now, ids) for image in images]


def _job(image: _Image, tenant: str, batch_id: UUID, now: datetime, ids: Ids) -> JobRow:
    final: dict[str, Any] = {WANTED: image.final} if image.final is not None else {}
    return new_job(
        image.request,
        tenant=tenant,
        job_id=ids.new(),
        now=now,
        seed=image.request.seed or ids.seed(),
        provider=image.provider,
        warnings=image.warnings,
        fallback=image.fallback,
        batch_id=batch_id,
        on_unknown=image.on_unknown,
        **final,
    )


def _images(
    request: BatchImageGenerationRequest, most_images: int, providers: Providers
) -> list[_Image]:
    """Every entry as it will be asked for; raises `InvalidBatch` with all that is wrong."""
    if len(request.images) > most_images:
        message = f"it has {len(request.images)} entries; at most {most_images} are allowed"
        raise InvalidBatch([{"field": "images", "message": f"{message}; divide the batch"}])
    images: list[_Image] = []
    errors = [
        {"field": name, "message": message} for name, message in _needs_drafts(request).items()
    ]
    for index, image in enumerate(request.images):
        found = _conflicts(image, request)
        try:
            if not found:
                images.append(_image(image, request, providers))
        except PipelineError as exc:
            found = {exc.facts["field"]: str(exc).removesuffix(". Nothing was stored.")}
        errors += [
            {"field": f"images.{index}.{name}", "message": message}
            for name, message in found.items()
        ]
    if errors:
        raise InvalidBatch(errors)
    return images


def _needs_drafts(batch: BatchImageGenerationRequest) -> dict[str, str]:
    """What a batch without drafts asks of its drafts: field and remedy."""
    if batch.workflow is not Workflow.FINAL_ONLY:
        return {}
    found = {}
    if batch.approval is Approval.REQUIRED:
        found["approval"] = (
            "workflow final_only has no drafts to approve; remove it, or use draft_then_final"
        )
    if batch.strategy is not None:
        found["strategy"] = NO_DRAFTS
    return found


def _conflicts(image: ImageGenerationRequest, batch: BatchImageGenerationRequest) -> dict[str, str]:
    """What an entry says against its batch: field and remedy."""
    found = {}
    finals_only = batch.workflow is Workflow.FINAL_ONLY
    if finals_only and image.quality is Quality.DRAFT:
        found["quality"] = (
            "workflow final_only makes no drafts; name another quality, or use draft_then_final"
        )
    if None not in (image.blog_id, batch.blog_id) and image.blog_id != batch.blog_id:
        found["blog_id"] = f"the batch is for blog {batch.blog_id!r}; give one of the two"
    if image.draft_job_id is not None:
        found["draft_job_id"] = (
            "a batch makes its own drafts; promote this one, or use generate-async"
        )
    if finals_only and image.strategy is not None:
        found["strategy"] = NO_DRAFTS
    return found


def _image(
    image: ImageGenerationRequest, batch: BatchImageGenerationRequest, providers: Providers
) -> _Image:
    provider, warnings = chosen_provider(image, providers)
    fallback = chosen_fallback(image, provider, providers)
    own = image.quality if "quality" in image.model_fields_set else batch.final_quality
    places = {
        "blog_id": image.blog_id or batch.blog_id,
        "blog_job_id": image.blog_job_id or batch.blog_job_id,
    }
    wanted = image.on_unknown or batch.on_unknown
    of_final = providers.on_unknown.promised(wanted, provider, is_draft=False)
    if batch.workflow is Workflow.FINAL_ONLY:
        asked = image.model_copy(update=places | {"quality": own})
        return _Image(asked, provider.name, warnings, fallback, of_final, None)
    final = {
        "quality": (batch.final_quality if own is Quality.DRAFT else own).value,
        "strategy": resolved_strategy(image.strategy or batch.strategy, provider).value,
        **({"on_unknown": of_final.value} if of_final is not None else {}),
    }
    asked = image.model_copy(update=places | {"quality": Quality.DRAFT})
    of_draft = providers.on_unknown.promised(wanted, provider, is_draft=True)
    return _Image(asked, provider.name, warnings, fallback, of_draft, final)


def _said_once(warnings: Any) -> list[str]:
    return list(dict.fromkeys(warnings))
