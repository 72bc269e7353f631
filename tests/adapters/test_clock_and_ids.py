import asyncio
import os
import random
import re
import time
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from uuid import UUID

import pytest

from adapters.local.clock import SystemClock
from adapters.local.ids import HIGHEST_SEED, RandomIds, SystemEntropy
from tests.fakes.clock import START, FakeClock


def milliseconds_of(identifier: UUID) -> int:
    return identifier.int >> 80


class TestSystemClock:
    def test_the_time_of_day_is_aware_and_in_utc(self) -> None:
        before = datetime.now(UTC)
        now = SystemClock().now()
        assert before <= now <= datetime.now(UTC)
        assert now.utcoffset() == timedelta(0)

    async def test_sleep_takes_as_long_as_was_asked(self) -> None:
        clock = SystemClock()
        before, real = clock.monotonic(), time.monotonic()
        await clock.sleep(0.02)
        assert time.monotonic() - real >= 0.019
        assert clock.monotonic() - before >= 0.019


class TestRandomIds:
    def test_an_id_is_a_uuid_of_version_7_and_carries_its_millisecond(self) -> None:
        identifier = RandomIds(FakeClock()).new()
        assert identifier.version == 7
        assert identifier.variant == "specified in RFC 4122"
        assert milliseconds_of(identifier) == int(START.timestamp() * 1000)

    async def test_ids_order_by_time_within_a_millisecond_across_sources(self) -> None:
        clock = FakeClock()
        made = []
        for _ in range(50):
            made.append(RandomIds(clock).new())
            await clock.advance(0.000_01)
        assert made == sorted(made)
        assert milliseconds_of(made[0]) == milliseconds_of(made[-1])

    def test_ids_rise_while_the_clock_stands(self) -> None:
        ids = RandomIds(FakeClock())
        made = [ids.new() for _ in range(20_000)]
        assert all(one < other for one, other in pairwise(made))

    def test_ids_rise_when_the_clock_goes_back(self) -> None:
        clock = FakeClock()
        ids = RandomIds(clock)
        before = ids.new()
        clock.set_wall_clock(START - timedelta(days=1))
        after = ids.new()
        assert before < after
        assert milliseconds_of(after) == milliseconds_of(before)

    def test_ids_of_two_processes_differ_at_the_same_moment(self) -> None:
        clock = FakeClock()
        assert len({RandomIds(clock).new() for _ in range(100)}) == 100

    def test_the_same_seed_gives_the_same_run(self) -> None:
        def run() -> tuple[object, ...]:
            ids = RandomIds(FakeClock(), random.Random(7))
            return ids.new(), ids.token(), ids.seed(), ids.jitter(10)

        assert run() == run()

    def test_a_token_has_256_bits_and_fits_into_a_url(self) -> None:
        ids = RandomIds(FakeClock())
        tokens = {ids.token() for _ in range(100)}
        assert len(tokens) == 100
        assert all(re.fullmatch(r"[A-Za-z0-9_-]{43}", token) for token in tokens)

    def test_a_seed_lies_within_what_providers_take(self) -> None:
        ids = RandomIds(FakeClock())
        seeds = [ids.seed() for _ in range(1000)]
        assert all(1 <= seed <= HIGHEST_SEED for seed in seeds)
        assert max(seeds) > HIGHEST_SEED // 2

    def test_jitter_lies_between_half_and_all_of_the_wait(self) -> None:
        ids = RandomIds(FakeClock())
        waits = [ids.jitter(8) for _ in range(1000)]
        assert all(4 <= wait <= 8 for wait in waits)
        assert max(waits) - min(waits) > 3


class TestFakeClock:
    async def test_sleepers_wake_in_the_order_of_their_time_at_their_time(self) -> None:
        clock = FakeClock()
        woken: list[tuple[str, float]] = []

        async def sleep(name: str, seconds: float) -> None:
            await clock.sleep(seconds)
            woken.append((name, clock.monotonic()))

        tasks = [asyncio.create_task(sleep(*one)) for one in (("b", 2), ("a", 1), ("c", 2))]
        await clock.advance(1.5)
        assert woken == [("a", 1.0)]
        await clock.advance(0.5)
        assert woken == [("a", 1.0), ("b", 2.0), ("c", 2.0)]
        await asyncio.gather(*tasks)

    async def test_who_sleeps_again_within_the_span_is_woken_again(self) -> None:
        clock = FakeClock()
        ticks: list[datetime] = []

        async def tick() -> None:
            for _ in range(10):
                await clock.sleep(0.1)
                ticks.append(clock.now())

        task = asyncio.create_task(tick())
        await clock.advance(1)
        assert ticks[-1] == START + timedelta(seconds=1)
        await task

    async def test_what_a_sleeper_starts_comes_to_rest_before_the_next_wakes(self) -> None:
        clock = FakeClock()
        course: list[str] = []

        async def long_winded() -> None:
            await clock.sleep(1)
            for _ in range(50):
                await asyncio.sleep(0)
            course.append("first, after fifty rounds")

        async def short() -> None:
            await clock.sleep(1.001)
            course.append("second")

        tasks = [asyncio.create_task(one) for one in (short(), long_winded())]
        await clock.advance(2)
        assert course == ["first, after fifty rounds", "second"]
        await asyncio.gather(*tasks)

    async def test_a_cancelled_sleeper_is_forgotten(self) -> None:
        clock = FakeClock()
        task = asyncio.create_task(clock.sleep(5))
        await clock.sleeping()
        assert clock.sleepers == 1
        task.cancel()
        await clock.advance(10)
        assert task.cancelled()
        assert clock.sleepers == 0

    async def test_sleeping_waits_for_a_sleeper_that_comes_from_a_thread(self) -> None:
        clock = FakeClock()

        async def work() -> None:
            await asyncio.to_thread(bool)
            await clock.sleep(3)

        task = asyncio.create_task(work())
        await clock.sleeping(1)
        await clock.advance(3)
        assert task.done()

    async def test_a_spinning_task_is_reported(self) -> None:
        clock = FakeClock()

        async def spin() -> None:
            while True:
                await clock.sleep(0)

        task = asyncio.create_task(spin())
        with pytest.raises(RuntimeError, match="spins"):
            await clock.settle()
        task.cancel()


def test_a_forked_process_gives_no_number_that_its_parent_gives() -> None:
    entropy = SystemEntropy()
    entropy.getrandbits(64)  # a page is there, and the fork has a copy of it
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writer, str(entropy.getrandbits(64)).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        theirs = int(pipe.read())
    os.waitpid(child, 0)
    assert theirs != entropy.getrandbits(64)
