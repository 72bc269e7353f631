"""Logs are for people and machines, and never for prompts."""

import io
import json

import httpx2
import structlog
from fastapi import FastAPI

from adapters.errors import StoreUnavailable
from adapters.store import job_reads
from pipeline.routes.problems import install_problems
from pipeline.telemetry.logs import configure_logging
from tests.fakes.provider import raises
from tests.world import TENANT, world_on

CANARY = "CANARYPROMPT"


async def test_no_prompt_ever_reaches_the_log(database_url: str) -> None:
    stream = io.StringIO()
    configure_logging(stream, as_json=True)
    try:
        async with world_on(database_url) as world:
            job_id = await world.submit(prompt=CANARY, negative_prompt=CANARY)
            world.provider.script.append(raises(RuntimeError("a defect")))
            await world.deliver(job_id)
            assert await world.store.read(job_reads.job, TENANT, job_id) is not None
    finally:
        structlog.reset_defaults()
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert "provider_adapter_broken" in {line["message"] for line in lines}
    assert {line["severity"] for line in lines} <= {"INFO", "WARNING", "ERROR"}
    assert CANARY not in stream.getvalue()


async def test_no_approval_token_reaches_the_log_when_its_page_fails() -> None:
    app = FastAPI()
    install_problems(app)

    @app.get("/approvals/{token}")
    async def page(token: str) -> None:
        raise StoreUnavailable("away") if token == CANARY else RuntimeError("a defect")

    stream = io.StringIO()
    configure_logging(stream, as_json=True)
    try:
        transport = httpx2.ASGITransport(app, raise_app_exceptions=False)
        async with httpx2.AsyncClient(transport=transport, base_url="http://test") as http:
            for token, status in ((CANARY, 503), (f"{CANARY}2", 500)):
                assert (await http.get(f"/approvals/{token}")).status_code == status
    finally:
        structlog.reset_defaults()
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line["message"] for line in lines] == ["request_not_stored", "request_failed"]
    assert {line["route"] for line in lines} == {"GET /approvals/{token}"}
    assert CANARY not in stream.getvalue()


def test_a_log_whose_reader_is_gone_breaks_nothing() -> None:
    stream = io.StringIO()
    configure_logging(stream, as_json=True)
    try:
        stream.close()
        structlog.get_logger("test").info("said_to_nobody")
    finally:
        structlog.reset_defaults()
    assert stream.closed
