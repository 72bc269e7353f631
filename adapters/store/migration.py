"""The schema is changed here, beside a running service: by one at a time, all or nothing.

A change of a table waits for whoever uses it, and everybody else waits behind the change. So each
try gives up soon, lets the others pass, says who is in the way, and begins again.
"""

import asyncio
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa
from sqlalchemy.engine import URL

from adapters.errors import MigrationBlocked, StoreUnavailable
from adapters.store import sqlite

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

_LOCK_NUMBER = 0x11E4_0002
# PostgreSQL's lock_not_available and deadlock_detected.
_IN_THE_WAY = frozenset({"55P03", "40P01"})
_MOST_SHOWN = 3

Work = Callable[[sa.Connection], None]
Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Patience:
    """How long one lock is waited for, how long the others then have, and when it is enough."""

    # Below PostgreSQL's deadlock_timeout (1 s), so that not a job's step is taken for the culprit.
    lock_seconds: float = 0.8
    pause_seconds: float = 2.0
    total_seconds: float = 600.0


async def on_postgres(url: URL, work: Work, tell: Tell, patience: Patience) -> None:
    """Run *work* in one transaction that holds the migrations' lock; *tell* says who is waited for.

    Raises `MigrationBlocked` when somebody is in the way all the time; nothing is changed then.
    """
    from sqlalchemy.ext.asyncio import create_async_engine

    named = {"server_settings": {"application_name": "limner migrate"}}
    engine = create_async_engine(url.set(drivername="postgresql+asyncpg"), connect_args=named)
    give_up_at = time.monotonic() + patience.total_seconds
    try:
        while (blocked := await _try_postgres(engine, work, patience)) is not None:
            _tell_or_give_up(blocked, tell, give_up_at)
            await asyncio.sleep(patience.pause_seconds)
    except (OSError, sa.exc.OperationalError, sa.exc.InterfaceError) as exc:
        raise StoreUnavailable(f"PostgreSQL cannot be reached: {exc}") from exc
    finally:
        await engine.dispose()


async def _try_postgres(engine: "AsyncEngine", work: Work, patience: Patience) -> str | None:
    """Do the work; or say who is in the way."""
    try:
        async with engine.begin() as connection:
            await connection.execute(
                sa.text("SELECT set_config('lock_timeout', :most, true)"),
                {"most": f"{patience.lock_seconds * 1000:.0f}ms"},
            )
            # Given back with the transaction, behind a pooler as well.
            if not await connection.scalar(
                sa.text("SELECT pg_try_advisory_xact_lock(:n)"), {"n": _LOCK_NUMBER}
            ):
                return "another migration of this database is at work"
            await connection.run_sync(work)
            return None
    except sa.exc.DBAPIError as exc:
        if getattr(exc.orig, "sqlstate", None) not in _IN_THE_WAY:
            raise
    async with engine.connect() as connection:
        return await _longest_open(connection, patience)


async def _longest_open(connection: "AsyncConnection", patience: Patience) -> str:
    """The transactions that have held a table for as long as the lock was waited for."""
    held = await connection.execute(
        sa.text(
            "SELECT a.pid, a.application_name AS program, a.state,"
            " extract(epoch FROM clock_timestamp() - a.xact_start)::int AS seconds,"
            " string_agg(DISTINCT c.relname, ', ' ORDER BY c.relname) AS tables"
            " FROM pg_locks l JOIN pg_stat_activity a USING (pid)"
            " JOIN pg_class c ON c.oid = l.relation AND c.relkind IN ('r', 'p')"
            " WHERE l.granted AND l.database = (SELECT oid FROM pg_database"
            " WHERE datname = current_database()) AND a.pid <> pg_backend_pid()"
            " AND c.relnamespace NOT IN ('pg_catalog'::regnamespace,"
            " 'information_schema'::regnamespace)"
            " AND a.xact_start < clock_timestamp() - make_interval(secs => :seconds)"
            " GROUP BY a.pid, a.application_name, a.state, a.xact_start"
            " ORDER BY a.xact_start LIMIT :most"
        ),
        {"seconds": patience.lock_seconds / 2, "most": _MOST_SHOWN},
    )
    shown = [
        f"server process {row.pid} ({row.program or 'no name'}, {row.state or 'state hidden'}) has"
        f" held {row.tables} for {row.seconds} s"
        for row in held
    ]
    # It ended before it could be looked at, or many short ones follow each other.
    return "; ".join(shown) or "tables are in use by short transactions"


async def on_sqlite(url: URL, work: Work, tell: Tell, patience: Patience) -> None:
    """The same for SQLite's file, which has one writer at a time."""
    give_up_at = time.monotonic() + patience.total_seconds
    while (blocked := await asyncio.to_thread(_try_sqlite, url, work, patience)) is not None:
        _tell_or_give_up(blocked, tell, give_up_at)
        await asyncio.sleep(patience.pause_seconds)


def _try_sqlite(url: URL, work: Work, patience: Patience) -> str | None:
    path = Path(url.database or "")
    engine = sa.create_engine("sqlite://", creator=lambda: opened(url, patience.lock_seconds))
    # The driver begins no transaction before a CREATE or ALTER of its own accord.
    sa.event.listen(engine, "begin", lambda to: to.exec_driver_sql("BEGIN IMMEDIATE"))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with engine.begin() as connection:
            work(connection)
    except (OSError, sa.exc.DatabaseError) as exc:
        said = exc.orig if isinstance(exc, sa.exc.DatabaseError) else exc
        # The low byte of the code; the rest tells its kind.
        if getattr(said, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY:
            return f"another program writes to {path}"
        raise StoreUnavailable(f"SQLite cannot open {path}: {said}") from exc
    finally:
        engine.dispose()
    return None


def opened(url: URL, timeout: float = 5.0) -> sqlite3.Connection:
    """SQLite's file as the URL names it; it is made where it is missing."""
    mode = "ro" if url.query.get("mode") == "ro" else "rwc"
    connection = sqlite3.connect(
        f"file:{url.database}?mode={mode}", uri=True, timeout=timeout, isolation_level=None
    )
    try:
        if mode != "ro":
            sqlite.prepare(connection)
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _tell_or_give_up(blocked: str, tell: Tell, give_up_at: float) -> None:
    if time.monotonic() >= give_up_at:
        raise MigrationBlocked(
            f"{blocked}. Nothing was changed: end what is in the way, or run `limner migrate` again"
            " when it has ended"
        )
    tell(f"waiting: {blocked}")
