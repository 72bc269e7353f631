"""A lost answer is parked or asked for once more, as the job was promised; never more than that."""

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

from adapters.errors import OutcomeUnknown
from adapters.ports import Painting, PaintRequest
from pipeline.addresses import BaseUrl
from pipeline.cancel import cancel
from pipeline.delete import delete_blog
from pipeline.generate import generate
from pipeline.policy import UnknownPolicy
from pipeline.promote import promote
from pipeline.status import job_status
from schemas.events import cloud_event
from schemas.replies import ImageJobStatusResponse
from schemas.requests import OnUnknown, PromotionRequest
from schemas.tables import CallState
from schemas.tasks import ImageTask
from states.table import State
from tests.batches import ask, drafted, final_of, handle
from tests.budgets import again
from tests.fakes.clock import FakeClock
from tests.fakes.provider import COST, raises
from tests.world import TENANT, World, world_on

LOST = raises(OutcomeUnknown("reset by peer"))
PARK, RETRY_ONCE = OnUnknown.PARK, OnUnknown.RETRY_ONCE


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    async with world_on(database_url) as opened:
        yield opened


async def told(world: World, job_id: UUID) -> ImageJobStatusResponse:
    return await job_status(
        job_id,
        tenant=TENANT,
        journal=world.journal,
        providers=world.worker.providers,
        base_url=BaseUrl("http://test"),
        estimates=world.estimates,
    )


async def lost(world: World, **fields: Any) -> UUID:
    """A job whose first answer is lost."""
    job_id = await world.submit(**fields)
    world.provider.script.append(LOST)
    await world.deliver(job_id)
    return job_id


async def calls(world: World, job_id: UUID, attempts: int) -> list[CallState]:
    found = [await world.call(job_id, attempt) for attempt in range(1, attempts + 1)]
    return [call.state for call in found if call is not None]


@pytest.mark.parametrize(
    ("quality", "wanted", "promised"),
    [
        ("draft", None, RETRY_ONCE),
        ("draft", "park", PARK),
        ("high", None, PARK),
        ("high", "retry_once", RETRY_ONCE),
    ],
)
async def test_a_lost_answer_does_what_the_job_was_promised(
    world: World, quality: str, wanted: str | None, promised: OnUnknown
) -> None:
    job_id = await lost(world, quality=quality, on_unknown=wanted)
    job, shown = await world.job(job_id), await told(world, job_id)
    assert shown.on_unknown is promised
    assert await calls(world, job_id, 2) == [CallState.UNKNOWN]
    types = [one.removeprefix("image.job.") for one in await world.events(job_id)]
    if promised is PARK:
        assert (job.state, job.attempt, job.version) == (State.FAILED, 1, 3)
        assert types == ["queued", "started", "failed"]
        assert shown.error_details is not None
        assert shown.error_details["code"] == "outcome_unknown"
        assert shown.error_message is not None
        assert "$0.025 may have been charged by paid (paid-1)" in shown.error_message
    else:
        assert (job.state, job.attempt, job.version) == (State.QUEUED, 2, 4)
        assert types == ["queued", "started", "failed", "queued"]
        assert (job.retry_count, job.error, job.lease_token) == (1, None, None)
        assert "the answer of attempt 1 was lost and $0.025 may" in shown.warnings[0]
        history = await world.history("job", str(job_id))
        assert [event.seq for event in history] == [1, 2, 3, 4]
        reasons = [cloud_event(event).data["reason"] for event in history[2:]]
        assert reasons == ["outcome_unknown", "retry_once"]
    assert world.provider.calls == {(job_id, 1): 1}


async def test_the_second_try_completes_the_job_and_the_first_stays_unknown(
    world: World,
) -> None:
    job_id = await lost(world, quality="draft")
    await world.deliver(job_id, 2)
    assert (await world.job(job_id)).state is State.COMPLETED
    assert await calls(world, job_id, 2) == [CallState.UNKNOWN, CallState.ANSWERED]
    assert world.provider.calls == {(job_id, 1): 1, (job_id, 2): 1}


async def test_the_policy_asks_once_in_the_life_of_a_job_whoever_retries_it(
    world: World,
) -> None:
    job_id = await lost(world, quality="draft")
    for attempt in (2, 3):
        world.provider.script.append(LOST)
        await world.deliver(job_id, attempt)
        job = await world.job(job_id)
        assert (job.state, job.attempt) == (State.FAILED, attempt)
        assert job.error is not None
        assert "not asked a third time" in job.error["message"]
        await again(world, job_id)
    assert world.provider.calls == {(job_id, attempt): 1 for attempt in (1, 2, 3)}


async def test_a_deadline_that_was_kept_does_not_hinder_the_second_try(world: World) -> None:
    job_id = await lost(world, quality="draft", deadline_seconds=60)
    assert isinstance(world.clock, FakeClock)
    await world.clock.advance(120)
    await world.deliver(job_id, 2)
    assert (await world.job(job_id)).state is State.COMPLETED


async def test_nothing_is_bought_again_for_a_deleted_blog(world: World) -> None:
    job_id = await world.submit(quality="draft", blog_id="post")

    async def deleted_meanwhile(request: PaintRequest) -> Painting:
        await delete_blog("post", tenant=TENANT, journal=world.journal, ids=world.worker.ids)
        return await LOST(request)

    world.provider.script.append(deleted_meanwhile)
    await world.deliver(job_id)
    assert (await world.job(job_id)).state is State.FAILED


async def test_a_job_that_was_cancelled_meanwhile_is_not_brought_back(world: World) -> None:
    job_id = await world.submit(quality="draft")

    async def cancelled_meanwhile(request: PaintRequest) -> Painting:
        await cancel(job_id, tenant=TENANT, journal=world.journal, ids=world.worker.ids)
        return await LOST(request)

    world.provider.script.append(cancelled_meanwhile)
    await world.deliver(job_id)
    job = await world.job(job_id)
    assert (job.state, job.attempt) == (State.CANCELLED, 1)
    assert await calls(world, job_id, 1) == [CallState.UNKNOWN]


async def test_a_final_is_promised_what_its_own_request_says(world: World) -> None:
    draft = await world.submit(quality="draft")
    await world.deliver(draft)
    wishes = PromotionRequest(on_unknown=RETRY_ONCE)
    promoted = await promote(
        draft,
        TENANT,
        wishes,
        journal=world.journal,
        ids=world.worker.ids,
        providers=world.worker.providers,
    )
    assert (await told(world, promoted.final.id)).on_unknown is RETRY_ONCE
    assert (await told(world, draft)).on_unknown is RETRY_ONCE
    later = await world.submit(quality="draft", on_unknown="retry_once")
    await world.deliver(later)
    final = await world.submit(quality="high", draft_job_id=str(later))
    assert (await told(world, final)).on_unknown is PARK


@pytest.mark.parametrize(
    ("batch", "image", "draft", "final"),
    [
        (None, None, RETRY_ONCE, PARK),
        ("park", None, PARK, PARK),
        ("park", "retry_once", RETRY_ONCE, RETRY_ONCE),
    ],
)
async def test_a_batch_promises_for_its_drafts_and_their_finals(
    world: World, batch: str | None, image: str | None, draft: OnUnknown, final: OnUnknown
) -> None:
    reply = await ask(world, {"on_unknown": image}, on_unknown=batch)
    (draft_id,) = reply.job_ids
    assert (await told(world, draft_id)).on_unknown is draft
    await handle(world, await drafted(world, draft_id))
    assert (await told(world, await final_of(world, draft_id))).on_unknown is final
    (final_id,) = (await ask(world, {"on_unknown": image}, on_unknown=batch,
                             workflow="final_only")).job_ids  # fmt: skip
    assert (await told(world, final_id)).on_unknown is final


async def test_a_free_provider_promises_nothing_and_is_asked_again(database_url: str) -> None:
    async with world_on(database_url, repeatable=True) as world:
        job_id = await lost(world, quality="high")
        job, shown = await world.job(job_id), await told(world, job_id)
        assert (job.state, job.retry_count, shown.on_unknown) == (State.QUEUED, 0, None)
        assert await calls(world, job_id, 1) == [CallState.NOT_CHARGED]


async def test_a_job_of_an_older_release_goes_by_the_present_setting(database_url: str) -> None:
    async with world_on(database_url) as world:
        policy = UnknownPolicy(drafts=PARK, finals=RETRY_ONCE)
        providers = replace(world.worker.providers, on_unknown=policy)
        for quality, state in (("draft", State.FAILED), ("high", State.QUEUED)):
            # Promised by a service that knew no policy, as one without a charge is.
            world.provider.repeatable = True
            job_id = await world.submit(quality=quality)
            world.provider.repeatable = False
            world.provider.script.append(LOST)
            worker = replace(world.worker, providers=providers)
            await generate(ImageTask(job_id=job_id, attempt=1), worker)
            assert (await world.job(job_id)).state is state
            assert (await world.call(job_id)).amount == COST  # type: ignore[union-attr]  # it is there
