"""The feed: all events of the database in one order, read once a process, given to every watcher.

Without loss under concurrent commits: the reader goes by an order in which nothing can appear
behind it (see `event_reads.events_after`). It is woken by the own journal, by other processes
through the database, and by a slow poll as a safety net. Hundreds may watch: what costs is done
once an event, or once for all events that a watcher gets together, never once an event and watcher.
"""

import asyncio
from bisect import bisect_right
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple
from uuid import UUID

import structlog

from adapters.errors import Unavailable
from adapters.ports import Clock
from adapters.store import event_reads
from pipeline.journal import Journal
from schemas.cursors import EventCursor, EventFilter, Place
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


class _Page(NamedTuple):
    """Some of what a watcher wants, in order, and the cursor after all that was looked through."""

    seen: Sequence[Seen]
    cursor: EventCursor


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
        return await self.journal.read(event_reads.tail)

    async def watch(
        self, wanted: EventFilter, after: EventCursor | None = None, *, follow: bool = True
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
            if not await self.journal.read(event_reads.holds, after):
                begin = tail
                yield Reset(tail)
        pages = self._follow(begin, tail, wanted) if follow else self._rows(begin, wanted)
        async with aclosing(pages):
            async for page in pages:
                yield page

    async def watch_job(self, tenant: str, job_id: UUID) -> AsyncGenerator[Sequence[Seen] | Reset]:
        """Give every event of a job from its first on, without end."""
        tail = await self.tail()
        rows = await self.journal.read(event_reads.events_of_stream, tenant, "job", str(job_id))
        # What cannot be read in order yet comes after the tail, even with a lower sequence.
        history = [row for row in rows if Place.of(row) <= tail.place]
        yield [Seen(row, EventCursor.of(tail.lineage, row)) for row in history]
        async with aclosing(self.watch(EventFilter(tenant, job_id=job_id), tail)) as watching:
            async for found in watching:
                yield found

    async def _rows(
        self, after: EventCursor, wanted: EventFilter
    ) -> AsyncGenerator[Sequence[Seen]]:
        """What is wanted after *after* and can be read now."""
        while (page := await self._read(after, wanted)).seen:
            yield page.seen
            after = page.cursor

    async def _follow(
        self, after: EventCursor, tail: EventCursor, wanted: EventFilter
    ) -> AsyncGenerator[Sequence[Seen]]:
        """What is wanted after *after* without end, and nothing as a sign of life."""
        self._watchers += 1
        try:
            if self._watchers == 1:
                self._begin(tail)
            pings = self._pings
            while not self._closed:
                moved = self._moved
                page = await self._after(after, wanted)
                if page.seen:
                    yield page.seen
                if page.cursor != after:
                    after = page.cursor
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

    async def _after(self, after: EventCursor, wanted: EventFilter) -> _Page:
        """A page from memory where that reaches back so far, else from the database."""
        assert self._since is not None
        if after.place < self._since.place:
            return await self._read(after, wanted)
        start = bisect_right(self._remembered, after.place, key=_place)
        told = self._remembered[start : start + PAGE]
        seen = [one for one in told if wanted.wants(one.event)]
        return _Page(seen, told[-1].cursor if told else after)

    async def _read(self, after: EventCursor, wanted: EventFilter | None = None) -> _Page:
        rows, cursor = await self.journal.read(event_reads.events_after, after, PAGE, wanted)
        return _Page([Seen(row, EventCursor.of(after.lineage, row)) for row in rows], cursor)

    async def _read_on(self, at: EventCursor) -> None:
        while (page := await self._read(at)).seen:
            at = self._at = page.cursor
            self._remembered += page.seen
            # Not at each new one: moving thousands costs more than keeping some.
            if len(self._remembered) >= 2 * self.most_remembered:
                self._since = self._remembered[-self.most_remembered - 1].cursor
                del self._remembered[: -self.most_remembered]
            self._wake_watchers()
            if len(page.seen) < PAGE:
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
