"""The eight endpoints of the requirements document: sketch behind them, and a paid service."""

from collections.abc import AsyncIterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from pipeline.settings import Settings
from tests.fakes.stability import KEY, StabilityDouble
from tests.service import Here, served

IMAGES = "/api/v1/images"


@pytest.fixture(params=["sketch", "stability_ai"])
async def here(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Here]:
    settings: dict[str, Any] = {"default_provider": request.param}
    with ExitStack() as stack:
        if request.param == "stability_ai":
            double = stack.enter_context(StabilityDouble())
            settings["stability"] = {"api_key": KEY, "base_url": double.url}
        async with served(Settings(home=tmp_path / "home", **settings)) as running:
            yield running


async def answer(here: Here, method: str, path: str, **body: Any) -> dict[str, Any]:
    request = {"json": body} if body else {}
    reply = await here.http.request(method, f"{IMAGES}/{path}", **request)
    assert reply.is_success, reply.text
    told: dict[str, Any] = reply.json()
    return told


async def test_all_eight_endpoints_of_the_document_answer(here: Here) -> None:
    asked = await answer(here, "POST", "generate-async", prompt="a mill", quality="draft")
    assert asked["status"] == "queued"
    await here.completed(asked["job_id"])
    job = await answer(here, "GET", f"jobs/{asked['job_id']}")
    assert (job["status"], job["progress_percentage"]) == ("completed", 100)
    url = job["result"]["images"][0]["url"]

    images = [{"prompt": "a mill"}, {"prompt": "a barn"}]
    batch = await answer(here, "POST", "batch-generate", images=images, workflow="final_only")
    for job_id in batch["job_ids"]:
        assert (await here.completed(job_id))["batch_id"] == batch["batch_id"]

    # The task that has painted it is told once more that nothing remains to be done.
    task = {"job_id": asked["job_id"], "attempt": 1}
    assert (await answer(here, "POST", "worker", **task))["done"] is True

    painted = await answer(here, "POST", "generate", prompt="a barn", quality="draft")
    like_it = await answer(here, "POST", "variations", image_url=url)
    larger = await answer(here, "POST", "upscale", image_url=url, scale=2)
    edited = await answer(
        here, "POST", "edit", image_url=url, operation="search-and-replace",
        search_prompt="the mill", prompt="a tower",
    )  # fmt: skip
    for reply in (painted, like_it, larger, edited):
        assert reply["success"] is True
        assert reply["provider"] == here.limner.settings.default_provider
        (image,) = reply["images"]
        picture = await here.http.get(image["url"])
        assert picture.headers["content-type"] in ("image/png", "image/jpeg")
        job = await answer(here, "GET", f"jobs/{UUID(reply['job_id'])}")
        assert job["cost_confirmed"] == str(job["result"]["cost"])
    draft = (await answer(here, "GET", f"jobs/{asked['job_id']}"))["result"]["images"][0]
    (image,) = larger["images"]
    assert (image["width"], image["height"]) == (2 * draft["width"], 2 * draft["height"])
