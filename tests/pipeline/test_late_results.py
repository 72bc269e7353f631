"""What comes late is taken where it can be, kept and booked where it cannot; nothing stays open."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from decimal import Decimal
from uuid import UUID

import pytest

from adapters.errors import BadPicture, OutcomeUnknown, ProviderRefused, Unavailable
from adapters.ports import PaintedPicture, Painting, PaintRequest
from pipeline.addresses import BaseUrl
from pipeline.cancel import cancel
from pipeline.staging import load_manifest, manifest_key
from pipeline.status import job_status, list_jobs
from schemas.replies import ImageJobStatusResponse
from schemas.requests import JobFilters
from schemas.tables import CallState, ProviderCall
from states.table import State
from tests.budgets import again
from tests.fakes.clock import FakeClock
from tests.fakes.provider import COST, raises
from tests.world import TENANT, World, world_on

Reach = Callable[[World, UUID], Awaitable[None]]
# What the late answer costs, so that nobody takes it for another.
LATE = Decimal("0.07")


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    async with world_on(database_url) as opened:
        yield opened
        held.clear()


# Calls that a test leaves in flight, to be ended before its world is.
held: list[asyncio.Task[object]] = []


async def call_of(world: World, job_id: UUID, attempt: int = 1) -> ProviderCall:
    call = await world.call(job_id, attempt)
    assert call is not None
    return call


async def told(world: World, job_id: UUID) -> ImageJobStatusResponse:
    return await job_status(
        job_id,
        tenant=TENANT,
        journal=world.journal,
        providers=world.worker.providers,
        base_url=BaseUrl("http://test"),
        estimates=world.estimates,
    )


async def later(world: World, seconds: float) -> None:
    assert isinstance(world.clock, FakeClock)
    await world.clock.advance(seconds)
    await world.sweep.once()


async def brought_back(world: World, job_id: UUID) -> None:
    await again(world, job_id)


# --- how a job comes to a state in its second attempt, from `queued`


async def stays_queued(world: World, job_id: UUID) -> None:
    pass


async def runs(world: World, job_id: UUID) -> None:
    asked = asyncio.Event()

    async def never(_: PaintRequest) -> Painting:
        asked.set()
        await asyncio.Event().wait()
        raise AssertionError

    world.provider.script.insert(0, never)
    held.append(asyncio.create_task(world.deliver(job_id, 2)))
    await asked.wait()


async def is_received(world: World, job_id: UUID) -> None:
    def dies(_: bytes) -> None:
        raise Unavailable("a worker process died")

    world.pictures.trouble = dies
    await world.deliver(job_id, 2)
    world.pictures.trouble = lambda _: None


async def completes(world: World, job_id: UUID) -> None:
    await world.deliver(job_id, 2)


async def is_refused(world: World, job_id: UUID) -> None:
    world.provider.script.insert(0, raises(ProviderRefused("moderated", "unsafe")))
    await world.deliver(job_id, 2)


async def is_parked(world: World, job_id: UUID) -> None:
    world.provider.script.insert(0, raises(OutcomeUnknown("reset")))
    await world.deliver(job_id, 2)


async def gets_no_picture(world: World, job_id: UUID) -> None:
    def bad(_: bytes) -> None:
        raise BadPicture("truncated", "it ends too early")

    world.pictures.trouble = bad
    await world.deliver(job_id, 2)
    world.pictures.trouble = lambda _: None


async def is_cancelled(world: World, job_id: UUID) -> None:
    await cancel(job_id, tenant=TENANT, journal=world.journal, ids=world.worker.ids)


REACH: dict[str, tuple[Reach, State]] = {
    "queued": (stays_queued, State.QUEUED),
    "running": (runs, State.RUNNING),
    "received": (is_received, State.PROCESSING_RESULT),
    "completed": (completes, State.COMPLETED),
    "refused": (is_refused, State.FAILED),
    "parked": (is_parked, State.FAILED),
    "failed past receive": (gets_no_picture, State.FAILED),
    "cancelled": (is_cancelled, State.CANCELLED),
}


@pytest.mark.parametrize("state", REACH)
async def test_an_overdue_intent_is_settled_whatever_became_of_its_job(
    world: World, state: str
) -> None:
    """A worker died in the first attempt's call; its job was cancelled and brought back."""
    job_id = await world.submit()
    world.provider.script.append(raises(asyncio.CancelledError()))  # type: ignore[arg-type]  # a death
    with pytest.raises(asyncio.CancelledError):
        await world.deliver(job_id)
    await later(world, 60)
    await is_cancelled(world, job_id)
    await brought_back(world, job_id)
    reach, reached = REACH[state]
    await reach(world, job_id)
    before = await world.job(job_id)
    assert (before.state, (await call_of(world, job_id)).state) == (reached, CallState.INTENT)
    assert (await told(world, job_id)).cost_possible >= COST

    await later(world, 89)
    assert (await call_of(world, job_id)).state is CallState.INTENT
    await later(world, 2)
    call, after = await call_of(world, job_id), await world.job(job_id)
    assert (call.state, call.amount, call.due_at) == (CallState.UNKNOWN, COST, None)
    assert (after.state, after.version, after.attempt) == (
        before.state, before.version, before.attempt,
    )  # fmt: skip
    await _end_held()


async def _end_held() -> None:
    for task in held:
        task.cancel()
    await asyncio.gather(*held, return_exceptions=True)


TAKEN = {"queued", "refused", "parked"}


@pytest.mark.parametrize("state", REACH)
async def test_a_late_result_is_taken_by_a_job_that_waits_or_failed_and_else_kept_and_booked(
    world: World, state: str
) -> None:
    """The first attempt's answer comes after its job was asked for again."""
    job_id = await world.submit(quality="draft")
    reach, reached = REACH[state]

    async def slow(request: PaintRequest) -> Painting:
        await later(world, 151)
        assert (await world.job(job_id)).attempt == 2
        await reach(world, job_id)
        assert (await world.job(job_id)).state is reached
        data = b"the late picture of " + str(request.job_id).encode()
        return Painting((PaintedPicture(data, "image/png", 1),), "paid-1", LATE)

    world.provider.script.append(slow)
    await world.deliver(job_id)
    job, call, shown = (
        await world.job(job_id),
        await call_of(world, job_id),
        await told(world, job_id),
    )
    manifest = await load_manifest(manifest_key(job_id, 1), world.blobs)
    assert manifest.pictures[0].key in world.blobs.objects
    assert (call.state, call.amount, call.due_at) == (CallState.ANSWERED, LATE, None)
    own = COST if state in {"received", "completed", "failed past receive"} else 0
    assert shown.cost_confirmed == LATE + own
    assert shown.cost_possible == (COST if state in {"running", "parked"} else 0)
    if state in TAKEN:
        assert (job.attempt, job.staged) == (2, manifest_key(job_id, 1))
        assert (call.surplus, shown.surplus) == (False, [])
        await later(world, 901)
        await world.deliver(job_id, 2)
        assert (await world.job(job_id)).cost == LATE
    else:
        assert (job.state, call.surplus) == (reached, True)
        (surplus,) = shown.surplus
        assert (surplus.attempt, surplus.cost, surplus.manifest) == (
            1, LATE, manifest_key(job_id, 1),
        )  # fmt: skip
    await _end_held()


async def test_the_surplus_of_a_cancelled_job_is_taken_when_a_person_retries_it(
    world: World,
) -> None:
    job_id = await world.submit()

    async def cancelled_meanwhile(request: PaintRequest) -> Painting:
        await is_cancelled(world, job_id)
        data = str(request.job_id).encode()
        return Painting((PaintedPicture(data, "image/png", 1),), "paid-1", LATE)

    world.provider.script.append(cancelled_meanwhile)
    await world.deliver(job_id)
    assert [one.cost for one in (await told(world, job_id)).surplus] == [LATE]
    await brought_back(world, job_id)
    shown = await told(world, job_id)
    assert (shown.status, shown.surplus, shown.cost_confirmed) == (
        State.PROCESSING_RESULT, [], LATE,
    )  # fmt: skip
    assert world.provider.calls == {(job_id, 1): 1}


async def test_a_price_that_nobody_knows_is_told_as_unknown_in_every_view_of_a_job(
    world: World,
) -> None:
    async def priceless(request: PaintRequest) -> Painting:
        return Painting(
            (PaintedPicture(str(request.job_id).encode(), "image/png", 1),), "paid-1", None
        )

    world.provider.script.append(priceless)
    job_id = await world.submit()
    await world.deliver(job_id)
    page = await list_jobs(
        JobFilters(),
        tenant=TENANT,
        journal=world.journal,
        providers=world.worker.providers,
        base_url=BaseUrl("http://test"),
        estimates=world.estimates,
    )
    for shown in (await told(world, job_id), *page.jobs):
        assert shown.result is not None
        assert (shown.result.cost, shown.cost_confirmed, shown.unknown_prices) == (None, 0, 1)
