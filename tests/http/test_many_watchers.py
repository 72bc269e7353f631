"""Two hundred watchers, a thousand jobs, two deaths of the server: nobody misses or repeats."""

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from functools import cache
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlencode, urlsplit

import httpx2
import pytest

from tests.fakes.instant import CONNECT
from tests.service import GENERATE, JOBS, PATIENCE_SECONDS, Service

PICTURES = 1_000
EVENTS_OF_A_PICTURE = 5
DEATHS = 2
ASKING_AT_ONCE = 16
BLOGS = 10
TYPES = (
    "image.job.queued",
    "image.job.started",
    "image.job.completed",
    "blog.image.candidate_added",
)
# How many watchers there are of each kind.
OF_EVERYTHING, OF_A_BLOG, OF_A_TYPE, OF_A_JOB = 100, 40, 40, 20
EVENTS = "/api/v1/events"
# A watcher's reader takes in so much at once.
READ_BYTES = 1 << 20


class Stored(NamedTuple):
    """An event as it stands in the database."""

    event_id: str
    type: str
    blog_id: str | None
    stream_id: str


class Told(NamedTuple):
    """An event as a watcher gets it."""

    event_id: str
    cursor: str


@cache  # all watchers of an event get the same bytes
def told_by(message: bytes) -> Told:
    fields = dict(line.split(": ", 1) for line in message.decode().split("\n"))
    assert fields.keys() == {"event", "data", "id"}
    event = json.loads(fields["data"])
    assert fields["event"] == event["type"]
    return Told(event["id"].replace("-", ""), fields["id"])


class Live:
    """The service while it dies and comes back: whoever needs it waits until it is there."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._is_there = asyncio.Event()
        self._is_there.set()

    async def address(self) -> str:
        await self._is_there.wait()
        return self._service.address

    async def die_and_come_back(self) -> None:
        self._is_there.clear()
        await asyncio.to_thread(self._service.restart)
        self._is_there.set()


class Watcher:
    """Follows a stream through lost connections, each time after the last event that it got."""

    def __init__(self, path: str, cursor: str | None = None, **wanted: str) -> None:
        """*wanted* are columns of events and the values that they must have."""
        self.path = path
        self.wanted = wanted
        self.seen: list[str] = []
        self.connections = 0
        self._cursor = cursor
        self._hope = 0
        self._fulfilled = asyncio.Event()

    def wants(self, event: Stored) -> bool:
        return all(getattr(event, column) == value for column, value in self.wanted.items())

    async def has_seen(self, number: int) -> None:
        """Return when it has got so many events."""
        self._hope = number
        self._fulfilled.clear()
        if len(self.seen) < number:
            await self._fulfilled.wait()

    async def follow(self, live: Live) -> None:
        while True:
            address = await live.address()
            with suppress(OSError, EOFError):  # the service has died
                await self._follow_one(address)

    async def _follow_one(self, address: str) -> None:
        """Follow one connection. Spoken by hand: a client would take most of the test's time."""
        host, port = urlsplit(address).hostname, urlsplit(address).port
        reader, writer = await asyncio.open_connection(host, port, limit=READ_BYTES)
        with closing(writer):
            writer.write(self._request(f"{host}:{port}"))
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200 ")
            self.connections += 1
            rest = b""  # of an event that has not come whole
            while length := int(await reader.readuntil(b"\r\n"), 16):
                chunk = await reader.readexactly(length + 2)
                *messages, rest = (rest + chunk[:-2]).split(b"\n\n")
                self._take(messages)

    def _request(self, host: str) -> bytes:
        query = urlencode(self.wanted) if self.path == EVENTS else ""
        lines = [f"GET {self.path}?{query} HTTP/1.1", f"Host: {host}"]
        if self._cursor is not None:
            lines.append(f"Last-Event-ID: {self._cursor}")
        return "\r\n".join([*lines, "", ""]).encode()

    def _take(self, messages: list[bytes]) -> None:
        for message in messages:
            if not message.startswith(b":"):  # a sign of life
                told = told_by(message)
                self.seen.append(told.event_id)
                self._cursor = told.cursor
        if len(self.seen) >= self._hope:
            self._fulfilled.set()


async def ask(client: httpx2.AsyncClient, live: Live, number: int) -> str:
    """Have a job accepted, again where the service has died before it answered; its id."""
    body = {
        "prompt": f"hill {number}",
        "quality": "draft",
        "blog_id": f"post-{number % BLOGS}",
        "position": number // BLOGS + 1,
    }
    key = {"Idempotency-Key": f"request-{number}"}
    while True:
        address = await live.address()
        with suppress(httpx2.TransportError):
            reply = await client.post(f"{address}{GENERATE}", json=body, headers=key)
            assert reply.status_code == 202, reply.text
            return str(reply.json()["job_id"])


async def run_jobs(live: Live, watch: Callable[[Watcher], object]) -> None:
    """Ask for all pictures, and have some of the jobs watched as soon as they are accepted."""
    numbers = iter(range(PICTURES))

    async def ask_on(client: httpx2.AsyncClient) -> None:
        for number in numbers:
            job_id = await ask(client, live, number)
            if number % (PICTURES // OF_A_JOB) == 0:
                watch(Watcher(f"{JOBS}/{job_id}/events", stream_id=job_id))

    async with httpx2.AsyncClient(timeout=PATIENCE_SECONDS) as client:
        await asyncio.gather(*(ask_on(client) for _ in range(ASKING_AT_ONCE)))


def watchers_of_many(cursor: str) -> Iterator[Watcher]:
    for _ in range(OF_EVERYTHING):
        yield Watcher(EVENTS, cursor)
    for number in range(OF_A_BLOG):
        yield Watcher(EVENTS, cursor, blog_id=f"post-{number % BLOGS}")
    for number in range(OF_A_TYPE):
        yield Watcher(EVENTS, cursor, type=TYPES[number % len(TYPES)])


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """A service whose jobs take no longer than the pipeline itself."""
    with Service(
        tmp_path / "home",
        connect=CONNECT,
        local__dispatches_per_second="100000",
        local__concurrent_dispatches="32",
        local__worker_processes="1",
    ) as service:
        yield service


@pytest.mark.timeout(300)
async def test_200_watchers_of_1000_jobs_get_every_event_once_through_two_deaths(
    service: Service,
) -> None:
    live = Live(service)
    watchers: list[Watcher] = []
    following: list[asyncio.Task[None]] = []
    ((lineage,),) = service.rows("SELECT name FROM lineage")
    beginning = f"{lineage}-0-0-0-{0:032}"
    async with asyncio.TaskGroup() as tasks:

        def watch(one: Watcher) -> None:
            watchers.append(one)
            following.append(tasks.create_task(one.follow(live)))

        for one in watchers_of_many(beginning):
            watch(one)
        asking = tasks.create_task(run_jobs(live, watch))
        for death in range(1, DEATHS + 1):
            share = death / (DEATHS + 1)
            await watchers[0].has_seen(int(share * PICTURES * EVENTS_OF_A_PICTURE))
            await live.die_and_come_back()
        await asking
        linked = "SELECT count(*) FROM inbox WHERE subscriber = 'blog-linking'"
        await asyncio.to_thread(
            service.until,
            lambda: service.rows(linked) == [(PICTURES,)],
            "done",
            2 * PATIENCE_SECONDS,
        )
        columns = ", ".join(Stored._fields)
        stored = [
            Stored(*row) for row in service.rows(f"SELECT {columns} FROM events ORDER BY position")
        ]
        wanted = [[event.event_id for event in stored if one.wants(event)] for one in watchers]
        with suppress(TimeoutError):  # what is missing is said below
            async with asyncio.timeout(PATIENCE_SECONDS):
                for one, ids in zip(watchers, wanted, strict=True):
                    await one.has_seen(len(ids))
        for task in following:
            task.cancel()
    assert len(watchers) == 200
    assert all(1 < one.connections <= DEATHS + 1 for one in watchers if one.path == EVENTS)
    for one, ids in zip(watchers, wanted, strict=True):
        assert ids, one.wanted
        assert one.seen == ids
