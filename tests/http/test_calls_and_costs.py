"""Calls that a person has to decide, and the costs of a day, over HTTP."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import pytest_asyncio

from pipeline.settings import Settings
from tests.fakes.stability import KEY, Misbehaviour, StabilityDouble
from tests.service import JOBS, Here, client_of, served

pytestmark = pytest.mark.asyncio(loop_scope="module")

NOBODYS = str(UUID(int=7))
CALLS = "/api/v1/images/calls"
COSTS = "/api/v1/images/costs"
PAID: dict[str, Any] = {"provider": "stability_ai", "quality": "high", "blog_id": "post"}


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def here(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Here]:
    home: Path = tmp_path_factory.mktemp("calls") / "home"
    with StabilityDouble([Misbehaviour.RESET_AFTER] * 2) as double:
        stability = {"api_key": KEY, "base_url": double.url}
        async with served(Settings(home=home, stability=stability)) as running:
            for _ in range(2):
                await parked(running)
            await running.completed(await running.submit(**PAID))
            yield running


async def parked(here: Here) -> None:
    job_id = await here.submit(**PAID)
    query = "SELECT state FROM jobs WHERE id = ?"
    key = job_id.replace("-", "")
    await here.until(lambda: here.rows(query, key) == [("failed",)], f"job {job_id} failed")


async def told(here: Here, path: str, **query: str) -> dict[str, Any]:
    reply = await here.http.get(path, params=query)
    assert reply.status_code == 200, reply.text
    found: dict[str, Any] = reply.json()
    return found


async def test_a_lost_call_is_found_resolved_and_counted_in_every_view(here: Here) -> None:
    unknown = (await told(here, CALLS, state="unknown"))["calls"]
    call, other = unknown
    assert (call["provider"], call["model"]) == ("stability_ai", "sd3.5-large-turbo")
    assert (call["amount"], call["job_status"], call["on_unknown"]) == ("0.04", "failed", "park")
    assert "$0.04 for sd3.5-large-turbo in the account of stability_ai" in call["look_for"]
    assert "lighthouse" not in json.dumps(unknown)
    day = call["asked_at"][:10]
    before = await told(here, COSTS, day=day)
    assert (before["calls"], before["cost_confirmed"], before["cost_possible"]) == (
        3, "0.04", "0.08",
    )  # fmt: skip
    (model,) = before["by_model"]
    assert (model["credits_confirmed"], model["credits_possible"]) == ("4", "8")

    resolve = f"{CALLS}/{call['job_id']}/{call['attempt']}/resolve"
    for _ in range(2):
        reply = await here.http.post(resolve, json={"charged": True, "amount": "0.05"})
        assert (reply.status_code, reply.json()["state"]) == (200, "answered")
        assert reply.json()["amount"] == "0.05"
        assert "The job stays failed until somebody retries it" in reply.json()["what_now"]
    refused = await here.http.post(resolve, json={"charged": False})
    assert (refused.status_code, refused.json()["code"]) == (409, "resolved_otherwise")
    assert refused.json()["resolved_as"] == "charged, $0.05"
    reply = await here.http.post(f"{CALLS}/{other['job_id']}/1/resolve", json={"charged": False})
    assert (reply.json()["state"], reply.json()["look_for"]) == ("not_charged", None)

    assert (await told(here, CALLS, state="unknown"))["calls"] == []
    after = await told(here, COSTS, day=day)
    assert (after["calls"], after["cost_confirmed"], after["cost_possible"]) == (2, "0.09", "0")
    blog = await told(here, "/api/v1/blogs/post/costs")
    assert (blog["cost_confirmed"], blog["cost_possible"]) == ("0.09", "0")
    jobs = {job["job_id"]: job for job in (await told(here, JOBS))["jobs"]}
    assert jobs[call["job_id"]]["cost_confirmed"] == "0.05"
    assert jobs[other["job_id"]]["cost_confirmed"] == "0"

    bought = await here.http.post(f"{JOBS}/{other['job_id']}/retry")
    assert bought.status_code == 200
    done = await here.completed(other["job_id"])
    assert (done["attempt"], done["cost_confirmed"], done["cost_possible"]) == (2, "0.04", "0")


async def test_a_day_without_pictures_cost_nothing_and_today_is_the_default(here: Here) -> None:
    empty = await told(here, COSTS, day="2020-02-29")
    assert (empty["day"], empty["calls"], empty["by_model"]) == ("2020-02-29", 0, [])
    assert (empty["currency"], empty["cost_confirmed"], empty["unknown_prices"]) == ("USD", "0", 0)
    today = here.limner.journal.now().date().isoformat()
    assert (await told(here, COSTS))["day"] == today


A_CALL = f"{CALLS}/{NOBODYS}/1/resolve"
BAD: list[tuple[str, str, Any, int, str, str | None]] = [
    ("GET", f"{CALLS}?state=lost", None, 422, "invalid_request", "state"),
    ("GET", f"{CALLS}?limit=0", None, 422, "invalid_request", "limit"),
    ("GET", f"{CALLS}?cursor={NOBODYS}", None, 422, "invalid_request", "cursor"),
    ("GET", f"{CALLS}?job_id=mine", None, 422, "invalid_request", "job_id"),
    ("GET", f"{CALLS}?prompt=x", None, 422, "invalid_request", "prompt"),
    ("GET", f"{COSTS}?day=yesterday", None, 422, "invalid_request", "day"),
    ("GET", f"{COSTS}?day=2026-02-30", None, 422, "invalid_request", "day"),
    ("POST", A_CALL, {"charged": True}, 404, "no_such_call", None),
    ("POST", A_CALL, {}, 422, "invalid_request", "charged"),
    ("POST", A_CALL, {"charged": "yes"}, 422, "invalid_request", "charged"),
    ("POST", A_CALL, {"charged": True, "amount": "-1"}, 422, "invalid_request", "amount"),
    ("POST", A_CALL, {"charged": True, "amount": "NaN"}, 422, "invalid_request", "amount"),
    ("POST", A_CALL, {"charged": True, "amount": "1e9"}, 422, "invalid_request", "amount"),
    ("POST", A_CALL, {"charged": True, "amount": "0.0000001"}, 422, "invalid_request", "amount"),
    ("POST", A_CALL, {"charged": False, "amount": "0.04"}, 422, "invalid_request", "body"),
    ("POST", A_CALL, {"charged": True, "note": "x"}, 422, "invalid_request", "note"),
    ("POST", f"{CALLS}/{NOBODYS}/0/resolve", {"charged": True}, 422, "invalid_request", "attempt"),
    (
        "POST", f"{CALLS}/{NOBODYS}/2147483648/resolve", {"charged": True}, 422,
        "invalid_request", "attempt",
    ),
    ("POST", f"{CALLS}/mine/1/resolve", {"charged": True}, 422, "invalid_request", "job_id"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code", "field"),
    BAD,
    ids=[f"{method} {path[14:50]} {str(body)[:40]}" for method, path, body, *_ in BAD],
)
async def test_what_is_wrong_is_a_problem_that_names_the_field(
    here: Here, method: str, path: str, body: Any, status: int, code: str, field: str | None
) -> None:
    before = here.rows("SELECT * FROM provider_calls")
    reply = await here.http.request(method, path, json=body)
    assert reply.status_code == status, reply.text
    assert reply.headers["content-type"] == "application/problem+json"
    assert (reply.json()["code"], reply.json().get("field")) == (code, field)
    assert here.rows("SELECT * FROM provider_calls") == before


async def test_another_tenants_calls_and_costs_answer_as_absent_ones(here: Here) -> None:
    (call, *_) = (await told(here, CALLS))["calls"]
    here.limner.settings.tenant = "another"
    try:
        async with client_of(here.limner) as http:
            listed = await http.get(CALLS)
            resolved = await http.post(
                f"{CALLS}/{call['job_id']}/{call['attempt']}/resolve", json={"charged": True}
            )
            spent = await http.get(COSTS, params={"day": call["asked_at"][:10]})
    finally:
        here.limner.settings.tenant = "default"
    assert (listed.json()["calls"], spent.json()["calls"]) == ([], 0)
    assert (resolved.status_code, resolved.json()["code"]) == (404, "no_such_call")
