"""Another provider paints only where the first one certainly charged nothing."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from adapters.errors import (
    OutcomeUnknown,
    ProviderBusy,
    ProviderError,
    ProviderRefused,
    ProviderUnusable,
)
from adapters.ports import KeyLimits, Painting, PaintRequest
from adapters.store import job_reads
from pipeline.cancel import cancel
from pipeline.claim import PROVIDER_GRACE
from pipeline.delete import delete_blog
from pipeline.errors import UnknownProvider
from pipeline.promote import promote
from pipeline.retry import retry
from pipeline.staging import stage
from schemas.requests import Strategy
from schemas.tables import CallState, Job
from states.table import State
from tests.adapters.test_stability import EXPECTED, M, provider_of
from tests.batches import ask, completion, final_of, handle
from tests.budgets import NOTHING, limit, stands
from tests.fakes.blobs import MemoryBlobs
from tests.fakes.clock import FakeClock
from tests.fakes.provider import COST, ScriptedProvider, paints, raises
from tests.fakes.stability import StabilityDouble
from tests.pipeline.test_keys import work_off
from tests.world import TENANT, World, world_on

WIDE = KeyLimits("cafe0123", 1_000, timedelta(seconds=10))
WAIT = timedelta(minutes=5)


class Plain(ScriptedProvider):
    """The next one: no styles, and it paints finals anew."""

    styles = frozenset()

    def __init__(self, name: str = "plain") -> None:
        super().__init__(name=name)


@pytest.fixture
def plain() -> Plain:
    return Plain()


@pytest.fixture
async def world(database_url: str, plain: Plain) -> AsyncIterator[World]:
    async with world_on(database_url, limits=WIDE, others=[plain], fallback=["plain"]) as opened:
        opened.provider.strategies = (Strategy.IMAGE_TO_IMAGE, Strategy.REGENERATE)  # type: ignore[assignment]
        yield opened


def clock_of(world: World) -> FakeClock:
    assert isinstance(world.clock, FakeClock)
    return world.clock


async def reasons(world: World, job_id: UUID) -> list[tuple[str, str, str | None]]:
    events = [json.loads(one.data) for one in await world.history("job", str(job_id))]
    return [(one["state"], one["provider"], one["reason"]) for one in events]


# --- never after a possible charge

FALLS_BACK = {
    M.NO_BALANCE_V1, M.UNAUTHORIZED, M.OUT_OF_CREDIT, M.NO_PERMISSION, M.ERROR_CUT, M.RETIRED,
    M.TOO_LARGE,
}  # fmt: skip
WAITS = {M.RATE_LIMITED, M.RATE_LIMITED_SILENTLY}


@pytest.mark.parametrize("told", [*EXPECTED, M.SLOW], ids=lambda told: told.name.lower())
async def test_no_misbehaviour_is_paid_for_twice_or_passed_on_once_it_may_be_charged(
    sqlite_url: str, told: M
) -> None:
    await _misbehave(sqlite_url, told, "draft")


@pytest.mark.parametrize(
    "told", [M.NO_BALANCE_V1, M.FILTERED, M.UNSAID], ids=lambda told: told.name.lower()
)
async def test_nor_is_one_of_the_old_engines(sqlite_url: str, told: M) -> None:
    await _misbehave(sqlite_url, told, "standard")


@pytest.mark.parametrize("told", [M.OUT_OF_CREDIT, M.RETIRED, M.BROKEN, M.RESET_BEFORE])
async def test_postgresql_agrees_about_who_may_paint_instead(postgres_url: str, told: M) -> None:
    await _misbehave(postgres_url, told, "draft")


async def _misbehave(url: str, told: M, quality: str) -> None:
    with StabilityDouble([told]) as double:
        seconds = 0.3 if told is M.SLOW else 20
        settings: dict[str, Any] = {"max_reply_bytes": 2**20, "profile": "legacy-v1"}
        async with (
            provider_of(double.url, seconds=seconds, **settings) as stability,
            world_on(url, others=[stability]) as world,
        ):
            job_id = await world.submit(
                provider="stability_ai", fallback=["paid"], quality=quality, on_unknown="park"
            )
            await world.deliver(job_id)
            job = await world.job(job_id)
            call = await world.call(job_id)
            assert call is not None
            assert (job.provider == "paid") is (told in FALLS_BACK)
            assert len(double.paid) <= 1
            if job.provider == "paid":
                assert not double.paid
                assert call.state in {CallState.NOT_CHARGED, CallState.REFUSED}
                assert (job.state, job.attempt) == (State.QUEUED, 2)
                await world.deliver(job_id, 2)
                job = await world.job(job_id)
                assert (job.state, job.provider) == (State.COMPLETED, "paid")
                assert job.result is not None
                assert job.result["model"] == "paid-1"
                assert "charged nothing; paid does" in job.warnings[0]
                assert (await reasons(world, job_id))[2][2].startswith(  # type: ignore[union-attr]
                    "fallback from stability_ai to paid: "
                )
            elif told in WAITS:
                assert (job.state, job.waiting) == (State.QUEUED, "provider_paused")
            else:
                assert job.state is State.FAILED
                assert not world.provider.calls
            assert len(double.paid) + world.provider.calls.total() <= 1
            assert len(double.asked) == 1


async def test_a_moderated_prompt_is_offered_to_nobody_else(world: World, plain: Plain) -> None:
    job_id = await world.submit()
    world.provider.script.append(raises(ProviderRefused("moderated", "unsafe")))
    await world.deliver(job_id)
    assert (await world.job(job_id)).state is State.FAILED
    assert not plain.calls


# --- where it falls back


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (ProviderUnusable("unauthorized", "401", WAIT), "unauthorized"),
        (ProviderRefused("model_retired", "404"), "model_retired"),
        (ProviderRefused("invalid_request", "400"), "invalid_request"),
    ],
)
async def test_the_release_hands_the_job_over_with_a_warning_and_an_event(
    world: World, plain: Plain, error: ProviderError, why: str
) -> None:
    job_id = await world.submit(style="plain")
    world.provider.script.append(raises(error))
    await world.deliver(job_id)
    job = await world.job(job_id)
    assert (job.state, job.provider, job.attempt, job.version) == (State.QUEUED, "plain", 2, 3)
    assert (job.not_before, job.waiting) == (world.journal.now(), None)
    assert job.warnings == [
        f"paid did not paint it ({why}) and charged nothing; plain does",
        "plain has no style 'plain'; it is left out",
    ]
    assert (await reasons(world, job_id))[-1] == (
        "queued", "plain", f"fallback from paid to plain: {why}",
    )  # fmt: skip
    await world.deliver(job_id, 2)
    assert (await world.job(job_id)).state is State.COMPLETED
    assert plain.calls == {(job_id, 2): 1}


async def test_jobs_behind_a_refused_key_go_to_the_next_one_without_an_attempt(
    world: World, plain: Plain
) -> None:
    ids = [await world.submit() for _ in range(5)]
    world.provider.script.append(raises(ProviderUnusable("out_of_credit", "402", WAIT)))
    await world.deliver(ids[0])
    await asyncio.gather(*(world.deliver(one) for one in ids[1:]))
    jobs = [await world.job(one) for one in ids]
    assert [(job.provider, job.attempt) for job in jobs] == [("plain", 2)] + [("plain", 1)] * 4
    assert (await reasons(world, ids[1]))[-1] == (
        "queued", "plain", "fallback from paid to plain: out_of_credit",
    )  # fmt: skip
    assert [job.version for job in jobs] == [3, 2, 2, 2, 2]
    jobs = await work_off([world], ids)
    assert {job.state for job in jobs} == {State.COMPLETED}
    assert world.provider.calls.total() == 1
    # Whoever comes when the key is to be tried again tries it.
    await clock_of(world).advance(WAIT.total_seconds())
    probe = await world.submit()
    await world.deliver(probe)
    assert (await world.job(probe)).provider == "paid"


async def test_a_provider_that_stays_busy_is_left_after_a_while(world: World, plain: Plain) -> None:
    job_id = await world.submit()
    busy = ProviderBusy("no connection", timedelta(seconds=100))
    world.provider.script += [raises(busy)] * 9
    (job,) = await work_off([world], [job_id])
    assert (job.state, job.provider) == (State.COMPLETED, "plain")
    # Asked at 0, 100, 200 and 300 s; by then it had been busy for five minutes.
    assert world.provider.calls.total() == 4
    assert job.attempt == 5
    assert "(busy)" in job.warnings[0]


async def test_a_job_that_only_waits_through_the_pauses_of_others_is_handed_over_too(
    world: World, plain: Plain
) -> None:
    first, behind = await world.submit(), await world.submit()
    busy = ProviderBusy("429", timedelta(seconds=200), of_key=True)
    world.provider.script += [raises(busy)] * 9
    await world.deliver(first)
    jobs = await work_off([world], [first, behind])
    assert [(job.provider, job.attempt) for job in jobs] == [("plain", 4), ("plain", 1)]
    assert world.provider.calls == {(first, attempt): 1 for attempt in (1, 2, 3)}
    assert jobs[1].ended_at is not None
    assert jobs[1].ended_at - jobs[1].created_at < timedelta(seconds=410)


async def test_a_job_whose_blog_was_deleted_is_handed_to_nobody(world: World, plain: Plain) -> None:
    job_id = await world.submit(blog_id="post")

    async def deleted(_: Any) -> Any:
        await delete_blog("post", tenant=TENANT, journal=world.journal, ids=world.worker.ids)
        raise ProviderRefused("model_retired", "404")

    world.provider.script.append(deleted)
    await world.deliver(job_id)
    assert (await world.job(job_id)).state is State.FAILED
    assert not plain.calls


async def test_a_provider_that_is_configured_nowhere_is_left_after_its_grace(
    world: World, plain: Plain
) -> None:
    job_id = await world.submit()
    world.worker.providers.by_name.pop("paid")  # type: ignore[attr-defined]  # a dict here
    await world.deliver(job_id)
    assert (await world.job(job_id)).provider == "paid"
    await clock_of(world).advance(PROVIDER_GRACE.total_seconds())
    await world.deliver(job_id)
    assert (await world.job(job_id)).provider == "plain"
    await world.deliver(job_id)
    assert (await world.job(job_id)).state is State.COMPLETED


async def test_the_list_is_gone_through_in_order_and_each_is_asked_once(
    database_url: str,
) -> None:
    first, second = Plain("first"), Plain("second")
    async with world_on(database_url, others=[second, first]) as world:
        gone = raises(ProviderRefused("model_retired", "404"))
        for one in (world.provider, first, second):
            one.script.append(gone)
        job_id = await world.submit(fallback=["first", "paid", "second", "first"])
        (job,) = await work_off([world], [job_id])
        assert (job.state, job.provider, job.attempt) == (State.FAILED, "second", 3)
        assert job.error is not None
        assert job.error["code"] == "model_retired"
        assert [one.calls.total() for one in (world.provider, first, second)] == [1, 1, 1]


# --- who asked for it


@pytest.mark.parametrize(
    ("asked", "painter"),
    [
        ({}, "plain"),
        ({"provider": "paid"}, "paid"),
        ({"provider": "paid", "fallback": ["plain"]}, "plain"),
        ({"fallback": []}, "paid"),
        ({"fallback": ["paid"]}, "paid"),
    ],
    ids=["default", "named", "named with a list", "an empty list", "itself"],
)
async def test_a_named_provider_stands_alone_and_the_default_one_falls_back(
    world: World, asked: dict[str, Any], painter: str
) -> None:
    job_id = await world.submit(**asked)
    world.provider.script.append(raises(ProviderRefused("model_retired", "404")))
    await world.deliver(job_id)
    job = await world.job(job_id)
    assert job.provider == painter
    assert job.state is (State.FAILED if painter == "paid" else State.QUEUED)


async def test_an_unknown_fallback_is_refused_with_those_that_are_configured(
    world: World,
) -> None:
    with pytest.raises(UnknownProvider) as refused:
        await world.submit(fallback=["plain", "dalle"])
    assert refused.value.facts == {"field": "fallback", "known": ["paid", "plain"]}
    with pytest.raises(UnknownProvider) as refused:
        await world.submit(provider="dalle")
    assert refused.value.facts["field"] == "provider"


# --- drafts and finals


async def completed(world: World, job_id: UUID) -> Job:
    (job,) = await work_off([world], [job_id])
    assert job.state is State.COMPLETED, job.error
    return job


async def test_a_final_whose_provider_is_gone_is_made_as_the_next_one_makes_finals(
    world: World, plain: Plain
) -> None:
    draft = await completed(world, await world.submit(quality="draft", seed=77))
    promoted = await promote(
        draft.id, TENANT, journal=world.journal, ids=world.worker.ids,
        providers=world.worker.providers,
    )  # fmt: skip
    assert promoted.final.request["strategy"] == "image_to_image"
    world.provider.script.append(raises(ProviderRefused("model_retired", "404")))
    final = await completed(world, promoted.final.id)
    assert (final.provider, final.draft_job_id) == ("plain", draft.id)
    assert final.result is not None
    assert final.result["seed"] == 77
    assert "plain does not make finals by image_to_image; by regenerate in its place" in (
        final.warnings
    )


async def test_the_final_of_a_draft_that_another_painted_stays_with_that_one(
    world: World, plain: Plain
) -> None:
    world.provider.script.append(raises(ProviderUnusable("unauthorized", "401", WAIT)))
    draft = await completed(
        world, await world.submit(quality="draft", style="plain", provider="paid",
                                  fallback=["plain"]),
    )  # fmt: skip
    assert draft.provider == "plain"
    promoted = await promote(
        draft.id, TENANT, journal=world.journal, ids=world.worker.ids,
        providers=world.worker.providers,
    )  # fmt: skip
    assert promoted.final.provider == "plain"
    final = await completed(world, promoted.final.id)
    assert final.request["seed"] == draft.request["seed"]
    assert plain.calls.total() == 2


async def test_the_final_that_a_batch_owes_is_one_that_its_drafts_painter_can_make(
    world: World, plain: Plain
) -> None:
    batch = await ask(world, {"prompt": "a mill"}, approval="automatic")
    (draft_id,) = batch.job_ids
    assert (await world.job(draft_id)).request["final"]["strategy"] == "image_to_image"
    world.provider.script.append(raises(ProviderUnusable("out_of_credit", "402", WAIT)))
    draft = await completed(world, draft_id)
    assert "plain does not make finals by image_to_image; by regenerate in its place" in (
        draft.warnings
    )
    await handle(world, await completion(world, draft_id))
    final = await completed(world, await final_of(world, draft_id))
    assert (final.provider, final.request["strategy"]) == ("plain", "regenerate")
    assert final.request["seed"] == draft.request["seed"]
    counted = await world.store.read(job_reads.batch, TENANT, batch.batch_id)
    assert counted is not None
    assert (counted.open, counted.completed) == (0, 2)


async def test_what_was_refused_while_it_was_cancelled_stays_cancelled(
    world: World, plain: Plain
) -> None:
    job_id = await world.submit()

    async def cancelled(_: Any) -> Any:
        await cancel(job_id, tenant=TENANT, journal=world.journal, ids=world.worker.ids)
        raise ProviderRefused("model_retired", "404")

    world.provider.script.append(cancelled)
    await world.deliver(job_id)
    job = await world.job(job_id)
    assert (job.state, job.provider) == (State.CANCELLED, "paid")
    assert not plain.calls


async def test_an_unknown_outcome_is_offered_to_nobody_else(world: World, plain: Plain) -> None:
    job_id = await world.submit()
    world.provider.script.append(raises(OutcomeUnknown("reset")))
    await world.deliver(job_id)
    await clock_of(world).advance(3600)
    await world.sweep.once()
    job = await world.job(job_id)
    assert (job.state, job.provider) == (State.FAILED, "paid")
    assert not plain.calls


# --- what a budget admits


RETIRED = ProviderRefused("model_retired", "gone")


@pytest.mark.parametrize("price", [COST / 5, 3 * COST])
async def test_a_job_that_is_handed_over_holds_the_price_of_its_new_painter(
    world: World, plain: Plain, price: Decimal
) -> None:
    await limit(world, 3 * COST)
    plain.asks = price
    world.provider.script.append(raises(RETIRED))
    job_id = await world.submit()
    await world.deliver(job_id)
    assert (await world.job(job_id)).provider == "plain"
    assert await stands(world) == [(price, NOTHING)]
    await world.deliver(job_id, 2)
    assert await stands(world) == [(NOTHING, COST)]


async def test_who_is_too_dear_for_the_budget_does_not_paint_instead(
    database_url: str, plain: Plain
) -> None:
    cheap = Plain("cheap")
    plain.asks, cheap.asks = 3 * COST, COST
    others = {"others": [plain, cheap], "fallback": ["plain", "cheap"]}
    async with world_on(database_url, limits=WIDE, **others) as world:
        await limit(world, 2 * COST)
        world.provider.script += [raises(RETIRED), raises(RETIRED)]
        job_id = await world.submit()
        await world.deliver(job_id)
        assert (await world.job(job_id)).provider == "cheap"
        assert await stands(world) == [(COST, NOTHING)]
        cheap.asks = None
        failing = await world.submit()
        await world.deliver(failing)
        job = await world.job(failing)
        assert (job.state, job.provider, job.held) == (State.FAILED, "paid", None)
        assert await stands(world) == [(COST, NOTHING)]


async def test_what_was_free_is_not_handed_to_one_that_costs_more_than_is_left(
    world: World, plain: Plain
) -> None:
    await limit(world, COST / 2)
    world.provider.asks = NOTHING
    world.provider.script.append(
        raises(ProviderUnusable("out_of_credit", "no credit", timedelta(minutes=5)))
    )
    job_id = await world.submit()
    await world.deliver(job_id)
    job = await world.job(job_id)
    assert (job.state, job.provider) == (State.QUEUED, "paid")
    await limit(world, COST)
    # The next one that finds the key refused is handed over.
    other = await world.submit()
    await world.deliver(other)
    assert (await world.job(other)).provider == "plain"
    assert await stands(world) == [(COST, NOTHING)]


# --- an earlier attempt's call stays with whom it asked


async def lost_and_handed_over(world: World, answer: Any) -> UUID:
    """A job that was cancelled while its worker died asking, retried, and handed over."""
    job_id = await world.submit()

    async def dies(request: PaintRequest) -> Painting:
        await cancel(job_id, tenant=TENANT, journal=world.journal, ids=world.worker.ids)
        await answer(request)
        raise asyncio.CancelledError

    world.provider.script.append(dies)
    with pytest.raises(asyncio.CancelledError):
        await world.deliver(job_id)
    refused = await world.submit(fallback=[])
    world.provider.script.append(raises(ProviderUnusable("unauthorized", "401", WAIT)))
    await world.deliver(refused)
    # The retry sees no stored result: it comes to light only afterwards.
    await retry(
        job_id, tenant=TENANT, journal=world.journal, ids=world.worker.ids,
        blobs=MemoryBlobs(), providers=world.worker.providers,
    )  # fmt: skip
    await world.deliver(job_id, 2)
    job = await world.job(job_id)
    assert (job.state, job.provider) == (State.QUEUED, "plain")
    return job_id


async def test_a_lost_call_is_settled_by_the_rules_of_the_provider_that_it_asked(
    world: World, plain: Plain
) -> None:
    plain.repeatable = True  # what it loses was never charged; what `paid` loses may have been

    async def nothing(_: PaintRequest) -> None:
        """No bytes were stored."""

    job_id = await lost_and_handed_over(world, nothing)
    await clock_of(world).advance(151)
    await world.sweep.once()
    call = await world.call(job_id)
    assert call is not None
    assert (call.provider, call.state, call.amount) == ("paid", CallState.UNKNOWN, COST)


async def test_a_late_picture_is_told_as_its_painters_whoever_was_to_paint_it_then(
    world: World, plain: Plain
) -> None:
    async def staged(request: PaintRequest) -> None:
        await stage(
            await paints(request), job_id=request.job_id, attempt=request.attempt,
            provider="paid", elapsed_seconds=1, blobs=world.blobs,
        )  # fmt: skip

    job_id = await lost_and_handed_over(world, staged)
    await clock_of(world).advance(151)
    await world.sweep.once()
    job = await world.job(job_id)
    assert (job.state, job.provider, job.fallback) == (State.PROCESSING_RESULT, "paid", None)
    assert job.warnings[-1] == "the picture of paid came after all; plain was not needed"
    await world.deliver(job_id, job.attempt)
    assert (await world.job(job_id)).state is State.COMPLETED
    assert not plain.calls
