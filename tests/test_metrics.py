"""What Prometheus reads, from a running program and from the database."""

import re
import socket
from pathlib import Path
from uuid import UUID, uuid4

import httpx2
import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from adapters.errors import OutcomeUnknown
from adapters.store.gauges import vitals
from adapters.traces import span
from pipeline.settings import Settings
from pipeline.telemetry.metrics import Metrics
from pipeline.telemetry.sdk import WholeTraces
from tests.budgets import limit
from tests.fakes.clock import FakeClock
from tests.fakes.instant import CONNECT
from tests.fakes.provider import COST, raises
from tests.service import GENERATE, JOBS, Service, command
from tests.world import world_on

UUIDS = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}|[0-9a-f]{32}")


def value(text: str, name: str, **labels: str) -> float:
    """The sample of *name* that has at least *labels*."""
    for line in text.splitlines():
        found = re.fullmatch(rf"{name}(?:\{{(.*)\}})? (\S+)", line)
        if found and dict(re.findall(r'(\w+)="([^"]*)"', found[1] or "")).items() >= labels.items():
            return float(found[2])
    raise AssertionError(f"no {name} {labels} in:\n{text}")


def test_a_running_program_tells_its_numbers_and_no_names(tmp_path: Path) -> None:
    with Service(tmp_path / "home", connect=CONNECT, telemetry__metrics_port="0") as service:
        port = service.wait_for_log("metrics_served")["port"]

        def told() -> str:
            return httpx2.get(f"http://127.0.0.1:{port}/metrics").text

        with service.client as client:
            body = {"prompt": "a mill", "quality": "draft", "blog_id": "secret-post"}
            job_id = client.post(GENERATE, json=body).json()["job_id"]
            path = f"{JOBS}/{job_id}"
            service.until(lambda: client.get(path).json()["status"] == "completed", "painted")
            assert client.get("/api/v1/images/jobs/nonsense").status_code == 422
        service.until(lambda: "limner_jobs_ended_total{" in told(), "counted")
        text = told()
    assert value(text, "limner_jobs_ended_total", state="completed", quality="draft", code="") == 1
    for state in ("queued", "running", "processing_result"):
        assert value(text, "limner_job_state_duration_seconds_count", state=state) == 1
    calls = "limner_provider_call_duration_seconds_count"
    assert value(text, calls, provider="sketch", outcome="answered") == 1
    assert value(text, "limner_journal_commit_duration_seconds_count") >= 4
    assert value(text, "limner_journal_group_size_sum") >= 4
    requests = "http_server_request_duration_seconds_count"
    assert value(text, requests, http_route=GENERATE, http_response_status_code="202") == 1
    route = "/api/v1/images/jobs/{job_id}"
    assert value(text, requests, http_route=route, http_response_status_code="422") == 1
    assert value(text, "limner_jobs_open", state="queued") == 0  # as it was at the start
    assert "secret-post" not in text
    ours = [line for line in text.splitlines() if not line.startswith("target_info")]
    assert not UUIDS.findall("\n".join(ours))


def test_a_port_that_is_taken_ends_the_start_with_a_line(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        ended = command("serve", "--port", "0", home=str(tmp_path), telemetry__metrics_port=port)
    assert ended.returncode == 2
    assert f"LIMNER_TELEMETRY__METRICS_PORT: {port}" in ended.stderr
    assert "Traceback" not in ended.stderr


async def test_the_database_is_told_in_counts_ages_and_dollars(database_url: str) -> None:
    async with world_on(database_url) as world:
        assert isinstance(world.clock, FakeClock)
        waiting = await world.submit()
        await world.clock.advance(40)
        lost = await world.submit(quality="high")
        world.provider.script.append(raises(OutcomeUnknown("reset")))
        await world.deliver(lost)
        found = await world.journal.read(vitals, world.journal.now())
        assert found.jobs == {"queued": 1}
        assert found.queue_seconds == pytest.approx(40, abs=1)
        assert (found.unknown_calls, found.unknown_cost) == (1, float(COST))
        assert found.outbox > 0
        assert found.outbox_seconds == pytest.approx(40, abs=1)
        assert (found.dead_letters, found.deliveries) == (0, 0)
        await world.deliver(waiting)
        found = await world.journal.read(vitals, world.journal.now())
        assert (found.jobs, found.queue_seconds) == ({}, 0)


async def test_what_a_provider_charged_is_added_up_by_model(database_url: str) -> None:
    reader = InMemoryMetricReader()
    metrics = Metrics(MeterProvider([reader]).get_meter("limner"))
    async with world_on(database_url) as world:
        world.journal.subscribe(metrics.take)
        await limit(world)  # so that a settled call is written twice in its commit
        for _ in range(2):
            await world.deliver(await world.submit(quality="high"))
        world.provider.script.append(raises(OutcomeUnknown("reset")))
        await world.deliver(await world.submit(quality="high"))
    (resource,) = reader.get_metrics_data().resource_metrics
    told = {one.name: one.data for scope in resource.scope_metrics for one in scope.metrics}
    (spent,) = told["limner.spend"].data_points
    assert spent.value == pytest.approx(float(2 * COST))
    assert spent.attributes == {"provider": "paid", "model": "paid-1"}
    outcomes = {
        point.attributes["outcome"]: point.count
        for point in told["limner.provider.call.duration"].data_points
    }
    assert outcomes == {"answered": 2, "unknown": 1}


def test_a_job_is_kept_whole_or_not_at_all_and_at_the_ratio_asked_for() -> None:
    sampler = WholeTraces(0.25)
    kept = sum(
        sampler.should_sample(None, uuid4().int, "x").decision.is_sampled() for _ in range(4000)
    )
    assert 850 < kept < 1150
    for ratio, decided in ((0.0, False), (1.0, True)):
        decision = WholeTraces(ratio).should_sample(None, UUID(int=2**127 + 7).int, "x").decision
        assert decision.is_sampled() is decided


def test_nothing_is_traced_unless_it_is_asked_for() -> None:
    with span("work") as made:
        assert made is None
    assert Settings().telemetry.traces_endpoint is None
