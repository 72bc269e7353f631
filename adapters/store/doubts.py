"""Commits whose reply was lost: PostgreSQL knows what became of them."""

from dataclasses import dataclass
from datetime import datetime

import asyncpg

from adapters.errors import StoreUnavailable
from schemas.step import Outcome
from schemas.tables import EventRow

OF_EVENT = (
    "SELECT true FROM events WHERE tenant = $1 AND stream_kind = $2 AND stream_id = $3"
    " AND seq = $4 AND event_id = $5"
)


@dataclass(frozen=True, slots=True)
class Backend:
    """Who serves a connection at the server; a process id alone is given again."""

    pid: int
    started: datetime

    @classmethod
    async def of(cls, connection: "asyncpg.Connection[asyncpg.Record]") -> "Backend":
        found = await connection.fetchrow(
            "SELECT pid, backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid()"
        )
        return cls(*found)

    async def end(self, connection: "asyncpg.Connection[asyncpg.Record]") -> bool:
        """Tell it to end; true once it has, and nothing comes of it any more."""
        told = await connection.fetchval(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE pid = $1 AND backend_start = $2",
            self.pid,
            self.started,
        )
        return told is None


@dataclass(frozen=True, slots=True)
class Doubt:
    """A transaction that may have been committed: by its id, or where that never came, by an event
    that it has written. No event is ever changed, and none is forgotten so soon."""

    outcomes: list[Outcome]
    backend: Backend
    xid: str | None = None
    event: EventRow | None = None

    async def was_committed(self, connection: "asyncpg.Connection[asyncpg.Record]") -> bool:
        """Ask over another connection. Raises `StoreUnavailable` while it is still open."""
        # Without us an open one would hold its locks until a timeout.
        if self.xid is not None:
            return await self._is_of_xid(connection, self.xid)
        assert self.event is not None
        if not await self.backend.end(connection):
            raise StoreUnavailable("the commit is still being decided")
        event = self.event
        key = (event.tenant, event.stream_kind, event.stream_id, event.seq, event.event_id)
        return bool(await connection.fetchval(OF_EVENT, *key))

    async def _is_of_xid(self, connection: "asyncpg.Connection[asyncpg.Record]", xid: str) -> bool:
        try:
            status = await connection.fetchval("SELECT pg_xact_status($1::text::xid8)", xid)
        except asyncpg.InvalidParameterValueError:
            return False  # this server never gave out that transaction: it was lost
        if status == "in progress":
            await self.backend.end(connection)
            raise StoreUnavailable("the commit is still being decided")
        return bool(status == "committed")
