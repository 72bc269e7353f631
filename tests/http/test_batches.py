"""The document's workflow patterns over HTTP; what batches and decisions answer to bad input."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
import pytest_asyncio

from pipeline.settings import Settings
from tests.service import GENERATE, JOBS, Here, client_of, idle_settings, served

pytestmark = pytest.mark.asyncio(loop_scope="module")

BATCH = "/api/v1/images/batch-generate"
BATCHES = "/api/v1/images/batches"
GOOD: dict[str, Any] = {"images": [{"prompt": "Hero", "quality": "draft"}], "blog_id": "post"}


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def painting(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Here]:
    home: Path = tmp_path_factory.mktemp("batches") / "home"
    async with served(Settings(home=home)) as here:
        yield here


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def service(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Here]:
    home: Path = tmp_path_factory.mktemp("bad_batches") / "home"
    async with served(idle_settings(home)) as here:
        yield here


@pytest.fixture
def idle(service: Here) -> Iterator[Here]:
    """A service of which no test may make a row."""
    before = service.stored()
    yield service
    assert service.stored() == before


async def ended(here: Here, batch_id: str) -> dict[str, Any]:
    """The batch once it owes nothing."""
    query = "SELECT ended_at IS NOT NULL FROM batches WHERE id = ?"
    await here.until(lambda: here.rows(query, UUID(batch_id).hex) == [(1,)], "batch ended")
    reply = await here.http.get(f"{BATCHES}/{batch_id}")
    assert reply.status_code == 200, reply.text
    told: dict[str, Any] = reply.json()
    return told


async def place(here: Here, blog_id: str, job_id: str) -> dict[str, Any]:
    """The slot that *job_id* fills, once it does."""
    found: dict[str, Any] = {}

    async def look() -> bool:
        slots = (await here.http.get(f"/api/v1/blogs/{blog_id}/images")).json()["images"]
        found.update(next((slot for slot in slots if slot["job_id"] == job_id), {}))
        return bool(found)

    await here.completed(job_id)
    assert await look()
    return found


def assert_problem(reply: Any, status: int, code: str) -> dict[str, Any]:
    assert reply.status_code == status, reply.text
    assert reply.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = reply.json()
    assert problem["code"] == code
    return problem


async def test_pattern_1_a_draft_and_then_its_final(painting: Here) -> None:
    draft = await painting.http.post(
        GENERATE, json={"prompt": "Hero image", "quality": "draft", "blog_id": "pattern-1"}
    )
    draft_id = draft.json()["job_id"]
    await painting.completed(draft_id)
    final = await painting.http.post(
        GENERATE, json={"prompt": "Hero image", "quality": "high", "blog_id": "pattern-1"}
    )
    assert final.status_code == 202
    assert final.json()["draft_job_id"] == draft_id
    assert final.json()["strategy"] in {"image_to_image", "upscale", "regenerate"}
    assert draft_id in final.json()["warnings"][0]
    status = await painting.completed(final.json()["job_id"])
    assert (status["draft_job_id"], status["strategy"]) == (draft_id, final.json()["strategy"])
    before = await painting.status(draft_id)
    assert (before["final_job_id"], before["decision"]) == (status["job_id"], "approved")
    slot = await place(painting, "pattern-1", status["job_id"])
    assert (slot["role"], slot["position"], slot["is_draft"]) == ("inline", 1, False)


async def test_pattern_2_a_batch_of_drafts_gets_its_finals_by_itself(painting: Here) -> None:
    request = {
        "images": [
            {"prompt": "Hero", "quality": "draft"},
            {"prompt": "Featured", "quality": "draft"},
        ],
        "blog_id": "pattern-2",
        "blog_job_id": "writer-7",
        "workflow": "draft_then_final",
    }
    key = {"Idempotency-Key": "pattern-2"}
    reply = await painting.http.post(BATCH, json=request, headers=key)
    assert reply.status_code == 202
    batch = reply.json()
    assert batch == {
        "batch_id": batch["batch_id"],
        "job_ids": batch["job_ids"],
        "status": "queued",
        "total_images": 2,
        "estimated_completion_time": batch["estimated_completion_time"],
        "warnings": [],
    }
    assert reply.headers["location"] == f"{BATCHES}/{batch['batch_id']}"
    again = await painting.http.post(BATCH, json=request, headers=key)
    assert (again.json(), again.headers["idempotency-replayed"]) == (batch, "true")
    assert_problem(
        await painting.http.post(BATCH, json=request | {"blog_id": "x"}, headers=key),
        422,
        "idempotency_key_reused",
    )

    statuses = await asyncio.gather(*(painting.completed(job_id) for job_id in batch["job_ids"]))
    assert {(one["is_draft"], one["blog_job_id"]) for one in statuses} == {(True, "writer-7")}

    done = await ended(painting, batch["batch_id"])
    assert (done["status"], done["version"], done["jobs_owed"]) == ("completed", 2, 0)
    assert done["counts"] | {"completed": 4} == done["counts"]
    assert done["cost_confirmed"] == "0.016"
    assert [one["draft"]["job_id"] for one in done["images"]] == batch["job_ids"]
    for number, image in enumerate(done["images"], 1):
        assert (image["decision"], image["final"]["status"]) == ("approved", "completed")
        assert image["final"]["quality"] == "high"
        assert image["final"]["result"]["images"][0]["url"]
        slot = await place(painting, "pattern-2", image["final"]["job_id"])
        assert (slot["role"], slot["position"]) == ("inline", number)
    listed = await painting.http.get(JOBS, params={"batch_id": batch["batch_id"]})
    assert len(listed.json()["jobs"]) == 4
    again = await painting.http.post(f"{BATCHES}/{batch['batch_id']}/cancel")
    assert_problem(again, 409, "cannot_cancel")
    retried = await painting.http.post(f"{BATCHES}/{batch['batch_id']}/retry")
    assert retried.json()["retried_job_ids"] == []
    assert retried.json()["batch"]["status"] == "completed"


async def test_drafts_that_wait_for_approval_are_promoted_and_rejected(painting: Here) -> None:
    request = {
        "images": [{"prompt": "a mill"}, {"prompt": "a barn", "role": "hero"}],
        "blog_id": "approval",
        "approval": "required",
        "final_quality": "standard",
    }
    batch = (await painting.http.post(BATCH, json=request)).json()
    waiting = await ended(painting, batch["batch_id"])
    assert waiting["waiting_for_approval"] == batch["job_ids"]
    mill, barn = batch["job_ids"]
    first = await painting.http.post(f"{JOBS}/{mill}/promote")
    assert first.status_code == 202
    final = first.json()
    assert final["job_id"] == final["final_job_id"] != mill
    assert (final["draft_job_id"], final["quality"], final["is_draft"]) == (mill, "standard", False)
    assert first.headers["location"] == f"{JOBS}/{final['job_id']}"
    second = await painting.http.post(f"{JOBS}/{mill}/promote", json={"quality": "ultra"})
    assert (second.status_code, second.json()["job_id"]) == (200, final["job_id"])
    assert_problem(await painting.http.post(f"{JOBS}/{mill}/reject"), 409, "cannot_reject")

    for _ in range(2):
        rejected = await painting.http.post(f"{JOBS}/{barn}/reject", json={"reason": "too red"})
        assert (rejected.status_code, rejected.json()["decision"]) == (200, "rejected")
    assert_problem(await painting.http.post(f"{JOBS}/{barn}/promote"), 409, "draft_rejected")
    await painting.completed(final["job_id"])
    done = await ended(painting, batch["batch_id"])
    assert [one["decision"] for one in done["images"]] == ["approved", "rejected"]
    assert (done["waiting_for_approval"], done["images"][1]["final"]) == ([], None)
    assert_problem(
        await painting.http.post(f"{JOBS}/{final['job_id']}/promote"), 409, "draft_not_usable"
    )


async def test_a_batch_is_cancelled_over_http(tmp_path: Path) -> None:
    async with served(idle_settings(tmp_path / "home")) as here:
        batch = (await here.http.post(BATCH, json=GOOD | {"images": [{"prompt": "x"}] * 3})).json()
        shown = await here.http.get(f"{BATCHES}/{batch['batch_id']}")
        assert shown.json()["jobs_owed"] == 3
        for _ in range(2):
            reply = await here.http.post(f"{BATCHES}/{batch['batch_id']}/cancel")
            assert (reply.status_code, reply.json()["status"]) == (200, "cancelled")
        assert reply.json()["counts"]["cancelled"] == 3
        assert (reply.json()["jobs_owed"], reply.json()["estimated_time_remaining"]) == (0, None)
        types = here.rows("SELECT type FROM events WHERE stream_kind = 'batch' ORDER BY seq")
        assert types == [("image.batch.created",), ("image.batch.completed",)]


def images(number: int, **fields: Any) -> list[dict[str, Any]]:
    return [{"prompt": f"picture {index}"} | fields for index in range(number)]


# what is changed in a good batch, the fields that are named, a part of the remedy
BAD: dict[str, tuple[dict[str, Any], list[str], str]] = {
    "no images": ({"images": []}, ["images"], "must not be empty"),
    "21 images": ({"images": images(21)}, ["images"], "at most 20"),
    "101 images": ({"images": images(101)}, ["images"], "101 entries; at most 100"),
    "a draft as final": ({"final_quality": "draft"}, ["final_quality"], "not a draft"),
    "drafts among finals only": (
        {"workflow": "final_only", "images": images(1) + images(2, quality="draft")},
        ["images.1.quality", "images.2.quality"],
        "draft_then_final",
    ),
    "what only drafts have": (
        {
            "workflow": "final_only",
            "images": images(1),
            "approval": "required",
            "strategy": "upscale",
        },
        ["approval", "strategy"],
        "no drafts to approve",
    ),
    "mixed bad entries": (
        {"images": [{"prompt": ""}, {"prompt": "ok"}, {"prompt": "x", "role": "banner"}, {}]},
        ["images.0.prompt", "images.2.role", "images.3.prompt"],
        "must not be empty",
    ),
    "an entry that is no object": (
        {"images": [*images(1), "a mill"]},
        ["images.1"],
        "images.1: it must be a JSON object. Nothing",
    ),
    "mixed unknown names": (
        {"images": [*images(1, style="cubist"), *images(1), *images(1, provider="vermeer")]},
        ["images.0.style", "images.2.provider"],
        "tile-texture (1 more",
    ),
    "another blog": (
        {"images": [*images(1), *images(1, blog_id="other")]},
        ["images.1.blog_id"],
        "give one",
    ),
    "a named draft": (
        {"images": images(1, draft_job_id=str(uuid4()))},
        ["images.0.draft_job_id"],
        "promote",
    ),
    "an unknown workflow": ({"workflow": "both"}, ["workflow"], "'draft_then_final'"),
    "an unknown approval": ({"approval": "maybe"}, ["approval"], "'automatic'"),
    "an unknown strategy": ({"strategy": "magic"}, ["strategy"], "'image_to_image'"),
    "an unknown field": ({"colour": "red"}, ["colour"], "remove it"),
}


@pytest.mark.parametrize("case", BAD)
async def test_a_bad_batch_is_refused_whole_and_its_bad_entries_are_named(
    idle: Here, case: str
) -> None:
    change, fields, remedy = BAD[case]
    reply = await idle.http.post(BATCH, json=GOOD | change)
    problem = assert_problem(reply, 422, "invalid_request")
    assert [error["field"] for error in problem["errors"]] == fields
    assert problem["field"] == fields[0]
    assert remedy in problem["detail"]
    assert "Nothing was stored" in problem["detail"]


async def test_the_setting_says_how_many_images_a_batch_may_have(tmp_path: Path) -> None:
    settings = idle_settings(tmp_path / "home", max_batch_images=2)
    async with served(settings) as here:
        reply = await here.http.post(BATCH, json=GOOD | {"images": images(3)})
        assert "at most 2" in assert_problem(reply, 422, "invalid_request")["detail"]
        assert (await here.http.post(BATCH, json=GOOD | {"images": images(2)})).status_code == 202


async def test_two_blog_ids_that_disagree_are_refused(idle: Here) -> None:
    reply = await idle.http.post(BATCH, json=GOOD, params={"blog_id": "other"})
    assert_problem(reply, 400, "blog_ids_disagree")


BAD_WISHES: list[tuple[str, dict[str, Any], str]] = [
    ("promote", {"quality": "draft"}, "quality"),
    ("promote", {"strategy": "magic"}, "strategy"),
    ("promote", {"prompt": ""}, "prompt"),
    ("promote", {"colour": 1}, "colour"),
    ("reject", {"reason": "x" * 1001}, "reason"),
    ("reject", {"why": "x"}, "why"),
]


@pytest.mark.parametrize(("route", "body", "field"), BAD_WISHES)
async def test_a_bad_wish_is_named(
    idle: Here, route: str, body: dict[str, Any], field: str
) -> None:
    reply = await idle.http.post(f"{JOBS}/{uuid4()}/{route}", json=body)
    assert assert_problem(reply, 422, "invalid_request")["field"] == field


async def test_what_is_not_there_is_a_404(idle: Here) -> None:
    for route in ("promote", "reject"):
        reply = await idle.http.post(f"{JOBS}/{uuid4()}/{route}")
        assert_problem(reply, 404, "no_such_job")
    batch = f"{BATCHES}/{uuid4()}"
    replies = (
        await idle.http.get(batch),
        await idle.http.post(f"{batch}/cancel"),
        await idle.http.post(f"{batch}/retry"),
    )
    for reply in replies:
        assert_problem(reply, 404, "no_such_batch")


async def test_another_tenants_batch_and_drafts_are_not_there(tmp_path: Path) -> None:
    async with served(idle_settings(tmp_path / "home")) as here:
        batch = (await here.http.post(BATCH, json=GOOD)).json()
        here.limner.settings.tenant = "another"
        async with client_of(here.limner) as http:
            mine = f"{BATCHES}/{batch['batch_id']}"
            job = f"{JOBS}/{batch['job_ids'][0]}"
            for reply in (
                await http.get(mine),
                await http.post(f"{mine}/cancel"),
                await http.post(f"{mine}/retry"),
                await http.post(f"{job}/promote"),
                await http.post(f"{job}/reject"),
            ):
                assert reply.status_code == 404
        assert here.count("jobs", "state = 'cancelled'") == 0
