"""Nothing is admitted above a budget, whoever asks at the same time, in however many processes."""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from adapters.errors import OutcomeUnknown, ProviderBusy, ProviderRefused
from adapters.local.clock import SystemClock
from adapters.ports import Painting, PaintRequest
from pipeline.batch import submit_batch
from pipeline.errors import BudgetExceeded, PipelineError
from schemas.requests import BatchImageGenerationRequest, Period
from schemas.tables import Decision
from states.table import State
from tests.batches import approve, ask, batch, decisions, drafted, final_of, handle, told
from tests.batches import stop as stop_batch
from tests.budgets import NOTHING, again, later, limit, stands, stop
from tests.fakes.provider import COST, paints, raises
from tests.pipeline.test_journal import blocked
from tests.world import TENANT, World, world_on


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    async with world_on(database_url) as opened:
        yield opened


@asynccontextmanager
async def two_processes(url: str) -> AsyncIterator[tuple[World, World]]:
    clock = SystemClock()  # who loses to the other process waits a moment
    async with world_on(url, clock=clock) as one, world_on(url, clock=clock) as two:
        yield one, two


async def accepted(worlds: Sequence[World], requests: int, at_once: int) -> int:
    """How many of *requests* are accepted; the others are refused by the budget."""

    async def in_turn(world: World) -> int:
        found = 0
        for _ in range(requests // at_once):
            with suppress(BudgetExceeded):
                await world.submit()
                found += 1
        return found

    return sum(await asyncio.gather(*(in_turn(worlds[n % 2]) for n in range(at_once))))


async def test_of_many_requests_in_two_processes_exactly_as_many_are_accepted_as_are_paid_for(
    postgres_url: str,
) -> None:
    async with two_processes(postgres_url) as worlds:
        await limit(worlds[0], 100 * COST)
        assert await accepted(worlds, 500, at_once=10) == 100
        assert await stands(worlds[1]) == [(100 * COST, NOTHING)]


async def test_a_limit_that_is_set_while_jobs_are_asked_for_holds_from_then_on(
    postgres_url: str,
) -> None:
    """The first ones hold nothing; what they cost is counted when they are answered."""
    async with two_processes(postgres_url) as worlds:
        asked = [asyncio.create_task(worlds[n % 2].submit()) for n in range(60)]
        (first, *_), _ = await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
        works = [asyncio.create_task(worlds[n % 2].deliver(await first)) for n in range(2)]
        limits = (20 * COST, 5 * COST, 9 * COST)
        sets = [limit(worlds[n % 2], amount) for n, amount in enumerate(limits)]
        await asyncio.gather(*works, *sets)
        answers = await asyncio.gather(*asked, return_exceptions=True)
        assert all(isinstance(one, UUID | BudgetExceeded) for one in answers)
        await limit(worlds[1], 5 * COST)
        ((held, spent),) = await stands(worlds[0])
        assert spent == COST
        more = await accepted(worlds, 40, at_once=4)
        assert more == max(0, (5 * COST - held - spent) / COST)
        # Everything is painted: the ledger and the budget agree, with holds or without.
        jobs = [one for one in answers if isinstance(one, UUID)]
        for job_id in jobs:
            await worlds[0].deliver(job_id)
        ((held, spent),) = await stands(worlds[0])
        assert (held, spent) == (more * COST, len(jobs) * COST)


async def test_a_new_budget_waits_for_whoever_settles_a_call_without_having_seen_it(
    postgres_url: str,
) -> None:
    async with two_processes(postgres_url) as (one, two):
        job_id = await one.submit()
        other, watching = [await asyncpg.connect(postgres_url) for _ in range(2)]
        holding = other.transaction()

        async def answer(request: PaintRequest) -> Painting:
            await holding.start()
            await other.execute("SELECT 1 FROM jobs WHERE id = $1 FOR UPDATE", job_id)
            return await paints(request)

        one.provider.script.append(answer)
        settling = asyncio.create_task(one.deliver(job_id))
        await blocked(watching)
        budget = asyncio.create_task(limit(two))
        await blocked(watching, backends=2)
        await holding.commit()
        await settling
        assert (await budget).spent == COST
        assert await stands(two) == [(NOTHING, COST)]
        await other.close()
        await watching.close()


async def test_a_batch_is_admitted_whole_or_not_at_all(world: World) -> None:
    await limit(world, 5 * COST)
    await limit(world, 2 * COST, blog_id="small")
    with pytest.raises(BudgetExceeded):
        await ask(world, *[{}] * 6)
    with pytest.raises(BudgetExceeded, match="blog small"):
        await ask(world, {}, {}, {"blog_id": "small"}, {"blog_id": "small"}, {"blog_id": "small"})
    assert await stands(world) == [(NOTHING, NOTHING)]
    reply = await ask(world, *[{"blog_id": "small"}] * 2, {}, {}, {})
    assert await stands(world) == [(5 * COST, NOTHING)]
    assert await stands(world, "small") == [(2 * COST, NOTHING)]
    with pytest.raises(BudgetExceeded):
        await ask(world, {})
    await drafted(world, reply.job_ids[0])
    await stop_batch(world, reply.batch_id)
    assert await stands(world) == [(NOTHING, COST)]


async def test_a_repeated_request_holds_once_and_is_answered_when_nothing_is_left(
    world: World,
) -> None:
    await limit(world, 2 * COST)
    images = [{"prompt": "one"}, {"prompt": "two"}]
    request = BatchImageGenerationRequest.model_validate({"images": images})

    async def asked(key: str) -> Any:
        return await submit_batch(
            request,
            tenant=TENANT,
            idempotency_key=key,
            most_images=20,
            journal=world.journal,
            ids=world.worker.ids,
            providers=world.worker.providers,
            estimate=world.estimates.batch_seconds,
        )

    first, *again_ = await asyncio.gather(*(asked("k") for _ in range(5)))
    assert {one.reply.batch_id for one in again_} == {first.reply.batch_id}
    assert await stands(world) == [(2 * COST, NOTHING)]
    with pytest.raises(BudgetExceeded):
        await asked("another key")
    # A refusal is not kept under its key: once there is room the same request is accepted.
    await limit(world, 4 * COST)
    assert not (await asked("another key")).replayed


async def test_an_exhausted_budget_blocks_the_promotion_until_a_person_promotes(
    world: World,
) -> None:
    await limit(world, COST, blog_id="post")
    reply = await ask(world, {}, blog_id="post")
    (draft_id,) = reply.job_ids
    event = await drafted(world, draft_id)
    await handle(world, event)
    (decided,) = await decisions(world, draft_id)
    assert (decided.decision, decided.reason) == (Decision.BLOCKED, "budget_exceeded")
    assert (await world.events(draft_id))[-1] == "image.draft.blocked"
    assert (await batch(world, reply.batch_id)).owed == 0
    assert await told(world, reply.batch_id) == ["created", "completed"]
    assert await stands(world, "post") == [(NOTHING, COST)]

    with pytest.raises(BudgetExceeded):
        await approve(world, draft_id)
    with pytest.raises(BudgetExceeded):
        await world.submit(draft_job_id=str(draft_id), quality="high")
    assert len(await decisions(world, draft_id)) == 1
    await limit(world, 2 * COST, blog_id="post")
    assert (await approve(world, draft_id)).new
    assert not (await approve(world, draft_id)).new
    assert await stands(world, "post") == [(COST, COST)]
    await world.deliver(await final_of(world, draft_id))
    assert await stands(world, "post") == [(NOTHING, 2 * COST)]
    assert await told(world, reply.batch_id) == ["created", "completed", "reopened", "completed"]


async def test_a_promotion_within_the_budget_holds_its_final(world: World) -> None:
    await limit(world, 2 * COST)
    (draft_id,) = (await ask(world, {})).job_ids
    await handle(world, await drafted(world, draft_id))
    assert await stands(world) == [(COST, COST)]
    final = await world.job(await final_of(world, draft_id))
    assert (final.held, final.state) == (COST, State.QUEUED)


@pytest.mark.parametrize("seed", range(3))
async def test_after_any_course_of_events_counters_are_what_jobs_and_calls_hold(
    world: World, seed: int
) -> None:
    chance = random.Random(seed)
    jobs: list[UUID] = []
    blogs = (None, "a", "b")

    async def stopped_meanwhile(request: PaintRequest) -> Painting:
        await stop(world, request.job_id)
        if chance.random() < 0.5:
            await again(world, request.job_id)
        return await paints(request)

    async def slow(request: PaintRequest) -> Painting:
        await later(world, 151)
        return await paints(request)

    answers = [
        paints,
        raises(ProviderBusy("429", timedelta(seconds=1))),
        raises(ProviderRefused("moderated", "unsafe")),
        raises(ProviderRefused("moderated", "blurred", may_be_charged=True)),
        raises(OutcomeUnknown("reset")),
        stopped_meanwhile,
        slow,
    ]

    async def deliver(job_id: UUID) -> None:
        world.provider.script = [chance.choice(answers)]
        await world.deliver(job_id, (await world.job(job_id)).attempt)

    async def submit(_: UUID) -> None:
        jobs.append(await world.submit(blog_id=chance.choice(blogs)))

    async def budget(_: UUID) -> None:
        amount, period = chance.randint(1, 40) * COST, chance.choice(list(Period))
        await limit(world, amount, period, chance.choice(blogs))

    async def wait(_: UUID) -> None:
        await later(world, chance.choice([1, 200, 20_000]))

    acts = [deliver] * 8 + [submit] * 6 + [lambda one: stop(world, one)] * 2
    acts += [lambda one: again(world, one)] * 3 + [wait, budget]
    await budget(UUID(int=0))
    await submit(UUID(int=0))
    for _ in range(60):
        with suppress(PipelineError):
            await chance.choice(acts)(chance.choice(jobs))  # type: ignore[no-untyped-call]
        await stands(world)
    for blog_id in blogs:
        for period in Period:
            before = await limit(world, period=period, blog_id=blog_id)
            assert before == await limit(world, period=period, blog_id=blog_id)
