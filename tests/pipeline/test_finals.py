"""Finals made of their draft's picture, and how much of it they kept."""

import json
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest

from adapters.errors import BadPicture, BlobStoreUnavailable, Unavailable
from adapters.ports import Painting, PaintRequest
from adapters.store import picture_reads
from pipeline.delete import delete_image
from pipeline.final import final_price
from pipeline.generate import generate
from schemas.requests import Strategy
from schemas.tables import CallState, Event, Image
from schemas.tasks import ImageTask
from states.table import State
from tests.fakes.provider import ScriptedProvider, paints
from tests.jobs import create, new_job
from tests.world import TENANT, World, world_on

NEEDY = [Strategy.IMAGE_TO_IMAGE, Strategy.UPSCALE]
KEPT = {"ssim": 0.97, "hash_distance": 2, "verdict": "same_composition"}


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    async with world_on(database_url) as opened:
        yield opened


async def finished_draft(world: World) -> Image:
    """The picture of a completed draft."""
    job_id = await world.submit(quality="draft")
    await world.deliver(job_id)
    (image,) = await world.store.read(picture_reads.images_of_jobs, TENANT, [job_id])
    return image


async def final_of(world: World, draft: Image, strategy: Strategy) -> UUID:
    """A queued final as a promotion leaves it."""
    job = new_job(
        id=uuid4(),
        quality="high",
        is_draft=False,
        provider=world.provider.name,
        draft_job_id=draft.job_id,
        request={
            "prompt": "a lighthouse",
            "aspect_ratio": "1:1",
            "seed": 1,
            "strategy": strategy.value,
            "source_image_id": str(draft.id),
        },
    )
    return await world.journal.record(create(job))


async def asked_for(world: World, job_id: UUID) -> PaintRequest:
    """Deliver the job's task; what its provider was asked for."""
    asked: list[PaintRequest] = []

    async def note(request: PaintRequest) -> Painting:
        asked.append(request)
        return await paints(request)

    world.provider.script.append(note)
    assert (await world.deliver(job_id)).status_code == 200
    (request,) = asked
    return request


def unreadable(world: World, key: str, error: Exception) -> None:
    def trouble(call: str, touched: str) -> None:
        if call == "get" and touched == key:
            raise error

    world.blobs.trouble = trouble


@pytest.mark.parametrize("strategy", NEEDY)
async def test_a_final_is_made_of_its_drafts_picture(world: World, strategy: Strategy) -> None:
    draft = await finished_draft(world)
    request = await asked_for(world, await final_of(world, draft, strategy))
    assert (request.strategy, request.source) == (strategy, world.blobs.objects[draft.key])


async def test_a_final_that_is_painted_anew_needs_no_draft(world: World) -> None:
    draft = await finished_draft(world)
    final = await final_of(world, draft, Strategy.REGENERATE)
    await delete_image(draft.id, tenant=TENANT, journal=world.journal, blobs=world.blobs)
    request = await asked_for(world, final)
    assert (request.strategy, request.source) == (Strategy.REGENERATE, None)
    assert (await world.job(final)).state is State.COMPLETED


async def test_a_job_without_a_draft_is_painted_from_its_words(world: World) -> None:
    request = await asked_for(world, await world.submit())
    assert (request.strategy, request.source) == (Strategy.REGENERATE, None)


async def delete(world: World, draft: Image) -> None:
    await delete_image(draft.id, tenant=TENANT, journal=world.journal, blobs=world.blobs)


async def lose_bytes(world: World, draft: Image) -> None:
    await world.blobs.delete(draft.key)


@pytest.mark.parametrize("lose", [delete, lose_bytes])
async def test_a_final_whose_draft_is_gone_fails_and_nobody_is_asked(
    world: World, lose: Callable[[World, Image], Any]
) -> None:
    draft = await finished_draft(world)
    final = await final_of(world, draft, Strategy.IMAGE_TO_IMAGE)
    await lose(world, draft)
    for _ in range(2):
        assert (await world.deliver(final)).status_code == 200
    job = await world.job(final)
    assert (job.state, job.version) == (State.FAILED, 2)
    assert job.error is not None
    assert job.error["code"] == "source_gone"
    assert "Nothing was charged" in job.error["message"]
    assert await world.call(final) is None
    assert world.provider.calls == {(draft.job_id, 1): 1}
    assert await world.events(final) == ["image.job.queued", "image.job.failed"]


async def test_a_source_that_cannot_be_read_now_starts_nothing_and_is_tried_again(
    world: World,
) -> None:
    draft = await finished_draft(world)
    final = await final_of(world, draft, Strategy.IMAGE_TO_IMAGE)
    unreadable(world, draft.key, BlobStoreUnavailable("the disk does not answer"))
    assert (await world.deliver(final)).status_code == 503
    job = await world.job(final)
    assert (job.state, job.version, job.attempt) == (State.QUEUED, 1, 1)
    assert await world.call(final) is None
    world.blobs.trouble = lambda call, key: None
    await asked_for(world, final)
    job, call = await world.job(final), await world.call(final)
    assert (job.state, job.attempt) == (State.COMPLETED, 1)
    assert call is not None
    assert call.state is CallState.ANSWERED


async def test_a_draft_that_is_deleted_during_the_call_changes_nothing(world: World) -> None:
    draft = await finished_draft(world)
    final = await final_of(world, draft, Strategy.UPSCALE)

    async def meanwhile(request: PaintRequest) -> Painting:
        await delete(world, draft)
        return await paints(request)

    world.provider.script.append(meanwhile)
    await world.deliver(final)
    job = await world.job(final)
    assert job.state is State.COMPLETED
    assert job.result is not None
    assert job.result["fidelity"] is None


async def completion(world: World, job_id: UUID) -> Event:
    last = (await world.history("job", str(job_id)))[-1]
    assert last.type == "image.job.completed"
    return last


async def test_a_final_tells_how_much_of_its_draft_it_kept(world: World) -> None:
    draft = await finished_draft(world)
    final = await final_of(world, draft, Strategy.REGENERATE)
    await world.deliver(final)
    job = await world.job(final)
    assert job.result is not None
    assert job.result["fidelity"] == KEPT
    assert json.loads((await completion(world, final)).data)["fidelity"] == KEPT


async def test_what_has_no_draft_is_compared_with_nothing(world: World) -> None:
    draft = await finished_draft(world)
    assert json.loads((await completion(world, draft.job_id)).data)["fidelity"] is None
    job = await world.job(draft.job_id)
    assert job.result is not None
    assert job.result["fidelity"] is None


@pytest.mark.parametrize(
    "error", [BadPicture("truncated", "cut"), Unavailable("it died"), RuntimeError("a defect")]
)
async def test_no_final_fails_for_want_of_a_comparison(world: World, error: Exception) -> None:
    draft = await finished_draft(world)
    final = await final_of(world, draft, Strategy.REGENERATE)
    drafts_bytes = world.blobs.objects[draft.key]

    def trouble(data: bytes) -> None:
        if data == drafts_bytes:
            raise error

    world.pictures.trouble = trouble
    await world.deliver(final)
    job = await world.job(final)
    assert job.state is State.COMPLETED
    assert job.result is not None
    assert job.result["fidelity"] is None


async def test_no_final_waits_for_a_draft_that_cannot_be_read(world: World) -> None:
    draft = await finished_draft(world)
    final = await final_of(world, draft, Strategy.REGENERATE)
    unreadable(world, draft.key, BlobStoreUnavailable("the disk does not answer"))
    await world.deliver(final)
    job = await world.job(final)
    assert job.state is State.COMPLETED
    assert job.result is not None
    assert job.result["fidelity"] is None


class PricedByStrategy(ScriptedProvider):
    strategies = (Strategy.IMAGE_TO_IMAGE, Strategy.REGENERATE)

    def price(self, quality: str, strategy: Strategy = Strategy.REGENERATE) -> Decimal | None:
        return Decimal("0.035") if strategy is Strategy.IMAGE_TO_IMAGE else Decimal("0.03")


@pytest.mark.parametrize(
    ("wanted", "price"),
    [
        ({}, "0.035"),
        ({"strategy": "image_to_image"}, "0.035"),
        ({"strategy": "regenerate"}, "0.03"),
    ],
)
def test_the_price_that_is_told_is_that_of_the_way_in_which_the_final_is_made(
    wanted: dict[str, str], price: str
) -> None:
    request = {"prompt": "a mill", "aspect_ratio": "1:1", "seed": 1, "final": wanted}
    assert final_price(new_job(request=request), PricedByStrategy()) == Decimal(price)


async def test_what_was_just_painted_is_not_fetched_to_be_finished(world: World) -> None:
    fetched: list[str] = []
    get = world.blobs.get

    class Watched:
        def __getattr__(self, name: str) -> Any:
            return getattr(world.blobs, name)

        async def get(self, key: str) -> bytes:
            fetched.append(key)
            return await get(key)

    job_id = await world.submit(quality="high")
    worker = replace(world.worker, blobs=Watched())
    assert (await generate(ImageTask(job_id=job_id, attempt=1), worker)).reason == "done"
    assert fetched == []
