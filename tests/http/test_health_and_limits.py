import dataclasses
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from structlog.testing import capture_logs

from adapters.store.database import open_store
from pipeline.journal import Journal
from tests.service import (
    GENERATE,
    JOBS,
    Here,
    Service,
    client_of,
    idle_settings,
    rows,
    served,
    stored,
)

REQUEST = {"prompt": "a lighthouse", "quality": "draft", "blog_id": "post"}


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Here]:
    async with served(idle_settings(tmp_path / "home")) as running:
        yield running


@asynccontextmanager
async def over(here: Here, database_url: str) -> AsyncIterator[httpx2.AsyncClient]:
    """The same interface over another database."""
    store = open_store(database_url)
    journal = Journal(store, here.limner.worker.clock, here.limner.ids)
    await journal.start()
    try:
        worker = dataclasses.replace(here.limner.worker, journal=journal)
        async with client_of(dataclasses.replace(here.limner, worker=worker)) as http:
            yield http
    finally:
        await journal.close()
        await store.close()


def assert_unavailable(reply: httpx2.Response) -> None:
    assert reply.status_code == 503, reply.text
    assert reply.headers["content-type"] == "application/problem+json"
    assert int(reply.headers["retry-after"]) >= 1
    problem = reply.json()
    assert problem["code"] == "unavailable"
    assert "Send it again" in problem["detail"]


async def test_a_running_service_is_alive_and_ready(here: Here) -> None:
    for path, status in (("/healthz", "ok"), ("/readyz", "ready")):
        reply = await here.http.get(path)
        assert (reply.status_code, reply.json()) == (200, {"status": status})


async def test_the_address_itself_names_every_route_and_where_they_are_described(
    here: Here,
) -> None:
    told = (await here.http.get("/")).json()
    described = (await here.http.get(told["openapi"])).json()
    assert (told["service"], told["version"]) == ("limner", described["info"]["version"])
    listed = {(one["method"].lower(), one["path"]) for one in told["routes"] if one["does"]}
    internal = {("post", "/api/v1/images/worker"), ("post", "/api/v1/events/{subscriber}")}
    assert listed | internal == {
        (method, path) for path, methods in described["paths"].items() for method in methods
    }
    page = await here.http.get("/", headers={"Accept": "text/html,*/*;q=0.8"})
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert all(path in page.text for _, path in listed)
    assert told["openapi"] in page.text


async def test_a_stopping_service_is_alive_and_not_ready(here: Here) -> None:
    here.limner.ready = False
    reply = await here.http.get("/readyz")
    assert (reply.status_code, reply.json()) == (503, {"status": "not ready"})
    assert (await here.http.get("/healthz")).status_code == 200


async def test_without_a_database_the_service_is_alive_and_not_ready(
    here: Here, tmp_path: Path
) -> None:
    async with over(here, f"sqlite:///{tmp_path / 'gone.sqlite'}") as http:
        with capture_logs() as logs:
            reply = await http.get("/readyz")
        assert reply.status_code == 503
        assert [line["event"] for line in logs] == ["not_ready"]
        assert (await http.get("/healthz")).status_code == 200


async def test_without_a_database_every_request_is_a_503_problem(
    here: Here, tmp_path: Path
) -> None:
    job_id = await here.submit()
    async with over(here, f"sqlite:///{tmp_path / 'gone.sqlite'}") as http:
        for method, path, body in (
            ("POST", GENERATE, REQUEST),
            ("GET", f"{JOBS}/{job_id}", None),
            ("DELETE", f"{JOBS}/{job_id}", None),
            ("GET", "/api/v1/blogs/post/images", None),
        ):
            assert_unavailable(await http.request(method, path, json=body))
    assert not (tmp_path / "gone.sqlite").exists()


async def test_a_read_only_database_takes_no_request_and_is_still_read(here: Here) -> None:
    job_id = await here.submit()
    await here.until(lambda: here.count("jobs", "state = 'running'") == 1, "running")
    before = here.stored()
    async with over(here, f"sqlite:///{here.database}?mode=ro") as http:
        with capture_logs() as logs:
            assert_unavailable(
                await http.post(GENERATE, json=REQUEST, headers={"Idempotency-Key": "one"})
            )
            assert_unavailable(await http.post(f"{JOBS}/{job_id}/cancel"))
        assert [line["event"] for line in logs] == ["request_not_stored"] * 2
        assert {line["log_level"] for line in logs} == {"error"}
        assert "readonly" in logs[0]["error"]
        assert (await http.get(f"{JOBS}/{job_id}")).json()["status"] == "running"
    assert here.stored() == before


def test_the_program_on_a_read_only_database_reads_and_never_accepts(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with Service(home) as service:
        with service.client as client:
            job_id = client.post(GENERATE, json=REQUEST).json()["job_id"]
        service.until(lambda: service.count("inbox") == 1, "linked")
        assert service.stop() == 0
        before = stored(service.database)
        service.settings["database_url"] = f"sqlite:///{service.database}?mode=ro"
        service.start()
        with service.client as client:
            assert_unavailable(client.post(GENERATE, json=REQUEST))
            assert client.get(f"{JOBS}/{job_id}").json()["status"] == "completed"
        line = service.wait_for_log("request_not_stored")
        assert line["severity"] == "ERROR"
        assert "readonly" in line["error"]
        assert service.stop() == 0
        assert stored(service.database) == before


def test_a_full_database_refuses_with_a_log_line_and_keeps_what_it_accepted(
    tmp_path: Path,
) -> None:
    home = tmp_path / "home"
    database = home / "limner.sqlite"
    with Service(home, sketch__delay_seconds="3600", times__drain_seconds="0") as service:
        service.stop()
        ((pages,),) = rows(database, "PRAGMA page_count")
        service.settings["database_url"] = f"sqlite:///{database}?max_page_count={pages + 4}"
        service.start()
        accepted, refused = [], []
        body = REQUEST | {"prompt": "a lighthouse " * 300}
        with service.client as client:
            for number in range(20):
                key = f"key-{number}"
                reply = client.post(GENERATE, json=body, headers={"Idempotency-Key": key})
                if reply.status_code == 202:
                    accepted.append(reply.json()["job_id"])
                else:
                    assert_unavailable(reply)
                    refused.append(key)
            assert accepted
            assert refused
            assert client.get("/readyz").status_code == 200
            assert client.get(f"{JOBS}/{accepted[0]}").status_code == 200
        line = service.wait_for_log("request_not_stored")
        assert line["severity"] == "ERROR"
        assert "full" in line["error"]
        assert stored_ids(service) == sorted(accepted)
        assert service.count("idempotency_keys") == len(accepted)
        assert service.count("jobs", "draft_job_id IS NOT NULL") == 0

        # Room is made, and everything that was accepted is done.
        service.kill()
        service.settings.clear()
        service.start()
        service.until(
            lambda: service.count("jobs", "state = 'completed'") == len(accepted), "completed"
        )
        assert stored_ids(service) == sorted(accepted)


def stored_ids(service: Service) -> list[str]:
    with service.client as client:
        found = [job_id for (job_id,) in service.rows("SELECT id FROM jobs ORDER BY id")]
        return [client.get(f"{JOBS}/{job_id}").json()["job_id"] for job_id in found]


async def test_every_reply_of_an_error_is_described_in_the_interface(here: Here) -> None:
    document: dict[str, Any] = (await here.http.get("/openapi.json")).json()
    operations = [operation for path in document["paths"].values() for operation in path.values()]
    assert operations
    for operation in operations:
        assert "application/problem+json" in operation["responses"]["default"]["content"]
