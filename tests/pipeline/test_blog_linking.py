"""A finished picture takes its place once, whatever is delivered twice, late or out of order."""

import asyncio
import itertools
import json
import random
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid4

import pytest

from adapters.ports import PaintedPicture, Painting, PaintRequest
from adapters.store import event_reads, machine_reads, picture_reads
from pipeline.submit import submit
from pipeline.subscribers import SUBSCRIBERS, blog_linking
from schemas.events import CloudEvent, cloud_event
from schemas.requests import ImageGenerationRequest
from schemas.step import Look, RowKey, Step, Writes
from schemas.tables import BlogRow, BlogSlot, EventRow
from states.slots import Rank
from states.table import State
from tests.batches import approve, refuse
from tests.fakes.clock import FakeClock
from tests.jobs import NOW
from tests.world import TENANT, World, world_on


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    async with world_on(database_url) as opened:
        yield opened


async def completed(world: World, **fields: Any) -> tuple[UUID, CloudEvent]:
    """A completed job and its `completed` event, not yet delivered to anybody."""
    job_id = await world.submit(**fields)
    await world.deliver(job_id)
    last = (await world.history("job", str(job_id)))[-1]
    event = cloud_event(last)
    assert event.type == "image.job.completed"
    return job_id, event


async def link(world: World, event: CloudEvent) -> None:
    assert await link_together(world, event) == [None]


async def link_together(world: World, *events: CloudEvent) -> list[Exception | None]:
    return await blog_linking.link(events, world.journal, world.worker.ids)


async def slots(world: World, blog_id: str = "post") -> list[BlogSlot]:
    return list(await world.store.read(picture_reads.slots, TENANT, blog_id))


def standing(found: list[BlogSlot]) -> list[tuple[str, int, UUID | None]]:
    return [(slot.role, slot.position, slot.job_id) for slot in found]


async def test_a_completed_picture_fills_its_slot(world: World) -> None:
    job_id, event = await completed(world, blog_id="post", role="hero", alt_text="A tower")
    await link(world, event)
    (slot,) = await slots(world)
    assert (slot.role, slot.position, slot.job_id, slot.version) == ("hero", 1, job_id, 1)
    assert slot.image_id is not None
    history = await world.history("slot", "post/hero/1")
    assert [(one.seq, one.type) for one in history] == [(1, "blog.image.linked")]


async def test_several_pictures_are_linked_together_as_each_alone(world: World) -> None:
    first, one = await completed(world, blog_id="post")
    _, nowhere = await completed(world)
    second, other = await completed(world, blog_id="post")
    await link(world, one)
    assert await link_together(world, one, nowhere, other) == [None] * 3
    assert standing(await slots(world)) == [("inline", 1, first), ("inline", 2, second)]
    assert [slot.version for slot in await slots(world)] == [1, 1]


async def test_a_picture_that_cannot_be_linked_fails_alone_among_several(world: World) -> None:
    first, one = await completed(world, blog_id="post")
    _, nowhere = await completed(world)
    _, bad = await completed(world, blog_id="post")
    last, other = await completed(world, blog_id="post")
    bad = bad.model_copy(update={"data": bad.data | {"alt_text": "half a character: \ud800"}})
    answers = await link_together(world, one, nowhere, bad, other)
    assert isinstance(answers[2], ValueError)
    assert [answers[place] for place in (0, 1, 3)] == [None] * 3
    assert {slot.job_id for slot in await slots(world)} == {first, last}


async def test_a_late_final_of_a_draft_that_was_rejected_is_a_mere_candidate(
    world: World,
) -> None:
    """It was paid for, so it is kept; nobody wants to see it in the post."""
    draft, event = await completed(world, blog_id="post", quality="draft")
    await link(world, event)
    asked = Painting((PaintedPicture(b"late", "image/png", 1),), "paid-1", None)

    async def is_rejected_meanwhile(_: PaintRequest) -> Painting:
        assert isinstance(world.clock, FakeClock)
        await world.clock.advance(151)
        await world.sweep.once()
        assert (await world.job(final)).state is State.FAILED
        await refuse(world, draft)
        return asked

    world.provider.script = [is_rejected_meanwhile]
    final = (await approve(world, draft)).final.id
    await world.deliver(final)
    for _ in range(3):
        assert isinstance(world.clock, FakeClock)
        await world.clock.advance(901)
        await world.sweep.once()
        await world.deliver(final)
    assert (await world.job(final)).state is State.COMPLETED
    await link(world, cloud_event((await world.history("job", str(final)))[-1]))
    (slot,) = await slots(world)
    assert slot.image_id is None
    candidates = await world.store.read(picture_reads.slot_candidates, TENANT, "post")
    assert {one.job_id for one in candidates} == {draft, final}


async def test_a_draft_is_a_candidate_and_leaves_its_slot_empty(world: World) -> None:
    job_id, event = await completed(world, blog_id="post", quality="draft", alt_text="A tower")
    await link(world, event)
    (slot,) = await slots(world)
    assert (slot.image_id, slot.job_id, slot.version) == (None, None, 1)
    (candidate,) = await world.store.read(picture_reads.slot_candidates, TENANT, "post")
    assert (candidate.job_id, candidate.rank, candidate.alt_text) == (job_id, Rank.DRAFT, "A tower")
    (told,) = await world.history("slot", "post/inline/1")
    assert (told.type, json.loads(told.data)["image_id"]) == (
        "blog.image.candidate_added",
        str(candidate.image_id),
    )


async def test_an_event_delivered_five_times_links_once(world: World) -> None:
    _, event = await completed(world, blog_id="post")
    for _ in range(5):
        await link(world, event)
    assert [slot.version for slot in await slots(world)] == [1]
    assert len(await world.history("slot", "post/inline/1")) == 1


async def test_a_job_without_a_blog_links_nothing(world: World) -> None:
    _, event = await completed(world)
    await link(world, event)
    assert not await world.store.read(picture_reads.slots, TENANT, "post")


async def test_inline_pictures_get_the_next_free_position_and_other_roles_the_first(
    world: World,
) -> None:
    for fields in ({}, {}, {"position": 7}, {}, {"role": "hero"}, {"role": "og"}):
        _, event = await completed(world, blog_id="post", **fields)
        await link(world, event)
    assert [(slot.role, slot.position) for slot in await slots(world)] == [
        ("hero", 1),
        ("inline", 1),
        ("inline", 2),
        ("inline", 7),
        ("inline", 8),
        ("og", 1),
    ]


async def test_every_order_and_repetition_of_three_pictures_ends_in_the_same_slot(
    database_url: str,
) -> None:
    """A draft, its final, and a draft that was asked for later, for one place."""
    shuffle = random.Random(7)
    async with world_on(database_url) as world:
        for number, order in enumerate(itertools.permutations(range(3))):
            blog_id = f"post-{number}"
            draft, one = await completed(world, blog_id=blog_id, quality="draft", position=1)
            final, two = await completed(world, quality="high", draft_job_id=str(draft))
            _, three = await completed(world, blog_id=blog_id, quality="draft", position=1)
            events = [one, two, three]
            deliveries = [events[index] for index in order]
            deliveries += shuffle.sample(deliveries, 3)
            for event in deliveries:
                await link(world, event)
            assert standing(await slots(world, blog_id)) == [("inline", 1, final)]
            history = await world.history("slot", f"{blog_id}/inline/1")
            assert [event.seq for event in history] == list(range(1, len(history) + 1))


async def test_a_deleted_blog_is_left_alone(world: World) -> None:
    _, event = await completed(world, blog_id="post")
    key = RowKey(BlogRow, (TENANT, "post"))

    def delete(look: Look, writes: Writes) -> None:
        blog = look.get(BlogRow, TENANT, "post")
        assert blog is not None
        writes.update(blog.changed(deleted_at=NOW), TENANT, "post")

    await world.journal.record(Step("delete", delete, shared=(key,)))
    await link(world, event)
    assert not await slots(world)


async def test_a_finals_place_seed_and_texts_are_its_drafts(world: World) -> None:
    draft, _ = await completed(
        world, blog_id="post", quality="draft", role="hero", alt_text="A tower", caption="Dusk"
    )
    final, event = await completed(world, quality="high", draft_job_id=str(draft))
    found, of = await world.job(final), await world.job(draft)
    assert (found.blog_id, found.role, found.position) == ("post", "hero", 1)
    assert found.request["seed"] == of.request["seed"]
    assert (of.final_job_id, found.draft_job_id) == (final, draft)
    assert (await world.events(draft))[-1] == "image.draft.approved"
    await link(world, event)
    (candidate,) = await world.store.read(picture_reads.slot_candidates, TENANT, "post")
    assert (candidate.alt_text, candidate.caption) == ("A tower", "Dusk")


async def test_a_poisoned_event_is_put_aside_and_the_others_go_on(world: World) -> None:
    job_id, _ = await completed(world, blog_id="post")
    good = EventRow.of(**(await world.history("job", str(job_id)))[-1].model_dump())
    bad = good.changed(event_id=uuid4(), data='{"blog_id": "post"}')
    publishing = world.bus.publish([bad, good])
    task = asyncio.create_task(publishing)
    while not task.done():
        await world.clock.advance(60)  # type: ignore[attr-defined]  # a FakeClock
        await world.journal.read(machine_reads.alive)
    assert task.result() == [None, None]
    letters = await world.store.read(event_reads.dead_letters, TENANT)
    assert [(one.subscriber, one.event_id, one.failures) for one in letters] == [
        ("blog-linking", bad.event_id, 5)
    ]
    assert "KeyError" in letters[0].error
    assert len(await slots(world)) == 1


async def test_two_hundred_racing_pictures_without_a_position_get_one_each(
    database_url: str,
) -> None:
    async with world_on(database_url) as world:
        request = ImageGenerationRequest(prompt="x", blog_id="post")
        accepted = await asyncio.gather(
            *(
                submit(
                    request,
                    tenant=TENANT,
                    idempotency_key=None,
                    journal=world.journal,
                    ids=world.worker.ids,
                    providers=world.worker.providers,
                    estimate=world.estimates.total_seconds,
                )
                for _ in range(200)
            )
        )
        positions = [(await world.job(one.reply.job_id)).position for one in accepted]
        assert sorted(p for p in positions if p) == list(range(1, 201))


def test_the_name_of_a_subscriber_never_changes() -> None:
    assert [subscriber.name for subscriber in SUBSCRIBERS] == ["blog-linking", "draft-promotion"]
