"""Pause and resume, deadlines, later starts, and what callers are told of time."""

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from pipeline.addresses import BaseUrl
from pipeline.estimates import LEAST_SAMPLES
from pipeline.status import job_status
from schemas.replies import ImageJobStatusResponse
from schemas.requests import Quality
from states.table import State
from tests.fakes.clock import FakeClock
from tests.world import TENANT, World, world_on


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    async with world_on(database_url) as opened:
        yield opened


async def later(world: World, seconds: float) -> None:
    assert isinstance(world.clock, FakeClock)
    await world.clock.advance(seconds)
    await world.sweep.once()


async def told(world: World, job_id: object) -> ImageJobStatusResponse:
    return await job_status(
        job_id,  # type: ignore[arg-type]  # a UUID
        tenant=TENANT,
        journal=world.journal,
        providers=world.worker.providers,
        base_url=BaseUrl(""),
        estimates=world.estimates,
    )


async def test_a_paused_dispatch_starts_nothing_and_loses_nothing(world: World) -> None:
    await world.dispatching.pause("maintenance")
    job_id = await world.submit()
    assert (await world.deliver(job_id)).reason == "dispatch is paused"
    assert not world.provider.calls
    job = await world.job(job_id)
    assert (job.state, job.dispatched_to, job.dispatch) == (State.QUEUED, None, 2)
    await world.dispatching.resume()
    await world.deliver(job_id)
    assert (await world.job(job_id)).state is State.COMPLETED


async def test_a_pause_outlives_its_process_and_holds_in_every_other(database_url: str) -> None:
    async with world_on(database_url) as first, world_on(database_url) as second:
        paused = await first.dispatching.pause("the provider is down")
        await second.sweep.once()
        assert second.dispatching.is_paused()
        again = await second.dispatching.pause("still down")
        assert (again.paused_at, again.reason) == (paused.paused_at, "still down")
        await second.dispatching.resume()
        await first.sweep.once()
        assert not first.dispatching.is_paused()


async def test_pausing_and_resuming_again_change_nothing(world: World) -> None:
    paused = await world.dispatching.pause("maintenance")
    assert await world.dispatching.pause(None) == paused
    for _ in range(2):
        resumed = await world.dispatching.resume()
        assert (resumed.paused_at, resumed.reason) == (None, None)


async def test_what_was_accepted_during_a_pause_runs_after_it(database_url: str) -> None:
    async with world_on(database_url, run=True) as world:
        await world.dispatching.pause(None)
        job_id = await world.submit()
        await later(world, 1)
        assert (await world.job(job_id)).dispatched_to is None
        await world.dispatching.resume()
        await world.sweep.once()
        while (await world.job(job_id)).state is not State.COMPLETED:
            pass


async def test_a_job_that_was_not_begun_by_its_deadline_fails_and_costs_nothing(
    world: World,
) -> None:
    swept, delivered = [await world.submit(deadline_seconds=60) for _ in range(2)]
    await later(world, 59)
    assert (await world.job(swept)).state is State.QUEUED
    assert isinstance(world.clock, FakeClock)
    await world.clock.advance(2)
    await world.deliver(delivered)
    await world.sweep.once()
    for job_id in (swept, delivered):
        job = await world.job(job_id)
        assert job.state is State.FAILED
        assert job.error is not None
        assert job.error["code"] == "deadline_exceeded"
    assert not world.provider.calls


async def test_a_job_begins_no_sooner_than_it_may(world: World) -> None:
    moment = world.journal.now() + timedelta(hours=2)
    job_id = await world.submit(not_before=moment.isoformat())
    assert (await world.deliver(job_id)).reason.startswith("not before")
    shown = await told(world, job_id)
    assert (shown.not_before, shown.queue_position) == (moment, None)
    # The document's figure for a standard picture follows.
    assert shown.estimated_time_remaining == 2 * 3600 + 15
    await later(world, 2 * 3600)
    await world.deliver(job_id)
    assert (await world.job(job_id)).state is State.COMPLETED


async def test_a_waiting_job_knows_its_place_in_the_queue(world: World) -> None:
    jobs = [await world.submit(quality="draft") for _ in range(4)]
    positions = [(await told(world, job_id)).queue_position for job_id in jobs]
    assert positions == [1, 2, 3, 4]
    first, *_, last = [(await told(world, job_id)).estimated_time_remaining for job_id in jobs]
    # Two at a time: three before it, 5 s each by the document's figures.
    assert (first, last) == (5, 12)
    await world.deliver(jobs[0])
    assert (await told(world, jobs[0])).queue_position is None
    assert (await told(world, jobs[3])).queue_position == 3


async def test_the_measured_median_takes_the_place_of_the_documents_figure(
    world: World,
) -> None:
    assert isinstance(world.clock, FakeClock)
    clock = world.clock
    for number in range(LEAST_SAMPLES):
        await world.estimates.refresh()
        assert world.estimates.seconds(Quality.DRAFT) == 5
        job_id = await world.submit(quality="draft")
        take_in = world.pictures.take_in

        async def slowly(*given, seconds: int = number, take_in=take_in):  # type: ignore[no-untyped-def]  # a port's method
            await clock.advance(seconds)
            return await take_in(*given)

        world.pictures.take_in = slowly  # type: ignore[method-assign]  # a slower machine
        await world.deliver(job_id)
        world.pictures.take_in = take_in  # type: ignore[method-assign]  # and as before
    await world.estimates.refresh()
    assert world.estimates.seconds(Quality.DRAFT) == 9.5
    assert world.estimates.seconds(Quality.HIGH) == 20
