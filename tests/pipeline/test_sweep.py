"""No job is ever stuck: what a dead process left behind is rescued, and nothing is paid twice."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from adapters.errors import BlobStoreUnavailable, QueueUnavailable, Unavailable
from adapters.ports import Painting, PaintRequest
from adapters.store import picture_reads
from pipeline.cancel import cancel
from pipeline.move import job_key, move_job
from pipeline.staging import stage
from schemas.step import Look, Step, Writes
from schemas.tables import CallState, JobRow
from states.table import State, Trigger
from tests.fakes.clock import FakeClock
from tests.fakes.provider import COST, paints
from tests.world import TENANT, World, world_on


@pytest.fixture(params=[False, True], ids=["paid", "free"])
def repeatable(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture
async def world(database_url: str, repeatable: bool) -> AsyncIterator[World]:
    async with world_on(database_url, repeatable=repeatable) as opened:
        yield opened


async def die_while_asking(world: World, job_id: object, *, staged: bool) -> None:
    """Leave the job as a worker does that is killed after the call began."""

    async def answer(request: PaintRequest) -> Painting:
        painting = await paints(request)
        if staged:
            await stage(
                painting,
                job_id=request.job_id,
                attempt=request.attempt,
                provider="paid",
                elapsed_seconds=1,
                blobs=world.blobs,
            )
        raise asyncio.CancelledError

    world.provider.script.append(answer)
    with pytest.raises(asyncio.CancelledError):
        await world.deliver(job_id)  # type: ignore[arg-type]  # a UUID


async def later(world: World, seconds: float) -> None:
    assert isinstance(world.clock, FakeClock)
    await world.clock.advance(seconds)
    await world.sweep.once()


async def test_a_worker_that_died_before_staging_is_settled_by_policy_after_its_lease(
    world: World, repeatable: bool
) -> None:
    job_id = await world.submit()
    await die_while_asking(world, job_id, staged=False)
    await later(world, 149)
    assert (await world.job(job_id)).state is State.RUNNING
    await later(world, 2)
    job, call = await world.job(job_id), await world.call(job_id)
    assert call is not None
    if repeatable:
        assert (job.state, job.attempt, call.state) == (State.QUEUED, 2, CallState.NOT_CHARGED)
    else:
        assert (job.state, call.state, call.amount) == (State.FAILED, CallState.UNKNOWN, COST)
        assert job.error is not None
        assert job.error["code"] == "outcome_unknown"


async def test_a_staged_result_is_found_again_and_never_paid_twice(world: World) -> None:
    job_id = await world.submit()
    await die_while_asking(world, job_id, staged=True)
    await later(world, 151)
    job, call = await world.job(job_id), await world.call(job_id)
    assert (job.state, job.dispatched_to) == (State.PROCESSING_RESULT, None)
    assert call is not None
    assert call.state is CallState.ANSWERED
    await world.deliver(job_id)
    assert (await world.job(job_id)).state is State.COMPLETED
    assert world.provider.calls == {(job_id, 1): 1}


async def test_a_process_that_is_alone_rescues_at_once(world: World) -> None:
    lost, staged = await world.submit(), await world.submit()
    await die_while_asking(world, lost, staged=False)
    await die_while_asking(world, staged, staged=True)
    await world.sweep.take_over()
    assert (await world.job(lost)).state in (State.QUEUED, State.FAILED)
    assert (await world.job(staged)).state is State.PROCESSING_RESULT


async def test_a_result_that_comes_after_the_rescue_is_taken_or_kept_as_surplus(
    world: World, repeatable: bool
) -> None:
    """The worker was only slow: its answer comes after the sweep gave its call up."""
    job_id = await world.submit()

    async def slow(request: PaintRequest) -> Painting:
        await later(world, 151)
        return await paints(request)

    world.provider.script.append(slow)
    await world.deliver(job_id)
    job, call = await world.job(job_id), await world.call(job_id)
    assert job.state is State.PROCESSING_RESULT or job.state is State.COMPLETED
    assert call is not None
    assert (call.state, call.amount) == (CallState.ANSWERED, COST)
    await later(world, 200)
    await world.deliver(job_id, job.attempt)
    assert (await world.job(job_id)).state is State.COMPLETED
    assert sum(world.provider.calls.values()) == 1


async def test_an_overdue_call_of_a_cancelled_job_is_settled_too(
    world: World, repeatable: bool
) -> None:
    job_id = await world.submit()
    await die_while_asking(world, job_id, staged=False)
    await cancel(job_id, tenant=TENANT, journal=world.journal, ids=world.worker.ids)
    await later(world, 151)
    call = await world.call(job_id)
    assert call is not None
    assert call.state is (CallState.NOT_CHARGED if repeatable else CallState.UNKNOWN)
    assert call.due_at is None
    assert (await world.job(job_id)).state is State.CANCELLED


async def test_a_running_job_without_a_ledger_row_goes_back_into_the_queue(world: World) -> None:
    job_id = await world.submit()
    now, event_id = world.journal.now(), world.worker.ids.new()

    def start(look: Look, writes: Writes) -> None:
        job = look.get(JobRow, job_id)
        assert job is not None
        move_job(
            writes,
            job,
            Trigger.START,
            at=now,
            event_id=event_id,
            wake_at=now + timedelta(seconds=1),
        )

    await world.journal.record(Step("start", start, (job_key(job_id),)))
    await later(world, 2)
    job = await world.job(job_id)
    assert (job.state, job.attempt) == (State.QUEUED, 2)


async def test_a_result_that_kills_its_workers_is_given_up_with_its_bytes_kept(
    world: World,
) -> None:
    job_id = await world.submit()

    def dies(_: bytes) -> None:
        raise Unavailable("a worker process died")

    world.pictures.trouble = dies
    await world.deliver(job_id)
    for _ in range(5):
        await later(world, 151)
        assert (await world.job(job_id)).state is State.PROCESSING_RESULT
        await world.deliver(job_id)
    await later(world, 151)
    job = await world.job(job_id)
    assert job.state is State.FAILED
    assert job.error is not None
    assert job.error["code"] == "processing_failed"
    assert job.staged in world.blobs.objects
    assert world.provider.calls == {(job_id, 1): 1}


async def test_a_queued_job_whose_task_was_lost_is_sent_again_under_another_name(
    world: World,
) -> None:
    job_id = await world.submit()
    await later(world, 14 * 60)
    assert (await world.job(job_id)).dispatch == 1
    await later(world, 2 * 60)
    job = await world.job(job_id)
    assert (job.dispatch, job.dispatched_to, job.state) == (2, None, State.QUEUED)


async def test_a_blob_store_that_is_down_postpones_the_rescue_and_loses_nothing(
    world: World,
) -> None:
    job_id = await world.submit()
    await die_while_asking(world, job_id, staged=True)

    def down(call: str, _: str) -> None:
        if call == "get":
            raise BlobStoreUnavailable("down")

    world.blobs.trouble = down
    await later(world, 151)
    assert (await world.job(job_id)).state is State.RUNNING
    world.blobs.trouble = lambda call, key: None
    await later(world, 5)
    assert (await world.job(job_id)).state is State.PROCESSING_RESULT


async def test_two_sweeps_at_once_rescue_once(database_url: str) -> None:
    async with world_on(database_url, repeatable=True) as world:
        job_id = await world.submit()
        await die_while_asking(world, job_id, staged=False)
        assert isinstance(world.clock, FakeClock)
        await world.clock.advance(151)
        await asyncio.gather(*(world.sweep.once() for _ in range(4)))
        job = await world.job(job_id)
        assert (job.state, job.attempt, job.version) == (State.QUEUED, 2, 3)


async def test_the_next_process_sends_what_a_dead_one_had_taken_or_not_sent(
    database_url: str,
) -> None:
    async with world_on(database_url) as dead:
        unsent = await dead.submit(blog_id="post", position=1)
        sent = await dead.submit(blog_id="post", position=2)
        done = await dead.submit(blog_id="post", position=3)
        await dead.deliver(done)
        blobs = dead.blobs

        def mark(look: Look, writes: Writes) -> None:
            job = look.get(JobRow, sent)
            assert job is not None
            writes.update(job.changed(dispatched_to="local-dead"), sent)

        await dead.journal.record(Step("mark", mark, (job_key(sent),)))

    async with world_on(database_url, run=True, blobs=blobs) as world:
        await world.sweep.take_over()
        await _all_linked(world, 3)
        for job_id in (unsent, sent, done):
            assert (await world.job(job_id)).state is State.COMPLETED
        assert world.provider.calls == {(unsent, 1): 1, (sent, 1): 1}


async def _all_linked(world: World, slots: int) -> None:
    async with asyncio.timeout(20):
        while len(await world.store.read(picture_reads.slots, TENANT, "post")) < slots:
            pass


async def test_a_queue_that_is_down_leaves_the_job_to_the_sweep(database_url: str) -> None:
    async with world_on(database_url, run=True) as world:
        create, refused = world.queue.create_image_generation_task, asyncio.Event()

        async def refuse(*_: object, **__: object) -> None:
            refused.set()
            raise QueueUnavailable("down")

        world.queue.create_image_generation_task = refuse  # type: ignore[method-assign]  # the port is down
        job_id = await world.submit(blog_id="post")
        await asyncio.wait_for(refused.wait(), 10)
        assert (await world.job(job_id)).dispatched_to is None
        world.queue.create_image_generation_task = create  # type: ignore[method-assign]  # and up again
        await world.sweep.once()
        assert isinstance(world.clock, FakeClock)
        await world.clock.advance(0.1)  # what failed is not tried again at once
        await _all_linked(world, 1)
        assert (await world.job(job_id)).state is State.COMPLETED


async def test_one_row_that_cannot_be_rescued_holds_up_no_other(database_url: str) -> None:
    """A manifest of another release: its job goes its own way, and everybody else's goes on."""
    async with world_on(database_url, repeatable=True) as world:
        poisoned, good = await world.submit(), await world.submit()
        await die_while_asking(world, poisoned, staged=False)
        await die_while_asking(world, good, staged=True)
        world.blobs.objects[f"jobs/{poisoned}/1/manifest.json"] = b'{"from": "the future"}'
        await world.sweep.take_over()
        assert (await world.job(poisoned)).state is State.QUEUED
        assert (await world.job(good)).state is State.PROCESSING_RESULT


async def test_a_row_whose_rescue_fails_is_put_off_and_comes_again(world: World) -> None:
    poisoned, good = await world.submit(), await world.submit()
    for job_id in (poisoned, good):
        await die_while_asking(world, job_id, staged=True)
    key = f"jobs/{poisoned}/1/manifest.json"

    def broken(call: str, wanted: str) -> None:
        if call == "get" and wanted == key:
            raise RuntimeError("a defect")

    world.blobs.trouble = broken
    await later(world, 151)
    assert (await world.job(good)).state is State.PROCESSING_RESULT
    assert (await world.job(poisoned)).state is State.RUNNING
    world.blobs.trouble = lambda call, wanted: None
    await later(world, 61)
    assert (await world.job(poisoned)).state is State.PROCESSING_RESULT


async def test_a_paid_result_may_wait_in_a_long_queue(world: World) -> None:
    """Only a worker's death counts against it, not the time that it waited for one."""
    job_id = await world.submit()

    def dies(_: bytes) -> None:
        raise Unavailable("a worker process died")

    world.pictures.trouble = dies
    await world.deliver(job_id)
    for _ in range(20):
        await later(world, 9 * 3600)
    job = await world.job(job_id)
    assert (job.state, job.resumes) == (State.PROCESSING_RESULT, 0)


async def test_the_patience_with_a_waiting_job_doubles(database_url: str) -> None:
    async with world_on(database_url) as world:
        job_id = await world.submit()
        for _ in range(8 * 12):
            await later(world, 5 * 60 + 1)
        assert (await world.job(job_id)).dispatch == 6  # after 15, 45, 105, 225 and 465 min


async def test_a_job_whose_provider_is_gone_fails_after_a_grace(database_url: str) -> None:
    async with world_on(database_url) as world:
        job_id = await world.submit()
        world.worker.providers.by_name.clear()  # type: ignore[attr-defined]  # a dict here
        await world.deliver(job_id)
        assert (await world.job(job_id)).state is State.QUEUED
        await later(world, 16 * 60)
        await world.deliver(job_id)
        job = await world.job(job_id)
        assert job.state is State.FAILED
        assert job.error is not None
        assert job.error["code"] == "provider_not_configured"
