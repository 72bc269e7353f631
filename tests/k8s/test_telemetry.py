"""What the telemetry component asks for is told by the program, and every alert has its page."""

import json
import re
from functools import cache
from typing import Any

import httpx2
import pytest
import yaml
from typer.main import get_command

from adapters.store.gauges import Vitals
from pipeline.cli.app import app
from pipeline.telemetry.sdk import serve_metrics
from tests.k8s.manifests import ROOT, production_with

FOLDER = ROOT / "k8s/components/telemetry"
RUNBOOKS = ROOT / "docs/runbooks"
# FastAPI's own, told once a request came; `tests/test_metrics.py` reads it from a running program.
OF_REQUESTS = {"http_server_request_duration_seconds"}
DERIVED = re.compile(r"_(bucket|count|sum)$")


@cache
def told() -> frozenset[str]:
    """The names of all that the program measures, without what Prometheus derives."""
    served = serve_metrics({}, "127.0.0.1", 0)
    try:
        metrics = served.metrics
        metrics.took(1, 0.1)
        metrics.know(Vitals({}, 0, 0, 0, 0, 0, 0, 0))
        metrics._in_state.record(1)
        metrics._calls.record(1)
        metrics._ended.add(1)
        metrics._spent.add(1)
        text = httpx2.get(f"http://127.0.0.1:{served.port}/metrics").text
    finally:
        served.close()
    return frozenset(re.findall(r"^# TYPE (\S+)", text, re.MULTILINE)) | OF_REQUESTS


def rules() -> list[dict[str, Any]]:
    (found,) = production_with(("telemetry",)).of("Rules")
    return [rule for group in found["spec"]["groups"] for rule in group["rules"]]


def names(expression: str) -> set[str]:
    found = re.findall(r"\b((?:limner|http)_[A-Za-z_]+)", expression)
    return {DERIVED.sub("", one) for one in found} - {
        "http_response_status_code", "http_route",
    }  # fmt: skip


def expressions() -> list[str]:
    board = json.loads((FOLDER / "dashboard.json").read_text())
    panels = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    return panels + [rule["expr"] for rule in rules()]


@pytest.mark.parametrize("expression", expressions())
def test_every_expression_asks_for_what_is_told(expression: str) -> None:
    assert names(expression)
    assert names(expression) <= told()
    assert expression.count("(") == expression.count(")")


def test_every_metric_is_described_and_looked_at() -> None:
    looked_at = set[str]().union(*map(names, expressions()))
    assert told() - {"target_info"} == looked_at
    page = (ROOT / "docs/telemetry.md").read_text()
    assert {name for name in looked_at if f"`{name}`" not in page} == set()


def test_every_alert_has_a_page_and_every_page_an_alert() -> None:
    pages = {}
    for rule in rules():
        page = ROOT / rule["annotations"]["runbook"]
        assert f"(`{rule['alert']}`)" in page.read_text().splitlines()[0]
        assert rule["labels"]["severity"] in ("page", "ticket")
        pages[page] = rule
    assert pages.keys() == set(RUNBOOKS.glob("*.md"))


@pytest.mark.parametrize("page", sorted(RUNBOOKS.glob("*.md")), ids=lambda page: page.stem)
def test_runbooks_name_commands_that_there_are_and_pages_that_exist(page: Any) -> None:
    text = page.read_text()
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        assert (page.parent / target).exists(), target
    commands = set(re.findall(r"`limner ([a-z][a-z -]*[a-z])", text))
    for one in commands:
        command: Any = get_command(app)
        for word in one.split(" -")[0].split():
            command = command.commands[word]


def test_the_program_listens_where_it_is_scraped() -> None:
    built = production_with(("telemetry",))
    (monitoring,) = built.of("PodMonitoring")
    (endpoint,) = monitoring["spec"]["endpoints"]
    for workload in built.servers:
        port = next(one for one in workload.main.ports if one["name"] == endpoint["port"])
        told = built.settings(workload)["LIMNER_TELEMETRY__METRICS_PORT"]
        assert str(port["containerPort"]) == told
        assert workload.selected_by(monitoring["spec"]["selector"])
    board = built.one("ConfigMap", "limner-dashboard")
    assert json.loads(board["data"]["dashboard.json"])["uid"] == "limner"
    assert yaml.safe_load(board["metadata"]["labels"]["grafana_dashboard"]) == 1
