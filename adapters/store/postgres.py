"""PostgreSQL under the journal: one asyncpg connection writes, one looks ahead, a pool reads."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Concatenate, ParamSpec, TypeVar
from uuid import uuid4

import asyncpg
import structlog
from sqlalchemy.dialects.postgresql import asyncpg as asyncpg_dialect
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlmodel import Session
from sqlmodel.ext.asyncio.session import AsyncSession

from adapters.errors import CommitUnknown, StoreConflict, StoreRejected, StoreUnavailable
from adapters.failpoints import NO_FAILPOINTS, Failpoints
from adapters.ports import nothing
from adapters.store.doubts import Backend, Doubt
from adapters.store.memory import Found, Memory
from adapters.store.plans import Plans
from adapters.store.postgres_connection import (
    ASYNCPG_ERRORS,
    CONNECT_TIMEOUT_SECONDS,
    STATEMENT_TIMEOUT_SECONDS,
    connect,
    lost,
    refused,
    translated,
)
from adapters.store.postgres_group import Decided, Groups
from schemas.step import Outcome, Step, keys_of
from schemas.tables import EventRow

P = ParamSpec("P")
T = TypeVar("T")

# Where processes tell each other that they have committed something.
CHANNEL = "limner"
LISTEN_AGAIN_SECONDS = 1.0
MOST_READ_CONNECTIONS = 14
# The next group waits no longer for being decided before its turn.
LOOK_AHEAD_SECONDS = 2.0

log = structlog.get_logger(__name__)


class PostgresStore:
    """The `Store` of production."""

    def __init__(
        self, url: str, *, failpoints: Failpoints = NO_FAILPOINTS, read_connections: int = 5
    ) -> None:
        """*url* is `postgresql://user@host:port/database`."""
        self._url = make_url(url)
        self._failpoints = failpoints
        self._plans = Plans(asyncpg_dialect.dialect())  # type: ignore[no-untyped-call]  # SQLAlchemy's
        self._read_connections = read_connections
        self._connection: asyncpg.Connection[asyncpg.Record] | None = None
        # Looks at what a group needs while the group before it is being written.
        self._looking: asyncpg.Connection[asyncpg.Record] | None = None
        self._engine: AsyncEngine | None = None
        # Who serves the connection, or has served the one before.
        self._backend: Backend | None = None
        self._doubts: dict[str, Doubt] = {}
        self._commits = 0
        self._name = uuid4().hex
        self._memory = Memory(self._plans)
        self._groups = Groups(self._plans, self._memory, note=(CHANNEL, self._name))

    works_beside = True

    @property
    def commits(self) -> int:
        """How many transactions were committed by this store."""
        return self._commits

    def describe(self) -> str:
        """Which database this is, for a person, without its password."""
        return f"PostgreSQL {self._url.host}:{self._url.port or 5432}/{self._url.database}"

    def send_only(self, types: frozenset[str] | None) -> None:
        self._groups.sendable = tuple(sorted(types)) if types is not None else None

    async def decide(self, group: Sequence[Step[Any]]) -> Decided | None:
        if not self._memory.trusts_next_group():
            return None
        try:
            found = self._memory.find(self._plans.by_table(keys_of(group)))
            async with asyncio.timeout(LOOK_AHEAD_SECONDS):
                connection = await self._looking_connection()
                decided = await self._groups.decide(connection, group, found, lock=False)
        except StoreRejected:
            return None  # whoever commits the group meets it too, and tells of it
        except Exception as exc:  # no group depends on it: they are decided under locks meanwhile
            log.warning("groups_not_decided_ahead", error=type(exc).__name__)
            self._memory.be_careful()
            if self._looking is not None:
                self._looking.terminate()
            return None
        # Where nothing is written, nothing is held against the database either.
        return decided if decided.batch or not found.is_assumed else None

    async def commit(
        self,
        group: Sequence[Step[Any]],
        decided: Decided | None = None,
        meanwhile: Callable[[], None] = nothing,
    ) -> list[Outcome]:
        if self._connection is None or self._connection.is_closed():
            meanwhile()  # it may take long to get another
        await self._connected()
        if decided is not None and not self._is_void(decided):
            try:
                if decided.is_one_statement:
                    return await self._commit_at_once(decided, meanwhile)
                return await self._commit(group, decided, meanwhile)
            except (StoreConflict, StoreRejected) as exc:
                log.info("group_decided_again", steps=len(group), reason=str(exc))
                self._memory.distrust(keys_of(group))
        return await self._commit(group, None, meanwhile)

    async def _commit_at_once(
        self, decided: Decided, meanwhile: Callable[[], None]
    ) -> list[Outcome]:
        """Write what was decided in one statement, which is its own transaction."""
        connection = await self._connected()
        self._failpoints.passing("store.before_commit")
        self._send(decided, meanwhile)
        try:
            ticket = await self._groups.write(connection, decided)
            self._failpoints.passing("store.after_commit")
        except BaseException as exc:
            self._memory.failed(decided.batch)
            if isinstance(exc, ASYNCPG_ERRORS) and refused(exc):
                raise translated(exc) from exc
            doubt = self._doubt(decided, event=decided.an_event)
            await self._leave_in_doubt(connection, doubt, exc)
            raise
        self._commits += 1
        self._memory.committed(decided.batch, ticket)
        return decided.outcomes

    async def _commit(
        self,
        group: Sequence[Step[Any]],
        decided: Decided | None,
        meanwhile: Callable[[], None],
    ) -> list[Outcome]:
        """Write what was decided, or decide under locks and write that, in a transaction."""
        # What another group decided until this one is sent would not know of it.
        self._memory.blind = True
        try:
            return await self._commit_blindly(group, decided, meanwhile)
        finally:
            self._memory.blind = False

    async def _commit_blindly(
        self,
        group: Sequence[Step[Any]],
        decided: Decided | None,
        meanwhile: Callable[[], None],
    ) -> list[Outcome]:
        # This may wait, for a connection that is dead or for locks.
        asyncio.get_running_loop().call_soon(meanwhile)
        connection = await self._begun()
        try:
            if decided is None or self._is_void(decided):
                found = Found(
                    self._plans.by_table(keys_of(group)), forgettings=self._memory.forgettings
                )
                decided = await self._groups.decide(connection, group, found, lock=True)
            if not decided.batch:
                await connection.execute("ROLLBACK")
                return decided.outcomes
            self._send(decided, meanwhile)
            ticket = await self._groups.write(connection, decided)
            self._failpoints.passing("store.before_commit")
        except BaseException as exc:
            if decided is not None:
                self._memory.failed(decided.batch)
            await self._abandon(connection, rolled_back=False)
            if isinstance(exc, ASYNCPG_ERRORS):
                raise translated(exc) from exc
            raise
        try:
            await self._finish(connection, self._doubt(decided, xid=ticket))
        except BaseException:
            self._memory.failed(decided.batch)
            raise
        self._memory.committed(decided.batch, ticket)
        return decided.outcomes

    def _is_void(self, decided: Decided) -> bool:
        """Whether something had to be forgotten since."""
        return decided.found.forgettings != self._memory.forgettings

    def _send(self, decided: Decided, meanwhile: Callable[[], None]) -> None:
        self._memory.sending(decided.batch)
        # At the loop's next turn, when the group's first statement has left.
        asyncio.get_running_loop().call_soon(meanwhile)

    async def _begun(self) -> "asyncpg.Connection[asyncpg.Record]":
        """A connection in a new transaction. Nothing was sent before, so a dead one is replaced."""
        for last in (False, True):
            connection = await self._connected()
            try:
                await connection.execute("BEGIN")
            except ASYNCPG_ERRORS as exc:
                await self._abandon(connection, rolled_back=True)
                if last or not lost(exc):
                    raise translated(exc) from exc
            else:
                return connection
        raise AssertionError("unreachable")

    async def _finish(self, connection: "asyncpg.Connection[asyncpg.Record]", doubt: Doubt) -> None:
        try:
            status = await connection.execute("COMMIT")
            self._failpoints.passing("store.after_commit")
        except BaseException as exc:
            if isinstance(exc, ASYNCPG_ERRORS) and refused(exc):
                await self._abandon(connection, rolled_back=True)
                raise translated(exc) from exc
            await self._leave_in_doubt(connection, doubt, exc)
            raise
        if status != "COMMIT":
            raise StoreConflict(f"the database answered COMMIT with {status}")
        self._commits += 1

    def _doubt(
        self, decided: Decided, *, xid: str | None = None, event: EventRow | None = None
    ) -> Doubt:
        assert self._backend is not None
        return Doubt(decided.outcomes, self._backend, xid, event)

    async def _leave_in_doubt(
        self,
        connection: "asyncpg.Connection[asyncpg.Record]",
        doubt: Doubt,
        exc: BaseException,
    ) -> None:
        """Keep *doubt* for `settle`. Raises `CommitUnknown`, unless the caller was cancelled."""
        ticket = doubt.xid or uuid4().hex
        self._doubts[ticket] = doubt
        await self._abandon(connection, rolled_back=True)
        if isinstance(exc, (*ASYNCPG_ERRORS, CommitUnknown)):
            raise CommitUnknown(ticket) from exc

    async def settle(self, ticket: str) -> list[Outcome] | None:
        doubt = self._doubts[ticket]
        connection = await self._connected()
        try:
            committed = await doubt.was_committed(connection)
        except ASYNCPG_ERRORS as exc:
            await self._abandon(connection, rolled_back=True)
            raise StoreUnavailable(f"PostgreSQL cannot tell about a commit: {exc}") from exc
        del self._doubts[ticket]
        if not committed:
            return None
        self._commits += 1
        return doubt.outcomes

    async def read(
        self, query: Callable[Concatenate[Session, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        try:
            async with AsyncSession(self._read_engine(), expire_on_commit=False) as session:
                return await session.run_sync(query, *args, **kwargs)  # type: ignore[arg-type]  # sync_session is SQLModel's
        except (OSError, DBAPIError, TimeoutError, PoolTimeout) as exc:
            raise StoreUnavailable(f"PostgreSQL cannot be read: {type(exc).__name__}") from exc

    async def time(self) -> datetime:
        connection = await self._connected()
        try:
            now: datetime = await connection.fetchval("SELECT clock_timestamp()")
        except ASYNCPG_ERRORS as exc:
            await self._abandon(connection, rolled_back=True)
            raise StoreUnavailable(f"PostgreSQL cannot tell the time: {exc}") from exc
        return now.astimezone(UTC)

    async def prepare(self) -> None:
        """Raise the epoch when this server would give transaction ids again that events carry.

        So it is after a restore from a dump: there the counter begins anew, and readers who go by
        the ids would take new events for old ones.
        """
        connection = await self._connected()
        try:
            async with connection.transaction():
                epoch = await connection.fetchval("SELECT epoch FROM lineage FOR UPDATE")
                highest = await connection.fetchval(
                    "SELECT max(xid) FROM events WHERE epoch = $1", epoch
                )
                next_id = await connection.fetchval(
                    "SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint"
                )
                if highest is not None and highest >= next_id:
                    await connection.execute("UPDATE lineage SET epoch = $1", epoch + 1)
                    await connection.execute(
                        f"ALTER TABLE events ALTER COLUMN epoch SET DEFAULT {epoch + 1:d}"
                    )
        except ASYNCPG_ERRORS as exc:
            await self._abandon(connection, rolled_back=True)
            raise translated(exc) from exc

    async def listen(self, on_news: Callable[[], None]) -> None:
        def heard(_: Any, __: int, ___: str, sender: object) -> None:
            if sender != self._name:
                on_news()

        while True:
            lost = asyncio.Event()
            connection = None
            try:
                connection = await connect(self._url)
                connection.add_termination_listener(lambda _, lost=lost: lost.set())
                await connection.add_listener(CHANNEL, heard)
                on_news()
                await lost.wait()
            except (*ASYNCPG_ERRORS, TimeoutError):
                await asyncio.sleep(LISTEN_AGAIN_SECONDS)
            finally:
                if connection is not None:
                    connection.terminate()

    async def close(self) -> None:
        for connection in (self._connection, self._looking):
            if connection is not None:
                with suppress(*ASYNCPG_ERRORS):
                    await connection.close(timeout=CONNECT_TIMEOUT_SECONDS)
        self._connection = self._looking = None
        if self._engine is not None:
            await self._engine.dispose()
            self._engine = None

    async def _looking_connection(self) -> "asyncpg.Connection[asyncpg.Record]":
        if self._looking is None or self._looking.is_closed():
            backend = self._backend
            connection = await connect(self._url)
            if self._backend is not backend:  # this one may lead to the server of before
                connection.terminate()
                raise StoreUnavailable("the connection that writes was made anew meanwhile")
            self._looking = connection
        return self._looking

    async def _connected(self) -> "asyncpg.Connection[asyncpg.Record]":
        if self._connection is None or self._connection.is_closed():
            try:
                connection = await connect(self._url)
                await self._begin_on(connection)
            except (*ASYNCPG_ERRORS, TimeoutError) as exc:
                raise StoreUnavailable(f"PostgreSQL cannot be reached: {exc}") from exc
            self._connection = connection
        return self._connection

    async def _begin_on(self, connection: "asyncpg.Connection[asyncpg.Record]") -> None:
        try:
            backend = await Backend.of(connection)
            await self._groups.begin_on(connection)
        except BaseException:
            connection.terminate()
            raise
        if self._backend is not None:
            # Another server may give the ids of transactions again.
            self._memory.clear()
            if self._looking is not None:
                self._looking.terminate()
        self._backend = backend

    async def _abandon(
        self, connection: "asyncpg.Connection[asyncpg.Record]", *, rolled_back: bool
    ) -> None:
        """Leave no open transaction behind: roll back, or drop a connection that is of no use."""
        if not rolled_back:
            with suppress(Exception):  # whatever it is, the connection is dropped
                await connection.execute("ROLLBACK", timeout=CONNECT_TIMEOUT_SECONDS)
                return
        connection.terminate()
        self._connection = None

    def _read_engine(self) -> AsyncEngine:
        if self._engine is None:
            self._engine = create_async_engine(
                self._url.set(drivername="postgresql+asyncpg"),
                pool_size=self._read_connections,
                max_overflow=MOST_READ_CONNECTIONS - self._read_connections,
                pool_pre_ping=True,
                isolation_level="AUTOCOMMIT",
                connect_args={
                    "timeout": CONNECT_TIMEOUT_SECONDS,
                    "command_timeout": STATEMENT_TIMEOUT_SECONDS,
                },
            )
        return self._engine
