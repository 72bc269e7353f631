"""PostgreSQL under the journal: one asyncpg connection writes, a SQLAlchemy pool reads."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Concatenate, ParamSpec, TypeVar
from uuid import uuid4

import asyncpg
from sqlalchemy.dialects.postgresql import asyncpg as asyncpg_dialect
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlmodel import Session
from sqlmodel.ext.asyncio.session import AsyncSession

from adapters.errors import CommitUnknown, StoreConflict, StoreRejected, StoreUnavailable
from adapters.failpoints import NO_FAILPOINTS, Failpoints
from adapters.store.batch import Batch
from adapters.store.plans import Plans
from adapters.store.postgres_group import Groups
from schemas.step import Outcome, Step, decide_group

P = ParamSpec("P")
T = TypeVar("T")

CONNECT_TIMEOUT_SECONDS = 5.0
STATEMENT_TIMEOUT_SECONDS = 30.0
# A backend whose client vanished between BEGIN and COMMIT must not hold its locks for ever.
IDLE_IN_TRANSACTION_SECONDS = 20.0
# One for each mixture of tables and columns that a group has had.
STATEMENTS_KEPT = 500
# Where processes tell each other that they have committed something.
CHANNEL = "limner"
LISTEN_AGAIN_SECONDS = 1.0


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
        self._engine: AsyncEngine | None = None
        # Ambiguous commits: what they decided, and the backend that may still be at it.
        self._ambiguous: dict[str, tuple[list[Outcome], int]] = {}
        self._commits = 0
        self._name = uuid4().hex
        self._groups = Groups(self._plans, note=(CHANNEL, self._name))

    @property
    def commits(self) -> int:
        """How many transactions were committed by this store."""
        return self._commits

    def describe(self) -> str:
        """Which database this is, for a person, without its password."""
        return f"PostgreSQL {self._url.host}:{self._url.port or 5432}/{self._url.database}"

    async def commit(self, group: Sequence[Step[Any]]) -> list[Outcome]:
        connection = await self._begun()
        try:
            outcomes = decide_group(group, await self._groups.look(connection, group))
            batch = Batch(self._plans, [o.writes for o in outcomes if o.writes is not None])
            if not batch:
                await connection.execute("ROLLBACK")
                return outcomes
            ticket, backend = await self._groups.write(connection, batch)
            self._failpoints.passing("store.before_commit")
        except BaseException as exc:
            await self._abandon(connection, rolled_back=False)
            if isinstance(exc, _ASYNCPG_ERRORS):
                raise _translated(exc) from exc
            raise
        await self._finish(connection, ticket, backend, outcomes)
        self._groups.committed(batch, ticket)
        return outcomes

    async def _begun(self) -> "asyncpg.Connection[asyncpg.Record]":
        """A connection in a new transaction. Nothing was sent before, so a dead one is replaced."""
        for last in (False, True):
            connection = await self._connected()
            try:
                await connection.execute("BEGIN")
            except _ASYNCPG_ERRORS as exc:
                await self._abandon(connection, rolled_back=True)
                if last or not _lost(exc):
                    raise _translated(exc) from exc
            else:
                return connection
        raise AssertionError("unreachable")

    async def _finish(
        self,
        connection: "asyncpg.Connection[asyncpg.Record]",
        ticket: str,
        backend: int,
        outcomes: list[Outcome],
    ) -> None:
        try:
            status = await connection.execute("COMMIT")
            self._failpoints.passing("store.after_commit")
        except (*_ASYNCPG_ERRORS, CommitUnknown) as exc:
            if isinstance(exc, asyncpg.PostgresError) and not _lost(exc):
                await self._abandon(connection, rolled_back=True)
                raise _translated(exc) from exc  # refused by the server, with a reply: no commit
            self._ambiguous[ticket] = (outcomes, backend)
            await self._abandon(connection, rolled_back=True)
            raise CommitUnknown(ticket) from exc
        except BaseException:  # cancelled while waiting for the reply
            self._ambiguous[ticket] = (outcomes, backend)
            await self._abandon(connection, rolled_back=True)
            raise
        if status != "COMMIT":
            raise StoreConflict(f"the database answered COMMIT with {status}")
        self._commits += 1

    async def settle(self, ticket: str) -> list[Outcome] | None:
        outcomes, backend = self._ambiguous[ticket]
        connection = await self._connected()
        try:
            status = await connection.fetchval("SELECT pg_xact_status($1::text::xid8)", ticket)
            if status == "in progress":
                # COMMIT never reached it; without us it would hold its locks until a timeout.
                await connection.execute("SELECT pg_terminate_backend($1)", backend)
                raise StoreUnavailable("the commit is still being decided")
        except asyncpg.InvalidParameterValueError:
            status = "aborted"  # this server never gave out that transaction: it was lost
        except _ASYNCPG_ERRORS as exc:
            await self._abandon(connection, rolled_back=True)
            raise StoreUnavailable(f"PostgreSQL cannot tell about a commit: {exc}") from exc
        del self._ambiguous[ticket]
        if status != "committed":
            return None
        self._commits += 1
        return outcomes

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
        except _ASYNCPG_ERRORS as exc:
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
        except _ASYNCPG_ERRORS as exc:
            await self._abandon(connection, rolled_back=True)
            raise _translated(exc) from exc

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
            except (*_ASYNCPG_ERRORS, TimeoutError):
                await asyncio.sleep(LISTEN_AGAIN_SECONDS)
            finally:
                if connection is not None:
                    connection.terminate()

    async def close(self) -> None:
        if self._connection is not None:
            with suppress(*_ASYNCPG_ERRORS):
                await self._connection.close(timeout=CONNECT_TIMEOUT_SECONDS)
            self._connection = None
        if self._engine is not None:
            await self._engine.dispose()
            self._engine = None

    async def _connected(self) -> "asyncpg.Connection[asyncpg.Record]":
        if self._connection is None or self._connection.is_closed():
            try:
                self._connection = await connect(self._url)
                await self._groups.begin_on(self._connection)
            except (*_ASYNCPG_ERRORS, TimeoutError) as exc:
                raise StoreUnavailable(f"PostgreSQL cannot be reached: {exc}") from exc
        return self._connection

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
                pool_pre_ping=True,
                isolation_level="AUTOCOMMIT",
                connect_args={
                    "timeout": CONNECT_TIMEOUT_SECONDS,
                    "command_timeout": STATEMENT_TIMEOUT_SECONDS,
                },
            )
        return self._engine


async def connect(url: URL) -> "asyncpg.Connection[asyncpg.Record]":
    """Open a connection of our own, with the time limits that the journal relies on."""
    return await asyncio.wait_for(
        asyncpg.connect(
            url.set(drivername="postgresql").render_as_string(hide_password=False),
            timeout=CONNECT_TIMEOUT_SECONDS,
            command_timeout=STATEMENT_TIMEOUT_SECONDS,
            statement_cache_size=STATEMENTS_KEPT,
            server_settings={
                "application_name": "limner",
                "idle_in_transaction_session_timeout": f"{IDLE_IN_TRANSACTION_SECONDS:.0f}s",
                "jit": "off",  # set-based statements over small groups never earn it back
                # Every statement of this connection finds rows by their keys. Planned once, while
                # a table is small, it must not settle on reading all of it.
                "plan_cache_mode": "force_generic_plan",
                "enable_seqscan": "off",
                "enable_hashjoin": "off",
                "enable_mergejoin": "off",
            },
        ),
        CONNECT_TIMEOUT_SECONDS * 2,
    )


# InternalClientError: the protocol was interrupted, as when the backend was ended under a query.
_ASYNCPG_ERRORS = (
    OSError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)

# 23505 unique, 40001 serialization, 40P01 deadlock, 55P03 lock not available
_CONFLICT = frozenset({"23505", "40001", "40P01", "55P03"})
# 22 data, 23 integrity: the statement was understood and its data refused.
_REJECTED = ("22", "23")


def _lost(exc: Exception) -> bool:
    """Whether the connection itself is gone: classes 08 (connection) and 57P (shutdown)."""
    state = getattr(exc, "sqlstate", None)
    return state is None or state.startswith(("08", "57P"))


def _translated(exc: Exception) -> Exception:
    state = getattr(exc, "sqlstate", None)
    # Not str(exc): its DETAIL holds the row's values, and those hold prompts.
    said = f"{type(exc).__name__} {getattr(exc, 'constraint_name', None) or ''}".strip()
    if state in _CONFLICT:
        return StoreConflict(said)
    if state is not None and state.startswith(_REJECTED):
        return StoreRejected(f"PostgreSQL refuses a row: {said}")
    if isinstance(exc, asyncpg.InterfaceError) and isinstance(exc, ValueError):
        return StoreRejected(f"asyncpg cannot send a value: {said}")
    return StoreUnavailable(f"PostgreSQL cannot write: {said}")
