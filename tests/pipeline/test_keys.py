"""A provider's key under load, under a pause, refused and mended: on both databases."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import datetime, timedelta
from itertools import cycle
from typing import Any
from uuid import UUID

import pytest

from adapters.errors import OutcomeUnknown, ProviderBusy, ProviderRefused, ProviderUnusable
from adapters.ports import KeyLimits, Painting, PaintRequest
from adapters.store import machine_reads
from pipeline.addresses import BaseUrl
from pipeline.cancel import cancel
from pipeline.circuits import reset
from pipeline.errors import NoSuchProvider
from pipeline.gate import slack
from pipeline.provider_health import provider_health
from pipeline.status import job_status
from schemas.replies import ProviderStatus
from schemas.step import Step
from schemas.tables import CallState, Circuit, Job, Provider, ProviderRow
from states.table import State
from tests.adapters.test_stability import provider_of
from tests.fakes.clock import FakeClock
from tests.fakes.provider import ScriptedProvider, paints, raises
from tests.fakes.stability import StabilityDouble
from tests.pipeline.test_gate import most_in_a_window
from tests.world import TENANT, World, world_on

LIMITS = KeyLimits("cafe0123", 10, timedelta(seconds=10))
WIDE = KeyLimits("cafe0123", 1_000, timedelta(seconds=10))
MINUTES = timedelta(minutes=1)
REFUSED = ProviderUnusable("out_of_credit", "402: no credit", 5 * MINUTES)


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    async with world_on(database_url, limits=WIDE) as opened:
        yield opened


def clock_of(world: World) -> FakeClock:
    assert isinstance(world.clock, FakeClock)
    return world.clock


async def key_of(world: World) -> Provider:
    (row,) = await world.store.read(machine_reads.provider_keys)
    return row


async def work_off(
    worlds: Sequence[World], ids: Sequence[UUID], seconds: float = 3600
) -> list[Job]:
    """Deliver each job's tasks at their times, by every process in turn, until all are at rest."""
    clock = clock_of(worlds[0])
    end = clock.now() + timedelta(seconds=seconds)
    turn = cycle(worlds)
    while True:
        jobs = [await worlds[0].job(one) for one in ids]
        queued = [job for job in jobs if job.state is State.QUEUED]
        if not queued or clock.now() >= end:
            return jobs
        due = [job for job in queued if job.not_before is None or job.not_before <= clock.now()]
        coming = asyncio.gather(*(next(turn).deliver(job.id, job.attempt) for job in due))
        while not coming.done():  # two processes that make the same row wait and repeat
            waiting = asyncio.create_task(clock.sleeping())
            await asyncio.wait({coming, waiting}, return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()
            await clock.advance(0 if coming.done() else 0.01)
        if not due:
            soonest = min(job.not_before for job in queued if job.not_before is not None)
            await clock.advance((min(soonest, end) - clock.now()).total_seconds())


def note_calls(provider: ScriptedProvider, clock: FakeClock, into: list[datetime]) -> None:
    """Have every call's moment noted, as the provider's side sees it."""

    async def noted(request: PaintRequest) -> Painting:
        into.append(clock.now())
        return await paints(request)

    provider.script += [noted] * 1_000


# --- rate


async def test_jobs_of_a_limited_key_start_as_often_as_it_admits_and_use_one_attempt_each(
    database_url: str,
) -> None:
    async with world_on(database_url, limits=LIMITS) as world:
        asked: list[datetime] = []
        note_calls(world.provider, clock_of(world), asked)
        ids = [await world.submit() for _ in range(25)]
        jobs = await work_off([world], ids)
        assert {(job.state, job.attempt, job.waiting) for job in jobs} == {
            (State.COMPLETED, 1, None)
        }
        assert len(asked) == 25
        assert most_in_a_window(asked, LIMITS.window) <= 10
        assert asked[-1] - asked[0] < timedelta(seconds=60)
        # Those who waited came back one by one, each once.
        assert {job.dispatch for job in jobs} == {1, 2}
        assert len(set(asked)) == 21


async def test_processes_share_the_limit_of_a_key_as_the_service_counts_it(
    postgres_url: str,
) -> None:
    clock = FakeClock()
    with StabilityDouble() as double:
        asked: list[datetime] = []
        double.on_paid = lambda: asked.append(clock.now())
        async with (
            provider_of(double.url, rate_requests=10) as one_key,
            provider_of(double.url, rate_requests=10) as same_key,
            world_on(postgres_url, clock=clock, others=[one_key]) as one,
            world_on(postgres_url, clock=clock, others=[same_key], blobs=one.blobs) as two,
        ):
            ids = [await one.submit(provider="stability_ai") for _ in range(25)]
            jobs = await work_off([one, two], ids)
            assert {(job.state, job.attempt) for job in jobs} == {(State.COMPLETED, 1)}
            assert len(asked) == len(double.asked) == 25
            assert most_in_a_window(asked, timedelta(seconds=10)) <= 10
            assert len(await one.store.read(machine_reads.provider_keys)) == 1


async def test_two_keys_of_one_provider_have_a_limit_each(postgres_url: str) -> None:
    clock = FakeClock()
    other = KeyLimits("beef4567", 10, LIMITS.window)
    async with (
        world_on(postgres_url, clock=clock, limits=LIMITS) as one,
        world_on(postgres_url, clock=clock, limits=other, blobs=one.blobs) as two,
    ):
        ids = [await one.submit() for _ in range(20)]
        for number, job_id in enumerate(ids):
            await (one, two)[number % 2].deliver(job_id)
        assert (one.provider.calls.total(), two.provider.calls.total()) == (5, 5)
        rows = await one.store.read(machine_reads.provider_keys)
        assert {row.fingerprint for row in rows} == {"cafe0123", "beef4567"}


async def test_a_job_of_a_free_provider_names_no_row_of_a_key(world: World) -> None:
    free = ScriptedProvider(name="free")
    world.worker.providers.by_name["free"] = free  # type: ignore[index]  # a dict here
    object.__setattr__(world.worker.providers, "default", "free")
    named: list[Any] = []
    record = world.journal.record

    async def noting(step: Step[Any]) -> Any:
        named.append((step.name, [key.row for key in (*step.keys, *step.shared)]))
        return await record(step)

    world.journal.record = noting  # type: ignore[method-assign]  # it only listens
    free.script.append(raises(ProviderBusy("not now", timedelta(0))))
    job_id = await world.submit(provider="free")
    await work_off([world], [job_id])
    assert [name for name, _ in named] == [
        "submit", "start", "settle_call", "start", "receive", "complete",
    ]  # fmt: skip
    assert not [name for name, rows in named if ProviderRow in rows]
    assert await world.store.read(machine_reads.provider_keys) == []


async def test_a_start_whose_commit_took_too_long_for_its_window_asks_nobody(
    world: World,
) -> None:
    job_id = await world.submit()
    record = world.journal.record

    async def slowly(step: Step[Any]) -> Any:
        answer = await record(step)
        if step.name == "start":
            await clock_of(world).advance(slack(WIDE).total_seconds())
        return answer

    world.journal.record = slowly  # type: ignore[method-assign]  # the commit takes long
    await world.deliver(job_id)
    world.journal.record = record  # type: ignore[method-assign]
    assert not world.provider.calls
    assert (await world.call(job_id)).state is CallState.NOT_CHARGED  # type: ignore[union-attr]
    (job,) = await work_off([world], [job_id])
    assert (job.state, job.attempt) == (State.COMPLETED, 2)


async def test_the_deadline_of_a_job_in_the_line_is_kept(database_url: str) -> None:
    async with world_on(database_url, limits=KeyLimits("0", 1, timedelta(seconds=60))) as world:
        first, second = await world.submit(), await world.submit(deadline_seconds=20)
        await world.deliver(first)
        await world.deliver(second)
        held = await world.job(second)
        assert held.waiting == "rate_limit"
        assert held.not_before is not None
        assert held.deadline_at is not None
        assert held.not_before > held.deadline_at
        await clock_of(world).advance(21)
        await world.sweep.once()
        job = await world.job(second)
        assert (job.state, job.error["code"]) == (State.FAILED, "deadline_exceeded")  # type: ignore[index]


# --- pauses


async def test_a_rate_limit_of_the_key_pauses_all_of_its_jobs_in_the_commit_of_the_release(
    world: World,
) -> None:
    ids = [await world.submit() for _ in range(20)]
    wait = timedelta(seconds=17)
    world.provider.script.append(raises(ProviderBusy("429", wait, of_key=True)))
    await world.deliver(ids[0])
    row, first = await key_of(world), await world.job(ids[0])
    until = world.journal.now() + wait
    assert (row.paused_until, first.not_before, first.attempt) == (until, until, 2)
    await asyncio.gather(*(world.deliver(one) for one in ids[1:]))
    assert world.provider.calls.total() == 1, "nobody else asked"
    jobs = [await world.job(one) for one in ids]
    assert {job.waiting for job in jobs} == {"provider_paused"}
    places = sorted(job.not_before for job in jobs if job.not_before is not None)
    assert places[0] == until
    assert len(set(places)) == 20, "they do not come back all at once"
    (status,) = [await status_of(world, one) for one in ids[:1]]
    assert status.waiting is not None
    assert status.waiting.reason == "provider_paused"
    assert "2026-01-01T00:00:17Z" in status.waiting.detail
    jobs = await work_off([world], ids)
    assert {job.state for job in jobs} == {State.COMPLETED}
    assert [job.attempt for job in jobs] == [2] + [1] * 19


@pytest.mark.parametrize(
    "error",
    [OutcomeUnknown("500"), ProviderBusy("no connection", 10 * MINUTES),
     ProviderRefused("moderated", "unsafe")],
    ids=["broken", "unreachable", "refused"],
)  # fmt: skip
async def test_what_befalls_one_request_holds_no_other(world: World, error: Exception) -> None:
    one, two = await world.submit(), await world.submit()
    world.provider.script.append(raises(error))
    await world.deliver(one)
    row = await key_of(world)
    assert (row.paused_until, row.circuit) == (None, Circuit.CLOSED)
    await world.deliver(two)
    assert (await world.job(two)).state is State.COMPLETED


# --- circuits


async def status_of(world: World, job_id: UUID) -> Any:
    return await job_status(
        job_id, tenant=TENANT, journal=world.journal, providers=world.worker.providers,
        base_url=BaseUrl(""), estimates=world.estimates,
    )  # fmt: skip


async def test_a_refused_key_is_tried_by_one_job_at_a_time_and_its_success_lets_all_go_on(
    postgres_url: str,
) -> None:
    clock = FakeClock()
    async with (
        world_on(postgres_url, clock=clock, limits=WIDE) as one,
        world_on(postgres_url, clock=clock, limits=WIDE, blobs=one.blobs) as two,
    ):
        worlds = (one, two)
        ids = [await one.submit() for _ in range(21)]
        one.provider.script.append(raises(REFUSED))
        await one.deliver(ids[0])

        def asked() -> int:
            return one.provider.calls.total() + two.provider.calls.total()

        async def all_come() -> None:
            """Every job's task is delivered at once, half of them by each process."""
            jobs = [await one.job(job_id) for job_id in ids]
            coming = [job for job in jobs if job.state is State.QUEUED]
            await asyncio.gather(
                *(worlds[n % 2].deliver(job.id, job.attempt) for n, job in enumerate(coming))
            )

        await all_come()
        assert asked() == 1, "nothing starts while it is open"
        opened = await key_of(one)
        assert (opened.circuit, opened.reason) == (Circuit.OPEN, "out_of_credit")
        for world in worlds:
            world.provider.script.append(raises(REFUSED))
        await clock.advance(600)  # the first probe's time, and every place in the line
        await all_come()
        assert asked() == 2, "exactly one of 21 tried it"
        again = await key_of(one)
        assert again.retry_at == clock.now() + 10 * MINUTES, "twice as long as before"
        for world in worlds:
            world.provider.script.clear()
        begun, go = asyncio.Event(), asyncio.Event()

        async def slow(request: PaintRequest) -> Painting:
            begun.set()
            await go.wait()
            return await paints(request)

        for world in worlds:
            world.provider.script.append(slow)
        await clock.advance(1200)
        coming = asyncio.create_task(all_come())
        await begun.wait()
        await all_come()
        assert asked() == 3, "while one tries it, nobody else does"
        assert (await key_of(one)).circuit is Circuit.HALF_OPEN
        for world in worlds:
            world.provider.script.clear()
        go.set()
        await coming
        assert (await key_of(one)).circuit is Circuit.CLOSED
        held = [await one.job(job_id) for job_id in ids]
        assert sum(job.waiting == "provider_unusable" for job in held) == 20
        await asyncio.gather(one.sweep.once(), two.sweep.once())
        woken = [await one.job(job_id) for job_id in ids]
        assert not [job for job in woken if job.waiting == "provider_unusable"]
        jobs = await work_off(worlds, ids, seconds=5)
        assert {job.state for job in jobs} == {State.COMPLETED}


async def held_by_a_refused_key(world: World, number: int) -> list[UUID]:
    ids = [await world.submit() for _ in range(number)]
    world.provider.script.append(raises(REFUSED))
    for job_id in ids:
        await world.deliver(job_id)
    return ids


async def test_a_person_who_mended_the_key_starts_what_waits_at_once(world: World) -> None:
    ids = await held_by_a_refused_key(world, 20)
    status = await status_of(world, ids[7])
    assert status.status is State.QUEUED
    assert status.waiting is not None
    assert status.waiting.reason == "provider_unusable"
    assert "no credit left" in status.waiting.detail
    assert "limner providers reset paid" in status.waiting.detail
    (health,) = (await provider_health(world.worker.providers, TENANT, world.journal)).providers
    assert (health.status, health.reason) == (ProviderStatus.OPEN, "out_of_credit")
    assert health.since == world.journal.now()
    assert health.next_probe_at == world.journal.now() + 5 * MINUTES
    assert (health.queued_jobs, health.waiting_jobs) == (20, 20)
    for _ in range(2):
        await reset("paid", world.worker.providers, world.journal)
    jobs = await work_off([world], ids, seconds=2)
    assert {job.state for job in jobs} == {State.COMPLETED}
    assert [job.attempt for job in jobs] == [2] + [1] * 19
    (health,) = (await provider_health(world.worker.providers, TENANT, world.journal)).providers
    assert (health.status, health.detail) == (ProviderStatus.OK, None)
    with pytest.raises(NoSuchProvider):
        await reset("dalle", world.worker.providers, world.journal)


async def test_a_probe_whose_process_died_gives_way_to_another_after_its_lease(
    world: World,
) -> None:
    ids = await held_by_a_refused_key(world, 3)
    await clock_of(world).advance(300)

    async def dies(_: PaintRequest) -> Painting:
        raise asyncio.CancelledError

    world.provider.script.append(dies)
    with pytest.raises(asyncio.CancelledError):
        await world.deliver(ids[0], 2)
    await clock_of(world).advance(100)
    await world.deliver(ids[1])
    assert world.provider.calls[ids[1], 1] == 0
    await clock_of(world).advance(51)
    await world.sweep.once()
    row = await key_of(world)
    assert row.circuit is Circuit.OPEN, "what became of it is unknown"
    (dead,) = [await world.job(ids[0])]
    assert (dead.state, dead.error["code"]) == (State.FAILED, "outcome_unknown")  # type: ignore[index]
    jobs = await work_off([world], ids[1:], seconds=7200)
    assert {job.state for job in jobs} == {State.COMPLETED}
    assert (await key_of(world)).circuit is Circuit.CLOSED


async def test_a_cancelled_probe_still_says_what_its_key_is_worth(world: World) -> None:
    ids = await held_by_a_refused_key(world, 2)
    await clock_of(world).advance(300)

    async def cancelled(request: PaintRequest) -> Painting:
        await cancel(ids[0], tenant=TENANT, journal=world.journal, ids=world.worker.ids)
        return await paints(request)

    world.provider.script.append(cancelled)
    await world.deliver(ids[0], 2)
    assert (await world.job(ids[0])).state is State.CANCELLED
    assert (await key_of(world)).circuit is Circuit.CLOSED


# --- models that are gone


async def test_a_retired_model_is_told_once_a_key_and_fails_the_jobs_that_want_it(
    world: World,
) -> None:
    ids = [await world.submit() for _ in range(5)]
    world.provider.script += [raises(ProviderRefused("model_retired", "404 not_found"))] * 5
    await asyncio.gather(*(world.deliver(one) for one in ids))
    jobs = [await world.job(one) for one in ids]
    assert {job.error["code"] for job in jobs if job.error} == {"model_retired"}
    (event,) = await world.history("provider", "paid:cafe0123")
    assert (event.type, event.seq) == ("provider.model_retired", 1)
    assert '"model":"paid-1"' in event.data
    row = await key_of(world)
    assert (row.version, list(row.retired), row.circuit) == (1, ["paid-1"], Circuit.CLOSED)
    (health,) = (await provider_health(world.worker.providers, TENANT, world.journal)).providers
    assert [one.model for one in health.retired_models] == ["paid-1"]
    assert "paid-1" in (health.detail or "")
    await reset("paid", world.worker.providers, world.journal)
    assert (await key_of(world)).retired == {}
    world.provider.script.append(raises(ProviderRefused("model_retired", "404 not_found")))
    await world.deliver(await world.submit())
    assert len(await world.history("provider", "paid:cafe0123")) == 2


async def test_health_tells_the_median_of_what_was_measured_often_enough(world: World) -> None:
    async def three_seconds(request: PaintRequest) -> Painting:
        await clock_of(world).advance(3)
        return await paints(request)

    world.provider.script += [three_seconds] * 20
    for number in range(20):
        (health,) = (await provider_health(world.worker.providers, TENANT, world.journal)).providers
        assert health.p50_seconds == {}, number
        await world.deliver(await world.submit(quality="high"))
    (health,) = (await provider_health(world.worker.providers, TENANT, world.journal)).providers
    assert (health.status, health.p50_seconds) == (ProviderStatus.OK, {"high": 3.0})


async def test_health_tells_a_tenant_of_no_job_of_another(world: World) -> None:
    ids = await held_by_a_refused_key(world, 3)
    seen = []

    async def looked_at(request: PaintRequest) -> Painting:
        for tenant in (TENANT, "other"):
            (health,) = (
                await provider_health(world.worker.providers, tenant, world.journal)
            ).providers
            seen.append((health.status, health.queued_jobs, health.probe_job_id))
        return await paints(request)

    world.provider.script.append(looked_at)
    await clock_of(world).advance(301)
    await world.deliver(ids[1])
    assert seen == [(ProviderStatus.OPEN, 2, ids[1]), (ProviderStatus.OPEN, 0, None)]
