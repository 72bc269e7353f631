"""One delivery of a task, whatever the provider, the pictures and the disk do."""

import asyncio
import os
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from adapters.errors import (
    BadPicture,
    BlobStoreUnavailable,
    OutcomeUnknown,
    ProviderBusy,
    ProviderRefused,
    Unavailable,
)
from adapters.ports import Painting, PaintRequest
from adapters.store import picture_reads
from pipeline.cancel import cancel
from pipeline.errors import CannotCancel, NoSuchJob
from pipeline.staging import manifest_key
from schemas.step import Step
from schemas.tables import CallState
from schemas.tasks import ImageTask
from states.table import State
from tests.fakes.clock import FakeClock
from tests.fakes.provider import COST, paints, raises
from tests.world import TENANT, World, world_on

WAY = ["image.job.queued", "image.job.started"]


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    async with world_on(database_url) as opened:
        yield opened


async def test_a_delivered_task_completes_its_job_with_pictures_cost_and_ledger(
    world: World,
) -> None:
    job_id = await world.submit(quality="high", alt_text="A tower")
    assert (await world.deliver(job_id)).status_code == 200
    job, call = await world.job(job_id), await world.call(job_id)
    assert (job.state, job.version, job.stage) == (State.COMPLETED, 4, State.PROCESSING_RESULT)
    assert (job.cost, job.wake_at, job.lease_token) == (COST, None, None)
    assert call is not None
    assert (call.state, call.amount, call.due_at) == (CallState.ANSWERED, COST, None)
    assert await world.events(job_id) == [
        *WAY,
        "image.job.result_received",
        "image.job.completed",
    ]
    images = await world.store.read(picture_reads.images_of_jobs, TENANT, [job_id])
    assert [(image.width, len(image.variants)) for image in images] == [(1280, 3)]
    assert images[0].key in world.blobs.objects


@pytest.mark.parametrize("times", [2, 5])
async def test_a_redelivered_task_pays_and_completes_once(world: World, times: int) -> None:
    job_id = await world.submit()
    answers = [await world.deliver(job_id) for _ in range(times)]
    assert {answer.status_code for answer in answers} == {200}
    assert world.provider.calls == {(job_id, 1): 1}
    assert len(await world.events(job_id)) == 4


async def test_racing_deliveries_pay_once(world: World) -> None:
    job_id = await world.submit()
    answers = await asyncio.gather(*(world.deliver(job_id) for _ in range(20)))
    assert {answer.status_code for answer in answers} == {200}
    assert world.provider.calls == {(job_id, 1): 1}
    assert (await world.job(job_id)).state is State.COMPLETED


async def test_a_delivery_during_the_call_does_nothing(world: World) -> None:
    job_id = await world.submit()
    called, go = asyncio.Event(), asyncio.Event()

    async def slow(request: PaintRequest) -> Painting:
        called.set()
        await go.wait()
        return await paints(request)

    world.provider.script.append(slow)
    first = asyncio.create_task(world.deliver(job_id))
    await called.wait()
    second = await world.deliver(job_id)
    assert (second.status_code, second.reason) == (200, "the job is running")
    go.set()
    await first
    assert world.provider.calls == {(job_id, 1): 1}


async def test_the_intent_is_committed_before_the_provider_is_asked(world: World) -> None:
    job_id = await world.submit()
    seen = []

    async def look(request: PaintRequest) -> Painting:
        call = await world.call(job_id)
        seen.append((call.state if call else None, (await world.job(job_id)).state))
        return await paints(request)

    world.provider.script.append(look)
    await world.deliver(job_id)
    assert seen == [(CallState.INTENT, State.RUNNING)]


async def test_an_unknown_job_and_a_stale_attempt_are_answered_and_left_alone(
    world: World,
) -> None:
    assert (await world.deliver(uuid4())).status_code == 200
    job_id = await world.submit()
    assert (await world.deliver(job_id, attempt=2)).status_code == 200
    assert not world.provider.calls
    assert (await world.job(job_id)).version == 1


async def test_a_busy_provider_puts_the_job_back_and_charges_nothing(world: World) -> None:
    job_id = await world.submit()
    world.provider.script.append(raises(ProviderBusy("429", timedelta(seconds=30))))
    await world.deliver(job_id)
    job, call = await world.job(job_id), await world.call(job_id)
    now = world.journal.now()
    assert (job.state, job.attempt, job.retry_count) == (State.QUEUED, 2, 0)
    assert job.not_before == now + timedelta(seconds=30)
    assert job.dispatched_to is None
    assert call is not None
    assert call.state is CallState.NOT_CHARGED
    assert (await world.deliver(job_id, 2)).reason.startswith("not before")
    assert (await world.job(job_id)).dispatch == 2
    await _clock(world).advance(30)
    await world.deliver(job_id, 2)
    assert (await world.job(job_id)).state is State.COMPLETED
    assert world.provider.calls == {(job_id, 1): 1, (job_id, 2): 1}


async def test_a_refusal_fails_the_job_with_its_code_and_is_not_repeated(world: World) -> None:
    job_id = await world.submit()
    world.provider.script.append(raises(ProviderRefused("moderated", "unsafe")))
    await world.deliver(job_id)
    job, call = await world.job(job_id), await world.call(job_id)
    assert job.state is State.FAILED
    assert job.error is not None
    assert job.error["code"] == "moderated"
    assert "Nothing was charged" in job.error["message"]
    assert call is not None
    assert call.state is CallState.REFUSED
    await world.deliver(job_id)
    assert world.provider.calls == {(job_id, 1): 1}


@pytest.mark.parametrize(
    "answer",
    [raises(OutcomeUnknown("reset by peer")), raises(RuntimeError("a defect")), None],
    ids=["lost", "broken adapter", "timeout"],
)
async def test_a_lost_answer_parks_the_job_and_is_never_asked_again(
    database_url: str, answer: object
) -> None:
    async with world_on(database_url) as world:
        job_id = await world.submit()
        if answer is None:
            world.provider.script.append(raises(TimeoutError()))
        else:
            world.provider.script.append(answer)  # type: ignore[arg-type]  # an Answer
        await world.deliver(job_id)
        job, call = await world.job(job_id), await world.call(job_id)
        assert job.state is State.FAILED
        assert job.error is not None
        assert job.error["code"] == "outcome_unknown"
        assert call is not None
        assert (call.state, call.amount) == (CallState.UNKNOWN, COST)
        await world.deliver(job_id)
        await world.deliver(job_id, 2)
        assert world.provider.calls == {(job_id, 1): 1}


async def test_a_free_provider_is_asked_again_and_given_up_in_the_end(
    database_url: str,
) -> None:
    async with world_on(database_url, repeatable=True) as world:
        job_id = await world.submit()
        world.provider.script += [raises(OutcomeUnknown("died"))] * 25
        for attempt in range(1, 26):
            await _clock(world).advance(60)
            await world.deliver(job_id, attempt)
        job = await world.job(job_id)
        assert (job.state, job.attempt) == (State.FAILED, 25)
        assert job.error is not None
        assert job.error["code"] == "provider_failing"


async def test_a_cancelled_job_stays_cancelled_and_its_late_result_is_booked(
    world: World,
) -> None:
    job_id = await world.submit()

    async def cancelled_meanwhile(request: PaintRequest) -> Painting:
        await cancel(job_id, tenant=TENANT, journal=world.journal, ids=world.worker.ids)
        return await paints(request)

    world.provider.script.append(cancelled_meanwhile)
    await world.deliver(job_id)
    job, call = await world.job(job_id), await world.call(job_id)
    assert job.state is State.CANCELLED
    assert call is not None
    assert (call.state, call.surplus, call.amount) == (CallState.ANSWERED, True, COST)
    assert manifest_key(job_id, 1) in world.blobs.objects


async def test_cancelling_is_for_open_jobs_of_the_own_tenant(world: World) -> None:
    job_id = await world.submit()
    with pytest.raises(NoSuchJob):
        await cancel(job_id, tenant="other", journal=world.journal, ids=world.worker.ids)
    for _ in range(2):
        job = await cancel(job_id, tenant=TENANT, journal=world.journal, ids=world.worker.ids)
        assert (job.state, job.version) == (State.CANCELLED, 2)
    done = await world.submit()
    await world.deliver(done)
    with pytest.raises(CannotCancel):
        await cancel(done, tenant=TENANT, journal=world.journal, ids=world.worker.ids)


async def test_a_disk_that_is_full_for_a_while_keeps_the_paid_bytes(world: World) -> None:
    job_id = await world.submit()
    failures = iter([BlobStoreUnavailable("disk full")] * 3)

    def full(call: str, _: str) -> None:
        if call == "put" and (failure := next(failures, None)):
            raise failure

    world.blobs.trouble = full
    delivery = asyncio.create_task(world.deliver(job_id))
    while not delivery.done():
        waiting = asyncio.create_task(_clock(world).sleeping())
        await asyncio.wait({delivery, waiting}, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        await _clock(world).advance(5)
    assert (await delivery).status_code == 200
    assert next(failures, None) is None
    assert (await world.job(job_id)).state is State.COMPLETED
    assert world.provider.calls == {(job_id, 1): 1}


async def test_nothing_is_asked_of_a_provider_when_there_is_no_room(world: World) -> None:
    job_id = await world.submit()
    world.blobs.free = 1_000_000
    assert (await world.deliver(job_id)).status_code == 503
    assert not world.provider.calls
    world.blobs.free = 10**12
    assert (await world.deliver(job_id)).status_code == 200


async def test_bytes_that_are_no_picture_fail_the_job_and_are_kept(world: World) -> None:
    job_id = await world.submit()

    def bad(_: bytes) -> None:
        raise BadPicture("truncated", "the picture ends too early")

    world.pictures.trouble = bad
    await world.deliver(job_id)
    job, call = await world.job(job_id), await world.call(job_id)
    assert job.state is State.FAILED
    assert job.error is not None
    assert job.error["code"] == "bad_picture"
    assert call is not None
    assert call.state is CallState.ANSWERED
    assert job.staged in world.blobs.objects


async def test_a_received_job_is_resumed_without_paying(world: World) -> None:
    job_id = await world.submit()

    def dies(_: bytes) -> None:
        raise Unavailable("a worker process died")

    world.pictures.trouble = dies
    await world.deliver(job_id)
    job = await world.job(job_id)
    assert (job.state, job.lease_token is None) == (State.PROCESSING_RESULT, False)
    # While the lease lives, nobody else takes it up.
    assert (await world.deliver(job_id)).reason == "another worker is at it"
    world.pictures.trouble = lambda _: None
    await _clock(world).advance(151)
    await world.deliver(job_id)
    assert (await world.job(job_id)).state is State.COMPLETED
    assert world.provider.calls == {(job_id, 1): 1}


async def test_an_unreachable_database_asks_for_another_delivery(sqlite_url: str) -> None:
    async with world_on(sqlite_url) as world:
        job_id = await world.submit()
    async with world_on(f"{sqlite_url}?mode=ro") as world:
        reply = await world.deliver(job_id)
        assert (reply.done, reply.status_code) == (False, 503)
        assert not world.provider.calls
        assert (await world.job(job_id)).state is State.QUEUED


def test_equal_sendings_have_equal_names_and_others_do_not() -> None:
    job_id = uuid4()
    names = {
        ImageTask(job_id=job_id, attempt=attempt, dispatch=dispatch).name
        for attempt in (1, 2)
        for dispatch in (1, 2)
        for _ in range(2)
    }
    assert len(names) == 4


def _clock(world: World) -> FakeClock:
    assert isinstance(world.clock, FakeClock)
    return world.clock


async def test_a_known_answer_survives_a_database_that_is_away_for_a_while(
    sqlite_url: str,
) -> None:
    """Not charged stays not charged: only the commit is repeated."""
    async with world_on(sqlite_url) as world:
        job_id = await world.submit()
        path = Path(sqlite_url.removeprefix("sqlite:///"))

        async def busy_without_database(_: PaintRequest) -> Painting:
            os.rename(path, path.with_suffix(".away"))
            raise ProviderBusy("429", timedelta(seconds=1))

        world.provider.script.append(busy_without_database)
        delivery = asyncio.create_task(world.deliver(job_id))
        await _clock(world).sleeping()
        os.rename(path.with_suffix(".away"), path)
        while not delivery.done():
            waiting = asyncio.create_task(_clock(world).sleeping())
            await asyncio.wait({delivery, waiting}, return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()
            await _clock(world).advance(1)
        job, call = await world.job(job_id), await world.call(job_id)
        assert job.state is State.QUEUED
        assert call is not None
        assert call.state is CallState.NOT_CHARGED


async def test_a_provider_text_that_no_database_takes_is_stored_cleaned(world: World) -> None:
    job_id = await world.submit()
    world.provider.script.append(raises(ProviderRefused("moderated", "un\x00safe \ud800")))
    await world.deliver(job_id)
    job = await world.job(job_id)
    assert job.error is not None
    assert (job.error["code"], job.error["details"]["detail"]) == ("moderated", "unsafe ?")


async def test_a_retry_after_of_years_puts_the_job_off_for_an_hour(world: World) -> None:
    job_id = await world.submit()
    world.provider.script.append(raises(ProviderBusy("429", timedelta(days=3_000))))
    await world.deliver(job_id)
    assert (await world.job(job_id)).not_before == world.journal.now() + timedelta(hours=1)


async def test_an_answer_without_a_picture_is_unknown(world: World) -> None:
    job_id = await world.submit()

    async def empty(_: PaintRequest) -> Painting:
        return Painting((), "paid-1", COST)

    world.provider.script.append(empty)
    await world.deliver(job_id)
    call = await world.call(job_id)
    assert call is not None
    assert call.state is CallState.UNKNOWN


async def test_busy_answers_do_not_count_as_lost_ones(database_url: str) -> None:
    async with world_on(database_url, repeatable=True) as world:
        job_id = await world.submit()
        world.provider.script += [raises(ProviderBusy("429", timedelta(0)))] * 30
        for attempt in range(1, 31):
            await world.deliver(job_id, attempt)
        world.provider.script.append(raises(OutcomeUnknown("reset")))
        await world.deliver(job_id, 31)
        job = await world.job(job_id)
        assert (job.state, job.lost_calls) == (State.QUEUED, 1)


async def test_a_start_that_was_committed_too_late_asks_nobody(database_url: str) -> None:
    async with world_on(database_url) as world:
        job_id = await world.submit()
        record = world.journal.record

        async def slowly(step: Step[Any]) -> Any:
            answer = await record(step)
            if step.name == "start":
                await _clock(world).advance(100)
            return answer

        world.journal.record = slowly  # type: ignore[method-assign]  # the commit takes long
        await world.deliver(job_id)
        job, call = await world.job(job_id), await world.call(job_id)
        assert not world.provider.calls
        assert job.state is State.QUEUED
        assert call is not None
        assert call.state is CallState.NOT_CHARGED
