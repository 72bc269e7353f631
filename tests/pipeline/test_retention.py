"""What is old goes, what is used stays, and a death in between loses nothing that is needed."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlmodel import Session, select

from adapters.errors import BlobStoreUnavailable, NoSuchObject
from adapters.store import event_reads, machine_reads, picture_reads
from adapters.store.retention_reads import NIL, old_drafts
from pipeline.delete import delete_image
from pipeline.errors import ImageInUse, NoSuchBlog
from pipeline.legal_hold import hold_blog
from pipeline.retention import Retention
from pipeline.submit import submit
from schemas.cursors import EventCursor
from schemas.requests import ImageGenerationRequest
from schemas.retention import Kind, RetentionSettings
from schemas.step import Step
from schemas.tables import Event, IdempotencyKey, Image, Inbox, Outbox
from states.table import State
from tests.batches import approve, ask, completion, final_of, refuse
from tests.fakes.clock import FakeClock
from tests.handled import link
from tests.world import TENANT, World, world_on

DAY = 86_400.0


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    async with world_on(database_url) as opened:
        yield opened


def retention(world: World, **changes: Any) -> Retention:
    keep = RetentionSettings(**changes)
    return Retention(world.journal, world.blobs, world.clock, keep)


async def days(world: World, number: float) -> None:
    assert isinstance(world.clock, FakeClock)
    await world.clock.advance(number * DAY)


async def swept(world: World, *, dry_run: bool = False, **changes: Any) -> dict[Kind, int]:
    found = await retention(world, **changes).once(dry_run=dry_run)
    return {one.kind: one.number for one in found if one.number}


async def painted(world: World, **fields: Any) -> UUID:
    job_id = await world.submit(**fields)
    await world.deliver(job_id)
    assert (await world.job(job_id)).state is State.COMPLETED
    return job_id


async def images(world: World, job_id: UUID) -> list[Image]:
    return list(await world.store.read(picture_reads.images_of_jobs, TENANT, [job_id]))


async def has(world: World, key: str) -> bool:
    try:
        await world.blobs.get(key)
    except NoSuchObject:
        return False
    return True


def rows(session: Session, table: type[Any]) -> list[Any]:
    return list(session.exec(select(table)).all())


async def test_an_old_draft_goes_with_its_bytes_and_a_final_stays(world: World) -> None:
    draft = await painted(world, quality="draft")
    final = await painted(world, quality="high")
    (picture,) = await images(world, draft)
    keys = [picture.key, *(one["key"] for one in picture.variants)]
    await days(world, 13.9)
    assert Kind.DRAFTS not in await swept(world)
    await days(world, 0.2)
    assert (await swept(world, dry_run=True))[Kind.DRAFTS] == 1
    assert await has(world, keys[0])
    assert (await swept(world))[Kind.DRAFTS] == 1
    assert await images(world, draft) == []
    assert [await has(world, key) for key in keys] == [False] * len(keys)
    assert len(await images(world, final)) == 1
    assert Kind.DRAFTS not in await swept(world)


async def test_a_draft_stays_while_somebody_may_decide_it_or_its_final_is_made(
    world: World,
) -> None:
    reply = await ask(world, {}, {}, {}, approval="required")
    for job_id in reply.job_ids:
        await world.deliver(job_id)
    await days(world, 20)
    assert Kind.DRAFTS not in await swept(world)
    first, second, third = reply.job_ids
    await approve(world, first)
    await refuse(world, second)
    # The rejected one is nobody's any more; of the first the final is made.
    assert (await swept(world))[Kind.DRAFTS] == 1
    assert await images(world, second) == []
    await world.deliver(await final_of(world, first))
    assert (await swept(world))[Kind.DRAFTS] == 1
    assert len(await images(world, third)) == 1
    await days(world, 11)  # no link that could decide it is good any more
    assert (await swept(world))[Kind.DRAFTS] == 1
    assert await images(world, third) == []


async def test_raw_bytes_of_completed_jobs_go_and_unused_ones_stay(world: World) -> None:
    done = await world.job(await painted(world, quality="high"))
    assert done.staged is not None
    (picture,) = await images(world, done.id)
    raw = [key for key in world.blobs.objects if key.startswith(f"jobs/{done.id}/")]
    assert len(raw) == 2
    await days(world, 7.1)
    assert (await swept(world))[Kind.RAW] == 1
    assert [await has(world, key) for key in raw] == [False, False]
    assert await has(world, picture.key)
    after = await world.job(done.id)
    assert (after.staged, after.version) == (None, done.version)
    assert Kind.RAW not in await swept(world)


async def test_a_death_between_the_parts_is_ended_by_the_next_pass(world: World) -> None:
    done = await world.job(await painted(world, quality="high"))
    assert done.staged is not None
    await days(world, 8)
    for key in list(world.blobs.objects):
        if key.startswith(f"jobs/{done.id}/"):
            await world.blobs.delete(key)  # and then the process died
    assert (await swept(world))[Kind.RAW] == 1
    assert (await world.job(done.id)).staged is None


async def test_bytes_that_cannot_be_removed_now_are_left_to_the_next_pass(world: World) -> None:
    done = await painted(world, quality="high")
    await days(world, 8)
    delete = world.blobs.delete

    async def away(_: str) -> None:
        raise BlobStoreUnavailable("away")

    world.blobs.delete = away  # type: ignore[method-assign]
    assert Kind.RAW not in await swept(world)
    assert (await world.job(done)).staged is not None
    world.blobs.delete = delete  # type: ignore[method-assign]
    assert (await swept(world))[Kind.RAW] == 1


async def test_history_goes_but_what_has_not_left_and_the_last_event(world: World) -> None:
    old = await painted(world, blog_id="old")
    await link(await completion(world, old), world.journal, world.worker.ids)
    cursor = await world.store.read(event_reads.tail)
    beginning = EventCursor.beginning(cursor.lineage)
    _, first = await world.store.read(event_reads.events_after, beginning, 1)
    outbox = {one.event_id for one in await world.store.read(rows, Outbox)}
    (unsent,) = list(outbox)[:1]
    sent = [one for one in outbox if one != unsent]

    def published(_: Any, writes: Any) -> None:
        writes.published.extend(sent)

    await world.journal.record(Step("publish", published))
    await days(world, 91)
    found = await swept(world)
    left = await world.store.read(rows, Event)
    assert found[Kind.EVENTS] >= 3
    assert {one.event_id for one in left} >= {unsent}
    assert max(one.position for one in left) == cursor.place.position
    # Whoever stood at an event that is gone is told so; whoever has seen the last goes on.
    assert await world.store.read(event_reads.holds, cursor)
    assert not await world.store.read(event_reads.holds, first)
    assert len(await world.store.read(rows, Inbox)) == 1
    await days(world, 7)
    assert (await swept(world))[Kind.EFFECTS] == 1
    assert await world.store.read(rows, Inbox) == []


async def test_no_reader_is_left_at_an_event_behind_which_some_are_missing(world: World) -> None:
    await painted(world, blog_id="before")
    await painted(world, blog_id="held")
    await hold_blog("held", held=True, tenant=TENANT, journal=world.journal)
    await painted(world, blog_id="after")
    ids = [one.event_id for one in await world.store.read(rows, Outbox)]

    def published(_: Any, writes: Any) -> None:
        writes.published.extend(ids)

    await world.journal.record(Step("publish", published))
    before = sorted(one.position for one in await world.store.read(rows, Event))
    await days(world, 100)
    await swept(world)
    left = sorted(one.position for one in await world.store.read(rows, Event))
    assert left == before[before.index(left[0]) :]
    assert left[0] > before[0]


async def test_bytes_that_a_death_left_behind_go_with_the_next_pass(world: World) -> None:
    draft = await painted(world, quality="draft")
    (picture,) = await images(world, draft)
    delete = world.blobs.delete

    async def dies(_: str) -> None:
        raise asyncio.CancelledError

    world.blobs.delete = dies  # type: ignore[method-assign]
    with pytest.raises(asyncio.CancelledError):
        await delete_image(picture.id, tenant=TENANT, journal=world.journal, blobs=world.blobs)
    world.blobs.delete = delete  # type: ignore[method-assign]
    assert await has(world, picture.key)
    await swept(world)
    assert not await has(world, picture.key)


async def test_a_hold_that_comes_between_reading_and_removing_holds(world: World) -> None:
    draft = await painted(world, quality="draft", blog_id="post")
    (picture,) = await images(world, draft)
    await hold_blog("post", held=True, tenant=TENANT, journal=world.journal)
    told = {"tenant": TENANT, "journal": world.journal, "blobs": world.blobs}
    with pytest.raises(ImageInUse, match="held"):
        await delete_image(picture.id, aged=True, **told)  # type: ignore[arg-type]
    await delete_image(picture.id, **told)  # type: ignore[arg-type]  # a person may


async def test_first_replies_are_kept_a_week(world: World) -> None:
    request = ImageGenerationRequest.model_validate({"prompt": "a mill"})
    await submit(
        request, tenant=TENANT, idempotency_key="k", journal=world.journal, ids=world.worker.ids,
        providers=world.worker.providers, estimate=world.estimates.total_seconds,
    )  # fmt: skip
    await days(world, 6.9)
    assert Kind.REPLIES not in await swept(world)
    await days(world, 0.2)
    assert (await swept(world, dry_run=True))[Kind.REPLIES] == 1
    assert (await swept(world))[Kind.REPLIES] == 1
    assert await world.store.read(rows, IdempotencyKey) == []


async def test_nothing_of_a_held_post_goes(world: World) -> None:
    with pytest.raises(NoSuchBlog):
        await hold_blog("post", held=True, tenant=TENANT, journal=world.journal)
    draft = await painted(world, quality="draft", blog_id="post")
    first = await hold_blog("post", held=True, tenant=TENANT, journal=world.journal)
    again = await hold_blog("post", held=True, tenant=TENANT, journal=world.journal)
    assert first is not None
    assert again == first
    await painted(world, quality="draft")  # the last event is another's
    before = await world.store.read(rows, Event)
    await days(world, 100)
    assert (await swept(world))[Kind.DRAFTS] == 1
    assert len(await images(world, draft)) == 1
    left = {one.event_id for one in await world.store.read(rows, Event)}
    assert {one.event_id for one in before if one.blog_id == "post"} <= left
    job = await world.job(draft)
    assert job.staged is not None
    assert await hold_blog("post", held=False, tenant=TENANT, journal=world.journal) is None
    assert (await swept(world)).keys() >= {Kind.DRAFTS, Kind.RAW}
    assert await images(world, draft) == []


async def test_a_picture_that_somebody_deletes_meanwhile_is_no_fault(world: World) -> None:
    draft = await painted(world, quality="draft")
    await days(world, 15)
    (picture,) = await images(world, draft)
    sweep = retention(world)
    before = world.journal.now() - timedelta(days=14)
    found = await world.store.read(old_drafts, before, before, NIL, 10)
    assert [one.id for one in found] == [picture.id]
    await delete_image(picture.id, tenant=TENANT, journal=world.journal, blobs=world.blobs)
    assert all(one.kind is not Kind.DRAFTS or not one.number for one in await sweep.once())


async def test_it_runs_by_itself_and_outlives_a_database_that_is_away(sqlite_url: str) -> None:
    async with world_on(sqlite_url) as world:
        assert isinstance(world.clock, FakeClock)
        draft = await painted(world, quality="draft")
        await days(world, 15)
        running = asyncio.create_task(retention(world).run())
        await world.clock.sleeping()
        await world.clock.advance(301)
        while await images(world, draft):
            await world.journal.read(machine_reads.alive)
        running.cancel()


def test_nothing_promised_can_be_undercut() -> None:
    with pytest.raises(ValueError, match="replies_days"):
        RetentionSettings(replies_days=6)
