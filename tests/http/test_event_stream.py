"""Server-Sent Events over real connections: how a stream ends, is refused or begins anew."""

import asyncio
from pathlib import Path

import httpx2

from tests.service import Service


async def test_a_stream_ends_when_the_service_stops(tmp_path: Path) -> None:
    with Service(tmp_path / "home") as service:
        timeout = httpx2.Timeout(30, read=None)
        async with httpx2.AsyncClient(timeout=timeout) as client:
            async with client.stream("GET", f"{service.address}/api/v1/events") as stream:
                stopping = asyncio.create_task(asyncio.to_thread(service.stop, 10))
                assert "".join([line async for line in stream.aiter_lines()]) == ""
            assert await stopping == 0


async def test_a_foreign_cursor_is_told_to_begin_anew(tmp_path: Path) -> None:
    with Service(tmp_path / "home") as service:
        async with httpx2.AsyncClient(timeout=30) as client:
            for cursor in ("nonsense", f"{0:032}-0-0-7-{0:032}"):
                reply = await client.get(
                    f"{service.address}/api/v1/events",
                    params={"follow": "false"},
                    headers={"Last-Event-ID": cursor},
                )
                assert "event: reset" in reply.text
                assert "id: " in reply.text


async def test_a_stream_of_what_is_not_there_or_mistyped_is_a_problem(tmp_path: Path) -> None:
    with Service(tmp_path / "home") as service:
        async with httpx2.AsyncClient(timeout=30) as client:
            for path in (
                "/api/v1/events?type=image.job.exploded",
                "/api/v1/events?batch_id=seven",
                "/api/v1/events?blog=post",
                "/api/v1/images/jobs/01900000-0000-7000-8000-000000000000/events",
            ):
                reply = await client.get(f"{service.address}{path}")
                assert reply.status_code in (404, 422), path
                assert reply.headers["content-type"] == "application/problem+json"
