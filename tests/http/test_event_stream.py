"""Server-Sent Events over real connections: complete and in order for every watcher."""

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx2

from tests.service import GENERATE, JOBS, Service

WATCHERS = 20
PICTURES = 12
ENDS = ("image.job.completed", "image.job.failed")


class Watcher:
    """Follows events from a cursor on until so many jobs have ended, through lost connections."""

    def __init__(self, service: Service, cursor: str, ends: int, **query: str) -> None:
        self._service = service
        self._cursor = cursor
        self._query = query
        self._ends_left = ends
        self.seen: list[dict[str, Any]] = []
        self.connections = 0

    async def follow(self, client: httpx2.AsyncClient) -> None:
        while self._ends_left:
            try:
                await self._read_on(client)
            except httpx2.HTTPError:
                await asyncio.sleep(0.05)  # the service is being started again

    async def _read_on(self, client: httpx2.AsyncClient) -> None:
        address = f"{self._service.address}/api/v1/events"
        headers = {"Last-Event-ID": self._cursor}
        async with client.stream("GET", address, params=self._query, headers=headers) as stream:
            assert stream.headers["content-type"].startswith("text/event-stream")
            self.connections += 1
            event: dict[str, Any] = {}
            async for line in stream.aiter_lines():
                name, _, value = line.partition(": ")
                if line:
                    event[name] = value
                    continue
                if "data" in event:  # an empty line ends an event; comments keep alive
                    self.seen.append(json.loads(event["data"]))
                    self._cursor = event["id"]
                    assert event["event"] == self.seen[-1]["type"]
                    self._ends_left -= event["event"] in ENDS
                event = {}
                if not self._ends_left:
                    return


async def first_cursor(client: httpx2.AsyncClient, service: Service, job_id: str) -> str:
    """The cursor of a job's first event, from the job's own stream."""
    address = f"{service.address}{JOBS}/{job_id}/events"
    async with client.stream("GET", address) as stream:
        async for line in stream.aiter_lines():
            if line.startswith("id: "):
                return line.removeprefix("id: ")
    raise AssertionError("the stream ended before its first event")


async def ask(client: httpx2.AsyncClient, service: Service, number: int) -> str:
    body = {"prompt": f"hill {number}", "quality": "draft", "blog_id": f"post-{number % 3}"}
    reply = await client.post(f"{service.address}{GENERATE}", json=body)
    assert reply.status_code == 202
    return str(reply.json()["job_id"])


async def test_every_watcher_sees_every_event_once_and_in_order_through_a_restart(
    tmp_path: Path,
) -> None:
    limits = httpx2.Limits(max_connections=None)
    timeout = httpx2.Timeout(30, read=None)
    with Service(tmp_path / "home") as service:
        async with httpx2.AsyncClient(limits=limits, timeout=timeout) as client:
            cursor = await first_cursor(client, service, await ask(client, service, 0))
            everything = [Watcher(service, cursor, PICTURES + 1) for _ in range(WATCHERS // 2)]
            of_a_post = [
                Watcher(service, cursor, PICTURES // 3, blog_id="post-1")
                for _ in range(WATCHERS // 2)
            ]
            watchers = everything + of_a_post
            following = [asyncio.create_task(one.follow(client)) for one in watchers]
            for number in range(1, PICTURES // 2 + 1):
                await ask(client, service, number)
            await asyncio.to_thread(service.restart)
            for number in range(PICTURES // 2 + 1, PICTURES + 1):
                await ask(client, service, number)
            await asyncio.wait_for(asyncio.gather(*following), 60)
        stored = service.rows("SELECT event_id, blog_id FROM events ORDER BY position")
    assert any(one.connections > 1 for one in watchers)
    for one in watchers:
        ids = [event["id"].replace("-", "") for event in one.seen]
        post = one._query.get("blog_id")
        wanted = [event_id for event_id, blog_id in stored[1:] if post in (None, blog_id)]
        assert ids == wanted[: len(ids)]


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


async def test_a_stream_of_what_is_not_there_is_a_problem(tmp_path: Path) -> None:
    with Service(tmp_path / "home") as service:
        async with httpx2.AsyncClient(timeout=30) as client:
            for path in (
                "/api/v1/events?type=image.job.exploded",
                "/api/v1/events?batch_id=seven",
                "/api/v1/images/jobs/01900000-0000-7000-8000-000000000000/events",
            ):
                reply = await client.get(f"{service.address}{path}")
                assert reply.status_code in (404, 422), path
                assert reply.headers["content-type"] == "application/problem+json"
