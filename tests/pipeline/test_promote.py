"""A draft gets one final at a time, whoever decides, however often, and at what moment."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from adapters.errors import ProviderRefused
from adapters.store import job_reads
from pipeline.batch_changes import retry_batch
from pipeline.cancel import cancel
from pipeline.delete import delete_blog
from pipeline.errors import (
    BlogDeleted,
    CannotReject,
    DraftNotUsable,
    DraftRejected,
    FinalReplaced,
    NoSuchJob,
    StrategyWithoutDraft,
    UnknownStrategy,
)
from pipeline.promote import Promoted
from pipeline.retry import retry
from pipeline.submit import Accepted, submit
from schemas.requests import ImageGenerationRequest
from schemas.tables import Decision, Job, JobRow
from states.table import State
from tests.batches import (
    approve,
    ask,
    batch,
    completion,
    decisions,
    drafted,
    final_of,
    handle,
    refuse,
    told,
)
from tests.fakes.clock import START, FakeClock
from tests.fakes.provider import raises
from tests.world import TENANT, World, world_on


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    async with world_on(database_url) as opened:
        yield opened


async def draft(world: World, **fields: Any) -> UUID:
    """A completed draft."""
    job_id = await world.submit(quality="draft", **fields)
    await world.deliver(job_id)
    return job_id


async def finals(world: World, draft_id: UUID) -> list[Job]:
    page = await world.store.read(job_reads.jobs_page, TENANT, before=None, limit=100)
    return [job for job in page if job.draft_job_id == draft_id]


async def again(world: World, job_id: UUID) -> JobRow:
    return await retry(
        job_id,
        tenant=TENANT,
        journal=world.journal,
        ids=world.worker.ids,
        blobs=world.blobs,
        providers=world.worker.providers,
    )


async def again_all(world: World, batch_id: UUID) -> list[UUID]:
    return await retry_batch(
        batch_id,
        tenant=TENANT,
        journal=world.journal,
        ids=world.worker.ids,
        blobs=world.blobs,
        providers=world.worker.providers,
    )


async def accepted(world: World, key: str | None = None, **fields: Any) -> Accepted:
    return await submit(
        ImageGenerationRequest.model_validate({"prompt": "a lighthouse"} | fields),
        tenant=TENANT,
        idempotency_key=key,
        journal=world.journal,
        ids=world.worker.ids,
        providers=world.worker.providers,
        estimate=world.estimates.total_seconds,
    )


async def test_a_promotion_is_one_commit_with_both_links_and_its_events(world: World) -> None:
    draft_id = await draft(world, blog_id="post", role="hero", alt_text="A tower", caption="Dusk")
    before = world.store.commits
    promoted = await approve(world, draft_id, quality="ultra")
    assert (world.store.commits, promoted.new) == (before + 1, True)
    of, final = await world.job(draft_id), await world.job(promoted.final.id)
    assert (of.final_job_id, final.draft_job_id) == (final.id, draft_id)
    assert (final.quality, final.blog_id, final.role, final.position) == (
        "ultra",
        "post",
        "hero",
        1,
    )
    assert final.request | {"alt_text": "A tower", "caption": "Dusk"} == final.request
    assert final.request["seed"] == of.request["seed"]
    assert of.result is not None
    assert final.request["source_image_id"] == of.result["image_ids"][0]
    assert final.request["strategy"] == "regenerate"
    assert await world.events(final.id) == ["image.job.queued"]
    assert (await world.events(draft_id))[-1] == "image.draft.approved"
    assert of.state is State.COMPLETED
    (decided,) = await decisions(world, draft_id)
    assert (decided.generation, decided.decision, decided.final_job_id, decided.decided_by) == (
        1,
        Decision.APPROVED,
        final.id,
        "person",
    )
    last = json.loads((await world.history("job", str(draft_id)))[-1].data)
    assert (last["final_job_id"], last["generation"]) == (str(final.id), 1)


async def test_what_is_not_asked_for_anew_is_the_drafts(world: World) -> None:
    draft_id = await draft(
        world, aspect_ratio="16:9", negative_prompt="people", style="plain", blog_job_id="w-1"
    )
    final = (await approve(world, draft_id)).final
    inherited = ("prompt", "negative_prompt", "style", "aspect_ratio")
    of = await world.job(draft_id)
    assert {n: final.request[n] for n in inherited} == {n: of.request[n] for n in inherited}
    assert (final.quality, final.blog_job_id, final.provider) == ("high", "w-1", of.provider)
    other = await draft(world, aspect_ratio="16:9")
    changed = (await approve(world, other, prompt="a lighthouse, lit", aspect_ratio="3:2")).final
    assert (changed.request["prompt"], changed.request["aspect_ratio"]) == (
        "a lighthouse, lit",
        "3:2",
    )


async def test_ten_clicks_at_once_buy_one_final(world: World) -> None:
    draft_id = await draft(world)
    answers = await asyncio.gather(*(approve(world, draft_id) for _ in range(10)))
    assert len({answer.final.id for answer in answers}) == 1
    assert [answer.new for answer in answers].count(True) == 1
    assert len(await finals(world, draft_id)) == 1
    assert len(await decisions(world, draft_id)) == 1


async def test_a_rejection_and_a_promotion_at_once_leave_one_decision(world: World) -> None:
    for number in range(6):
        draft_id = await draft(world)
        racers = [approve(world, draft_id), refuse(world, draft_id)]
        racers = racers[:: -1 if number % 2 else 1]
        answers = await asyncio.gather(*racers, return_exceptions=True)
        (decided,) = await decisions(world, draft_id)
        if decided.decision is Decision.APPROVED:
            assert {answer.__class__ for answer in answers} == {Promoted, CannotReject}
            assert len(await finals(world, draft_id)) == 1
        else:
            assert {answer.__class__ for answer in answers} == {JobRow, DraftRejected}
            assert await finals(world, draft_id) == []


async def test_a_person_and_the_automatic_promotion_at_once_buy_one_final(world: World) -> None:
    for number in range(4):
        reply = await ask(world, {})
        (draft_id,) = reply.job_ids
        event = await drafted(world, draft_id)
        racers: list[Any] = [approve(world, draft_id, quality="ultra"), handle(world, event)]
        await asyncio.gather(*racers[:: -1 if number % 2 else 1])
        assert len(await finals(world, draft_id)) == 1
        assert len(await decisions(world, draft_id)) == 1
        found = await batch(world, reply.batch_id)
        assert (found.finals, found.open, found.approved) == (1, 1, 1)


async def test_two_processes_that_promote_at_once_buy_one_final(postgres_url: str) -> None:
    """Both have read the draft as undecided, and both commits wait for its row."""
    later = FakeClock(START + timedelta(hours=1))  # ids follow from it, and differ
    async with (
        world_on(postgres_url) as one,
        world_on(postgres_url, clock=later, blobs=one.blobs) as two,
    ):
        reply = await ask(one, {})
        (draft_id,) = reply.job_ids
        event = await drafted(one, draft_id)
        watcher = await asyncpg.connect(postgres_url)
        holder = await asyncpg.connect(postgres_url)
        try:
            async with holder.transaction():
                await holder.execute("SELECT 1 FROM jobs FOR UPDATE")
                clicks = asyncio.gather(approve(one, draft_id), handle(two, event))
                async with asyncio.timeout(20):
                    while await watcher.fetchval(WAITING) < 2:
                        pass
            await clicks
        finally:
            await watcher.close()
            await holder.close()
        assert len(await finals(one, draft_id)) == 1
        assert len(await decisions(one, draft_id)) == 1
        assert (await batch(one, reply.batch_id)).finals == 1


WAITING = (
    "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
    " AND datname = current_database()"
)


async def test_a_drafts_completion_told_five_times_buys_one_final(world: World) -> None:
    reply = await ask(world, {}, {})
    event = await drafted(world, reply.job_ids[0])
    for _ in range(3):
        await handle(world, event)
    await asyncio.gather(*(handle(world, event) for _ in range(2)))
    assert len(await finals(world, reply.job_ids[0])) == 1
    found = await batch(world, reply.batch_id)
    assert (found.finals, found.approved, found.open) == (1, 1, 2)
    handled = await decisions(world, reply.job_ids[0])
    assert [one.decided_by for one in handled] == ["automatic"]


async def test_single_drafts_and_required_approval_wait_for_a_person(world: World) -> None:
    alone = await draft(world)
    await handle(world, await completion(world, alone))
    reply = await ask(world, {}, approval="required")
    await handle(world, await drafted(world, reply.job_ids[0]))
    for draft_id in (alone, reply.job_ids[0]):
        assert await decisions(world, draft_id) == []
        assert await finals(world, draft_id) == []


async def test_a_failed_or_cancelled_final_has_a_successor_and_no_other_has(world: World) -> None:
    reply = await ask(world, {})
    (draft_id,) = reply.job_ids
    await handle(world, await drafted(world, draft_id))
    first = await final_of(world, draft_id)
    world.provider.script.append(raises(ProviderRefused("moderated", "unsafe")))
    await world.deliver(first)
    assert await told(world, reply.batch_id) == ["created", "completed"]

    second = (await approve(world, draft_id)).final
    assert second.id not in (first, draft_id)
    assert (await approve(world, draft_id)).final.id == second.id
    assert (await batch(world, reply.batch_id)).open == 1
    await cancel(second.id, tenant=TENANT, journal=world.journal, ids=world.worker.ids)
    third = (await approve(world, draft_id)).final
    await world.deliver(third.id)
    kept = await approve(world, draft_id)
    assert (kept.final.id, kept.new) == (third.id, False)
    assert [one.generation for one in await decisions(world, draft_id)] == [1, 2, 3]
    assert await final_of(world, draft_id) == third.id
    assert (await batch(world, reply.batch_id)).finals == 3
    assert await told(world, reply.batch_id) == [
        "created",
        *("completed", "reopened", "completed", "reopened", "completed"),
    ]


async def test_a_retry_of_the_final_and_its_successor_at_once_leave_one_open(
    world: World,
) -> None:
    for number in range(4):
        draft_id = await draft(world)
        lost = (await approve(world, draft_id)).final.id
        await cancel(lost, tenant=TENANT, journal=world.journal, ids=world.worker.ids)
        revival = retry(
            lost,
            tenant=TENANT,
            journal=world.journal,
            ids=world.worker.ids,
            blobs=world.blobs,
            providers=world.worker.providers,
        )
        racers: list[Any] = [approve(world, draft_id), revival]
        await asyncio.gather(*racers[:: -1 if number % 2 else 1], return_exceptions=True)
        found = await finals(world, draft_id)
        assert [job.state for job in found].count(State.QUEUED) == 1


async def test_a_final_that_has_a_successor_is_not_bought_again(world: World) -> None:
    draft_id = await draft(world)
    lost = (await approve(world, draft_id)).final.id
    await cancel(lost, tenant=TENANT, journal=world.journal, ids=world.worker.ids)
    successor = (await approve(world, draft_id)).final.id
    with pytest.raises(FinalReplaced, match=str(successor)):
        await retry(
            lost,
            tenant=TENANT,
            journal=world.journal,
            ids=world.worker.ids,
            blobs=world.blobs,
            providers=world.worker.providers,
        )
    assert (await world.job(lost)).state is State.CANCELLED


async def test_the_lost_final_of_a_rejected_draft_is_not_bought_again(world: World) -> None:
    reply = await ask(world, {})
    (draft_id,) = reply.job_ids
    await handle(world, await drafted(world, draft_id))
    lost = await final_of(world, draft_id)
    world.provider.script.append(raises(ProviderRefused("moderated", "unsafe")))
    await world.deliver(lost)
    await refuse(world, draft_id)
    told_before = await told(world, reply.batch_id)
    with pytest.raises(DraftRejected):
        await again(world, lost)
    assert await again_all(world, reply.batch_id) == []
    assert (await world.job(lost)).state is State.FAILED
    assert await told(world, reply.batch_id) == told_before
    await batch(world, reply.batch_id)


async def test_a_rejection_and_a_retry_of_the_lost_final_at_once_leave_one(world: World) -> None:
    for number in range(6):
        draft_id = await draft(world)
        lost = (await approve(world, draft_id)).final.id
        await cancel(lost, tenant=TENANT, journal=world.journal, ids=world.worker.ids)
        racers: list[Any] = [again(world, lost), refuse(world, draft_id)]
        answers = await asyncio.gather(*racers[:: -1 if number % 2 else 1], return_exceptions=True)
        rejected = (await decisions(world, draft_id))[-1].decision is Decision.REJECTED
        bought = (await world.job(lost)).state is State.QUEUED
        assert rejected is not bought
        assert sum(isinstance(answer, Exception) for answer in answers) == 1


async def test_the_automatic_promotion_makes_the_first_decision_only(world: World) -> None:
    reply = await ask(world, {})
    (draft_id,) = reply.job_ids
    event = await drafted(world, draft_id)
    final = (await approve(world, draft_id)).final
    await cancel(final.id, tenant=TENANT, journal=world.journal, ids=world.worker.ids)
    await handle(world, event)
    assert [job.id for job in await finals(world, draft_id)] == [final.id]
    await batch(world, reply.batch_id)


async def test_a_rejection_stands(world: World) -> None:
    reply = await ask(world, {})
    (draft_id,) = reply.job_ids
    event = await drafted(world, draft_id)
    await refuse(world, draft_id, "the tower leans")
    assert (await refuse(world, draft_id)).id == draft_id
    await handle(world, event)
    with pytest.raises(DraftRejected):
        await approve(world, draft_id)
    with pytest.raises(DraftRejected):
        await world.submit(quality="high", draft_job_id=str(draft_id))
    (decided,) = await decisions(world, draft_id)
    assert (decided.decision, decided.reason) == (Decision.REJECTED, "the tower leans")
    history = await world.history("job", str(draft_id))
    assert [event.type for event in history].count("image.draft.rejected") == 1
    assert json.loads(history[-1].data)["decision_reason"] == "the tower leans"
    assert (await world.job(draft_id)).state is State.COMPLETED


async def test_only_a_completed_draft_is_decided_about(world: World) -> None:
    final = await world.submit(quality="high")
    queued = await world.submit(quality="draft")
    failed = await world.submit(quality="draft")
    world.provider.script.append(raises(ProviderRefused("moderated", "unsafe")))
    await world.deliver(failed)
    for job_id in (final, queued, failed):
        with pytest.raises(DraftNotUsable):
            await approve(world, job_id)
        with pytest.raises(CannotReject):
            await refuse(world, job_id)
        assert await decisions(world, job_id) == []
    for decide in (approve, refuse):
        with pytest.raises(NoSuchJob):
            await decide(world, world.worker.ids.new())


async def test_a_draft_with_its_final_is_not_rejected(world: World) -> None:
    draft_id = await draft(world)
    final = (await approve(world, draft_id)).final
    with pytest.raises(CannotReject) as refused:
        await refuse(world, draft_id)
    assert refused.value.facts["final_job_id"] == str(final.id)
    await cancel(final.id, tenant=TENANT, journal=world.journal, ids=world.worker.ids)
    await refuse(world, draft_id)
    assert [one.decision for one in await decisions(world, draft_id)] == [
        Decision.APPROVED,
        Decision.REJECTED,
    ]


async def test_a_deleted_blog_buys_nothing_and_blocks_what_was_owed(world: World) -> None:
    reply = await ask(world, {}, blog_id="post")
    (draft_id,) = reply.job_ids
    event = await drafted(world, draft_id)
    await delete_blog("post", tenant=TENANT, journal=world.journal, ids=world.worker.ids)
    await handle(world, event)
    (decided,) = await decisions(world, draft_id)
    assert (decided.decision, decided.reason) == (Decision.BLOCKED, "blog_deleted")
    assert (await world.events(draft_id))[-1] == "image.draft.blocked"
    found = await batch(world, reply.batch_id)
    assert (found.blocked, found.owed) == (1, 0)
    assert await told(world, reply.batch_id) == ["created", "completed"]
    with pytest.raises(BlogDeleted):
        await approve(world, draft_id)
    assert await finals(world, draft_id) == []


async def test_a_strategy_that_the_provider_lacks_is_refused(world: World) -> None:
    draft_id = await draft(world)
    with pytest.raises(UnknownStrategy, match="regenerate"):
        await approve(world, draft_id, strategy="upscale")
    assert (await approve(world, draft_id, strategy="regenerate")).new
    with pytest.raises(StrategyWithoutDraft):
        await world.submit(quality="high", strategy="regenerate")


async def test_a_final_of_the_same_prompt_in_the_same_blog_adopts_its_draft(world: World) -> None:
    draft_id = await draft(world, blog_id="post", prompt="Hero image", aspect_ratio="16:9")
    asked = {"blog_id": "post", "prompt": "Hero image", "quality": "high"}
    adopted = await accepted(world, "k", **asked)
    assert adopted.reply.draft_job_id == draft_id
    assert str(draft_id) in adopted.reply.warnings[0]
    final = await world.job(adopted.reply.job_id)
    assert (final.draft_job_id, final.position) == (draft_id, 1)
    assert final.request["aspect_ratio"] == "16:9"
    assert final.warnings == adopted.reply.warnings
    again = await accepted(world, "k", **asked)
    assert (again.replayed, again.reply) == (True, adopted.reply)
    # Its draft is taken now: the same request for another picture gets a place of its own.
    other = await accepted(world, "other", **asked)
    assert (other.reply.draft_job_id, other.reply.warnings) == (None, [])
    assert (await world.job(other.reply.job_id)).position == 2


UNLIKE: dict[str, dict[str, Any]] = {
    "another prompt": {"prompt": "a mill"},
    "another blog": {"blog_id": "other"},
    "no blog": {"blog_id": None},
    "a role": {"role": "hero"},
    "a position": {"position": 3},
    "a draft": {"quality": "draft"},
}


@pytest.mark.parametrize("difference", UNLIKE)
async def test_a_request_that_is_not_clearly_for_that_draft_adopts_none(
    sqlite_url: str, difference: str
) -> None:
    async with world_on(sqlite_url) as world:
        draft_id = await draft(world, blog_id="post")
        await accepted(world, **{"blog_id": "post", "quality": "high"} | UNLIKE[difference])
        assert await decisions(world, draft_id) == []


async def test_of_two_equal_drafts_none_is_adopted(world: World) -> None:
    pair = [await draft(world, blog_id="post") for _ in range(2)]
    assert (await accepted(world, blog_id="post", quality="high")).reply.draft_job_id is None
    await refuse(world, pair[0])
    assert (await accepted(world, blog_id="post", quality="high")).reply.draft_job_id == pair[1]


async def test_equal_finals_at_once_adopt_the_draft_once(world: World) -> None:
    draft_id = await draft(world, blog_id="post")
    answers = await asyncio.gather(
        *(accepted(world, blog_id="post", quality="high") for _ in range(5))
    )
    assert [one.reply.draft_job_id for one in answers].count(draft_id) == 1
    assert len(await decisions(world, draft_id)) == 1


async def test_a_repeated_request_for_the_final_of_a_named_draft_is_answered(world: World) -> None:
    draft_id = await draft(world)
    asked = {"quality": "high", "draft_job_id": str(draft_id)}
    first = await accepted(world, "key", **asked)
    again = await accepted(world, "key", **asked)
    assert (again.replayed, again.reply) == (True, first.reply)
    with pytest.raises(DraftNotUsable, match=str(first.reply.job_id)):
        await accepted(world, "another", **asked)
