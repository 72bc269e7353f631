"""What a provider accepts is paid for once and asked about until it is done, come what may."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from adapters.errors import (
    BlobStoreUnavailable,
    OutcomeUnknown,
    ProviderBusy,
    ProviderRefused,
    ProviderUnusable,
    ResultGone,
)
from adapters.ports import Accepted, KeyLimits, Painting, PaintRequest
from adapters.store import machine_reads, money_reads
from pipeline.cancel import cancel
from pipeline.journal import Journal
from pipeline.settle import settle_call
from pipeline.settlement import Settlement
from pipeline.staging import load_manifest, manifest_key, stage
from pipeline.stragglers import Stragglers
from schemas.tables import CallState, Circuit, JobRow, ProviderCall
from states.table import State
from tests.budgets import again
from tests.fakes.clock import FakeClock
from tests.fakes.provider import COST, Answer, accepts, paints, raises
from tests.world import TENANT, World, world_on


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    async with world_on(database_url) as opened:
        yield opened


async def pass_time(world: World, seconds: float) -> None:
    assert isinstance(world.clock, FakeClock)
    await world.clock.advance(seconds)


async def later(world: World, seconds: float) -> None:
    await pass_time(world, seconds)
    await world.sweep.once()
    await world.stragglers.once()


async def accepted(world: World, **fields: Any) -> UUID:
    """A job whose call the provider has accepted; it wants to be asked again in 10 s."""
    job_id = await world.submit(**fields)
    world.provider.script.append(accepts)
    await world.deliver(job_id)
    return job_id


async def call_of(world: World, job_id: UUID, attempt: int = 1) -> ProviderCall:
    call = await world.call(job_id, attempt)
    assert call is not None
    return call


async def cancelled(world: World, job_id: UUID) -> None:
    await cancel(job_id, tenant=TENANT, journal=world.journal, ids=world.worker.ids)


async def test_an_accepted_call_is_polled_by_a_later_task_in_the_same_attempt(
    world: World,
) -> None:
    job_id = await accepted(world)
    job, call = await world.job(job_id), await call_of(world, job_id)
    now = world.journal.now()
    assert (job.state, job.attempt, job.version) == (State.RUNNING, 1, 2)
    assert (job.lease_token, job.dispatched_to, job.dispatch) == (None, None, 2)
    assert job.not_before == now + timedelta(seconds=10)
    assert (call.state, call.provider_ref) == (CallState.ACCEPTED, f"{job_id}-1")
    (sending,) = await world.store.read(machine_reads.unsent_jobs, "a queue", 10)
    assert (sending.job_id, sending.dispatch, sending.not_before) == (job_id, 2, job.not_before)

    assert (await world.deliver(job_id)).reason.startswith("not before")
    assert not world.provider.polls
    await pass_time(world, 10)
    assert (await world.deliver(job_id)).reason == "done"
    job, call = await world.job(job_id), await call_of(world, job_id)
    assert (job.state, job.attempt, job.version) == (State.COMPLETED, 1, 4)
    assert job.result is not None
    assert job.result["generation_time_seconds"] == 10
    assert (call.state, call.amount, call.due_at) == (CallState.ANSWERED, COST, None)
    assert world.provider.calls == {(job_id, 1): 1}
    assert world.provider.polls == {f"{job_id}-1": 1}


async def test_it_is_asked_again_as_often_as_the_provider_says(world: World) -> None:
    job_id = await accepted(world)
    world.provider.poll_script += [accepts] * 3
    for polls in (1, 2, 3):
        await pass_time(world, 10)
        await world.deliver(job_id)
        job = await world.job(job_id)
        assert (job.state, job.version, job.dispatch) == (State.RUNNING, 2, polls + 2)
        assert world.provider.polls.total() == polls
    await pass_time(world, 10)
    await world.deliver(job_id)
    assert (await world.job(job_id)).state is State.COMPLETED
    assert len(await world.events(job_id)) == 4


async def test_a_poll_holds_the_lease_and_no_other_goes_beside_it(world: World) -> None:
    job_id = await accepted(world)
    asked, go = asyncio.Event(), asyncio.Event()

    async def slow(request: PaintRequest) -> Painting:
        asked.set()
        await go.wait()
        return await paints(request)

    world.provider.poll_script.append(slow)
    await pass_time(world, 10)
    first = asyncio.create_task(world.deliver(job_id))
    await asked.wait()
    assert (await world.deliver(job_id)).reason == "the job is running"
    await later(world, 149)
    assert world.provider.polls.total() == 1
    go.set()
    await first
    assert (await world.job(job_id)).state is State.COMPLETED


async def die_while_polling(world: World, job_id: UUID, *, staged: bool = False) -> None:
    async def dies(request: PaintRequest) -> Painting:
        if staged:
            await stage(
                await paints(request),
                job_id=job_id,
                attempt=1,
                provider="paid",
                elapsed_seconds=1,
                blobs=world.blobs,
            )
        raise asyncio.CancelledError

    world.provider.poll_script.append(dies)
    await pass_time(world, 10)
    with pytest.raises(asyncio.CancelledError):
        await world.deliver(job_id)


@pytest.mark.parametrize("alone", [False, True])
async def test_a_worker_that_dies_while_it_polls_is_followed_by_another(
    world: World, alone: bool
) -> None:
    job_id = await accepted(world)
    await die_while_polling(world, job_id)
    assert (await world.job(job_id)).lease_token is not None
    if alone:
        await world.sweep.take_over()
    else:
        await later(world, 151)
    job = await world.job(job_id)
    assert (job.state, job.attempt, job.lease_token) == (State.RUNNING, 1, None)
    await world.deliver(job_id)
    assert (await world.job(job_id)).state is State.COMPLETED
    assert world.provider.calls == {(job_id, 1): 1}


async def test_a_result_that_was_staged_before_a_death_is_not_asked_for_again(
    world: World,
) -> None:
    job_id = await accepted(world)
    await die_while_polling(world, job_id, staged=True)
    await later(world, 151)
    assert (await world.job(job_id)).state is State.PROCESSING_RESULT
    assert world.provider.polls.total() == 1


@pytest.mark.parametrize(
    "answer",
    [
        raises(OutcomeUnknown("reset by peer")),
        raises(ProviderBusy("429", timedelta(seconds=12))),
        raises(TimeoutError()),
        raises(RuntimeError("a defect")),
    ],
    ids=["lost", "busy", "timeout", "broken adapter"],
)
async def test_a_poll_that_tells_nothing_is_repeated(world: World, answer: Answer) -> None:
    job_id = await accepted(world)
    world.provider.poll_script.append(answer)
    await pass_time(world, 10)
    await world.deliver(job_id)
    assert (await call_of(world, job_id)).state is CallState.ACCEPTED
    await pass_time(world, 15)
    await world.deliver(job_id)
    assert (await world.job(job_id)).state is State.COMPLETED
    assert world.provider.calls == {(job_id, 1): 1}


async def nothing(_: PaintRequest) -> Painting:
    return Painting((), "paid-1", COST)


@pytest.mark.parametrize(
    ("answer", "call_state", "code"),
    [
        (raises(ProviderRefused("moderated", "unsafe")), CallState.REFUSED, "moderated"),
        (
            raises(ProviderRefused("moderated", "withheld", may_be_charged=True)),
            CallState.UNKNOWN,
            "moderated",
        ),
        (raises(ResultGone("404")), CallState.UNKNOWN, "outcome_unknown"),
        (nothing, CallState.UNKNOWN, "outcome_unknown"),
    ],
    ids=["refused", "withheld", "gone", "empty"],
)
async def test_a_poll_that_tells_the_end_settles_the_call(
    world: World, answer: Answer, call_state: CallState, code: str
) -> None:
    job_id = await accepted(world)
    world.provider.poll_script.append(answer)
    await pass_time(world, 10)
    await world.deliver(job_id)
    job, call = await world.job(job_id), await call_of(world, job_id)
    assert (job.state, call.state, call.due_at) == (State.FAILED, call_state, None)
    assert job.error is not None
    assert job.error["code"] == code


@pytest.mark.parametrize(("quality", "state"), [("high", State.FAILED), ("draft", State.QUEUED)])
@pytest.mark.parametrize("by_task", [True, False])
async def test_what_is_not_done_by_its_limit_is_settled_by_policy(
    world: World, quality: str, state: State, by_task: bool
) -> None:
    job_id = await accepted(world, quality=quality)
    world.provider.poll_script += [accepts] * 3
    await pass_time(world, 3590)
    if by_task:
        await world.deliver(job_id)
    else:
        await world.stragglers.once()
    assert (await call_of(world, job_id)).state is CallState.ACCEPTED
    await pass_time(world, 121)
    if by_task:
        await world.deliver(job_id)
    else:
        await world.stragglers.once()
    job, call = await world.job(job_id), await call_of(world, job_id)
    assert (job.state, call.state, call.amount) == (state, CallState.UNKNOWN, COST)
    assert call.detail is not None
    assert call.detail.startswith("accepted and not answered within 3600 s")


async def test_a_cancelled_jobs_picture_is_polled_to_the_end_booked_and_kept(
    world: World,
) -> None:
    job_id = await accepted(world)
    await cancelled(world, job_id)
    world.provider.poll_script += [accepts] * 2
    await later(world, 131)
    for polls in (2, 3):
        assert (await call_of(world, job_id)).state is CallState.ACCEPTED
        await later(world, 9)
        assert world.provider.polls.total() == polls - 1
        await later(world, 1)
        assert world.provider.polls.total() == polls
    job, call = await world.job(job_id), await call_of(world, job_id)
    assert (job.state, job.version) == (State.CANCELLED, 3)
    assert (call.state, call.surplus, call.amount) == (CallState.ANSWERED, True, COST)
    manifest = await load_manifest(manifest_key(job_id, 1), world.blobs)
    assert manifest.pictures[0].key in world.blobs.objects
    assert world.provider.calls == {(job_id, 1): 1}


async def test_a_picture_of_a_cancelled_job_that_was_retried_is_taken_and_not_bought_again(
    world: World,
) -> None:
    job_id = await accepted(world)
    await cancelled(world, job_id)
    await again(world, job_id)
    await later(world, 131)
    job = await world.job(job_id)
    assert (job.state, job.attempt) == (State.PROCESSING_RESULT, 2)
    await world.deliver(job_id, 2)
    assert (await world.job(job_id)).state is State.COMPLETED
    assert world.provider.calls == {(job_id, 1): 1}


async def test_what_is_already_asked_goes_on_while_dispatch_is_paused(world: World) -> None:
    job_id = await accepted(world)
    await world.dispatching.pause("new prices")
    await later(world, 131)
    assert (await world.job(job_id)).state is State.PROCESSING_RESULT


async def test_an_acceptance_that_comes_after_the_call_was_given_up_is_asked_about(
    world: World,
) -> None:
    job_id = await world.submit()

    async def slow(request: PaintRequest) -> Accepted:
        await later(world, 151)
        return await accepts(request)

    world.provider.script.append(slow)
    await world.deliver(job_id)
    job, call = await world.job(job_id), await call_of(world, job_id)
    assert (job.state, call.state) == (State.FAILED, CallState.ACCEPTED)
    await later(world, 10)
    assert (await world.job(job_id)).state is State.PROCESSING_RESULT
    await world.deliver(job_id)
    assert (await world.job(job_id)).state is State.COMPLETED
    assert world.provider.calls == {(job_id, 1): 1}


async def test_who_gives_up_an_intent_does_not_give_up_what_was_accepted_meanwhile(
    world: World,
) -> None:
    job_id = await accepted(world)
    job = JobRow.of(**(await world.job(job_id)).model_dump())
    lost = Settlement.unknown("no answer was stored", repeatable=False)
    await settle_call(job, lost, world.worker, only=frozenset({CallState.INTENT}))
    assert (await call_of(world, job_id)).state is CallState.ACCEPTED
    assert (await world.job(job_id)).state is State.RUNNING


async def test_racing_tasks_poll_once(world: World) -> None:
    job_id = await accepted(world)
    await pass_time(world, 10)
    await asyncio.gather(*(world.deliver(job_id) for _ in range(10)))
    assert (await world.job(job_id)).state is State.COMPLETED
    assert world.provider.polls.total() == 1


class Behind:
    """A journal that shows the overdue calls as they were a while ago."""

    def __init__(self, journal: Journal, calls: Sequence[ProviderCall]) -> None:
        self._journal, self._calls = journal, calls

    def __getattr__(self, name: str) -> Any:
        return getattr(self._journal, name)

    async def read(self, query: Any, *args: Any) -> Any:
        if query is money_reads.overdue_calls:
            return self._calls
        return await self._journal.read(query, *args)


async def test_who_finds_an_overdue_call_late_does_not_poll_it_beside_another(
    world: World,
) -> None:
    job_id = await accepted(world)
    await cancelled(world, job_id)
    await pass_time(world, 131)
    found = await world.store.read(
        money_reads.overdue_calls, CallState.ACCEPTED, world.journal.now(), 10
    )
    journal = Behind(world.journal, found)
    other = Stragglers(replace(world.worker, journal=journal))  # type: ignore[arg-type]  # by its shape
    world.provider.poll_script.append(accepts)
    await world.stragglers.once()
    await other.once()
    assert world.provider.polls.total() == 1
    assert (await call_of(world, job_id)).state is CallState.ACCEPTED


async def test_a_task_has_its_time_before_anybody_else_polls(world: World) -> None:
    job_id = await accepted(world)
    await later(world, 10 + 59)
    assert (await world.job(job_id)).dispatch == 2
    await later(world, 2)
    assert (await world.job(job_id)).dispatch == 3
    assert not world.provider.polls
    await later(world, 60)
    assert world.provider.polls.total() == 1


@pytest.mark.parametrize("by_task", [True, False])
async def test_a_picture_that_could_not_be_stored_is_fetched_again(
    world: World, by_task: bool
) -> None:
    job_id = await accepted(world)
    full = True

    def trouble(name: str, _: str) -> None:
        if name == "put" and full:
            raise BlobStoreUnavailable("disk full")

    world.blobs.trouble = trouble
    await pass_time(world, 131)
    if by_task:
        delivery = asyncio.create_task(world.deliver(job_id))
        while not delivery.done():
            assert isinstance(world.clock, FakeClock)
            waiting = asyncio.create_task(world.clock.sleeping())
            await asyncio.wait({delivery, waiting}, return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()
            await pass_time(world, 5)
    else:
        await world.stragglers.once()
    assert (await call_of(world, job_id)).state is CallState.ACCEPTED
    full = False
    await later(world, 150)
    await world.deliver(job_id)
    assert (await world.job(job_id)).state is State.COMPLETED
    assert world.provider.calls == {(job_id, 1): 1}


async def test_a_staged_result_outlives_its_cancelled_job_and_its_provider(world: World) -> None:
    job_id = await accepted(world)
    await die_while_polling(world, job_id, staged=True)
    await cancelled(world, job_id)
    world.provider.poll_script.append(raises(ResultGone("404")))
    await later(world, 300)
    call = await call_of(world, job_id)
    assert (call.state, call.surplus) == (CallState.ANSWERED, True)


@pytest.mark.parametrize("ref", ["", "half \x00 a name"])
async def test_an_acceptance_under_no_usable_name_is_a_lost_answer(world: World, ref: str) -> None:
    job_id = await world.submit()

    async def nameless(_: PaintRequest) -> Accepted:
        return Accepted(ref, timedelta(seconds=10))

    world.provider.script.append(nameless)
    await world.deliver(job_id)
    assert (await world.job(job_id)).state is State.FAILED
    assert (await call_of(world, job_id)).state is CallState.UNKNOWN


async def test_a_key_whose_probe_was_accepted_is_good(database_url: str) -> None:
    limits = KeyLimits("cafe0123", 100, timedelta(seconds=10))
    async with world_on(database_url, limits=limits) as world:
        job_id = await world.submit()
        refused = ProviderUnusable("out_of_credit", "402", timedelta(minutes=5))
        world.provider.script += [raises(refused), accepts]
        await world.deliver(job_id)
        await pass_time(world, 300)
        await world.deliver(job_id, 2)
        assert (await call_of(world, job_id, 2)).state is CallState.ACCEPTED
        (key,) = await world.store.read(machine_reads.provider_keys)
        assert key.circuit is Circuit.CLOSED
