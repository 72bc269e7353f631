"""`POST /generate` waits for the pictures: 200 in time, 202 with the job else, nothing lost."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from pipeline.settings import Settings
from tests.fakes.stability import KEY, Misbehaviour, StabilityDouble
from tests.http.test_bad_input import assert_problem
from tests.service import Here, served

WAITING = "/api/v1/images/generate"


async def asked(here: Here, path: str = WAITING, **fields: Any) -> Any:
    return await here.http.post(path, json={"prompt": "a lighthouse", "quality": "draft", **fields})


async def test_pictures_that_are_made_in_time_are_the_reply(tmp_path: Path) -> None:
    async with served(Settings(home=tmp_path / "home")) as here:
        reply = await asked(here, blog_id="post")
        told = reply.json()
        assert (reply.status_code, told["success"], told["is_draft"]) == (200, True, True)
        (image,) = told["images"]
        assert (await here.http.get(image["url"])).status_code == 200
        job = await here.status(told["job_id"])
        assert job["result"]["images"] == told["images"]
        assert told["cost"] == job["result"]["cost"]
        assert reply.headers["Location"].endswith(told["job_id"])


async def test_what_takes_longer_is_a_job_that_goes_on(tmp_path: Path) -> None:
    async with served(Settings(home=tmp_path / "home")) as here:
        await here.http.post("/api/v1/dispatch/pause")
        reply = await asked(here, f"{WAITING}?wait_seconds=0.05")
        told = reply.json()
        assert (reply.status_code, told["status"]) == (202, "queued")
        assert reply.headers["Retry-After"] == "1"
        await here.http.post("/api/v1/dispatch/resume")
        assert (await here.completed(told["job_id"]))["result"]["images"]


async def test_a_repeated_request_waits_for_the_same_job(tmp_path: Path) -> None:
    async with served(Settings(home=tmp_path / "home")) as here:
        headers = {"Idempotency-Key": "once"}
        body = {"prompt": "a mill", "quality": "draft"}
        posts = (here.http.post(WAITING, json=body, headers=headers) for _ in range(5))
        replies = await asyncio.gather(*posts)
        assert {reply.status_code for reply in replies} == {200}
        assert len({reply.json()["job_id"] for reply in replies}) == 1
        assert here.count("jobs") == 1


@pytest.mark.parametrize(
    ("misbehaviour", "status", "code"),
    [
        (Misbehaviour.MODERATED, 422, "moderated"),
        (Misbehaviour.RESET_AFTER, 502, "outcome_unknown"),
    ],
)
async def test_a_failed_job_is_a_problem_that_names_it(
    tmp_path: Path, misbehaviour: Misbehaviour, status: int, code: str
) -> None:
    with StabilityDouble() as double:
        double.script = [misbehaviour]
        stability = {"api_key": KEY, "base_url": double.url}
        async with served(Settings(home=tmp_path / "home", stability=stability)) as here:
            reply = await asked(here, provider="stability_ai", quality="high")
            problem = assert_problem(reply, status, "job_failed")
            assert problem["error_code"] == code
            assert (await here.status(problem["job_id"]))["status"] == "failed"


async def test_bad_waits_and_requests_are_refused_before_a_job_is_made(tmp_path: Path) -> None:
    async with served(Settings(home=tmp_path / "home")) as here:
        for bad in ("-1", "56", "soon", "nan"):
            reply = await asked(here, f"{WAITING}?wait_seconds={bad}")
            assert reply.status_code == 422
        assert (await asked(here, style="oil")).status_code == 422
        assert here.count("jobs") == 0
