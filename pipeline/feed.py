"""The feed: all events of the database in one order, read once a process, given to every watcher.

Without loss under concurrent commits: the reader goes by an order in which nothing can appear
behind it (see `reads.events_after`). It is woken by the own journal, by other processes through
the database, and by a slow poll as a safety net.
"""

import asyncio
from bisect import bisect_right
from collections import deque
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from uuid import UUID

import structlog

from adapters.errors import Unavailable
from adapters.ports import Clock
from adapters.store import reads
from pipeline.journal import Journal
from schemas.cursors import EventCursor, Place
from schemas.step import Writes
from schemas.tables import Event

log = structlog.get_logger(__name__)

POLL_SECONDS = 2.0
PAGE = 500
# Events that are kept in memory; a watcher that is further behind reads the database itself.
REMEMBERED = 5_000


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
    """The cursor is not of this database, or of its past before a restore: begin anew."""

    cursor: EventCursor


@dataclass(frozen=True, slots=True)
class Seen:
    """One event with the cursor to go on after it."""

    event: Event
    cursor: EventCursor


@dataclass(slots=True)
class Feed:
    journal: Journal
    clock: Clock
    _lineage: UUID | None = None
    _epoch: int = 0
    _at: Place | None = None
    _remembered: deque[tuple[Place, Event]] = field(
        default_factory=lambda: deque(maxlen=REMEMBERED)
    )
    # Where memory begins: everything after this place is remembered.
    _since: Place | None = None
    _watchers: int = 0
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _moved: asyncio.Event = field(default_factory=asyncio.Event)
    _closed: bool = False

    def wake(self, committed: Sequence[Writes] = ()) -> None:
        """There may be news; called by the journal after each commit, and by the database."""
        self._wake.set()

    async def run(self) -> None:
        """Read what is new, again and again, while anybody watches."""
        while True:
            await self._wait_for_news()
            if not self._watchers or self._at is None:
                continue
            try:
                await self._read_on(self._at)
            except Unavailable as exc:
                log.warning("feed_interrupted", error=str(exc))

    def close(self) -> None:
        """End every watcher's stream."""
        self._closed = True
        self._moved.set()

    async def tail(self) -> EventCursor:
        """The cursor after the newest event that can be read now."""
        lineage, place = await self.journal.read(reads.last_place)
        return EventCursor(lineage, place)

    async def watch(
        self, wanted: Filter, after: EventCursor | None = None, *, follow: bool = True
    ) -> AsyncIterator[Seen | Reset]:
        """Give every event that *wanted* names, from *after* on, or from now on, without end.

        Without *follow* it begins with the oldest and ends where the events end.
        """
        tail = await self.tail()
        place = tail.place
        if after is not None:
            if after.lineage != tail.lineage or after.place.epoch != tail.place.epoch:
                yield Reset(tail)
            else:
                place = after.place
        elif not follow:
            place = Place(0, 0, 0)  # who wants no news wants what there is
        self._watchers += 1
        try:
            if self._at is None or self._watchers == 1:
                self._begin(tail)
            while not self._closed:
                moved = self._moved
                events = await self._after(place)
                for at, event in events:
                    place = at
                    if wanted.wants(event):
                        yield Seen(event, EventCursor(tail.lineage, at))
                if not events:
                    if not follow:
                        return
                    await moved.wait()
        finally:
            self._watchers -= 1

    def _begin(self, tail: EventCursor) -> None:
        self._lineage = tail.lineage
        self._at = self._since = tail.place
        self._remembered.clear()

    async def _after(self, place: Place) -> list[tuple[Place, Event]]:
        """Events after *place*: from memory where it reaches back so far, else a page of rows."""
        if self._since is not None and place >= self._since:
            start = bisect_right(self._remembered, place, key=lambda kept: kept[0])
            return [self._remembered[number] for number in range(start, len(self._remembered))]
        rows = await self.journal.read(reads.events_after, place, PAGE)
        return [(Place.of(row), row) for row in rows]

    async def _read_on(self, at: Place) -> None:
        while True:
            rows = await self.journal.read(reads.events_after, at, PAGE)
            for row in rows:
                at = Place.of(row)
                if len(self._remembered) == REMEMBERED:
                    self._since = self._remembered[0][0]
                self._remembered.append((at, row))
            self._at = at
            if rows:
                self._moved.set()
                self._moved = asyncio.Event()
            if len(rows) < PAGE:
                return

    async def _wait_for_news(self) -> None:
        poll = asyncio.ensure_future(self.clock.sleep(POLL_SECONDS))
        woken = asyncio.ensure_future(self._wake.wait())
        try:
            await asyncio.wait({poll, woken}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            poll.cancel()
            woken.cancel()
        self._wake.clear()
