"""A person settles calls whose answer is lost: ledger and budgets follow, the job does not."""

from collections.abc import AsyncIterator
from datetime import date
from decimal import Decimal
from uuid import UUID, uuid4

import pytest

from adapters.errors import OutcomeUnknown
from pipeline.calls import day_costs, resolve_call, unknown_calls
from pipeline.errors import AmountNeeded, CallSettled, NoSuchCall
from pipeline.finish import receive
from pipeline.generate import paint_request
from pipeline.staging import stage
from schemas.replies import CallResponse
from schemas.requests import CallVerdict
from schemas.tables import CallState
from states.table import State
from tests.budgets import NOTHING, limit, stands
from tests.fakes.provider import COST, ScriptedProvider, paints, raises
from tests.world import TENANT, World, world_on

CHARGED, NOT_CHARGED = CallVerdict.CHARGED, CallVerdict.NOT_CHARGED
LOST = raises(OutcomeUnknown("reset by peer"))
TODAY = date(2026, 1, 1)


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    async with world_on(database_url) as opened:
        yield opened


async def lost(world: World) -> UUID:
    """A final whose answer is lost and that is parked; budgets hold its price."""
    await limit(world)
    job_id = await world.submit(quality="high")
    world.provider.script.append(LOST)
    await world.deliver(job_id)
    assert await stands(world) == [(COST, NOTHING)]
    return job_id


async def resolve(
    world: World, job_id: UUID, verdict: CallVerdict, amount: Decimal | None = None
) -> CallResponse:
    return await resolve_call(
        job_id, 1, verdict=verdict, amount=amount, tenant=TENANT, journal=world.journal
    )


async def test_a_lost_call_is_listed_with_what_to_look_for(world: World) -> None:
    job_id = await lost(world)
    found = await unknown_calls(tenant=TENANT, journal=world.journal)
    (call,) = found.calls
    assert (call.call_id, call.amount, call.detail) == (f"{job_id}.1", COST, "reset by peer")
    assert call.look_for is not None
    assert "paid-1 to paid at 2026-01-01" in call.look_for
    assert (found.cost_confirmed, found.cost_possible) == (NOTHING, COST)
    assert not (await unknown_calls(tenant="other", journal=world.journal)).calls


@pytest.mark.parametrize(
    ("verdict", "amount", "spent"),
    [
        (CHARGED, None, COST),
        (CHARGED, Decimal("0.5"), Decimal("0.5")),
        (NOT_CHARGED, None, NOTHING),
    ],
)
async def test_a_verdict_settles_ledger_and_budgets_and_leaves_the_job(
    world: World, verdict: CallVerdict, amount: Decimal | None, spent: Decimal
) -> None:
    job_id = await lost(world)
    before = await world.job(job_id)
    for _ in range(2):  # the same again changes nothing
        told = await resolve(world, job_id, verdict, amount)
        assert told.note is not None
        assert told.note.startswith("The job stays as it is")
    call = await world.call(job_id)
    assert call is not None
    state = CallState.ANSWERED if verdict is CHARGED else CallState.NOT_CHARGED
    assert (call.state, call.resolved_at is not None) == (state, True)
    assert await stands(world) == [(NOTHING, spent)]
    after = await world.job(job_id)
    assert (after.state, after.version) == (State.FAILED, before.version)
    assert not (await unknown_calls(tenant=TENANT, journal=world.journal)).calls


async def test_another_verdict_is_refused(world: World) -> None:
    job_id = await lost(world)
    await resolve(world, job_id, CHARGED)
    for verdict, amount in ((NOT_CHARGED, None), (CHARGED, Decimal(3))):
        with pytest.raises(CallSettled, match="answered: a person has said so"):
            await resolve(world, job_id, verdict, amount)
    assert await stands(world) == [(NOTHING, COST)]


async def test_what_the_provider_has_answered_is_not_for_a_person_to_say(world: World) -> None:
    job_id = await world.submit(quality="high")
    await world.deliver(job_id)
    with pytest.raises(CallSettled, match="the provider's answer says so"):
        await resolve(world, job_id, NOT_CHARGED)


async def test_a_call_that_is_not_there_or_another_tenants_is_absent(world: World) -> None:
    job_id = await lost(world)
    with pytest.raises(NoSuchCall):
        await resolve(world, uuid4(), CHARGED)
    with pytest.raises(NoSuchCall):
        await resolve_call(
            job_id, 1, verdict=CHARGED, amount=None, tenant="other", journal=world.journal
        )
    call = await world.call(job_id)
    assert call is not None
    assert call.state is CallState.UNKNOWN


async def test_a_charge_of_unknown_price_needs_an_amount(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ScriptedProvider, "price", lambda *_: None)
    job_id = await world.submit(quality="high")
    world.provider.script.append(LOST)
    await world.deliver(job_id)
    (call,) = (await unknown_calls(tenant=TENANT, journal=world.journal)).calls
    assert call.amount is None
    with pytest.raises(AmountNeeded, match="Say what was charged"):
        await resolve(world, job_id, CHARGED)
    told = await resolve(world, job_id, CHARGED, Decimal("0.07"))
    assert (told.state, told.amount) == ("answered", Decimal("0.07"))


@pytest.mark.parametrize("verdict", [CHARGED, NOT_CHARGED])
async def test_the_result_itself_overrides_what_a_person_said(
    world: World, verdict: CallVerdict
) -> None:
    job_id = await lost(world)
    await resolve(world, job_id, verdict, Decimal(1) if verdict is CHARGED else None)
    staged = await stage(
        await paints(paint_request(await world.job(job_id))),
        job_id=job_id,
        attempt=1,
        provider="paid",
        elapsed_seconds=1.0,
        blobs=world.worker.blobs,
    )
    await receive(
        job_id,
        staged.manifest,
        tenant=TENANT,
        journal=world.journal,
        ids=world.worker.ids,
        lease_token=None,
    )
    call = await world.call(job_id)
    assert call is not None
    assert (call.state, call.amount, call.resolved_at) == (CallState.ANSWERED, COST, None)
    assert (await world.job(job_id)).state is State.PROCESSING_RESULT
    assert await stands(world) == [(NOTHING, COST)]


async def test_a_day_tells_what_its_calls_cost(world: World) -> None:
    await lost(world)
    job_id = await world.submit(quality="high")
    await world.deliver(job_id)
    today = await day_costs(TODAY, tenant=TENANT, journal=world.journal)
    assert (today.calls, today.cost_confirmed, today.cost_possible) == (2, COST, COST)
    (kind,) = today.by_provider
    assert (kind.provider, kind.model, kind.calls) == ("paid", "paid-1", 2)
    for day, tenant in ((date(2026, 1, 2), TENANT), (TODAY, "other")):
        other = await day_costs(day, tenant=tenant, journal=world.journal)
        assert (other.calls, other.cost_confirmed, other.by_provider) == (0, NOTHING, [])
