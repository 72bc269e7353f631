"""SQLite under the journal: one writer, WAL, every commit on the disk (synchronous=FULL).

Everything here is synchronous and runs in one thread of its own, or in place (`inline`, for
simulations on `:memory:`).
"""

import asyncio
import os
import sqlite3
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite as sqlite_dialect
from sqlalchemy.exc import DatabaseError
from sqlalchemy.pool import StaticPool
from sqlmodel import Session

from adapters.errors import CommitUnknown, StoreConflict, StoreRejected, StoreUnavailable
from adapters.failpoints import NO_FAILPOINTS, Failpoints
from adapters.ports import nothing
from adapters.store import sqlite_statements as sql
from adapters.store.batch import Batch
from adapters.store.plans import Plans
from schemas.step import Look, Outcome, RowKey, Step, decide_group, keys_of, writes_of
from schemas.tables import EventRow, JobRow, Row

P = ParamSpec("P")
T = TypeVar("T")

MEMORY = ":memory:"
BUSY_TIMEOUT_SECONDS = 5.0


class SqliteStore:
    """The `Store` of the local profile."""

    def __init__(
        self,
        database: str | Path,
        *,
        inline: bool = False,
        failpoints: Failpoints = NO_FAILPOINTS,
        read_only: bool = False,
        max_pages: int | None = None,
    ) -> None:
        """*database* is a file, or `:memory:`. *read_only* and *max_pages* are for fault tests."""
        self._database = str(database)
        self._inline = inline
        self._failpoints = failpoints
        self._read_only = read_only
        self._max_pages = max_pages
        self._plans = Plans(sqlite_dialect.dialect())
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="sqlite-writer")
        self._readers = ThreadPoolExecutor(4, thread_name_prefix="sqlite-reader")
        self._connection: sqlite3.Connection | None = None
        self._engine: sa.Engine | None = None
        self._file: tuple[int, int] | None = None
        self._opening = threading.Lock()
        self._last_commit: tuple[str, list[Outcome]] | None = None
        self._commits = 0
        # Types of events that are to be sent; None: all.
        self._sendable: tuple[str, ...] | None = None

    works_beside = False

    @property
    def commits(self) -> int:
        """How many transactions were committed by this store."""
        return self._commits

    def describe(self) -> str:
        """Which database this is, for a person, without its password."""
        return f"SQLite {self._database}"

    def send_only(self, types: frozenset[str] | None) -> None:
        self._sendable = tuple(sorted(types)) if types is not None else None

    async def decide(self, group: Sequence[Step[Any]]) -> None:
        """Nothing: while a group is written, nobody else can look."""

    async def commit(
        self,
        group: Sequence[Step[Any]],
        decided: None = None,
        meanwhile: Callable[[], None] = nothing,
    ) -> list[Outcome]:
        meanwhile()
        return await self._run(self._writer, partial(self._commit, group))

    async def settle(self, ticket: str) -> list[Outcome] | None:
        if self._last_commit is not None and self._last_commit[0] == ticket:
            return self._last_commit[1]
        return None

    async def read(
        self, query: Callable[Concatenate[Session, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        def run() -> T:
            self._check_file()
            try:
                with Session(self._read_engine(), expire_on_commit=False) as session:
                    return query(session, *args, **kwargs)
            except DatabaseError as exc:
                raise StoreUnavailable(f"SQLite cannot read {self._database}: {exc.orig}") from exc

        return await self._run(self._readers, run)

    async def time(self) -> datetime:
        return datetime.now(UTC)  # the database has no clock of its own

    async def prepare(self) -> None:
        """Nothing: positions go on where the file's own counter stands."""

    async def listen(self, on_news: Callable[[], None]) -> None:
        """No other process writes: this one holds the database's lock."""
        await asyncio.Event().wait()

    async def close(self) -> None:
        # A reader whose caller was cancelled still runs; under a closed connection it would crash.
        await asyncio.to_thread(self._readers.shutdown)
        await self._run(self._writer, self._close)
        await asyncio.to_thread(self._writer.shutdown)

    async def _run(self, pool: ThreadPoolExecutor, function: Callable[[], T]) -> T:
        if self._inline:
            return function()
        return await asyncio.get_running_loop().run_in_executor(pool, function)

    def _close(self) -> None:
        # The writer last: closing the last connection of all folds the WAL into the file.
        if self._engine is not None:
            self._engine.dispose()
            self._engine = None
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _connected(self) -> sqlite3.Connection:
        if self._connection is None:
            mode = "ro" if self._read_only else "rw"
            if self._database == MEMORY:
                connection = sqlite3.connect(MEMORY, isolation_level=None, check_same_thread=False)
            else:
                connection = sqlite3.connect(
                    f"file:{self._database}?mode={mode}",
                    uri=True,
                    isolation_level=None,
                    timeout=BUSY_TIMEOUT_SECONDS,
                    check_same_thread=False,
                )
            connection.row_factory = sqlite3.Row
            prepare(connection, read_only=self._read_only)
            if self._max_pages is not None:
                connection.execute(f"PRAGMA max_page_count = {self._max_pages}")
            self._connection = connection
        return self._connection

    def _check_file(self) -> None:
        """Refuse to go on in a file that was deleted or replaced: what is written there is lost."""
        if self._database == MEMORY:
            return
        try:
            found = os.stat(self._database)
        except OSError as exc:
            raise StoreUnavailable(
                f"SQLite's file {self._database} is gone: stop Limner, restore the file with its"
                " -wal, and start it again"
            ) from exc
        present = (found.st_dev, found.st_ino)
        if self._file is None:
            self._file = present
        elif self._file != present:
            raise StoreUnavailable(
                f"SQLite's file {self._database} is another one than at the start; restart Limner"
            )

    def _read_engine(self) -> sa.Engine:
        with self._opening:
            return self._opened_engine()

    def _opened_engine(self) -> sa.Engine:
        if self._engine is None:
            if self._database == MEMORY:
                writer = self._connected()
                self._engine = sa.create_engine(
                    "sqlite://", creator=lambda: writer, poolclass=StaticPool
                )
            else:
                self._engine = sa.create_engine(
                    "sqlite://",
                    creator=lambda: sqlite3.connect(
                        f"file:{self._database}?mode=ro",
                        uri=True,
                        timeout=BUSY_TIMEOUT_SECONDS,
                        check_same_thread=False,
                    ),
                )
        return self._engine

    def _commit(self, group: Sequence[Step[Any]]) -> list[Outcome]:
        ticket = str(self._commits + 1)
        self._check_file()
        try:
            connection = self._connected()
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.Error as exc:
            raise _translated(exc, self._database) from exc
        try:
            named = keys_of(group)
            rows = self._look(connection, named)
            outcomes = decide_group(group, Look(rows, named))
            batch = Batch(self._plans, writes_of(outcomes), rows)
            if not batch:
                connection.execute("ROLLBACK")
                return outcomes
            self._write(connection, batch)
            self._failpoints.passing("store.before_commit")
            connection.execute("COMMIT")
        except sqlite3.Error as exc:
            with suppress(sqlite3.Error):
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
            raise _translated(exc, self._database) from exc
        except (OverflowError, UnicodeEncodeError) as exc:
            with suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
            raise StoreRejected(f"SQLite cannot hold a value: {type(exc).__name__}") from exc
        except BaseException:
            with suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
            raise
        self._commits += 1
        self._last_commit = (ticket, outcomes)
        try:
            self._failpoints.passing("store.after_commit")
        except CommitUnknown as exc:  # a fault test plays a lost reply
            raise CommitUnknown(ticket) from exc
        return outcomes

    def _look(self, connection: sqlite3.Connection, named: Sequence[RowKey]) -> dict[RowKey, Row]:
        rows: dict[RowKey, Row] = {}
        keys = self._plans.by_table(named)
        for row, wanted in keys.items():
            plan = self._plans.by_row[row]
            for key in wanted:
                found = connection.execute(sql.select(plan), plan.encode_key(key)).fetchone()
                if found is not None:
                    rows[RowKey(row, key)] = plan.decode(dict(zip(plan.names, found, strict=True)))
        return rows

    def _write(self, connection: sqlite3.Connection, batch: Batch) -> None:
        for row, rows in batch.inserts.items():
            plan = self._plans.by_row[row]
            last = connection.execute(sql.LAST_EVENT).fetchone() if row is EventRow else None
            columns = plan.encode(rows.values(), plan.names)
            connection.executemany(sql.insert(plan), zip(*columns, strict=True))
            if last is not None and self._sendable != ():
                types = self._sendable or ()
                connection.execute(sql.outbox(self._sendable), (*last, *types))
        for one_round in batch.rounds:
            for row, changed in one_round.items():
                plan, names = self._plans.by_row[row], batch.update_names[row]
                columns = plan.encode(changed.values(), names)
                update = sql.update(plan, names)
                cursor = connection.executemany(update, zip(*columns, strict=True))
                if cursor.rowcount != len(changed):
                    moved = len(changed) - cursor.rowcount
                    raise StoreConflict(f"{moved} rows of {plan.name} had moved")
        for row, keys in self._plans.by_table(batch.deletes).items():
            plan = self._plans.by_row[row]
            connection.executemany(sql.delete(plan), map(plan.encode_key, keys))
        connection.executemany(sql.FORGET, [(position,) for position in batch.forgotten])
        encode_id = self._plans.by_row[JobRow].encode_key
        sent = [(mark.target, *encode_id([mark.job_id]), *mark[1:3]) for mark in batch.sent]
        connection.executemany(sql.SENT, sent)
        connection.executemany(sql.PUBLISHED, [encode_id([one]) for one in batch.published])


def prepare(connection: sqlite3.Connection, *, read_only: bool = False) -> None:
    """Set what every connection of ours needs: WAL, and every commit on the disk."""
    if not read_only:
        connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")


_UNAVAILABLE = {
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_NOTADB,
    sqlite3.SQLITE_ERROR,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_AUTH,
    sqlite3.SQLITE_PROTOCOL,
}
_CONFLICT_EXTENDED = {sqlite3.SQLITE_CONSTRAINT_UNIQUE, sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY}
_CONFLICT = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}


def _translated(exc: sqlite3.Error, database: str) -> Exception:
    extended = getattr(exc, "sqlite_errorcode", None)
    if extended is None:  # raised by the driver: an encoding that SQLite never saw
        return StoreRejected(f"SQLite cannot take a value: {exc}")
    code = extended & 0xFF
    if extended in _CONFLICT_EXTENDED:
        return StoreConflict(str(exc))
    if code in _CONFLICT or code in _UNAVAILABLE:
        return StoreUnavailable(f"SQLite cannot write {database}: {exc}")
    return StoreRejected(f"SQLite refuses a row: {exc}")
