"""One trace for each job, from the request to the linked picture, through every process."""

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any
from uuid import UUID

import pytest

from tests.fakes.collector import Collector, Told
from tests.fakes.google.cloud import Cloud
from tests.fakes.instant import CONNECT, CONNECT_GOOGLE
from tests.service import GENERATE, JOBS, Service

CANARY = "CANARYPROMPT"
# Spans are sent soon, and not when five seconds are over.
SOON = {"OTEL_BSP_SCHEDULE_DELAY": "100"}
STEPS = {
    "create image job", "send image task", "process image task", "ask sketch", "publish event",
    "handle event by blog-linking",
}  # fmt: skip


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as running:
        yield running


def trace_of(service: Service, collector: Collector, steps: set[str], **asked: Any) -> list[Told]:
    """The trace of one job, as soon as it has all *steps*, and the parent of every span.

    Each process sends its spans in batches of its own, and a span ends before its parent.
    """
    with service.client as client:
        reply = client.post(GENERATE, json={"prompt": CANARY, "blog_id": "post", **asked})
        job_id = UUID(reply.json()["job_id"])

    def found() -> list[Told]:
        return collector.traces().get(job_id.hex, [])

    def whole() -> bool:
        spans = found()
        parents = {one.parent_id for one in spans} - {""}
        return steps <= {one.name for one in spans} and parents <= {one.span_id for one in spans}

    service.until(whole, f"traced, with every parent: {steps}")
    return found()


def asking(collector: Collector, route: str) -> Told:
    return next(one for one in collector.spans if one.name == f"POST {route}")


@pytest.mark.parametrize("profile", ["google", "embedded"])
def test_a_job_is_one_trace_from_its_request_to_its_place(
    profile: str, collector: Collector, tmp_path: Any, request: pytest.FixtureRequest
) -> None:
    told = {"telemetry__traces_endpoint": collector.url, **SOON}
    steps = set(STEPS)
    with ExitStack() as stack:
        if profile == "embedded":
            service = stack.enter_context(Service(tmp_path / "home", connect=CONNECT, **told))
        else:
            cloud = stack.enter_context(Cloud(tmp_path))
            url = request.getfixturevalue("postgres_url")
            settings = cloud.settings(url, connect=CONNECT_GOOGLE, **told)
            service = stack.enter_context(Service(tmp_path / "home", **settings))
            cloud.service = service.address
            cloud.subscribe("blog-linking")
            stack.enter_context(
                Service(tmp_path / "subscriber", subscriber="blog-linking", **settings)
            )
            steps |= {"POST /api/v1/images/worker"}
        trace = trace_of(service, collector, steps)
        # Every parent is there (or it is not whole), and all come from the span that has none.
        roots = [one for one in trace if not one.parent_id]
        assert [one.name for one in roots] == ["create image job"]
        # The request that asked for the job and the job's trace name each other.
        service.until(lambda: any(GENERATE in one.name for one in collector.spans), "traced")
        asked = asking(collector, GENERATE)
        assert asked.trace_id in roots[0].links
        assert roots[0].trace_id in asked.links
        assert CANARY.encode() not in collector.raw


def test_no_secret_of_an_address_is_traced(collector: Collector, tmp_path: Any) -> None:
    told = {"telemetry__traces_endpoint": collector.url, **SOON}
    with Service(tmp_path / "home", connect=CONNECT, **told) as service, service.client as client:
        job_id = trace_of(service, collector, {"process image task"}, quality="draft")[0].trace_id
        job = f"{JOBS}/{UUID(job_id)}"
        service.until(lambda: client.get(job).json()["status"] == "completed", "painted")
        link = client.post(f"{job}/approval-links").json()["approve_url"]
        token = link.rpartition("/")[2]
        assert client.get(link).status_code == 200
        assert client.get("/api/v1/images/jobs", params={"blog_id": CANARY}).status_code == 200
        service.until(
            lambda: (
                {"GET /approvals/{token}", "GET /api/v1/images/jobs"}
                <= {one.name for one in collector.spans}
            ),
            "traced",
        )
        assert token.encode() not in collector.raw
        assert CANARY.encode() not in collector.raw


def test_the_log_names_the_trace_of_a_job(tmp_path: Any) -> None:
    with Service(tmp_path / "home", connect=CONNECT, GOOGLE_CLOUD_PROJECT="p-1") as service:
        with service.client as client:
            draft = client.post(GENERATE, json={"prompt": "a mill", "quality": "draft"}).json()
            path = f"{JOBS}/{draft['job_id']}"
            service.until(lambda: client.get(path).json()["status"] == "completed", "painted")
            final = client.post(f"{path}/promote").json()["job_id"]
        line = service.wait_for_log("draft_promoted")
    assert line["job_id"] == final
    assert line["logging.googleapis.com/trace"] == f"projects/p-1/traces/{UUID(final).hex}"
