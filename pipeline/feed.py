"""The feed: all events of the database in one order, read once a process, given to every watcher.

Without loss under concurrent commits: the reader goes by an order in which nothing can appear
behind it (see `reads.events_after`). It is woken by the own journal, by other processes through
the database, and by a slow poll as a safety net. Hundreds may watch: what costs is done once an
event, or once for all events that a watcher gets together, never once an event and watcher.
"""

import asyncio
from bisect import bisect_right
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import cached_property
from uuid import UUID

import structlog

from adapters.errors import Unavailable
from adapters.ports import Clock
from adapters.store import reads
from pipeline.journal import Journal
from schemas.cursors import EventCursor, Place
from schemas.events import cloud_event
from schemas.server_sent import server_sent
from schemas.step import Writes
from schemas.tables import Event

log = structlog.get_logger(__name__)

POLL_SECONDS = 2.0
# Without news, watchers are told so this often.
PING_SECONDS = 15.0
PAGE = 500
MOST_REMEMBERED = 5_000


@dataclass(frozen=True, slots=True)
class Filter:
    """Which events a watcher wants; an empty part wants all."""

    tenant: str
    types: frozenset[str] = frozenset()
    blog_id: str | None = None
    batch_id: UUID | None = None
    job_id: UUID | None = None

    def wants(self, event: Event) -> bool:
        return (
            event.tenant == self.tenant
            and (not self.types or event.type in self.types)
            and (self.blog_id is None or event.blog_id == self.blog_id)
            and (self.batch_id is None or event.batch_id == self.batch_id)
            and (
                self.job_id is None
                or (event.stream_kind == "job" and event.stream_id == str(self.job_id))
            )
        )


@dataclass(frozen=True, slots=True)
class Reset:
    """The cursor is not of this database, or of what a restore has undone: begin anew."""

    cursor: EventCursor


@dataclass(frozen=True)
class Seen:
    """One event with the cursor to go on after it; all watchers share it."""

    event: Event
    cursor: EventCursor

    @cached_property
    def wire(self) -> bytes:
        """The event as its watchers get it, serialised once."""
        data = cloud_event(self.event).model_dump_json()
        return server_sent(self.event.type, data, self.cursor)


@dataclass(slots=True)
class Feed:
    journal: Journal
    clock: Clock
    # Events that are kept in memory; a watcher that is further behind reads the database itself.
    most_remembered: int = MOST_REMEMBERED
    _at: EventCursor | None = None
    # All events after `_since` up to `_at`, without a gap.
    _remembered: list[Seen] = field(default_factory=list)
    _since: EventCursor | None = None
    _watchers: int = 0
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _moved: asyncio.Event = field(default_factory=asyncio.Event)
    _pings: int = 0
    _closed: bool = False

    def wake(self, committed: Sequence[Writes] = ()) -> None:
        """There may be news; called by the journal after each commit, and by the database."""
        self._wake.set()

    async def run(self) -> None:
        """Read what is new, again and again, while anybody watches."""
        pinged_at = self.clock.monotonic()
        while True:
            await self._wait_for_news()
            if not self._watchers or self._at is None:
                continue
            try:
                await self._read_on(self._at)
            except Unavailable as exc:
                log.warning("feed_interrupted", error=str(exc))
            if self.clock.monotonic() - pinged_at >= PING_SECONDS:
                pinged_at = self.clock.monotonic()
                self._pings += 1
                self._wake_watchers()

    def close(self) -> None:
        """End every watcher's stream."""
        self._closed = True
        self._moved.set()

    async def tail(self) -> EventCursor:
        """The cursor after the newest event that can be read now."""
        return await self.journal.read(reads.tail)

    async def watch(
        self, wanted: Filter, after: EventCursor | None = None, *, follow: bool = True
    ) -> AsyncGenerator[Sequence[Seen] | Reset]:
        """Give every event that *wanted* names, from *after* on, or from now on, without end.

        Those that are there come together, at most `PAGE` at once; none at all is a sign of life.
        Without *follow* it begins with the oldest and ends where the events end. After a `Reset` it
        goes on with what is new.
        """
        tail = await self.tail()
        begin = tail if follow else EventCursor.beginning(tail.lineage)
        if after is not None:
            begin = after
            if not await self.journal.read(reads.holds, after):
                begin = tail
                yield Reset(tail)
        async with aclosing(self._follow(begin, tail) if follow else self._rows(begin)) as pages:
            async for page in pages:
                found = [one for one in page if wanted.wants(one.event)]
                if found or not page:
                    yield found

    async def watch_job(self, tenant: str, job_id: UUID) -> AsyncGenerator[Sequence[Seen] | Reset]:
        """Give every event of a job from its first on, without end."""
        tail = await self.tail()
        rows = await self.journal.read(reads.events_of_stream, tenant, "job", str(job_id))
        # What cannot be read in order yet comes after the tail, even with a lower sequence.
        history = [row for row in rows if Place.of(row) <= tail.place]
        yield [Seen(row, EventCursor.of(tail.lineage, row)) for row in history]
        async with aclosing(self.watch(Filter(tenant, job_id=job_id), tail)) as watching:
            async for found in watching:
                yield found

    async def _rows(self, after: EventCursor) -> AsyncGenerator[Sequence[Seen]]:
        """Every event after *after* that can be read now."""
        while page := await self._read(after):
            yield page
            after = page[-1].cursor

    async def _follow(
        self, after: EventCursor, tail: EventCursor
    ) -> AsyncGenerator[Sequence[Seen]]:
        """Every event after *after* without end, and nothing as a sign of life."""
        self._watchers += 1
        try:
            if self._watchers == 1:
                self._begin(tail)
            pings = self._pings
            while not self._closed:
                moved = self._moved
                if page := await self._after(after):
                    yield page
                    after = page[-1].cursor
                    continue
                await moved.wait()
                if pings != self._pings:
                    pings = self._pings
                    yield ()
        finally:
            self._watchers -= 1

    def _begin(self, tail: EventCursor) -> None:
        self._at = self._since = tail
        self._remembered.clear()

    async def _after(self, after: EventCursor) -> Sequence[Seen]:
        """Events after *after*: from memory where it reaches back so far, else a page of rows."""
        assert self._since is not None
        if after.place < self._since.place:
            return await self._read(after)
        start = bisect_right(self._remembered, after.place, key=_place)
        return self._remembered[start : start + PAGE]

    async def _read(self, after: EventCursor) -> list[Seen]:
        rows = await self.journal.read(reads.events_after, after.place, PAGE)
        return [Seen(row, EventCursor.of(after.lineage, row)) for row in rows]

    async def _read_on(self, at: EventCursor) -> None:
        while page := await self._read(at):
            at = self._at = page[-1].cursor
            self._remembered += page
            # Not at each new one: moving thousands costs more than keeping some.
            if len(self._remembered) >= 2 * self.most_remembered:
                self._since = self._remembered[-self.most_remembered - 1].cursor
                del self._remembered[: -self.most_remembered]
            self._wake_watchers()
            if len(page) < PAGE:
                return

    def _wake_watchers(self) -> None:
        self._moved.set()
        self._moved = asyncio.Event()

    async def _wait_for_news(self) -> None:
        poll = asyncio.ensure_future(self.clock.sleep(POLL_SECONDS))
        woken = asyncio.ensure_future(self._wake.wait())
        try:
            await asyncio.wait({poll, woken}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            poll.cancel()
            woken.cancel()
        self._wake.clear()


def _place(seen: Seen) -> Place:
    return seen.cursor.place
