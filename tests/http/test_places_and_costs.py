"""The places of a blog and its costs, over HTTP: what callers send, what they are told."""

import json
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import pytest_asyncio

from pipeline.settings import Settings
from tests.service import Here, client_of, served

pytestmark = pytest.mark.asyncio(loop_scope="module")

NOBODYS = str(UUID(int=7))
HERO = "/api/v1/blogs/tour/images/hero/1"


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def here(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Here]:
    """A post with a draft and its final in the hero."""
    home: Path = tmp_path_factory.mktemp("places") / "home"
    async with served(Settings(home=home)) as running:
        draft = await running.completed(
            await running.submit(quality="draft", blog_id="tour", role="hero", alt_text="A tower")
        )
        await running.completed(
            await running.submit(quality="standard", draft_job_id=draft["job_id"])
        )
        yield running


async def told(here: Here, path: str = HERO) -> dict[str, Any]:
    reply = await here.http.get(path)
    assert reply.status_code == 200, reply.text
    found: dict[str, Any] = reply.json()
    return found


async def test_a_place_is_edited_rolled_back_and_emptied(here: Here) -> None:
    before = await told(here)
    final, draft = before["candidates"]
    assert (final["is_current"], draft["is_draft"]) == (True, True)
    assert before["srcset"].split(", ") == [
        f"{variant['url']} {variant['width']}w" for variant in before["variants"]
    ]
    assert len(before["variants"]) == 3

    edited = {"alt_text": "A white tower", "focal_point": {"x": 0.5, "y": 0}}
    reply = await here.http.patch(HERO, json=edited)
    assert reply.status_code == 200
    assert reply.json() == await told(here)
    assert {name: reply.json()[name] for name in edited} == edited

    reply = await here.http.post(f"{HERO}/rollback", json={"image_id": draft["image_id"]})
    back = reply.json()
    assert (back["job_id"], back["is_draft"], back["alt_text"]) == (
        draft["job_id"], True, "A white tower",
    )  # fmt: skip
    reply = await here.http.post(f"{HERO}/rollback", json={"job_id": final["job_id"]})
    assert reply.json()["image_id"] == before["image_id"]

    for empty in (await here.http.delete(HERO), await here.http.post(f"{HERO}/unlink")):
        assert (empty.status_code, empty.json()["image_id"]) == (200, None)
        assert empty.json()["candidates"]
    types = here.rows("SELECT type FROM events WHERE stream_id = 'tour/hero/1' ORDER BY seq")
    assert [one.removeprefix("blog.image.") for (one,) in types] == [
        "candidate_added", "linked", "updated", "replaced", "replaced", "unlinked",
    ]  # fmt: skip


BAD: list[tuple[str, str, Any, int, str]] = [
    ("PATCH", HERO, {}, 422, "invalid_request"),
    ("PATCH", HERO, {"alt": "x"}, 422, "invalid_request"),
    ("PATCH", HERO, {"alt_text": "x" * 1_001}, 422, "invalid_request"),
    ("PATCH", HERO, {"caption": "a\x00b"}, 422, "invalid_request"),
    ("PATCH", HERO, {"focal_point": {"x": 1.01, "y": 0}}, 422, "invalid_request"),
    ("PATCH", HERO, {"focal_point": {"x": 0.5}}, 422, "invalid_request"),
    ("PATCH", HERO, {"focal_point": {"x": float("nan"), "y": 0}}, 422, "invalid_request"),
    ("PATCH", HERO, {"focal_point": {"x": "0.5", "y": 0}}, 422, "invalid_request"),
    ("PATCH", "/api/v1/blogs/tour/images/hero/2", {"alt_text": "x"}, 404, "no_such_slot"),
    ("PATCH", "/api/v1/blogs/tour/images/banner/1", {"alt_text": "x"}, 422, "invalid_request"),
    ("PATCH", "/api/v1/blogs/tour/images/hero/0", {"alt_text": "x"}, 422, "invalid_request"),
    ("PATCH", "/api/v1/blogs/none/images/hero/1", {"alt_text": "x"}, 404, "no_such_slot"),
    ("GET", "/api/v1/blogs/none/images/hero/1", None, 404, "no_such_slot"),
    ("GET", "/api/v1/blogs/none/costs", None, 404, "no_such_blog"),
    ("DELETE", "/api/v1/blogs/none", None, 404, "no_such_blog"),
    ("DELETE", "/api/v1/blogs/none/images/hero/1", None, 404, "no_such_slot"),
    ("POST", "/api/v1/blogs/none/images/hero/1/unlink", None, 404, "no_such_slot"),
    ("POST", f"{HERO}/rollback", {}, 422, "invalid_request"),
    ("POST", f"{HERO}/rollback", {"image_id": "first"}, 422, "invalid_request"),
    ("POST", f"{HERO}/rollback", {"image_id": NOBODYS}, 404, "no_such_candidate"),
    ("POST", f"{HERO}/rollback", {"job_id": NOBODYS}, 404, "no_such_candidate"),
    (
        "POST", f"{HERO}/rollback", {"job_id": NOBODYS, "image_id": NOBODYS}, 422,
        "invalid_request",
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    BAD,
    ids=[f"{method} {path[14:]} {str(body)[:24]}" for method, path, body, *_ in BAD],
)
async def test_what_is_wrong_is_a_problem_and_changes_nothing(
    here: Here, method: str, path: str, body: Any, status: int, code: str
) -> None:
    before = here.stored(), here.rows("SELECT * FROM blog_slots")
    content = json.dumps(body) if body is not None else None
    headers = {"Content-Type": "application/json"} if content else {}
    reply = await here.http.request(method, path, content=content, headers=headers)
    assert reply.status_code == status, reply.text
    assert reply.headers["content-type"] == "application/problem+json"
    assert reply.json()["code"] == code
    assert (here.stored(), here.rows("SELECT * FROM blog_slots")) == before


async def test_another_tenants_places_and_costs_answer_as_absent_ones(here: Here) -> None:
    candidate = here.rows("SELECT image_id FROM slot_candidates LIMIT 1")[0][0]
    here.limner.settings.tenant = "another"
    try:
        async with client_of(here.limner) as http:
            replies = [
                await http.get(HERO),
                await http.get("/api/v1/blogs/tour/costs"),
                await http.patch(HERO, json={"alt_text": "mine"}),
                await http.delete(HERO),
                await http.post(f"{HERO}/unlink"),
                await http.post(f"{HERO}/rollback", json={"image_id": candidate}),
            ]
    finally:
        here.limner.settings.tenant = "default"
    assert [reply.status_code for reply in replies] == [404] * 6


async def test_the_places_of_a_deleted_blog_are_gone_and_its_costs_stay(here: Here) -> None:
    await here.completed(await here.submit(blog_id="gone", role="hero"))
    spent = await told(here, "/api/v1/blogs/gone/costs")
    assert (await here.http.delete("/api/v1/blogs/gone")).status_code == 200
    path = "/api/v1/blogs/gone/images/hero/1"
    for reply in (
        await here.http.get(path),
        await here.http.patch(path, json={"alt_text": "x"}),
        await here.http.delete(path),
    ):
        assert (reply.status_code, reply.json()["code"]) == (410, "blog_gone")
    assert await told(here, "/api/v1/blogs/gone/costs") == spent


async def test_costs_tell_what_drafting_first_has_saved_by_the_ledger(here: Here) -> None:
    """Three drafts at 0.002, of which one became a final at 0.006: 0.012 instead of 0.018."""
    drafts = [
        (await here.completed(await here.submit(quality="draft", blog_id="saved")))["job_id"]
        for _ in range(3)
    ]
    before = await told(here, "/api/v1/blogs/saved/costs")
    assert (before["cost_confirmed"], before["saving"]) == ("0.006", None)
    await here.completed(await here.submit(quality="high", draft_job_id=drafts[0]))
    await here.completed(await here.submit(quality="ultra", blog_id="saved"))
    costs = await told(here, "/api/v1/blogs/saved/costs")
    assert (costs["drafts"], costs["finals"], costs["cost_confirmed"]) == (3, 2, "0.02")
    assert [
        (one["quality"], one["jobs"], one["cost_confirmed"]) for one in costs["by_quality"]
    ] == [
        ("draft", 3, "0.006"),
        ("high", 1, "0.006"),
        ("ultra", 1, "0.008"),
    ]
    saving = costs["saving"]
    assert saving == {
        "tries": 3, "finals": 1, "drafts_spent": "0.006", "finals_spent": "0.006",
        "all_final": "0.018", "saved": "0.006", "share": "0.3333",
    }  # fmt: skip
    n, d, f = 3, Decimal("0.002"), Decimal("0.006")
    assert abs(Decimal(saving["share"]) - (1 - (n * d + f) / (n * f))) < Decimal("0.0001")
