"""A quote says what the request would be told, and stores nothing."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from pipeline.settings import Settings
from tests.fakes.stability import KEY
from tests.http.test_bad_input import GOOD, assert_problem
from tests.http.test_budgets import BUDGETS
from tests.service import GENERATE, JOBS, Here, idle_settings, served

pytestmark = pytest.mark.asyncio(loop_scope="module")

QUOTE = "/api/v1/images/quote"
BATCH = "/api/v1/images/batch-generate"
STABILITY = {"prompt": "a mill", "provider": "stability_ai"}


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def here(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Here]:
    home: Path = tmp_path_factory.mktemp("quotes") / "home"
    # Nobody is asked: no job of these is ever begun.
    stability = {"STABILITY_AI_API_KEY": KEY, "STABILITY_AI_BASE_URL": "http://127.0.0.1:9"}
    async with served(idle_settings(home, stability=stability)) as running:
        await running.http.post("/api/v1/dispatch/pause")
        yield running


async def quoted(here: Here, body: dict[str, Any]) -> dict[str, Any]:
    before = here.stored()
    reply = await here.http.post(QUOTE, json=body)
    assert reply.status_code == 200, reply.text
    assert here.stored() == before
    told: dict[str, Any] = reply.json()
    return told


MODELS: list[tuple[dict[str, Any], dict[str, Any], tuple[str, ...]]] = [
    (
        {"quality": "draft"},
        {"price_usd": "0.025", "price_credits": "2.5", "resolved_model": "sd3.5-flash",
         "requested_model": "stable-diffusion-xl-turbo", "steps": None, "cfg_scale": 5.0},
        ("sd3.5-flash takes no steps (20 for draft)",),
    ),
    (
        {"quality": "standard", "aspect_ratio": "4:3"},
        {"price_usd": "0.03", "price_credits": "3", "resolved_model": "core", "steps": None,
         "cfg_scale": None},
        ("core takes no steps (30 for standard)", "core takes no cfg_scale (7)", "cropped to 4:3"),
    ),
    (
        {"quality": "ultra"},
        {"price_usd": "0.065", "price_credits": "6.5", "resolved_model": "sd3.5-large",
         "price_book": "stability-2026-11", "strategy": "regenerate"},
        ("sd3.5-large takes no steps (60 for ultra)",),
    ),
]  # fmt: skip


@pytest.mark.parametrize(("asked", "told", "warnings"), MODELS)
async def test_a_quote_names_price_model_parameters_and_what_is_dropped(
    here: Here, asked: dict[str, Any], told: dict[str, Any], warnings: tuple[str, ...]
) -> None:
    found = await quoted(here, STABILITY | asked)
    (picture,) = found["pictures"]
    assert {name: picture[name] for name in told} == told
    assert tuple(picture["warnings"]) == warnings
    assert (found["price_usd"], found["price_credits"]) == (
        told["price_usd"], told["price_credits"],
    )  # fmt: skip
    assert (found["finals"], found["finals_price_usd"]) == ([], "0")
    assert (found["allowed"], found["refusal"]) == (True, None)
    assert found["estimated_completion_time"] >= 1


async def test_a_later_start_is_part_of_the_estimate(here: Here) -> None:
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    found = await quoted(here, GOOD | {"not_before": tomorrow.isoformat()})
    assert 86_000 < found["estimated_completion_time"] < 87_000


async def test_a_batch_tells_its_drafts_now_and_their_finals_afterwards(here: Here) -> None:
    images = [{"prompt": "a"}, {"prompt": "b", "quality": "ultra"}, STABILITY]
    found = await quoted(here, {"images": images, "final_quality": "high"})
    assert [one["price_usd"] for one in found["pictures"]] == ["0.002", "0.002", "0.025"]
    assert [one["price_usd"] for one in found["finals"]] == ["0.006", "0.008", "0.04"]
    assert [one["strategy"] for one in found["finals"]] == ["image_to_image"] * 3
    assert (found["price_usd"], found["finals_price_usd"]) == ("0.029", "0.054")
    assert found["price_credits"] is None, "credits of one provider only"
    finals = await quoted(here, {"images": images[:1], "workflow": "final_only"})
    assert (finals["price_usd"], finals["finals"]) == ("0.006", [])


REQUESTS: list[tuple[str, dict[str, Any]]] = [
    (GENERATE, {"prompt": "a", "quality": "high"}),
    (GENERATE, {"prompt": "a", "quality": "high", "blog_id": "tight"}),
    (GENERATE, {"prompt": "a", "quality": "ultra", "blog_id": "tight"}),
    (BATCH, {"images": [{"prompt": "a"}, {"prompt": "b", "blog_id": "tight"}]}),
    (BATCH, {"images": [{"prompt": "a", "blog_id": "tight"}] * 4}),
    (GENERATE, STABILITY | {"quality": "ultra"}),
]


async def test_what_a_quote_says_of_the_budgets_is_what_the_request_is_told(here: Here) -> None:
    for wanted in ({"limit": "0.05"}, {"limit": "0.01", "blog_id": "tight"}):
        await here.http.put(BUDGETS, json=wanted)
    answers = []
    for path, body in REQUESTS:
        found = await quoted(here, body)
        reply = await here.http.post(path, json=body)
        answers.append(reply.status_code)
        assert (reply.status_code == 202) is found["allowed"]
        if found["allowed"]:
            now = {one["blog_id"]: one for one in (await budgets(here))}
            assert found["budgets"]
            for budget in found["budgets"]:
                assert budget["left_after"] == now[budget["blog_id"]]["left"]
        else:
            assert found["refusal"] == reply.json()["detail"]
    assert answers == [202, 202, 402, 202, 402, 402]
    for blog_id in (None, "tight"):
        which = {"blog_id": blog_id} if blog_id else {}
        await here.http.delete(BUDGETS, params=which)


async def budgets(here: Here) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await here.http.get(BUDGETS)).json()["budgets"]
    return found


async def test_what_would_not_be_accepted_has_no_quote(here: Here) -> None:
    await here.http.post(GENERATE, json=GOOD | {"blog_id": "gone"})
    await here.http.delete("/api/v1/blogs/gone")
    nobody = "00000000-0000-0000-0000-000000000007"
    bad: list[tuple[Any, int, str, str | None]] = [
        ({"prompt": ""}, 422, "invalid_request", "prompt"),
        ({"prompt": "a", "colour": 1}, 422, "invalid_request", "colour"),
        ({"images": []}, 422, "invalid_request", "images"),
        ({"images": [{"prompt": "a"}, {}]}, 422, "invalid_request", "images.1.prompt"),
        ([GOOD], 422, "invalid_request", "body"),
        (GOOD | {"style": "vermeer"}, 422, "unknown_style", "style"),
        (GOOD | {"provider": "nobody"}, 422, "unknown_provider", "provider"),
        (GOOD | {"strategy": "regenerate"}, 422, "strategy_without_draft", "strategy"),
        (GOOD | {"quality": "high", "draft_job_id": nobody}, 409, "draft_not_usable", None),
        (GOOD | {"blog_id": "gone"}, 409, "blog_deleted", None),
        ({"images": [GOOD | {"blog_id": "gone"}]}, 409, "blog_deleted", None),
    ]
    before = here.stored()
    for body, status, code, field in bad:
        problem = assert_problem(await here.http.post(QUOTE, json=body), status, code)
        assert field in (None, problem["field"]), body
    assert here.stored() == before


async def test_the_final_of_a_draft_is_quoted_as_it_would_be_made(tmp_path: Path) -> None:
    async with served(Settings(home=tmp_path / "home")) as here:
        draft = await here.completed(await here.submit(quality="draft", blog_id="post"))
        found = await quoted(
            here, {"prompt": "x", "quality": "ultra", "draft_job_id": draft["job_id"]}
        )
        (picture,) = found["pictures"]
        assert (picture["strategy"], picture["price_usd"]) == ("image_to_image", "0.008")
        adopting = {"prompt": "a lighthouse", "quality": "high", "blog_id": "post"}
        (picture,) = (await quoted(here, adopting))["pictures"]
        assert draft["job_id"] in picture["warnings"][0]
        assert picture["strategy"] == "image_to_image"
        await here.http.post(f"{JOBS}/{draft['job_id']}/reject")
        reply = await here.http.post(QUOTE, json={"prompt": "x", "draft_job_id": draft["job_id"]})
        assert_problem(reply, 409, "draft_rejected")
