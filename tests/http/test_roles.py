"""Each process answers what belongs to its part of the service, and nothing else."""

import asyncio

import httpx2
import pytest

from pipeline.dispatch import Dispatching
from pipeline.roles import PARTS, Part, Role
from pipeline.routes.app import create_api
from tests.fakes.clock import FakeClock
from tests.world import world_on

TASKS = ("POST", "/api/v1/images/worker")
PUSHES = ("POST", "/api/v1/events/{subscriber}")
HEALTH = {("GET", "/healthz"), ("GET", "/readyz")}
DESCRIPTION = {("GET", "/"), ("GET", "/openapi.json")}


async def answered(parts: Part) -> set[tuple[str, str]]:
    """The routes that a process of *parts* has."""
    api = create_api(parts)
    described = {
        (method.upper(), path)
        for path, operations in api.openapi()["paths"].items()
        for method in operations
    }
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(api), base_url="http://x") as http:
        beside = {one for one in DESCRIPTION if (await http.request(*one)).status_code == 200}
    return described | beside


async def test_what_callers_reach_has_no_internal_route() -> None:
    everything = await answered(Part.ALL)
    assert everything >= DESCRIPTION | HEALTH
    assert everything - await answered(PARTS[Role.API]) == {TASKS, PUSHES}


@pytest.mark.parametrize(
    ("parts", "own"),
    [
        (PARTS[Role.WORKER], {TASKS}),
        (PARTS[Role.SUBSCRIBER], {PUSHES}),
        (PARTS[Role.SWEEP], set()),
        (Part.NONE, set()),
    ],
)
async def test_every_other_process_answers_its_own_and_its_health(
    parts: Part, own: set[tuple[str, str]]
) -> None:
    assert await answered(parts) == HEALTH | own


async def test_a_process_that_does_not_sweep_sees_a_pause_all_the_same(sqlite_url: str) -> None:
    async with world_on(sqlite_url) as world:
        assert isinstance(world.clock, FakeClock)
        following = asyncio.create_task(world.sweep.follow_pauses())
        try:
            await world.clock.sleeping()
            await Dispatching.unknown(world.journal).pause("maintenance")
            assert not world.dispatching.is_paused()
            await world.clock.advance(world.sweep.interval_seconds)
            await world.clock.sleeping()  # it has looked, and waits for the next time
            assert world.dispatching.is_paused()
        finally:
            following.cancel()
