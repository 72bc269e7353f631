"""Retry, delete a picture, delete a blog: nothing is lost, undone or paid for twice."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from adapters.errors import BadPicture, OutcomeUnknown, ProviderBusy, ProviderRefused, Unavailable
from adapters.ports import Painting, PaintRequest
from adapters.store import picture_reads
from pipeline.addresses import BaseUrl
from pipeline.blogs import blog_images
from pipeline.cancel import cancel
from pipeline.delete import delete_blog, delete_image
from pipeline.errors import BlogDeleted, BlogGone, CannotRetry, ImageInUse, NoSuchImage, NoSuchJob
from pipeline.retry import retry
from pipeline.status import list_jobs
from schemas.events import cloud_event
from schemas.requests import JobFilters, Quality
from schemas.tables import CallState, JobRow
from states.table import State
from tests.fakes.clock import FakeClock
from tests.fakes.provider import raises
from tests.handled import link
from tests.world import TENANT, World, world_on


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    async with world_on(database_url) as opened:
        yield opened


async def again(world: World, job_id: UUID) -> JobRow:
    return await retry(
        job_id,
        tenant=TENANT,
        journal=world.journal,
        ids=world.worker.ids,
        blobs=world.blobs,
        providers=world.worker.providers,
    )


async def refused(world: World, **fields: Any) -> UUID:
    job_id = await world.submit(**fields)
    world.provider.script.append(raises(ProviderRefused("moderated", "unsafe")))
    await world.deliver(job_id)
    return job_id


async def test_a_failed_job_gets_a_new_attempt_and_keeps_its_lineage(world: World) -> None:
    job_id = await refused(world)
    job = await again(world, job_id)
    assert (job.state, job.attempt, job.retry_count, job.error) == (State.QUEUED, 2, 1, None)
    await world.deliver(job_id, 2)
    done = await world.job(job_id)
    assert (done.state, done.id, done.retry_count) == (State.COMPLETED, job_id, 1)
    assert world.provider.calls == {(job_id, 1): 1, (job_id, 2): 1}
    first, second = [await world.call(job_id, attempt) for attempt in (1, 2)]
    assert first is not None
    assert second is not None
    assert (first.state, second.state) == (CallState.REFUSED, CallState.ANSWERED)


async def test_a_release_counts_no_retry(world: World) -> None:
    job_id = await world.submit()
    world.provider.script.append(raises(ProviderBusy("429", timedelta(seconds=1))))
    await world.deliver(job_id)
    assert (await world.job(job_id)).retry_count == 0


async def test_a_job_at_work_or_completed_cannot_be_retried(world: World) -> None:
    job_id = await world.submit()
    with pytest.raises(CannotRetry):
        await again(world, job_id)
    await world.deliver(job_id)
    with pytest.raises(CannotRetry):
        await again(world, job_id)
    with pytest.raises(NoSuchJob):
        await again(world, world.worker.ids.new())


async def test_ten_retries_at_once_make_one_attempt(world: World) -> None:
    job_id = await refused(world)
    answers = await asyncio.gather(
        *(again(world, job_id) for _ in range(10)), return_exceptions=True
    )
    assert sum(isinstance(answer, JobRow) for answer in answers) == 1
    assert sum(isinstance(answer, CannotRetry) for answer in answers) == 9
    assert (await world.job(job_id)).attempt == 2


async def test_a_retry_takes_the_paid_result_that_nobody_used(world: World) -> None:
    job_id = await world.submit()

    def dies(_: bytes) -> None:
        raise Unavailable("a worker process died")

    world.pictures.trouble = dies
    await world.deliver(job_id)
    await cancel(job_id, tenant=TENANT, journal=world.journal, ids=world.worker.ids)
    world.pictures.trouble = lambda _: None
    job = await again(world, job_id)
    assert (job.state, job.attempt, job.retry_count) == (State.PROCESSING_RESULT, 1, 0)
    await world.deliver(job_id)
    assert (await world.job(job_id)).state is State.COMPLETED
    assert world.provider.calls == {(job_id, 1): 1}


async def test_a_retry_does_not_take_bytes_that_are_no_picture(world: World) -> None:
    job_id = await world.submit()

    def bad(_: bytes) -> None:
        raise BadPicture("truncated", "it ends too early")

    world.pictures.trouble = bad
    await world.deliver(job_id)
    world.pictures.trouble = lambda _: None
    assert (await again(world, job_id)).state is State.QUEUED
    await world.deliver(job_id, 2)
    assert (await world.job(job_id)).state is State.COMPLETED


async def test_a_lost_answer_is_paid_again_only_when_a_person_retries(world: World) -> None:
    job_id = await world.submit()
    world.provider.script.append(raises(OutcomeUnknown("reset")))
    await world.deliver(job_id)
    await again(world, job_id)
    await world.deliver(job_id, 2)
    call = await world.call(job_id)
    assert call is not None
    assert call.state is CallState.UNKNOWN
    assert (await world.job(job_id)).state is State.COMPLETED


async def linked(world: World, **fields: Any) -> tuple[UUID, UUID]:
    job_id = await world.submit(**fields)
    await world.deliver(job_id)
    event = cloud_event((await world.history("job", str(job_id)))[-1])
    await link(event, world.journal, world.worker.ids)
    (image,) = await world.store.read(picture_reads.images_of_jobs, TENANT, [job_id])
    return job_id, image.id


async def remove(world: World, image_id: UUID) -> None:
    await delete_image(
        image_id,
        tenant=TENANT,
        journal=world.journal,
        blobs=world.blobs,
    )


async def test_a_picture_that_stands_in_a_post_is_not_deleted_and_its_successor_frees_it(
    world: World,
) -> None:
    _, image_id = await linked(world, blog_id="post", position=1)
    with pytest.raises(ImageInUse):
        await remove(world, image_id)
    await linked(world, blog_id="post", position=1)
    before = len(world.blobs.objects)
    await remove(world, image_id)
    assert before - len(world.blobs.objects) == 4  # the picture and its three variants
    assert await world.store.read(picture_reads.image, TENANT, image_id) is None
    with pytest.raises(NoSuchImage):
        await remove(world, image_id)


async def test_a_deleted_blog_cancels_what_is_queued_and_takes_nothing_more(
    world: World,
) -> None:
    await linked(world, blog_id="post")
    queued = [await world.submit(blog_id="post") for _ in range(5)]
    other = await world.submit(blog_id="other")
    running = await world.submit(blog_id="post")
    await world.deliver(running)
    before = world.store.commits
    deleted = await delete_blog("post", tenant=TENANT, journal=world.journal, ids=world.worker.ids)
    assert deleted.cancelled_jobs == 5
    # A death in between would leave jobs of a deleted blog that are paid for.
    assert world.store.commits == before + 1
    assert {(await world.job(job_id)).state for job_id in queued} == {State.CANCELLED}
    assert (await world.job(other)).state is State.QUEUED
    with pytest.raises(BlogDeleted):
        await world.submit(blog_id="post")
    with pytest.raises(BlogDeleted):
        await again(world, queued[0])
    event = cloud_event((await world.history("job", str(running)))[-1])
    await link(event, world.journal, world.worker.ids)
    slots = await world.store.read(picture_reads.slots, TENANT, "post")
    assert [slot.job_id == running for slot in slots] == [False]
    with pytest.raises(BlogGone):
        await blog_images("post", tenant=TENANT, journal=world.journal, base_url=BaseUrl(""))
    repeated = await delete_blog("post", tenant=TENANT, journal=world.journal, ids=world.worker.ids)
    assert (repeated.deleted_at, repeated.cancelled_jobs) == (deleted.deleted_at, 0)


async def test_a_job_that_a_busy_provider_gives_back_is_not_paid_for_a_deleted_blog(
    world: World,
) -> None:
    job_id = await world.submit(blog_id="post")

    async def busy(_: PaintRequest) -> Painting:
        deleted = await delete_blog(
            "post", tenant=TENANT, journal=world.journal, ids=world.worker.ids
        )
        assert deleted.cancelled_jobs == 0
        raise ProviderBusy("429", timedelta(seconds=1))

    world.provider.script.append(busy)
    await world.deliver(job_id)
    call = await world.call(job_id)
    assert call is not None
    assert (call.state, (await world.job(job_id)).state) == (
        CallState.NOT_CHARGED,
        State.CANCELLED,
    )
    await world.deliver(job_id, 2)
    assert world.provider.calls.total() == 1


async def test_pages_of_jobs_are_complete_and_stable_under_inserts(world: World) -> None:
    made = [await world.submit(blog_id=f"post-{n % 2}") for n in range(7)]
    seen, cursor = [], None
    while True:
        page = await list_jobs(
            JobFilters(limit=3, cursor=cursor),
            tenant=TENANT,
            journal=world.journal,
            providers=world.worker.providers,
            base_url=BaseUrl(""),
            estimates=world.estimates,
        )
        seen += [job.job_id for job in page.jobs]
        await world.submit()  # between two pages
        if (cursor := page.next_cursor) is None:
            break
    assert seen == made[::-1]


async def test_jobs_are_listed_by_state_blog_quality_time_and_tenant(world: World) -> None:
    assert isinstance(world.clock, FakeClock)
    old = await world.submit(blog_id="post", quality="draft")
    await world.clock.advance(60)
    new = await world.submit(blog_id="other", quality="high")
    await world.deliver(new)

    async def listed(tenant: str = TENANT, **filters: object) -> list[object]:
        page = await list_jobs(
            JobFilters.model_validate(filters),
            tenant=tenant,
            journal=world.journal,
            providers=world.worker.providers,
            base_url=BaseUrl("http://x"),
            estimates=world.estimates,
        )
        return [job.job_id for job in page.jobs]

    since = world.journal.now() - timedelta(seconds=30)
    assert await listed() == [new, old]
    assert await listed(state=[State.QUEUED]) == [old]
    assert await listed(state=[State.QUEUED, State.COMPLETED]) == [new, old]
    assert await listed(blog_id="other") == [new]
    assert await listed(quality=Quality.DRAFT) == [old]
    assert await listed(since=since) == [new]
    assert await listed(batch_id=world.worker.ids.new()) == []
    assert await listed("somebody-else") == []
