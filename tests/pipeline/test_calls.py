"""What a person has to decide is listed, decided once, and overruled only by what turns up."""

import asyncio
from collections.abc import AsyncIterator
from datetime import date, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from adapters.errors import OutcomeUnknown, ProviderRefused
from adapters.ports import PaintedPicture, Painting, PaintRequest
from pipeline.addresses import BaseUrl
from pipeline.calls import list_calls, resolve_call
from pipeline.costs import day_costs
from pipeline.errors import CallNotUnknown, NoSuchCall, ResolvedOtherwise
from pipeline.status import job_status
from schemas.ledger import (
    CallFilters,
    CallListResponse,
    DayCostsResponse,
    ResolutionRequest,
    ResolvedCallResponse,
)
from schemas.tables import CallState
from states.table import State
from tests.budgets import NOTHING, again, limit, stands
from tests.fakes.clock import FakeClock
from tests.fakes.provider import COST, raises
from tests.world import TENANT, World, world_on

LATE = Decimal("0.07")


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    async with world_on(database_url) as opened:
        yield opened


async def lost(world: World, **fields: Any) -> UUID:
    job_id = await world.submit(**fields)
    world.provider.script.append(raises(OutcomeUnknown("reset by peer")))
    await world.deliver(job_id)
    return job_id


async def listed(world: World, tenant: str = TENANT, **filters: Any) -> CallListResponse:
    return await list_calls(CallFilters(**filters), tenant=tenant, journal=world.journal)


async def resolve(
    world: World,
    job_id: UUID,
    *,
    charged: bool,
    amount: str | None = None,
    attempt: int = 1,
    tenant: str = TENANT,
) -> ResolvedCallResponse:
    found = ResolutionRequest(charged=charged, amount=Decimal(amount) if amount else None)
    return await resolve_call(job_id, attempt, found, tenant=tenant, journal=world.journal)


async def costs(world: World, job_id: UUID) -> tuple[Decimal, Decimal]:
    shown = await job_status(
        job_id,
        tenant=TENANT,
        journal=world.journal,
        providers=world.worker.providers,
        base_url=BaseUrl("http://test"),
        estimates=world.estimates,
    )
    return shown.cost_confirmed, shown.cost_possible


async def test_unknown_calls_are_listed_with_what_is_known_and_without_the_prompt(
    world: World,
) -> None:
    job_id = await lost(world, prompt="a secret lighthouse", blog_id="post", quality="high")
    done = await world.submit()
    await world.deliver(done)
    (call,) = (await listed(world, state=["unknown"])).calls
    assert (call.job_id, call.attempt, call.provider, call.model) == (job_id, 1, "paid", "paid-1")
    assert (call.amount, call.detail, call.job_status) == (COST, "reset by peer", State.FAILED)
    assert (call.asked_at, call.settled_at) == (world.journal.now(), world.journal.now())
    assert call.look_for is not None
    assert "$0.025 for paid-1 in the account of paid, between 2026-01-01T00:00:00Z" in call.look_for
    assert "secret" not in call.model_dump_json()
    assert {one.job_id for one in (await listed(world)).calls} == {job_id, done}
    assert (await listed(world, tenant="another")).calls == []


async def test_pages_of_calls_follow_each_other_without_gap_or_repetition(world: World) -> None:
    twice = await lost(world)
    await again(world, twice)
    world.provider.script.append(raises(OutcomeUnknown("again")))
    await world.deliver(twice, 2)
    jobs = [twice, *[await lost(world) for _ in range(3)]]
    expected = [(one, 1) for one in reversed(jobs[1:])] + [(twice, 2), (twice, 1)]
    found: list[tuple[UUID, int]] = []
    cursor: str | None = None
    while True:
        page = await listed(world, limit=2, cursor=cursor)
        found += [(call.job_id, call.attempt) for call in page.calls]
        cursor = page.next_cursor
        if cursor is None:
            break
    assert found == expected
    mine = await listed(world, job_id=twice)
    assert [call.attempt for call in mine.calls] == [2, 1]


@pytest.mark.parametrize(
    ("charged", "amount", "state", "spent"),
    [
        (True, None, CallState.ANSWERED, COST),
        (True, "0.04", CallState.ANSWERED, Decimal("0.04")),
        (False, None, CallState.NOT_CHARGED, Decimal(0)),
    ],
)
async def test_what_a_person_found_out_settles_the_money_and_leaves_the_job_alone(
    world: World, charged: bool, amount: str | None, state: CallState, spent: Decimal
) -> None:
    await limit(world)
    job_id = await lost(world)
    before = await world.job(job_id)
    assert await costs(world, job_id) == (0, COST)
    assert await stands(world) == [(COST, NOTHING)]
    for _ in range(2):
        told = await resolve(world, job_id, charged=charged, amount=amount)
        assert (told.state, told.resolved_at) == (state, world.journal.now())
    paid = "it was paid for already" if charged else "nothing was charged for it"
    assert told.what_now.startswith(f"The job stays failed until somebody retries it: {paid}")
    assert await costs(world, job_id) == (spent, 0)
    assert await stands(world) == [(NOTHING, spent)]
    assert (await world.job(job_id)).version == before.version
    assert (await listed(world, state=["unknown"])).calls == []
    otherwise = [(not charged, None)] + ([(True, "0.05")] if charged else [])
    for other, other_amount in otherwise:
        with pytest.raises(ResolvedOtherwise):
            await resolve(world, job_id, charged=other, amount=other_amount)
    assert await costs(world, job_id) == (spent, 0)

    await again(world, job_id)
    assert "attempt 2; only its costs" in (await resolve(world, job_id, charged=charged)).what_now
    await world.deliver(job_id, 2)
    assert (await world.job(job_id)).state is State.COMPLETED
    assert await costs(world, job_id) == (spent + COST, 0)
    assert await stands(world) == [(NOTHING, spent + COST)]


async def test_two_people_who_disagree_at_once_are_told_so(world: World) -> None:
    job_id = await lost(world)
    answers = await asyncio.gather(
        *(resolve(world, job_id, charged=number % 2 == 0) for number in range(10)),
        return_exceptions=True,
    )
    told = [one for one in answers if isinstance(one, ResolvedCallResponse)]
    assert len(told) == 5
    assert len({one.state for one in told}) == 1
    assert sum(isinstance(one, ResolvedOtherwise) for one in answers) == 5


async def test_only_an_unknown_call_of_the_own_tenant_is_resolved(world: World) -> None:
    job_id = await lost(world)
    with pytest.raises(NoSuchCall):
        await resolve(world, job_id, charged=True, tenant="another")
    with pytest.raises(NoSuchCall):
        await resolve(world, job_id, charged=True, attempt=2)
    done, refused = await world.submit(), await world.submit()
    await world.deliver(done)
    world.provider.script.append(raises(ProviderRefused("moderated", "unsafe")))
    await world.deliver(refused)
    for known in (done, refused):
        with pytest.raises(CallNotUnknown):
            await resolve(world, known, charged=False)
    assert (await listed(world, state=["unknown"])).calls[0].job_id == job_id


@pytest.mark.parametrize("charged", [True, False])
async def test_a_result_that_turns_up_counts_more_than_what_was_said(
    world: World, charged: bool
) -> None:
    job_id = await world.submit(quality="high")

    async def slow(request: PaintRequest) -> Painting:
        assert isinstance(world.clock, FakeClock)
        await world.clock.advance(151)
        await world.sweep.once()
        await resolve(world, job_id, charged=charged)
        return Painting((PaintedPicture(b"late", "image/png", 1),), "paid-1", LATE)

    world.provider.script.append(slow)
    await world.deliver(job_id)
    call = await world.call(job_id)
    assert call is not None
    assert (call.state, call.amount, call.resolved_at) == (CallState.ANSWERED, LATE, None)
    assert (await world.job(job_id)).state is State.COMPLETED
    with pytest.raises(CallNotUnknown):
        await resolve(world, job_id, charged=charged)


# --- the costs of a day


async def day_of(world: World, day: date | None = None, tenant: str = TENANT) -> DayCostsResponse:
    return await day_costs(
        day, tenant=tenant, journal=world.journal, providers=world.worker.providers
    )


async def test_a_day_tells_what_was_asked_on_it(world: World) -> None:
    async def priceless(_: PaintRequest) -> Painting:
        return Painting((PaintedPicture(b"x", "image/png", 1),), "paid-1", None)

    for _ in range(2):
        await world.deliver(await world.submit())
    job_id = await lost(world)
    world.provider.script += [raises(ProviderRefused("moderated", "unsafe")), priceless, priceless]
    for _ in range(3):
        await world.deliver(await world.submit())
    assert isinstance(world.clock, FakeClock)
    await world.clock.advance(timedelta(days=1).total_seconds())
    await again(world, job_id)
    await world.deliver(job_id, 2)

    today, yesterday = await day_of(world), await day_of(world, date(2026, 1, 1))
    assert (today.day, today.calls, today.cost_confirmed, today.cost_possible) == (
        date(2026, 1, 2), 1, COST, 0,
    )  # fmt: skip
    assert (yesterday.calls, yesterday.unknown_prices) == (5, 2)
    assert (yesterday.cost_confirmed, yesterday.cost_possible) == (2 * COST, COST)
    (model,) = yesterday.by_model
    assert (model.provider, model.model, model.calls) == ("paid", "paid-1", 5)
    assert (model.unknown_prices, model.credits_confirmed) == (2, None)
    for empty in (await day_of(world, date(2026, 1, 3)), await day_of(world, tenant="another")):
        assert (empty.calls, empty.cost_confirmed, empty.by_model) == (0, 0, [])


@pytest.mark.parametrize("second", [0, 86_399])
async def test_a_day_has_its_first_and_its_last_second(world: World, second: int) -> None:
    assert isinstance(world.clock, FakeClock)
    await world.clock.advance(second)
    await world.deliver(await world.submit())
    assert (await day_of(world, date(2026, 1, 1))).calls == 1
    for other in (date(2025, 12, 31), date(2026, 1, 2), date.min, date.max):
        assert (await day_of(world, other)).calls == 0
