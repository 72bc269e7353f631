"""A batch is accepted whole, counts down to nothing owed, and says so once each time."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import asyncpg
import pytest

from adapters.errors import BadPicture, OutcomeUnknown, ProviderBusy, ProviderRefused, Unavailable
from adapters.ports import Painting, PaintRequest
from adapters.store import job_reads, picture_reads
from pipeline.addresses import BaseUrl
from pipeline.batch import AcceptedBatch, submit_batch
from pipeline.batch_changes import retry_batch
from pipeline.batch_status import batch_status
from pipeline.cancel import cancel
from pipeline.delete import delete_blog
from pipeline.errors import (
    BatchCancelled,
    BlogDeleted,
    CannotCancelBatch,
    InvalidBatch,
    NoPlaceLeft,
    NoSuchBatch,
)
from pipeline.move import move_job
from pipeline.retry import retry
from pipeline.subscribers import draft_promotion
from schemas.events import CloudEvent
from schemas.replies import BatchStatus, BatchStatusResponse
from schemas.requests import MAX_POSITION, BatchImageGenerationRequest
from schemas.step import Look, Writes
from schemas.tables import EventRow, JobRow
from states.table import State, Trigger
from tests.batches import (
    approve,
    ask,
    batch,
    decisions,
    drafted,
    final_of,
    handle,
    refuse,
    stop,
    told,
)
from tests.fakes.clock import START, FakeClock
from tests.fakes.provider import COST, paints, raises
from tests.jobs import NOW, new_job
from tests.world import TENANT, World, world_on


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    async with world_on(database_url) as opened:
        yield opened


async def status(world: World, batch_id: UUID, tenant: str = TENANT) -> BatchStatusResponse:
    return await batch_status(
        batch_id,
        tenant=tenant,
        journal=world.journal,
        providers=world.worker.providers,
        base_url=BaseUrl(""),
        estimates=world.estimates,
    )


async def bring_back(world: World, batch_id: UUID) -> list[UUID]:
    return await retry_batch(
        batch_id,
        tenant=TENANT,
        journal=world.journal,
        ids=world.worker.ids,
        blobs=world.blobs,
        providers=world.worker.providers,
    )


async def test_a_batch_is_accepted_in_one_commit_with_its_places(world: World) -> None:
    before = world.store.commits
    reply = await ask(world, {}, {"role": "hero"}, {}, {"position": 7}, {}, blog_id="post")
    assert world.store.commits == before + 1
    jobs = [await world.job(job_id) for job_id in reply.job_ids]
    assert [(job.role, job.position) for job in jobs] == [
        ("inline", 1),
        ("hero", 1),
        ("inline", 2),
        ("inline", 7),
        ("inline", 8),
    ]
    assert {(job.is_draft, job.batch_id, job.blog_id) for job in jobs} == {
        (True, reply.batch_id, "post")
    }
    found = await batch(world, reply.batch_id)
    assert (found.drafts, found.open, found.ended_at) == (5, 5, None)
    assert await told(world, reply.batch_id) == ["created"]


async def test_two_batches_at_once_share_the_places_of_their_blog(world: World) -> None:
    replies = await asyncio.gather(*(ask(world, {}, {}, {}, blog_id="post") for _ in range(4)))
    positions = [
        [(await world.job(job_id)).position for job_id in reply.job_ids] for reply in replies
    ]
    assert sorted(p or 0 for one in positions for p in one) == list(range(1, 13))
    assert all(p == list(range(p[0] or 0, (p[0] or 0) + 3)) for p in positions)


async def test_nothing_of_a_batch_is_stored_where_one_picture_cannot_be(world: World) -> None:
    await world.submit(blog_id="gone")
    await delete_blog("gone", tenant=TENANT, journal=world.journal, ids=world.worker.ids)
    before = await world.store.read(job_reads.jobs_page, TENANT, before=None, limit=50)
    with pytest.raises(BlogDeleted):
        await ask(world, {"blog_id": "post"}, {"blog_id": "gone"})
    after = await world.store.read(job_reads.jobs_page, TENANT, before=None, limit=50)
    assert len(after) == len(before)
    assert await world.store.read(picture_reads.blog, TENANT, "post") is None


async def test_a_place_that_no_address_leads_to_is_not_given(world: World) -> None:
    """A draft there could get no final, and its batch would owe it for ever."""
    with pytest.raises(NoPlaceLeft):
        await ask(world, {"position": MAX_POSITION}, {}, blog_id="post")
    assert await world.store.read(job_reads.jobs_page, TENANT, before=None, limit=1) == []
    reply = await ask(world, {"position": MAX_POSITION}, {"position": 1}, blog_id="post")
    for job_id in reply.job_ids:
        await handle(world, await drafted(world, job_id))
    assert (await batch(world, reply.batch_id)).approved == 2


async def test_a_batch_that_was_accepted_is_answered_although_it_is_refused_by_now(
    world: World,
) -> None:
    images = [{"prompt": "one"}, {"prompt": "two"}]
    request = BatchImageGenerationRequest.model_validate({"images": images})

    async def asked(key: str, most_images: int) -> AcceptedBatch:
        return await submit_batch(
            request,
            tenant=TENANT,
            idempotency_key=key,
            most_images=most_images,
            journal=world.journal,
            ids=world.worker.ids,
            providers=world.worker.providers,
            estimate=world.estimates.batch_seconds,
        )

    first = await asked("key", 2)
    assert await asked("key", 1) == AcceptedBatch(first.reply, replayed=True)
    with pytest.raises(InvalidBatch):
        await asked("another", 1)


async def test_every_bad_picture_of_a_batch_is_named_by_its_index(world: World) -> None:
    with pytest.raises(InvalidBatch) as refused:
        await ask(
            world,
            {"quality": "draft"},
            {},
            {"style": "cubist", "quality": "high"},
            {"blog_id": "other"},
            {"draft_job_id": str(world.worker.ids.new())},
            blog_id="post",
            workflow="final_only",
        )
    errors = refused.value.facts["errors"]
    assert [error["field"] for error in errors] == [
        "images.0.quality",
        "images.2.style",
        "images.3.blog_id",
        "images.4.draft_job_id",
    ]
    with pytest.raises(InvalidBatch, match="at most 20"):
        await ask(world, *({} for _ in range(21)))
    assert not await world.store.read(job_reads.jobs_page, TENANT, before=None, limit=1)


async def test_the_quality_of_an_image_is_that_of_its_final(world: World) -> None:
    reply = await ask(
        world, {}, {"quality": "draft"}, {"quality": "ultra"}, final_quality="standard"
    )
    for job_id in reply.job_ids:
        await handle(world, await drafted(world, job_id))
    finals = [await world.job(await final_of(world, job_id)) for job_id in reply.job_ids]
    assert [final.quality for final in finals] == ["standard", "standard", "ultra"]
    finals_only = await ask(world, {}, {"quality": "ultra"}, workflow="final_only")
    jobs = [await world.job(job_id) for job_id in finals_only.job_ids]
    assert [(job.quality, job.is_draft) for job in jobs] == [("high", False), ("ultra", False)]


async def test_several_drafts_get_their_finals_together_each_once(world: World) -> None:
    """A draft of no batch, or of one that waits for an approval, gets none."""
    reply = await ask(world, {}, {}, blog_id="post")
    waiting = await ask(world, {}, approval="required")
    alone = await world.submit(quality="draft")
    drafts = [*reply.job_ids, *waiting.job_ids, alone]
    events = [await drafted(world, job_id) for job_id in drafts]
    for _ in range(2):
        assert await together(world, *events) == [None] * 4
    finals = [(await world.job(job_id)).final_job_id for job_id in drafts]
    assert [final is not None for final in finals] == [True, True, False, False]
    for job_id in reply.job_ids:
        assert len(await decisions(world, job_id)) == 1


async def together(world: World, *events: CloudEvent) -> list[Exception | None]:
    return await draft_promotion.promote_drafts(
        events, world.journal, world.worker.ids, world.worker.providers
    )


async def test_a_promotion_that_is_decided_again_buys_the_same_final(world: World) -> None:
    reply = await ask(world, {}, blog_id="post")
    event = await drafted(world, reply.job_ids[0])
    step = draft_promotion.promotion_step(
        event, world.journal.now(), world.worker.ids, world.worker.providers
    )
    decided: list[list[object]] = []

    def again(look: Look, writes: Writes) -> str:
        step.decide(look, first := Writes())
        answer = step.decide(look, writes)
        decided.extend(
            [row.id if isinstance(row, JobRow) else row.event_id for row in made]
            for made in (of_jobs_and_events(first), of_jobs_and_events(writes))
        )
        return answer

    assert await world.journal.record(replace(step, decide=again)) == "approved"
    first, second = decided
    assert first == second
    assert (await world.job(reply.job_ids[0])).final_job_id in first


def of_jobs_and_events(writes: Writes) -> list[JobRow | EventRow]:
    return [row for _, row in writes.inserts if isinstance(row, JobRow | EventRow)]


async def test_a_batch_is_completed_when_its_finals_are_and_not_before(world: World) -> None:
    reply = await ask(world, {}, {}, blog_id="post")
    events = [await drafted(world, job_id) for job_id in reply.job_ids]
    shown = await status(world, reply.batch_id)
    assert (shown.status, shown.jobs_owed, shown.promotions_owed) == (BatchStatus.RUNNING, 0, 2)
    assert (shown.cost_confirmed, shown.estimated_cost) == (2 * COST, 4 * COST)
    for event in events:
        await handle(world, event)
    assert await told(world, reply.batch_id) == ["created"]
    finals = [await final_of(world, job_id) for job_id in reply.job_ids]
    await world.deliver(finals[0])
    assert (await batch(world, reply.batch_id)).ended_at is None
    await world.deliver(finals[1])
    assert (await batch(world, reply.batch_id)).ended_at is not None
    assert await told(world, reply.batch_id) == ["created", "completed"]
    last = (await world.history("batch", str(reply.batch_id)))[-1]
    data = json.loads(last.data)
    assert (data["owed"], data["cancelled"]) == (0, False)
    assert {name: number for name, number in data["counts"].items() if number} == {
        "drafts": 2,
        "finals": 2,
        "completed": 4,
        "approved": 2,
    }
    shown = await status(world, reply.batch_id)
    assert (shown.status, shown.estimated_time_remaining) == (BatchStatus.COMPLETED, None)
    assert (shown.cost_confirmed, shown.estimated_cost, shown.unknown_prices) == (
        4 * COST,
        4 * COST,
        0,
    )
    assert shown.counts[State.COMPLETED] == 4
    assert [one.final.job_id for one in shown.images if one.final] == finals
    assert [one.draft.job_id for one in shown.images if one.draft] == reply.job_ids


async def test_a_lost_answer_and_a_call_under_way_may_have_cost_something(world: World) -> None:
    reply = await ask(world, {}, {})
    lost, running = reply.job_ids
    world.provider.script.append(raises(OutcomeUnknown("reset")))
    await world.deliver(lost)
    shown = await status(world, reply.batch_id)
    assert (shown.cost_confirmed, shown.cost_possible, shown.unknown_prices) == (0, COST, 0)
    asked, answer = asyncio.Event(), asyncio.Event()

    async def slowly(request: PaintRequest) -> Painting:
        asked.set()
        await answer.wait()
        return await paints(request)

    world.provider.script.append(slowly)
    task = asyncio.create_task(world.deliver(running))
    await asked.wait()
    assert (await status(world, reply.batch_id)).cost_possible == 2 * COST
    answer.set()
    await task
    shown = await status(world, reply.batch_id)
    assert (shown.cost_confirmed, shown.cost_possible) == (COST, COST)


async def test_a_failed_draft_owes_nothing_and_its_retry_reopens_the_batch(world: World) -> None:
    reply = await ask(world, {}, {})
    good, bad = reply.job_ids
    await handle(world, await drafted(world, good))
    world.provider.script.append(raises(ProviderRefused("moderated", "unsafe")))
    await world.deliver(bad)
    await world.deliver(await final_of(world, good))
    assert await told(world, reply.batch_id) == ["created", "completed"]
    found = await batch(world, reply.batch_id)
    assert (found.failed, found.completed, found.version) == (1, 2, 2)
    assert await bring_back(world, reply.batch_id) == [bad]
    assert await told(world, reply.batch_id) == ["created", "completed", "reopened"]
    assert (await batch(world, reply.batch_id)).ended_at is None
    assert await bring_back(world, reply.batch_id) == []
    await world.deliver(bad, 2)
    await handle(world, await drafted(world, bad))
    await world.deliver(await final_of(world, bad))
    assert (await told(world, reply.batch_id))[2:] == ["reopened", "completed"]
    assert (await batch(world, reply.batch_id)).completed == 4


async def test_a_failed_final_that_has_a_successor_is_not_retried_with_its_batch(
    world: World,
) -> None:
    reply = await ask(world, {})
    (draft_id,) = reply.job_ids
    await handle(world, await drafted(world, draft_id))
    world.provider.script.append(raises(ProviderRefused("moderated", "unsafe")))
    first = await final_of(world, draft_id)
    await world.deliver(first)
    await approve(world, draft_id)
    assert await bring_back(world, reply.batch_id) == []
    assert (await world.job(first)).state is State.FAILED


async def test_a_deleted_post_keeps_no_other_picture_of_the_batch_from_coming_back(
    world: World,
) -> None:
    reply = await ask(world, {"blog_id": "gone"}, {"blog_id": "post"}, workflow="final_only")
    for job_id in reply.job_ids:
        world.provider.script.append(raises(ProviderRefused("moderated", "unsafe")))
        await world.deliver(job_id)
    await delete_blog("gone", tenant=TENANT, journal=world.journal, ids=world.worker.ids)
    assert await bring_back(world, reply.batch_id) == [reply.job_ids[1]]
    await world.deliver(reply.job_ids[1], 2)
    with pytest.raises(BlogDeleted):
        await bring_back(world, reply.batch_id)
    assert (await batch(world, reply.batch_id)).failed == 1


async def test_with_approval_required_waiting_drafts_owe_nothing_and_are_shown(
    world: World,
) -> None:
    reply = await ask(world, {}, {}, approval="required")
    for job_id in reply.job_ids:
        await handle(world, await drafted(world, job_id))
    assert await told(world, reply.batch_id) == ["created", "completed"]
    shown = await status(world, reply.batch_id)
    assert shown.waiting_for_approval == reply.job_ids
    assert shown.promotions_owed == 0
    approved, rejected = reply.job_ids
    final = (await approve(world, approved)).final
    assert (await told(world, reply.batch_id))[2:] == ["reopened"]
    await refuse(world, rejected, "too dark")
    await world.deliver(final.id)
    assert (await told(world, reply.batch_id))[2:] == ["reopened", "completed"]
    found = await batch(world, reply.batch_id)
    assert (found.approved, found.rejected, found.undecided) == (1, 1, 0)


async def test_a_rejection_can_be_the_last_thing_a_batch_owed(world: World) -> None:
    reply = await ask(world, {})
    await drafted(world, reply.job_ids[0])
    assert await told(world, reply.batch_id) == ["created"]
    await refuse(world, reply.job_ids[0])
    await batch(world, reply.batch_id)
    assert await told(world, reply.batch_id) == ["created", "completed"]


async def _refused(world: World, job_id: UUID) -> None:
    world.provider.script.append(raises(ProviderRefused("moderated", "unsafe")))
    await world.deliver(job_id)


async def _cancelled(world: World, job_id: UUID) -> None:
    await cancel(job_id, tenant=TENANT, journal=world.journal, ids=world.worker.ids)


async def _too_late(world: World, job_id: UUID) -> None:
    await _clock(world).advance(61)
    await world.deliver(job_id)


async def _swept(world: World, job_id: UUID) -> None:
    await _clock(world).advance(61)
    await world.sweep.once()


async def _no_picture(world: World, job_id: UUID) -> None:
    def bad(_: bytes) -> None:
        raise BadPicture("truncated", "it ends too early")

    world.pictures.trouble = bad
    await world.deliver(job_id)


async def _deleted(world: World, _: UUID) -> None:
    await delete_blog("post", tenant=TENANT, journal=world.journal, ids=world.worker.ids)


FAULTS: dict[str, Callable[[World, UUID], Awaitable[None]]] = {
    "refused": _refused,
    "cancelled": _cancelled,
    "past its deadline, at the claim": _too_late,
    "past its deadline, in the sweep": _swept,
    "no picture": _no_picture,
    "deleted with its blog": _deleted,
}


def _clock(world: World) -> FakeClock:
    assert isinstance(world.clock, FakeClock)
    return world.clock


@pytest.mark.parametrize("fault", FAULTS)
async def test_however_its_last_job_ends_the_batch_is_counted_down(
    world: World, fault: str
) -> None:
    reply = await ask(world, {"deadline_seconds": 60}, blog_id="post")
    await FAULTS[fault](world, reply.job_ids[0])
    assert (await world.job(reply.job_ids[0])).state in (State.FAILED, State.CANCELLED)
    found = await batch(world, reply.batch_id)
    assert (found.owed, found.failed + found.cancelled) == (0, 1)
    assert await told(world, reply.batch_id) == ["created", "completed"]


async def test_a_job_that_is_put_back_is_still_owed(world: World) -> None:
    reply = await ask(world, {})
    world.provider.script.append(raises(ProviderBusy("429", timedelta(seconds=1))))
    await world.deliver(reply.job_ids[0])
    assert (await batch(world, reply.batch_id)).open == 1
    assert await told(world, reply.batch_id) == ["created"]


async def test_a_result_that_a_person_takes_after_all_reopens_the_batch(world: World) -> None:
    reply = await ask(world, {}, workflow="final_only")
    (job_id,) = reply.job_ids

    def dies(_: bytes) -> None:
        raise Unavailable("a worker process died")

    world.pictures.trouble = dies
    await world.deliver(job_id)
    await cancel(job_id, tenant=TENANT, journal=world.journal, ids=world.worker.ids)
    assert await told(world, reply.batch_id) == ["created", "completed"]
    world.pictures.trouble = lambda _: None
    await retry(
        job_id,
        tenant=TENANT,
        journal=world.journal,
        ids=world.worker.ids,
        blobs=world.blobs,
        providers=world.worker.providers,
    )
    assert (await batch(world, reply.batch_id)).open == 1
    await world.deliver(job_id)
    assert (await told(world, reply.batch_id))[2:] == ["reopened", "completed"]
    assert sum(world.provider.calls.values()) == 1


async def test_a_cancelled_batch_buys_nothing(world: World) -> None:
    reply = await ask(world, {}, {}, {})
    done, working, queued = reply.job_ids
    event = await drafted(world, done)
    await stop(world, reply.batch_id)
    await stop(world, reply.batch_id)
    found = await batch(world, reply.batch_id)
    assert (found.cancelled, found.undecided, found.owed) == (2, 1, 0)
    assert await told(world, reply.batch_id) == ["created", "completed"]
    await handle(world, event)
    assert (await world.job(done)).final_job_id is None
    with pytest.raises(BatchCancelled):
        await approve(world, done)
    with pytest.raises(BatchCancelled):
        await bring_back(world, reply.batch_id)
    with pytest.raises(BatchCancelled):
        await retry(
            queued,
            tenant=TENANT,
            journal=world.journal,
            ids=world.worker.ids,
            blobs=world.blobs,
            providers=world.worker.providers,
        )
    assert (await world.job(working)).state is State.CANCELLED
    assert sum(world.provider.calls.values()) == 1
    assert (await status(world, reply.batch_id)).status is BatchStatus.CANCELLED


async def test_a_batch_whose_drafts_wait_is_cancelled_and_says_so(world: World) -> None:
    reply = await ask(world, {}, approval="required")
    await drafted(world, reply.job_ids[0])
    assert await told(world, reply.batch_id) == ["created", "completed"]
    await stop(world, reply.batch_id)
    assert await told(world, reply.batch_id) == ["created", "completed", "completed"]
    last = (await world.history("batch", str(reply.batch_id)))[-1]
    assert json.loads(last.data)["cancelled"] is True
    assert (await status(world, reply.batch_id)).waiting_for_approval == []
    with pytest.raises(BatchCancelled):
        await approve(world, reply.job_ids[0])


async def test_a_batch_that_is_done_cannot_be_cancelled(world: World) -> None:
    reply = await ask(world, {}, workflow="final_only")
    await world.deliver(reply.job_ids[0])
    with pytest.raises(CannotCancelBatch):
        await stop(world, reply.batch_id)
    with pytest.raises(NoSuchBatch):
        await stop(world, world.worker.ids.new())


async def test_another_tenants_batch_is_not_there(world: World) -> None:
    reply = await ask(world, {})
    with pytest.raises(NoSuchBatch):
        await status(world, reply.batch_id, "another")


async def test_cancelling_a_batch_while_its_finals_are_bought_leaves_none_open(
    database_url: str,
) -> None:
    """Some finals are bought first and cancelled with the batch, the others are not bought."""
    async with world_on(database_url) as world:
        for _ in range(4):
            reply = await ask(world, {}, {}, {}, {})
            events = [await drafted(world, job_id) for job_id in reply.job_ids]
            await asyncio.gather(
                *(handle(world, event) for event in events[:2]),
                stop(world, reply.batch_id),
                *(handle(world, event) for event in events[2:]),
            )
            found = await batch(world, reply.batch_id)
            assert (found.open, found.owed, found.completed) == (0, 0, 4)
            assert found.cancelled == found.finals == found.approved
            assert await told(world, reply.batch_id) == ["created", "completed"]


async def test_the_last_two_jobs_that_end_at_once_complete_the_batch_once(
    postgres_url: str,
) -> None:
    """Two processes; both commits stand before the batch's lock at the same moment."""
    later = FakeClock(START + timedelta(hours=1))  # ids follow from it, and differ
    async with (
        world_on(postgres_url) as one,
        world_on(postgres_url, clock=later, blobs=one.blobs) as two,
    ):
        reply = await ask(one, {}, {}, workflow="final_only")
        watcher = await asyncpg.connect(postgres_url)
        holder = await asyncpg.connect(postgres_url)
        try:
            async with holder.transaction():
                await holder.execute("SELECT 1 FROM batches FOR UPDATE")
                ends = [
                    asyncio.create_task(world.deliver(job_id))
                    for world, job_id in zip((one, two), reply.job_ids, strict=True)
                ]
                async with asyncio.timeout(20):
                    while await watcher.fetchval(WAITING) < 2:
                        pass
            assert [answer.done for answer in await asyncio.gather(*ends)] == [True, True]
        finally:
            await watcher.close()
            await holder.close()
        found = await batch(one, reply.batch_id)
        assert (found.completed, found.open) == (2, 0)
        assert await told(one, reply.batch_id) == ["created", "completed"]


WAITING = (
    "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
    " AND datname = current_database()"
)


def test_a_move_of_a_batchs_job_that_nobody_counts_is_a_defect() -> None:
    job = new_job(batch_id=new_job().id)
    with pytest.raises(TypeError, match="record_moves"):
        move_job(Writes(), job, Trigger.CANCEL, at=NOW, event_id=job.id)
    assert isinstance(
        move_job(Writes(), new_job(), Trigger.CANCEL, at=NOW, event_id=job.id), JobRow
    )
