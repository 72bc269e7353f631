"""Variations, upscales and edits: jobs of their kind, made of a picture that exists."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from pipeline.settings import Settings
from schemas.operations import Operation
from tests.fakes.stability import KEY, Misbehaviour, StabilityDouble
from tests.http.test_bad_input import assert_problem
from tests.service import Here, served

IMAGES = "/api/v1/images"
NOBODYS = str(uuid4())


async def painted(here: Here, **fields: Any) -> dict[str, Any]:
    """A finished draft: the reply of `generate`."""
    body = {"prompt": "a lighthouse", "quality": "draft", "aspect_ratio": "16:9", "seed": 7}
    return await done(here, "generate", **(body | fields))


async def done(here: Here, path: str, **fields: Any) -> dict[str, Any]:
    reply = await here.http.post(f"{IMAGES}/{path}", json=fields)
    assert reply.status_code == 200, reply.text
    told: dict[str, Any] = reply.json()
    return told


def size(reply: dict[str, Any]) -> tuple[int, int]:
    (image,) = reply["images"]
    return image["width"], image["height"]


# path, what is asked, the operation, the size of what is made of 512 x 288
ASKED: list[tuple[str, dict[str, Any], str, tuple[int, int]]] = [
    ("upscale", {"scale": 2}, "upscale-fast", (1024, 576)),
    ("upscale", {"scale": 4, "mode": "conservative"}, "upscale-conservative", (2048, 1152)),
    ("upscale", {"mode": "creative"}, "upscale-creative", (1024, 576)),
    ("variations", {}, "variation", (512, 288)),
    ("variations", {"keep": "sketch", "prompt": "by night"}, "control-sketch", (512, 288)),
    ("variations", {"keep": "structure"}, "control-structure", (512, 288)),
    ("variations", {"keep": "style", "quality": "high"}, "control-style", (512, 288)),
    ("edit", {"operation": "outpaint", "left": 20, "up": 12}, "outpaint", (532, 300)),
    ("edit", {"operation": "remove-background"}, "remove-background", (512, 288)),
    (
        "edit",
        {"operation": "search-and-replace", "search_prompt": "a boat", "prompt": "a whale"},
        "search-and-replace",
        (512, 288),
    ),
    (
        "edit",
        {"operation": "search-and-recolor", "select_prompt": "the sea", "prompt": "green"},
        "search-and-recolor",
        (512, 288),
    ),
    ("edit", {"operation": "inpaint", "prompt": "a mill", "mask": True}, "inpaint", (512, 288)),
    ("edit", {"operation": "erase", "mask": True}, "erase", (512, 288)),
]


def test_every_operation_is_tried_here() -> None:
    assert {operation for _, _, operation, _ in ASKED} == set(Operation)


async def test_every_operation_is_a_job_with_its_events_and_its_line_in_the_ledger(
    tmp_path: Path,
) -> None:
    async with served(Settings(home=tmp_path / "home")) as here:
        draft = await painted(here)
        image_id = draft["images"][0]["image_id"]
        for path, asked, operation, wanted in ASKED:
            body = asked | ({"mask_image_id": image_id} if "mask" in asked else {})
            body.pop("mask", None)
            reply = await done(here, path, image_id=image_id, **body)
            assert size(reply) == wanted, operation
            job = await here.status(reply["job_id"])
            assert (job["operation"], job["source_image_id"]) == (operation, image_id)
            assert (job["status"], job["is_draft"], job["strategy"]) == ("completed", False, None)
            assert job["cost_confirmed"] == ("0.006" if "quality" in asked else "0.004")
            stream = "SELECT type, data ->> '$.kind' FROM events WHERE stream_id = ? ORDER BY seq"
            kind = {"variations": "variation"}.get(path, path)
            assert here.rows(stream, reply["job_id"]) == [
                (f"image.job.{name}", kind)
                for name in ("queued", "started", "result_received", "completed")
            ]
            ledger = "SELECT state, model FROM provider_calls WHERE job_id = ?"
            found = here.rows(ledger, reply["job_id"].replace("-", ""))
            assert found == [("answered", "sketch-1")]


async def test_a_picture_is_named_by_its_id_its_job_or_the_address_that_was_given_for_it(
    tmp_path: Path,
) -> None:
    async with served(Settings(home=tmp_path / "home")) as here:
        draft = await painted(here)
        (image,) = draft["images"]
        for named in (
            {"image_id": image["image_id"]},
            {"job_id": draft["job_id"]},
            {"image_url": image["url"]},
            {"image_url": image["variants"][0]["url"]},
            {"image_url": image["url"] + "?expires=1&signature=old"},
            # The same service, under another of its names.
            {"image_url": image["url"].replace("127.0.0.1", "localhost:8080")},
        ):
            reply = await done(here, "upscale", **named)
            assert size(reply) == (1024, 576)
            job = await here.status(reply["job_id"])
            assert job["source_image_id"] == image["image_id"]


async def test_without_words_of_its_own_a_picture_is_painted_of_those_it_was_painted_of(
    tmp_path: Path,
) -> None:
    async with served(Settings(home=tmp_path / "home")) as here:
        draft = await painted(here, prompt="a windmill at dawn")
        asked = []
        for body in ({}, {"prompt": "the same by night"}):
            reply = await done(here, "variations", job_id=draft["job_id"], **body)
            job_id = reply["job_id"].replace("-", "")
            query = "SELECT request ->> '$.prompt' FROM jobs WHERE id = ?"
            asked += here.rows(query, job_id)
        assert asked == [("a windmill at dawn",), ("the same by night",)]


async def test_an_edited_picture_shows_what_the_whole_was_painted_of(tmp_path: Path) -> None:
    async with served(Settings(home=tmp_path / "home")) as here:
        draft = await painted(here, prompt="a windmill at dawn")
        edits: list[dict[str, Any]] = [
            {"operation": "search-and-replace", "search_prompt": "x", "prompt": "a red hat"},
            {"operation": "remove-background"},
        ]
        job_id = draft["job_id"]
        for edit in edits:
            job_id = (await done(here, "edit", job_id=job_id, **edit))["job_id"]
            like = await done(here, "variations", job_id=job_id)
            query = "SELECT request ->> '$.prompt' FROM jobs WHERE id = ?"
            told = here.rows(query, like["job_id"].replace("-", ""))
            assert told == [("a windmill at dawn",)], edit


async def test_of_a_draft_that_is_upscaled_the_request_and_the_post_have_the_last_word(
    tmp_path: Path,
) -> None:
    async with served(Settings(home=tmp_path / "home")) as here:
        draft = await painted(here, blog_id="post", role="hero", blog_job_id="theirs")
        named = {"job_id": draft["job_id"]}
        up = await done(here, "upscale", **named, blog_job_id="mine", alt_text="Mine")
        job = await here.completed(up["job_id"])
        assert (job["blog_id"], job["blog_job_id"]) == ("post", "mine")
        assert (await here.http.delete("/api/v1/blogs/post")).is_success
        alone = await done(here, "upscale", **named)
        assert (await here.status(alone["job_id"]))["blog_id"] is None


async def test_an_upscaled_draft_takes_the_drafts_place_and_nothing_else_does(
    tmp_path: Path,
) -> None:
    async with served(Settings(home=tmp_path / "home")) as here:
        place = {"blog_id": "post", "role": "hero", "alt_text": "A lighthouse"}
        draft = await painted(here, **place)
        named = {"job_id": draft["job_id"]}
        edited = await done(here, "edit", operation="remove-background", **named)
        await done(here, "variations", **named)
        assert (await here.status(edited["job_id"]))["blog_id"] is None
        up = await done(here, "upscale", **named)
        await here.completed(up["job_id"])
        (slot,) = (await here.http.get("/api/v1/blogs/post/images")).json()["images"]
        assert (slot["job_id"], slot["alt_text"]) == (up["job_id"], "A lighthouse")
        # A final stays where it is, unless somebody says where the larger one belongs.
        larger = await done(here, "upscale", job_id=up["job_id"])
        assert (await here.status(larger["job_id"]))["blog_id"] is None
        other = await done(here, "upscale", **named, blog_id="other", role="og")
        job = await here.completed(other["job_id"])
        assert (job["blog_id"], job["role"]) == ("other", "og")


async def test_a_repeated_request_is_done_once_and_another_under_its_key_refused(
    tmp_path: Path,
) -> None:
    async with served(Settings(home=tmp_path / "home")) as here:
        draft = await painted(here)
        key = {"Idempotency-Key": "once"}
        body = {"job_id": draft["job_id"], "scale": 2}
        first, second = [
            await here.http.post(f"{IMAGES}/upscale", json=body, headers=key) for _ in range(2)
        ]
        assert first.json()["job_id"] == second.json()["job_id"]
        assert second.headers["Idempotency-Replayed"] == "true"
        # What is gone by now had its reply before.
        await here.http.delete(f"{IMAGES}/{draft['images'][0]['image_id']}")
        third = await here.http.post(f"{IMAGES}/upscale", json=body, headers=key)
        assert third.json()["job_id"] == first.json()["job_id"]
        other = await here.http.post(f"{IMAGES}/upscale", json=body | {"scale": 4}, headers=key)
        assert_problem(other, 422, "idempotency_key_reused")


# path, what is asked beside the picture, status, code, what the remedy names
BAD: list[tuple[str, dict[str, Any], int, str, str]] = [
    ("upscale", {"scale": 3}, 422, "invalid_request", "2 or 4"),
    ("upscale", {"scale": "2"}, 422, "invalid_request", "whole number"),
    ("upscale", {"scale": True}, 422, "invalid_request", "whole number"),
    ("upscale", {"mode": "best"}, 422, "invalid_request", "'fast'"),
    ("upscale", {"not_before": "9999-12-31T23:59:59-14:00"}, 422, "invalid_request", "2199"),
    ("upscale", {"not_before": "0001-01-01T00:00:00+14:00"}, 422, "invalid_request", "2000"),
    ("upscale", {"factor": 2}, 422, "invalid_request", "factor"),
    ("upscale", {"provider": "nobody"}, 422, "unknown_provider", "sketch"),
    ("upscale", {"image_id": NOBODYS}, 409, "source_not_usable", "image_id"),
    ("upscale", {"job_id": NOBODYS}, 409, "source_not_usable", "job_id"),
    ("upscale", {"image_id": "7"}, 422, "invalid_request", "image_id"),
    ("upscale", {"image_id": None}, 422, "no_picture", "job_id"),
    ("upscale", {"image_url": f"/api/v1/images/{NOBODYS}/content"}, 422, "picture_not_fetched", ""),
    ("upscale", {"image_url": "https://x.example/1.png"}, 422, "picture_not_fetched", "image_id"),
    ("upscale", {"image_url": "http://[::1"}, 422, "picture_not_fetched", "image_id"),
    ("upscale", {"image_url": "x" * 3000}, 422, "invalid_request", "2048"),
    ("variations", {"strength": 1.5}, 422, "invalid_request", "at most 1"),
    ("variations", {"quality": "draft"}, 422, "invalid_request", "draft"),
    ("variations", {"style": "oil"}, 422, "unknown_style", "anime"),
    ("variations", {"keep": "all"}, 422, "invalid_request", "'style'"),
    ("edit", {}, 422, "invalid_request", "operation"),
    ("edit", {"operation": "paint"}, 422, "invalid_request", "'inpaint'"),
    ("edit", {"operation": "inpaint", "prompt": "a mill"}, 422, "mask_not_usable", "white"),
    ("edit", {"operation": "inpaint"}, 422, "invalid_request", "prompt"),
    ("edit", {"operation": "erase"}, 422, "mask_not_usable", "white"),
    ("edit", {"operation": "erase", "left": 5}, 422, "invalid_request", "outpaint"),
    ("edit", {"operation": "erase", "mask_image_id": NOBODYS}, 409, "source_not_usable", "mask"),
    ("edit", {"operation": "outpaint"}, 422, "invalid_request", "left"),
    ("edit", {"operation": "outpaint", "left": 2001}, 422, "invalid_request", "at most 2000"),
    ("edit", {"operation": "outpaint", "up": -1}, 422, "invalid_request", "at least 0"),
    ("edit", {"operation": "search-and-replace", "prompt": "x"}, 422, "invalid_request", "search"),
    ("edit", {"operation": "search-and-recolor", "prompt": "x"}, 422, "invalid_request", "select"),
]


async def test_what_does_not_fit_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    async with served(Settings(home=tmp_path / "home")) as here:
        draft = await painted(here)
        # Of another shape than the draft.
        mask = (await painted(here, aspect_ratio="1:1"))["images"][0]["image_id"]
        before = here.stored()
        for path, asked, status, code, remedy in BAD:
            named = {} if asked.keys() & {"image_id", "job_id", "image_url"} else draft["images"][0]
            body = {"image_id": named["image_id"]} if named else {}
            for place in ("", "quote/"):
                reply = await here.http.post(f"{IMAGES}/{place}{path}", json=body | asked)
                problem = assert_problem(reply, status, code)
                assert remedy in f"{problem['detail']} {problem.get('field')}", asked
        for operation in ("inpaint", "erase"):
            body = {"image_id": draft["images"][0]["image_id"], "mask_image_id": mask}
            body |= {"operation": operation} | ({"prompt": "x"} if operation == "inpaint" else {})
            reply = await here.http.post(f"{IMAGES}/edit", json=body)
            problem = assert_problem(reply, 422, "mask_not_usable")
            assert "384 x 384" in problem["detail"]
        for body in (b"", b"{", b"[]", b"null", b"[" * 5000, b"\xff"):
            headers = {"Content-Type": "application/json"}
            reply = await here.http.post(f"{IMAGES}/upscale", content=body, headers=headers)
            assert reply.status_code in (400, 422), reply.text
        # A page of another site could send these without being asked.
        for kind in ("text/plain", "application/x-www-form-urlencoded", ""):
            reply = await here.http.post(
                f"{IMAGES}/upscale",
                content=json.dumps({"job_id": draft["job_id"]}),
                headers={"Content-Type": kind},
            )
            problem = assert_problem(reply, 422, "invalid_request")
            assert "application/json" in problem["detail"]
        twice = {"image_id": NOBODYS, "job_id": NOBODYS}
        reply = await here.http.post(f"{IMAGES}/upscale", json=twice)
        assert_problem(reply, 422, "invalid_request")
        assert here.stored() == before


async def test_a_deleted_picture_and_that_of_another_tenant_are_refused_alike(
    tmp_path: Path,
) -> None:
    home = tmp_path / "home"
    async with served(Settings(home=home, tenant="theirs")) as there:
        theirs = await painted(there)
    async with served(Settings(home=home, tenant="ours")) as here:
        ours = await painted(here)
        await here.http.delete(f"{IMAGES}/{ours['images'][0]['image_id']}")
        before = here.stored()
        for field in ("image_id", "url"):
            details = set()
            for one in (theirs, ours):
                value = one["images"][0][field]
                body = {"image_url" if field == "url" else field: value}
                reply = await here.http.post(f"{IMAGES}/upscale", json=body)
                problem = assert_problem(reply, 409, "source_not_usable")
                image_id = one["images"][0]["image_id"]
                details.add(problem["detail"].replace(image_id, "ID"))
            assert len(details) == 1
        assert here.stored() == before


async def test_a_picture_that_is_deleted_before_its_turn_fails_the_job_and_costs_nothing(
    tmp_path: Path,
) -> None:
    async with served(Settings(home=tmp_path / "home")) as here:
        draft = await painted(here)
        await here.http.post("/api/v1/dispatch/pause")
        calls = here.count("provider_calls")
        reply = await here.http.post(
            f"{IMAGES}/upscale?wait_seconds=0", json={"job_id": draft["job_id"]}
        )
        assert reply.status_code == 202
        assert reply.json()["operation"] == "upscale-fast"
        await here.http.delete(f"{IMAGES}/{draft['images'][0]['image_id']}")
        await here.http.post("/api/v1/dispatch/resume")
        job_id = reply.json()["job_id"]
        await here.until(lambda: here.count("jobs", "state = 'failed'") == 1, "it failed")
        job = await here.status(job_id)
        assert job["error_details"]["code"] == "source_gone"
        assert "Nothing was charged" in job["error_message"]
        assert here.count("provider_calls") == calls


async def test_budgets_and_quotes_know_what_an_operation_costs(tmp_path: Path) -> None:
    async with served(Settings(home=tmp_path / "home")) as here:
        draft = await painted(here)
        named = {"job_id": draft["job_id"]}
        await here.http.put(f"{IMAGES}/budgets", json={"limit": "0.007"})
        before = here.stored()
        cheap = await done(here, "quote/upscale", **named)
        dear = await done(here, "quote/variations", **named, quality="high")
        assert (cheap["price_usd"], cheap["allowed"]) == ("0.004", True)
        assert (dear["price_usd"], dear["allowed"]) == ("0.006", False)
        (picture,) = cheap["pictures"]
        assert (picture["operation"], picture["strategy"]) == ("upscale-fast", None)
        refused = await here.http.post(f"{IMAGES}/variations", json=named | {"quality": "high"})
        assert_problem(refused, 402, "budget_exceeded")
        assert here.stored() == before
        await done(here, "upscale", **named)
        refused = await here.http.post(f"{IMAGES}/upscale", json=named)
        assert Decimal(assert_problem(refused, 402, "budget_exceeded")["cost"]) == Decimal("0.004")


async def test_the_list_of_providers_tells_what_each_does_and_at_which_price(
    tmp_path: Path,
) -> None:
    async with served(Settings(home=tmp_path / "home")) as here:
        (sketch,) = (await here.http.get(f"{IMAGES}/providers")).json()["providers"]
        told = {(one["operation"], one["quality"]): one for one in sketch["operations"]}
        assert {operation for operation, _ in told} == set(Operation)
        assert told["erase", "standard"]["price_usd"] == "0.004"
        assert told["variation", "ultra"]["price_usd"] == "0.008"


@pytest.mark.parametrize("path", ["variations", "upscale", "edit"])
async def test_only_post_is_answered_there(tmp_path: Path, path: str) -> None:
    async with served(Settings(home=tmp_path / "home")) as here:
        assert_problem(await here.http.get(f"{IMAGES}/{path}"), 405, "method_not_allowed")


async def test_a_service_that_charges_is_paid_once_by_its_price_list(tmp_path: Path) -> None:
    with StabilityDouble() as double:
        stability = {"api_key": KEY, "base_url": double.url}
        async with served(Settings(home=tmp_path / "home", stability=stability)) as here:
            draft = await painted(here)
            named = {"job_id": draft["job_id"], "provider": "stability_ai"}
            up = await done(here, "upscale", **named)
            assert (up["model"], up["cost"], size(up)) == ("upscale-fast", 0.02, (1024, 576))
            job = await here.status(up["job_id"])
            assert (job["cost_confirmed"], job["on_unknown"]) == ("0.02", "park")
            # What it painted stays with it, whoever is asked where nobody is named.
            again = await done(here, "variations", job_id=up["job_id"])
            assert (again["provider"], again["model"]) == ("stability_ai", "sd3.5-medium")
            double.script = [Misbehaviour.MODERATED]
            erase = {"operation": "search-and-replace", "search_prompt": "x", "prompt": "y"}
            refused = await here.http.post(f"{IMAGES}/edit", json=named | erase)
            problem = assert_problem(refused, 422, "job_failed")
            assert problem["error_code"] == "moderated"
            assert (await here.status(problem["job_id"]))["cost_confirmed"] == "0"
            double.script = [Misbehaviour.RESET_AFTER]
            lost = await here.http.post(f"{IMAGES}/edit", json=named | erase)
            problem = assert_problem(lost, 502, "job_failed")
            assert (await here.status(problem["job_id"]))["cost_possible"] == "0.05"
            assert len(double.paid) == 3
            told = (await here.http.get(f"{IMAGES}/providers")).json()["providers"]
            (theirs,) = (one for one in told if one["name"] == "stability_ai")
            prices = {one["operation"]: one["price_credits"] for one in theirs["operations"]}
            assert (prices["upscale-creative"], prices["outpaint"]) == ("60", "4")


async def test_who_cannot_do_it_is_refused_or_another_one_does_it(tmp_path: Path) -> None:
    openai = {"api_key": "key-of-nobody", "base_url": "http://127.0.0.1:9/v1"}
    settings = Settings(home=tmp_path / "home", openai=openai, default_provider="openai")
    async with served(settings) as here:
        draft = await painted(here, provider="sketch")
        named = {"job_id": draft["job_id"]}
        reply = await here.http.post(f"{IMAGES}/upscale", json=named | {"provider": "openai"})
        assert assert_problem(reply, 422, "unknown_operation")["known"] == ["sketch"]
        up = await done(here, "upscale", **named)
        assert (up["provider"], up["warnings"]) == ("sketch", [])
