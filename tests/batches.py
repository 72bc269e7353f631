"""Batches for tests: asked for, driven by hand, and counted again from their rows."""

from collections import Counter
from typing import Any
from uuid import UUID

from adapters.store import job_reads
from pipeline.batch import submit_batch
from pipeline.batch_changes import cancel_batch
from pipeline.promote import Promoted, promote, reject
from pipeline.subscribers import draft_promotion
from pipeline.tally import COUNTED_AS, COUNTS
from schemas.events import CloudEvent, cloud_event
from schemas.replies import BatchImageGenerationResponse
from schemas.requests import BatchImageGenerationRequest, PromotionRequest
from schemas.tables import Batch, JobRow, Promotion
from states.table import State
from tests.world import TENANT, World


async def ask(world: World, *images: dict[str, Any], **fields: Any) -> BatchImageGenerationResponse:
    """Have a batch accepted; an image is `{}` where only its number matters."""
    asked = [{"prompt": f"picture {number}"} | image for number, image in enumerate(images)]
    request = BatchImageGenerationRequest.model_validate({"images": asked} | fields)
    accepted = await submit_batch(
        request,
        tenant=TENANT,
        idempotency_key=None,
        most_images=20,
        journal=world.journal,
        ids=world.worker.ids,
        providers=world.worker.providers,
        estimate=world.estimates.batch_seconds,
    )
    return accepted.reply


async def completion(world: World, job_id: UUID) -> CloudEvent:
    """The event of a job's completion."""
    found = [
        event
        for event in await world.history("job", str(job_id))
        if event.type == "image.job.completed"
    ]
    return cloud_event(found[-1])


async def drafted(world: World, job_id: UUID) -> CloudEvent:
    """Paint a draft; its event, delivered to nobody yet."""
    await world.deliver(job_id)
    return await completion(world, job_id)


async def handle(world: World, event: CloudEvent) -> None:
    """Deliver an event to draft-promotion."""
    (failure,) = await draft_promotion.promote_drafts(
        [event], world.journal, world.worker.ids, world.worker.providers
    )
    if failure is not None:
        raise failure


async def final_of(world: World, draft_id: UUID) -> UUID:
    final_id = (await world.job(draft_id)).final_job_id
    assert final_id is not None
    return final_id


async def approve(world: World, draft_id: UUID, **wishes: Any) -> Promoted:
    return await promote(
        draft_id,
        TENANT,
        PromotionRequest.model_validate(wishes),
        journal=world.journal,
        ids=world.worker.ids,
        providers=world.worker.providers,
    )


async def refuse(world: World, draft_id: UUID, reason: str | None = None) -> JobRow:
    return await reject(
        draft_id, TENANT, reason=reason, journal=world.journal, ids=world.worker.ids
    )


async def stop(world: World, batch_id: UUID) -> None:
    await cancel_batch(batch_id, tenant=TENANT, journal=world.journal, ids=world.worker.ids)


async def decisions(world: World, draft_id: UUID) -> list[Promotion]:
    return list(await world.store.read(job_reads.promotions_of, TENANT, [draft_id]))


async def batch(world: World, batch_id: UUID) -> Batch:
    """The batch's row, after its numbers were compared with its jobs and decisions."""
    found = await world.store.read(job_reads.batch, TENANT, batch_id)
    assert found is not None
    jobs = await world.store.read(job_reads.jobs_of_batch, TENANT, batch_id)
    drafts = [job.id for job in jobs if job.is_draft]
    decided = {
        one.draft_job_id: one.decision
        for one in await world.store.read(job_reads.promotions_of, TENANT, drafts)
    }
    counted = Counter(COUNTED_AS[job.state] for job in jobs)
    counted |= Counter(decision.value for decision in decided.values())
    counted["drafts"], counted["finals"] = len(drafts), len(jobs) - len(drafts)
    counted["undecided"] = sum(
        job.is_draft and job.state is State.COMPLETED and job.id not in decided for job in jobs
    )
    assert {name: getattr(found, name) for name in COUNTS} == {
        name: counted[name] for name in COUNTS
    }
    return found


async def told(world: World, batch_id: UUID) -> list[str]:
    """What the batch has announced, shortened; each version once."""
    history = await world.history("batch", str(batch_id))
    assert [event.seq for event in history] == list(range(1, len(history) + 1))
    return [event.type.removeprefix("image.batch.") for event in history]
