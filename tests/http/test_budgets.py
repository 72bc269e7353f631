"""Budgets over HTTP: what is set is told, and what is above is refused with all that it takes."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.settings import Settings
from tests.http.test_bad_input import assert_problem
from tests.service import GENERATE, JOBS, Here, idle_settings, served

BUDGETS = "/api/v1/images/budgets"


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Here]:
    async with served(idle_settings(tmp_path / "home")) as running:
        yield running


async def put(here: Here, limit: Any, **fields: Any) -> Any:
    return await here.http.put(BUDGETS, json={"limit": limit} | fields)


async def test_of_500_requests_at_once_a_budget_for_ten_accepts_exactly_ten(
    tmp_path: Path, database_url: str
) -> None:
    settings = idle_settings(tmp_path / "home", database_url=database_url)
    async with served(settings) as here:
        assert (await put(here, "0.02")).status_code == 200
        body = {"prompt": "a lighthouse", "quality": "draft"}
        keys = [f"key-{number}" for number in range(500)]
        replies = await asyncio.gather(
            *(here.http.post(GENERATE, json=body, headers={"Idempotency-Key": k}) for k in keys)
        )
        assert Counter(reply.status_code for reply in replies) == {202: 10, 402: 490}
        (budget,) = (await here.http.get(BUDGETS)).json()["budgets"]
        assert (budget["held"], budget["left"]) == ("0.02", "0")
        taken = [key for key, reply in zip(keys, replies, strict=True) if reply.status_code == 202]
        again = await here.http.post(GENERATE, json=body, headers={"Idempotency-Key": taken[0]})
        assert (again.status_code, again.headers["idempotency-replayed"]) == (202, "true")


async def test_a_budget_is_set_told_refuses_with_its_numbers_and_is_removed(here: Here) -> None:
    reply = await put(here, "0.01", blog_id="post", period="day")
    day = reply.json()["day"]
    assert (reply.status_code, reply.json()) == (200, {
        "blog_id": "post", "period": "day", "day": day,
        "limit": "0.01", "spent": "0", "held": "0", "left": "0.01",
    })  # fmt: skip
    job_id = await here.submit(quality="high", blog_id="post")
    assert (await here.status(job_id))["held"] == "0.006"
    listed = (await here.http.get(BUDGETS)).json()
    assert listed["currency"] == "USD"
    assert [(one["held"], one["left"]) for one in listed["budgets"]] == [("0.006", "0.004")]

    asked = {"prompt": "a mill", "quality": "high", "blog_id": "post"}
    problem = assert_problem(await here.http.post(GENERATE, json=asked), 402, "budget_exceeded")
    assert problem["cost"] == "0.006"
    assert problem["budget"] == listed["budgets"][0]
    for told in ("blog post", day, "$0.006", "$0.004", "$0.01", "Nothing was stored", "charged"):
        assert told in problem["detail"]
    images = {"images": [{"prompt": "a"}, {"prompt": "b", "blog_id": "post"}]}
    batch = images | {"workflow": "final_only", "final_quality": "ultra"}
    reply = await here.http.post("/api/v1/images/batch-generate", json=batch)
    assert_problem(reply, 402, "budget_exceeded")
    assert here.count("jobs") == 1

    assert (await here.http.post(f"{JOBS}/{job_id}/cancel")).json()["held"] is None
    which = {"blog_id": "post", "period": "day"}
    assert (await here.http.delete(BUDGETS, params=which)).status_code == 204
    assert (await here.http.get(BUDGETS)).json()["budgets"] == []
    assert_problem(await here.http.delete(BUDGETS, params=which), 404, "no_such_budget")
    assert (await here.http.post(GENERATE, json=asked | {"quality": "ultra"})).status_code == 202


async def test_what_was_painted_before_counts_and_a_blocked_promotion_is_told(
    tmp_path: Path,
) -> None:
    settings = Settings(home=tmp_path / "home")
    async with served(settings) as here:
        draft = await here.completed(await here.submit(quality="draft"))
        assert (await put(here, "0.007")).json()["spent"] == "0.002"
        path = f"{JOBS}/{draft['job_id']}/promote"
        problem = assert_problem(await here.http.post(path), 402, "budget_exceeded")
        assert problem["budget"]["left"] == "0.005"
        links = (await here.http.post(f"{JOBS}/{draft['job_id']}/approval-links")).json()
        page = await here.http.post(links["approve_url"])
        assert page.status_code == 402
        assert "$0.005 left" in page.text
        await put(here, "0.008")
        page = await here.http.post(links["approve_url"])
        assert page.status_code == 200


BAD: list[tuple[Any, str]] = [
    ({"limit": 0.1}, "limit"), ({"limit": True}, "limit"), ({"limit": "-1"}, "limit"),
    ({"limit": "NaN"}, "limit"), ({"limit": "Infinity"}, "limit"), ({"limit": "much"}, "limit"),
    ({"limit": "0.0000001"}, "limit"), ({"limit": "1e30"}, "limit"), ({"limit": None}, "limit"),
    ({}, "limit"), ({"limit": "1", "period": "week"}, "period"),
    ({"limit": "1", "blog_id": "a/b"}, "blog_id"), ({"limit": "1", "blog_id": ""}, "blog_id"),
    ({"limit": "1", "currency": "EUR"}, "currency"),
]  # fmt: skip


async def test_a_bad_budget_is_refused_with_its_field_and_nothing_is_stored(here: Here) -> None:
    before = here.stored()
    for body, field in BAD:
        reply = await here.http.put(BUDGETS, json=body)
        problem = assert_problem(reply, 422, "invalid_request")
        assert problem["field"] == field, body
        assert "Nothing was stored" in problem["detail"]
        assert "Decimal" not in problem["detail"], problem["detail"]
    reply = await here.http.delete(BUDGETS, params={"period": "week"})
    assert assert_problem(reply, 422, "invalid_request")["field"] == "period"
    assert here.stored() == before
    for limit, told in ((3, "3"), ("12.5", "12.5"), ("99999999.999999", "99999999.999999")):
        assert (await put(here, limit)).json()["limit"] == told
