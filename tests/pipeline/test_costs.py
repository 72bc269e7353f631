"""What a blog cost is what its ledger says: a price that nobody knows is never zero."""

from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from adapters.errors import OutcomeUnknown, ProviderRefused
from adapters.ports import PaintedPicture, Painting, PaintRequest
from pipeline.costs import blog_costs
from pipeline.errors import NoSuchBlog
from pipeline.retry import retry
from schemas.replies import BlogCostsResponse
from tests.fakes.provider import COST, raises
from tests.world import TENANT, World, world_on


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    async with world_on(database_url) as opened:
        yield opened


async def made(world: World, **fields: Any) -> UUID:
    job_id = await world.submit(**{"blog_id": "post", "quality": "draft"} | fields)
    await world.deliver(job_id)
    return job_id


async def costs(world: World) -> BlogCostsResponse:
    return await blog_costs("post", tenant=TENANT, journal=world.journal)


async def priceless(request: PaintRequest) -> Painting:
    picture = PaintedPicture(str(request.job_id).encode(), "image/png", request.seed)
    return Painting((picture,), "paid-1", None)


async def test_an_unknown_price_is_counted_and_makes_the_saving_unknown(world: World) -> None:
    draft = await made(world)
    await made(world, blog_id=None, quality="high", draft_job_id=str(draft))
    known = await costs(world)
    assert known.cost_confirmed == 2 * COST
    assert known.saving is not None
    assert (known.saving.tries, known.saving.share) == (1, Decimal(-1))
    world.provider.script.append(priceless)
    await made(world)
    found = await costs(world)
    assert (found.cost_confirmed, found.unknown_prices, found.drafts) == (2 * COST, 1, 2)
    assert found.saving is None


async def test_a_refusal_costs_nothing_and_a_lost_answer_may_have(world: World) -> None:
    world.provider.script += [
        raises(ProviderRefused("moderated", "unsafe")),
        raises(OutcomeUnknown("reset")),
    ]
    await made(world)
    lost = await made(world, on_unknown="park")
    found = await costs(world)
    assert (found.cost_confirmed, found.cost_possible, found.drafts) == (Decimal(0), COST, 0)
    assert [one.jobs for one in found.by_quality] == [1]
    await retry(
        lost,
        tenant=TENANT,
        journal=world.journal,
        ids=world.worker.ids,
        blobs=world.blobs,
        providers=world.worker.providers,
    )
    await world.deliver(lost, 2)
    found = await costs(world)
    assert (found.cost_confirmed, found.cost_possible, found.drafts) == (COST, COST, 1)


async def test_only_the_blogs_own_jobs_count(world: World) -> None:
    await made(world)
    await made(world, blog_id="another")
    await made(world, blog_id=None)
    assert (await costs(world)).cost_confirmed == COST
    with pytest.raises(NoSuchBlog):
        await blog_costs("post", tenant="another", journal=world.journal)
    with pytest.raises(NoSuchBlog):
        await blog_costs("unheard-of", tenant=TENANT, journal=world.journal)
