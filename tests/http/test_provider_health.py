"""How providers do, as callers, commands and `doctor` are told, over the double of Stability AI."""

import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.settings import Misconfigured, Settings
from tests.fakes.stability import KEY, Misbehaviour, StabilityDouble
from tests.http.test_stability import failed
from tests.service import GENERATE, Here, Service, command, served
from tests.test_cli_commands import ask, done_well, submitted

HEALTH = "/api/v1/images/providers/health"
RESET = "/api/v1/images/providers/stability_ai/reset"
JOBS = "/api/v1/images/jobs"


@pytest.fixture
def double() -> Iterator[StabilityDouble]:
    with StabilityDouble() as running:
        yield running


def settings(home: Path, double: StabilityDouble, **changes: Any) -> Settings:
    stability = {"api_key": KEY, "base_url": double.url}
    return Settings(home=home / "home", stability=stability, **changes)


@pytest.fixture
async def here(tmp_path: Path, double: StabilityDouble) -> AsyncIterator[Here]:
    async with served(settings(tmp_path, double)) as running:
        yield running


async def health_of(here: Here, name: str = "stability_ai") -> dict[str, Any]:
    told = (await here.http.get(HEALTH)).json()["providers"]
    found: dict[str, Any] = next(one for one in told if one["name"] == name)
    return found


async def test_a_refused_key_is_told_everywhere_and_a_reset_lets_its_jobs_go_on(
    here: Here, double: StabilityDouble
) -> None:
    assert (await health_of(here))["status"] == "unknown"
    assert (await health_of(here, "sketch"))["status"] == "ok"
    double.script.append(Misbehaviour.UNAUTHORIZED)
    first = await here.submit(provider="stability_ai", quality="draft")
    query = "SELECT count(*) FROM jobs WHERE waiting = 'provider_unusable'"
    await here.until(lambda: here.rows(query) == [(1,)], "held")
    others = [await here.submit(provider="stability_ai", quality="draft") for _ in range(5)]
    await here.until(lambda: here.rows(query) == [(6,)], "all held")
    health = await health_of(here)
    assert (health["status"], health["reason"]) == ("open", "unauthorized")
    assert (health["queued_jobs"], health["waiting_jobs"]) == (6, 6)
    assert health["next_probe_at"] > health["since"]
    assert "API key is refused" in health["detail"]
    job = await here.status(others[0])
    assert job["status"] == "queued"
    assert job["waiting"]["reason"] == "provider_unusable"
    assert job["waiting"]["detail"] == health["detail"]
    listed = (await here.http.get(JOBS, params={"state": "queued"})).json()["jobs"]
    assert [one["waiting"]["reason"] for one in listed] == ["provider_unusable"] * 6
    assert KEY not in json.dumps([health, job])
    # Sketch, which has no key, goes on.
    await here.completed(await here.submit(provider="sketch", quality="draft"))
    assert len(double.asked) == 1
    reply = await here.http.post(RESET)
    assert (reply.status_code, reply.json()["status"]) == (200, "ok")
    for job_id in (first, *others):
        assert (await here.completed(job_id))["waiting"] is None
    assert len(double.paid) == 6


async def test_resetting_what_is_not_configured_is_a_404_that_names_what_is(here: Here) -> None:
    reply = await here.http.post("/api/v1/images/providers/dalle/reset")
    assert reply.status_code == 404
    problem = reply.json()
    assert (problem["code"], problem["known"]) == ("no_such_provider", ["sketch", "stability_ai"])
    assert (await here.http.post("/api/v1/images/providers/sketch/reset")).status_code == 200
    assert here.count("providers") == 0


async def test_a_retired_model_is_told_by_an_event_by_health_and_in_the_list(
    here: Here, double: StabilityDouble
) -> None:
    double.script += [Misbehaviour.RETIRED] * 2
    for _ in range(2):
        job_id = await here.submit(provider="stability_ai", quality="draft")
        assert (await failed(here, job_id))["error_details"]["code"] == "model_retired"
    events = here.rows("SELECT type, data FROM events WHERE stream_kind = 'provider'")
    assert [kind for kind, _ in events] == ["provider.model_retired"]
    told = json.loads(events[0][1])
    assert (told["provider"], told["model"]) == ("stability_ai", "sd3.5-flash")
    health = await health_of(here)
    assert [one["model"] for one in health["retired_models"]] == ["sd3.5-flash"]
    assert "sd3.5-flash" in health["detail"]
    (listed,) = [
        one
        for one in (await here.http.get("/api/v1/images/providers")).json()["providers"]
        if one["name"] == "stability_ai"
    ]
    assert {one["resolved_model"]: one["retired"] for one in listed["models"]} == {
        "sd3.5-flash": True, "core": False, "sd3.5-medium": False, "sd3.5-large-turbo": False,
        "sd3.5-large": False,
    }  # fmt: skip


async def test_without_a_key_the_provider_is_told_as_not_configured(tmp_path: Path) -> None:
    async with served(Settings(home=tmp_path / "home")) as here:
        health = await health_of(here)
        assert health["status"] == "not_configured"
        assert "sketch paints in its place" in health["detail"]


async def test_what_a_refused_key_held_is_begun_by_itself_with_another_key(
    tmp_path: Path, double: StabilityDouble
) -> None:
    home = tmp_path / "home"
    refused = {"api_key": "sk-of-last-year", "base_url": double.url}
    async with served(Settings(home=home, stability=refused)) as here:
        job_id = await here.submit(provider="stability_ai")
        query = "SELECT count(*) FROM jobs WHERE waiting = 'provider_unusable'"
        await here.until(lambda: here.rows(query) == [(1,)], "held")
    async with served(Settings(home=home)) as here:  # no key at all
        job = await here.status(job_id)
        assert job["waiting"]["reason"] == "provider_not_configured"
        assert (await health_of(here))["queued_jobs"] == 1
    times = {"sweep_interval_seconds": 0.05}
    async with served(settings(tmp_path, double, times=times)) as here:
        await here.completed(job_id)
        assert here.count("providers") == 2
        assert (await health_of(here))["status"] == "ok"


async def test_the_default_provider_falls_back_along_the_setting(
    tmp_path: Path, double: StabilityDouble
) -> None:
    double.script.append(Misbehaviour.OUT_OF_CREDIT)
    chosen = settings(
        tmp_path, double, default_provider="stability_ai", provider_fallback=["sketch"]
    )
    async with served(chosen) as here:
        assert (await here.http.get("/api/v1/images/providers")).json()["fallback"] == ["sketch"]
        job = await here.completed(await here.submit(quality="draft"))
        assert job["provider"] == job["result"]["provider"] == "sketch"
        assert "stability_ai did not paint it (out_of_credit)" in job["warnings"][0]
    assert double.paid == []


async def test_an_unknown_fallback_stops_the_start_and_a_request_names_its_field(
    tmp_path: Path, here: Here
) -> None:
    with pytest.raises(Misconfigured, match="provider_fallback: there is no provider 'dalle'"):
        async with served(Settings(home=tmp_path / "other", provider_fallback=["dalle"])):
            pass
    for fallback, code in ((["dalle"], "unknown_provider"), ("sketch", "invalid_request")):
        reply = await here.http.post(GENERATE, json={"prompt": "a mill", "fallback": fallback})
        assert reply.status_code == 422
        assert (reply.json()["code"], reply.json()["field"]) == (code, "fallback")
    assert here.count("jobs") == 0


def test_commands_list_diagnose_and_reset(tmp_path: Path, double: StabilityDouble) -> None:
    double.script.append(Misbehaviour.OUT_OF_CREDIT)
    given = {"stability__api_key": KEY, "stability__base_url": double.url}
    with Service(tmp_path / "home", **given) as service:
        job_id = submitted(service, provider="stability_ai")
        held = "waiting = 'provider_unusable'"
        service.until(lambda: service.count("jobs", held) == 1, "held")
        listed = done_well(ask(service, "providers"))
        assert listed.splitlines() == [
            "sketch\tok\t-\t0\t0", "stability_ai\topen\tout_of_credit\t1\t1",
        ]  # fmt: skip
        shown = json.loads(done_well(ask(service, "providers", "--json")))
        assert [one["status"] for one in shown["health"]] == ["ok", "open"]
        assert shown["default"] == "sketch"
        job = done_well(ask(service, "jobs", "show", job_id))
        assert "waits: stability_ai: its account has no credit left." in job
        found = command("doctor", "--json", "--home", str(service.home), server=service.address)
        assert found.returncode == 1
        (key,) = [one for one in json.loads(found.stdout)["findings"] if one["check"] == "keys"]
        assert key["level"] == "fail"
        assert "out_of_credit" in key["detail"]
        assert "limner providers reset stability_ai" in key["remedy"]
        assert KEY not in found.stdout + listed + job
        assert done_well(ask(service, "providers", "reset", "stability_ai")) == "stability_ai\tok\n"
        service.until(lambda: service.count("jobs", "state = 'completed'") == 1, "completed")
        wrong = ask(service, "providers", "reset", "dalle")
        assert wrong.returncode == 1
        assert "Configured: sketch, stability_ai" in wrong.stderr
