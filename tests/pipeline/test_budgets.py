"""What budgets hold and what is spent of them is right however a job ends."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from uuid import UUID

import pytest

from adapters.errors import BadPicture, OutcomeUnknown, ProviderBusy, ProviderRefused
from adapters.ports import Painting, PaintRequest
from pipeline.budget_limits import remove_budget
from pipeline.budgets import take_again
from pipeline.delete import delete_blog
from pipeline.errors import BudgetExceeded, NoSuchBudget, PipelineError, PriceUnknown
from pipeline.journal import Journal
from pipeline.move import fail_job, job_key, move_job
from pipeline.tally import record_moves
from schemas.requests import Period
from schemas.step import Look, RowKey, Step, Writes
from schemas.tables import BudgetRow, CallState, JobRow, ProviderCallRow, SpendRow
from states.table import State, Trigger
from tests.budgets import NOTHING, again, later, limit, stands, stop
from tests.fakes.gate import GatedStore
from tests.fakes.provider import COST, paints, raises
from tests.world import TENANT, World, world_on

BLOG = "post"
DAY = "2026-01-01"


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    async with world_on(database_url) as opened:
        yield opened


def costs(amount: Decimal | None) -> Callable[[PaintRequest], Awaitable[Painting]]:
    async def answer(request: PaintRequest) -> Painting:
        painting = await paints(request)
        return Painting(painting.pictures, painting.model, amount)

    return answer


LOST = OutcomeUnknown("reset")


# What happens to a job, in words that stand for what it does to it.


async def _queued(_: World, __: UUID) -> None:
    """Only asked for."""


async def _cancelled(world: World, job_id: UUID) -> None:
    await stop(world, job_id)


async def _completed(world: World, job_id: UUID) -> None:
    await world.deliver(job_id)


async def _dearer(world: World, job_id: UUID) -> None:
    world.provider.script.append(costs(3 * COST))
    await world.deliver(job_id)


async def _cheaper(world: World, job_id: UUID) -> None:
    world.provider.script.append(costs(COST / 5))
    await world.deliver(job_id)


async def _at_an_unknown_price(world: World, job_id: UUID) -> None:
    world.provider.script.append(costs(None))
    await world.deliver(job_id)


async def _busy(world: World, job_id: UUID) -> None:
    world.provider.script.append(raises(ProviderBusy("429", timedelta(seconds=1))))
    await world.deliver(job_id)


async def _busy_then_completed(world: World, job_id: UUID) -> None:
    await _busy(world, job_id)
    await later(world, 2)
    await world.deliver(job_id, 2)


async def _refused(world: World, job_id: UUID) -> None:
    world.provider.script.append(raises(ProviderRefused("moderated", "unsafe")))
    await world.deliver(job_id)


async def _withheld(world: World, job_id: UUID) -> None:
    refused = ProviderRefused("moderated", "blurred", may_be_charged=True)
    world.provider.script.append(raises(refused))
    await world.deliver(job_id)


async def _lost(world: World, job_id: UUID) -> None:
    world.provider.script.append(raises(LOST))
    await world.deliver(job_id)


async def _lost_and_retried(world: World, job_id: UUID) -> None:
    await _lost(world, job_id)
    await again(world, job_id)


async def _lost_and_bought_again(world: World, job_id: UUID) -> None:
    await _lost_and_retried(world, job_id)
    await world.deliver(job_id, 2)


async def _answered_after_all(world: World, job_id: UUID) -> None:
    async def slow(request: PaintRequest) -> Painting:
        await later(world, 151)
        assert (await world.job(job_id)).state is State.FAILED
        return await paints(request)

    world.provider.script.append(slow)
    await world.deliver(job_id)


async def _answered_once_retried(world: World, job_id: UUID) -> None:
    """The job waits for its second attempt, which is not needed any more."""

    async def slow(request: PaintRequest) -> Painting:
        await later(world, 151)
        await again(world, job_id)
        return await paints(request)

    world.provider.script.append(slow)
    await world.deliver(job_id)
    assert (await world.job(job_id)).state is State.COMPLETED


async def _cancelled_while_asked(world: World, job_id: UUID) -> None:
    async def answer(request: PaintRequest) -> Painting:
        await stop(world, job_id)
        ((held, spent),) = set(await stands(world, _cancelled_while_asked.__name__))
        assert (held, spent) == (COST, NOTHING), "the call is open and may be charged"
        return await paints(request)

    world.provider.script.append(answer)
    await world.deliver(job_id)


async def _cancelled_and_lost(world: World, job_id: UUID) -> None:
    async def answer(_: PaintRequest) -> Painting:
        await stop(world, job_id)
        raise LOST

    world.provider.script.append(answer)
    await world.deliver(job_id)


async def _cancelled_and_refused(world: World, job_id: UUID) -> None:
    async def answer(_: PaintRequest) -> Painting:
        await stop(world, job_id)
        raise ProviderRefused("moderated", "unsafe")

    world.provider.script.append(answer)
    await world.deliver(job_id)


async def _retried_while_still_asked(world: World, job_id: UUID) -> None:
    async def answer(request: PaintRequest) -> Painting:
        await stop(world, job_id)
        await again(world, job_id)
        assert set(await stands(world, _retried_while_still_asked.__name__)) == {
            (2 * COST, NOTHING)
        }
        return await paints(request)

    world.provider.script.append(answer)
    await world.deliver(job_id)


async def _died_at_work(world: World, job_id: UUID) -> None:
    async def die(_: PaintRequest) -> Painting:
        raise asyncio.CancelledError

    world.provider.script.append(die)
    with suppress(asyncio.CancelledError):
        await world.deliver(job_id)
    await later(world, 151)


async def _too_late(world: World, job_id: UUID) -> None:
    await later(world, 3601)
    assert (await world.job(job_id)).state is State.FAILED


async def _unusable(world: World, job_id: UUID) -> None:
    def trouble(_: bytes) -> None:
        raise BadPicture("truncated", "half of it")

    world.pictures.trouble = trouble
    await world.deliver(job_id)
    world.pictures.trouble = lambda _: None


async def _without_its_blog(world: World, job_id: UUID) -> None:
    blog_id = (await world.job(job_id)).blog_id
    assert blog_id is not None
    await delete_blog(blog_id, tenant=TENANT, journal=world.journal, ids=world.worker.ids)


async def _busy_without_its_blog(world: World, job_id: UUID) -> None:
    async def answer(_: PaintRequest) -> Painting:
        await _without_its_blog(world, job_id)
        raise ProviderBusy("429", timedelta(seconds=1))

    world.provider.script.append(answer)
    await world.deliver(job_id)


ENDS: list[tuple[Callable[[World, UUID], Awaitable[None]], Decimal, Decimal]] = [
    # how, held, spent; first the one that takes an hour, in which others would end as well
    (_too_late, NOTHING, NOTHING),
    (_queued, COST, NOTHING),
    (_cancelled, NOTHING, NOTHING),
    (_completed, NOTHING, COST),
    (_dearer, NOTHING, 3 * COST),
    (_cheaper, NOTHING, COST / 5),
    (_at_an_unknown_price, NOTHING, NOTHING),
    (_busy, COST, NOTHING),
    (_busy_then_completed, NOTHING, COST),
    (_refused, NOTHING, NOTHING),
    (_withheld, COST, NOTHING),
    (_lost, COST, NOTHING),
    (_lost_and_retried, 2 * COST, NOTHING),
    (_lost_and_bought_again, COST, COST),
    (_answered_after_all, NOTHING, COST),
    (_answered_once_retried, NOTHING, COST),
    (_cancelled_while_asked, NOTHING, COST),
    (_cancelled_and_lost, COST, NOTHING),
    (_cancelled_and_refused, NOTHING, NOTHING),
    (_retried_while_still_asked, NOTHING, COST),
    (_died_at_work, COST, NOTHING),
    (_unusable, NOTHING, COST),
    (_without_its_blog, NOTHING, NOTHING),
    (_busy_without_its_blog, NOTHING, NOTHING),
]


async def test_however_a_job_ends_budgets_hold_what_it_may_cost_and_count_what_it_did(
    world: World,
) -> None:
    for period in Period:
        await limit(world, period=period)
    for happens, held, spent in ENDS:
        blog_id = happens.__name__
        for period in Period:
            await limit(world, period=period, blog_id=blog_id)
        job_id = await world.submit(blog_id=blog_id, deadline_seconds=3600)
        await happens(world, job_id)
        assert await stands(world, blog_id) == [(held, spent)] * 2, happens
    every = [(sum(one[1] for one in ENDS), sum(one[2] for one in ENDS))]
    assert await stands(world, None) == every * 2


async def test_a_retry_is_admitted_anew_unless_its_result_is_there(world: World) -> None:
    await limit(world, 2 * COST)
    lost, staged = await world.submit(), await world.submit()
    await _lost(world, lost)
    await _unusable(world, staged)
    assert await stands(world) == [(COST, COST)]
    for job_id in (lost, staged):
        with pytest.raises(BudgetExceeded, match="cheaper quality"):
            await again(world, job_id)
    assert (await world.job(lost)).state is State.FAILED
    await limit(world, 3 * COST)
    await again(world, lost)
    assert await stands(world) == [(2 * COST, COST)]

    # A result that was delivered and not used costs nothing more, however little is left.
    await limit(world, NOTHING)
    cancelled = lost

    async def answer(request: PaintRequest) -> Painting:
        await stop(world, cancelled)
        return await paints(request)

    world.provider.script.append(answer)
    await world.deliver(cancelled, 2)
    assert await stands(world) == [(COST, 2 * COST)]
    assert (await again(world, cancelled)).state is State.PROCESSING_RESULT
    await world.deliver(cancelled, 2)
    assert (await world.job(cancelled)).state is State.COMPLETED
    assert await stands(world) == [(COST, 2 * COST)]


async def test_what_is_free_is_always_admitted_and_what_nobody_knows_under_no_limit(
    world: World,
) -> None:
    await limit(world, NOTHING, blog_id="tight")
    world.provider.asks = NOTHING
    await world.submit(blog_id="tight")
    world.provider.asks = None
    with pytest.raises(PriceUnknown, match="price book") as refused:
        await world.submit(blog_id="tight")
    assert refused.value.facts["cost"] is None
    unknown = await world.submit(blog_id="free")
    assert (await world.job(unknown)).held is None
    # It costs what it costs in the end: that is known then, and counted.
    await limit(world, COST)
    await world.deliver(unknown)
    assert await stands(world) == [(NOTHING, COST)]


async def test_a_tenant_with_budgets_of_blogs_only_may_spend_without_limit_elsewhere(
    world: World,
) -> None:
    await limit(world, COST, blog_id=BLOG)
    for _ in range(3):
        await world.deliver(await world.submit())
    await world.submit(blog_id=BLOG)
    with pytest.raises(BudgetExceeded, match=f"blog {BLOG}") as refused:
        await world.submit(blog_id=BLOG)
    assert refused.value.facts["budget"] == {
        "blog_id": BLOG, "period": "total", "day": None,
        "limit": "0.025", "spent": "0", "held": "0.025", "left": "0",
    }  # fmt: skip
    assert await stands(world) == []
    assert await stands(world, BLOG) == [(COST, NOTHING)]


async def test_the_budget_that_has_the_least_left_refuses(world: World) -> None:
    await limit(world, 9 * COST)
    await limit(world, 2 * COST, Period.DAY)
    await limit(world, 5 * COST, blog_id=BLOG)
    for _ in range(2):
        await world.submit(blog_id=BLOG)
    with pytest.raises(BudgetExceeded, match=r"of 2026-01-01 \(UTC\).*tomorrow"):
        await world.submit(blog_id=BLOG)


async def test_a_day_counts_what_was_held_on_it_and_the_next_one_begins_anew(world: World) -> None:
    await limit(world, COST, Period.DAY)
    job_id = await world.submit()
    with pytest.raises(BudgetExceeded):
        await world.submit()
    await later(world, 86_400)
    assert await stands(world) == [(NOTHING, NOTHING)]
    await world.deliver(job_id)
    call = await world.call(job_id)
    assert call is not None
    assert (call.day, call.price_book) == (DAY, "paid-1")
    assert await stands(world) == [(NOTHING, NOTHING)]
    other = await world.submit()
    await world.deliver(other)
    assert await stands(world) == [(NOTHING, COST)]


async def test_a_budget_that_is_set_later_counts_what_was_charged_and_holds_nothing(
    world: World,
) -> None:
    done, lost, open_ = await world.submit(blog_id=BLOG), await world.submit(), await world.submit()
    await world.deliver(done)
    await _lost(world, lost)
    for blog_id, spent in ((None, COST), (BLOG, COST), ("another", NOTHING)):
        for period in Period:
            assert (await limit(world, period=period, blog_id=blog_id)).spent == spent
        assert await stands(world, blog_id) == [(NOTHING, spent)] * 2
    await world.deliver(open_)
    assert await stands(world) == [(NOTHING, 2 * COST)] * 2
    # Set again, it counts nothing twice; and another tenant's money is not its own.
    await limit(world, COST)
    assert await stands(world) == [(NOTHING, 2 * COST)] * 2
    assert (await limit(world, tenant="another")).spent == NOTHING
    with pytest.raises(BudgetExceeded, match=r"-\$0.025 left"):
        await world.submit()


async def test_a_budget_is_lowered_below_what_is_spent_removed_and_set_again(world: World) -> None:
    await limit(world)
    first = await world.submit()
    await limit(world, COST / 2)
    with pytest.raises(BudgetExceeded):
        await world.submit()
    await remove_budget(Period.TOTAL, None, tenant=TENANT, journal=world.journal)
    assert await stands(world) == []
    await world.deliver(first)
    await world.deliver(await world.submit())
    third = await world.submit()
    assert (await limit(world)).spent == 2 * COST
    assert await stands(world) == [(COST, 2 * COST)]
    await stop(world, third)
    assert await stands(world) == [(NOTHING, 2 * COST)]
    for period, blog_id in ((Period.DAY, None), (Period.TOTAL, BLOG)):
        with pytest.raises(NoSuchBudget):
            await remove_budget(period, blog_id, tenant=TENANT, journal=world.journal)


async def test_an_attempt_that_fails_and_tries_again_in_one_step_holds_for_both(
    world: World,
) -> None:
    """As a policy does that pays once more for a lost answer."""
    await limit(world, 2 * COST)
    job_id = await world.submit()
    event_ids = [world.worker.ids.new() for _ in range(4)]
    price = COST

    async def lose_and_retry(attempt: int) -> None:
        now = world.journal.now()
        call_key = RowKey(ProviderCallRow, (job_id, attempt))

        def decide(look: Look, writes: Writes) -> None:
            call = look.get(ProviderCallRow, *call_key.key)
            job = look.get(JobRow, job_id)
            assert call is not None
            assert job is not None
            unknown = {"state": CallState.UNKNOWN, "settled_at": now, "due_at": None}
            writes.update(call.changed(**unknown), *call_key.key)
            failed = fail_job(
                writes, job, "outcome_unknown", "lost", at=now, event_id=event_ids[attempt - 1]
            )
            admitted = take_again(look, writes, failed, price, at=now)
            move_job(writes, admitted, Trigger.RETRY, at=now, event_id=event_ids[attempt + 1])

        step = Step("lose", decide, (job_key(job_id), call_key))
        await record_moves(world.journal, step)

    async def answer(request: PaintRequest) -> Painting:
        await lose_and_retry(request.attempt)
        raise LOST

    world.provider.script += [answer, answer]
    await world.deliver(job_id)
    job, call = await world.job(job_id), await world.call(job_id)
    assert call is not None
    assert (job.state, job.attempt, job.held, call.held) == (State.QUEUED, 2, COST, COST)
    assert await stands(world) == [(2 * COST, NOTHING)]
    with pytest.raises(BudgetExceeded):
        await lose_and_retry_of(world, job_id, lose_and_retry)
    # Nothing of the step was done.
    assert (await world.job(job_id)).state is State.RUNNING
    assert await stands(world) == [(2 * COST, NOTHING)]


async def lose_and_retry_of(
    world: World, job_id: UUID, lose: Callable[[int], Awaitable[None]]
) -> None:
    raised: list[Exception] = []

    async def answer(_: PaintRequest) -> Painting:
        try:
            await lose(2)
        except PipelineError as exc:
            raised.append(exc)
        raise asyncio.CancelledError

    world.provider.script.insert(0, answer)
    with suppress(asyncio.CancelledError):
        await world.deliver(job_id, 2)
    raise raised[0]


async def test_a_job_may_exchange_what_it_holds_for_another_price(world: World) -> None:
    """As when another provider paints it."""
    await limit(world, 3 * COST)
    job_id, now = await world.submit(), world.journal.now()
    for price, fits in ((3 * COST, True), (COST / 5, True), (4 * COST, False), (NOTHING, True)):

        def decide(look: Look, writes: Writes, price: Decimal = price) -> None:
            job = look.get(JobRow, job_id)
            assert job is not None
            writes.update(take_again(look, writes, job, price, at=now), job_id)

        step = Step("exchange", decide, (job_key(job_id),))
        if fits:
            await record_moves(world.journal, step)
        else:
            with pytest.raises(BudgetExceeded):
                await record_moves(world.journal, step)
        assert await stands(world) == [(price if fits else COST / 5, NOTHING)]


@pytest.mark.parametrize("price", [NOTHING, COST])
async def test_without_budgets_a_free_job_names_no_row_for_them_and_another_one_absent_row(
    world: World, price: Decimal
) -> None:
    gate = GatedStore(world.store)  # type: ignore[arg-type]  # whichever of the two it is
    journal = Journal(gate, world.clock, world.worker.ids)
    await journal.start()
    quiet = replace(world, journal=journal, worker=replace(world.worker, journal=journal))
    world.provider.asks = price
    world.provider.script += [raises(ProviderBusy("429", timedelta(0))), costs(price)]
    job_id = await quiet.submit(blog_id=BLOG)
    await quiet.deliver(job_id)
    await quiet.deliver(job_id, 2)
    await stop(quiet, await quiet.submit())
    assert (await world.job(job_id)).state is State.COMPLETED
    await journal.close()
    named = {
        step.name: [
            key.key for key in (*step.keys, *step.shared) if key.row in (BudgetRow, SpendRow)
        ]
        for group in gate.groups
        for step in group
    }
    absent = [(TENANT, "", Period.TOTAL)] if price else []
    assert named == {
        "submit": absent, "start": [], "settle_call": [], "receive": absent, "complete": [],
        "cancel": [],
    }  # fmt: skip
    # Nothing had to be decided twice.
    assert [len(group) for group in gate.groups] == [1] * 8
