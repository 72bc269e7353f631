"""Which database a URL names, how it is opened, migrated and held by one process.

SQLite or PostgreSQL is decided here, by the URL, and nowhere else.
"""

import asyncio
import fcntl
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import sqlalchemy as sa
from sqlalchemy.engine import URL, make_url

from adapters.errors import AlreadyRunning, SchemaOutdated, StoreUnavailable
from adapters.failpoints import NO_FAILPOINTS, Failpoints
from adapters.store.migration import Patience, on_postgres, on_sqlite, opened
from adapters.store.sqlite import MEMORY, SqliteStore
from schemas.migrations import head

# asyncpg and Alembic are imported where they are used: a start on SQLite at the present schema
# needs neither, and they would take a third of its time.
if TYPE_CHECKING:
    from adapters.store.postgres import PostgresStore

# Any number, the same in every release: it names "the one local Limner of this database".
_LOCK_NUMBER = 0x11E4_0001

AnyStore: TypeAlias = "SqliteStore | PostgresStore"


def open_store(url: str, *, failpoints: Failpoints = NO_FAILPOINTS) -> AnyStore:
    """Return the store for `sqlite:///path` or `postgresql://…`. Opens nothing yet."""
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        query = dict(parsed.query)
        return SqliteStore(
            parsed.database or MEMORY,
            failpoints=failpoints,
            read_only=query.get("mode") == "ro",
            max_pages=int(str(query["max_page_count"])) if "max_page_count" in query else None,
        )
    if parsed.get_backend_name() == "postgresql":
        from adapters.store.postgres import PostgresStore

        return PostgresStore(
            parsed.set(drivername="postgresql").render_as_string(hide_password=False),
            failpoints=failpoints,
        )
    raise ValueError(unknown_database(url))


def unknown_database(url: str) -> str | None:
    """Why *url* names no database that Limner can use; None for one that it can."""
    known = "sqlite:///PATH and postgresql://USER@HOST/DATABASE"
    try:
        parsed = make_url(url)
    except sa.exc.ArgumentError:
        return f"it is no URL; Limner knows {known}"
    if parsed.get_backend_name() not in ("sqlite", "postgresql"):
        return f"it begins with {parsed.drivername!r}; Limner knows {known}"
    pages = str(parsed.query.get("max_page_count", "1"))
    if not pages.isdigit():
        return f"max_page_count={pages!r} is no number"
    return None


async def migrate(
    url: str,
    tell: Callable[[str], None] = lambda _: None,
    patience: Patience = Patience(),
) -> None:
    """Bring the database to this program's schema; SQLite's file is made where it is missing.

    *tell* hears what is waited for. Raises `MigrationBlocked` when that does not end, and
    `SchemaOutdated` for a database of a newer release: there is no way back.
    """
    from schemas.migrations.run import upgrade

    def work(connection: sa.Connection) -> None:
        at = _schema_of(connection).revision
        if at is not None and at > head():
            raise SchemaOutdated(
                f"the database is at revision {at}, newer than this program's {head()}: it belongs"
                " to a later release; run that one"
            )
        upgrade(connection)

    parsed = make_url(url)
    on = on_sqlite if parsed.get_backend_name() == "sqlite" else on_postgres
    await on(parsed, work, tell, patience)


async def is_current(url: str) -> bool:
    """Whether this program can run on the database's schema; False for one that is not there."""
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite" and not _file_exists(parsed):
        return False
    return _serves_us(await _schema(parsed))


def _file_exists(url: URL) -> bool:
    return Path(url.database or "").exists()


async def check_schema(url: str) -> None:
    """Raise `SchemaOutdated` unless this program can run on the database's schema: its own, or a
    later one that serves it still, as while a cluster is updated."""
    schema = await _schema(make_url(url))
    if _serves_us(schema):
        return
    if schema.revision is not None and schema.revision > head():
        raise SchemaOutdated(
            f"the database is at revision {schema.revision}, which serves programs of"
            f" {schema.serves or schema.revision} and later; this one is of {head()}:"
            " run the later release"
        )
    raise SchemaOutdated(
        f"the database is at revision {schema.revision or 'none'}, this program needs {head()}:"
        " run `limner migrate`"
    )


class _Schema(NamedTuple):
    """What a database has: None where it has none, or does not say."""

    revision: str | None = None
    serves: str | None = None


def _serves_us(schema: _Schema) -> bool:
    if schema.revision is None or schema.revision < head():
        return False
    return schema.revision == head() or (schema.serves is not None and schema.serves <= head())


async def _schema(url: URL) -> _Schema:
    if url.get_backend_name() == "sqlite":
        return await asyncio.to_thread(_schema_in_file, url)
    from sqlalchemy.ext.asyncio import create_async_engine

    engine = create_async_engine(url.set(drivername="postgresql+asyncpg"))
    try:
        async with engine.begin() as connection:
            return await connection.run_sync(_schema_of)
    except (OSError, sa.exc.OperationalError, sa.exc.InterfaceError) as exc:
        raise StoreUnavailable(f"PostgreSQL cannot be reached: {exc}") from exc
    finally:
        await engine.dispose()


def _schema_in_file(url: URL) -> _Schema:
    engine = sa.create_engine("sqlite://", creator=lambda: opened(url))
    try:
        with engine.begin() as connection:
            return _schema_of(connection)
    except (OSError, sa.exc.DatabaseError) as exc:
        said = exc.orig if isinstance(exc, sa.exc.DatabaseError) else exc
        raise StoreUnavailable(f"SQLite cannot open {url.database}: {said}") from exc
    finally:
        engine.dispose()


def _schema_of(connection: sa.Connection) -> _Schema:
    if not sa.inspect(connection).has_table("alembic_version"):
        return _Schema()
    revision = connection.scalar(sa.text("SELECT version_num FROM alembic_version"))
    serves = None
    if revision is not None and revision > head():
        serves = connection.scalar(sa.text("SELECT serves FROM lineage"))
    return _Schema(revision, serves)


@asynccontextmanager
async def held_alone(url: str, lost: Callable[[], None]) -> AsyncIterator[None]:
    """Hold the database for this process; raise `AlreadyRunning` when another one has it.

    The operating system (SQLite) or the server (PostgreSQL) gives the lock back when the process
    dies, however it dies. *lost* is called when the server takes it away: then stop.
    """
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        with _file_lock(Path(f"{parsed.database}.lock")):
            yield
        return
    async with _advisory_lock(parsed, lost):
        yield


@asynccontextmanager
async def _advisory_lock(url: URL, lost: Callable[[], None]) -> AsyncIterator[None]:
    import asyncpg

    from adapters.store.postgres_connection import CONNECT_TIMEOUT_SECONDS, connect

    try:
        connection = await connect(url)
    except (OSError, asyncpg.PostgresError) as exc:
        raise StoreUnavailable(f"PostgreSQL cannot be reached: {exc}") from exc

    def on_termination(_: object) -> None:
        lost()

    try:
        if not await connection.fetchval("SELECT pg_try_advisory_lock($1)", _LOCK_NUMBER):
            raise AlreadyRunning(f"another Limner holds the database {url.database}")
        connection.add_termination_listener(on_termination)
        yield
        connection.remove_termination_listener(on_termination)
    finally:
        with suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            await connection.close(timeout=CONNECT_TIMEOUT_SECONDS)


class _file_lock:  # reads as the function it serves as
    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as exc:
            raise StoreUnavailable(
                f"the folder {self._path.parent} cannot be made or written ({exc.strerror}):"
                " choose another with --home"
            ) from exc
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            holder = os.read(self._file, 32).decode(errors="replace").strip()
            os.close(self._file)
            raise AlreadyRunning(
                f"another Limner (process {holder or 'unknown'}) is running on {self._path.parent}"
            ) from exc
        os.ftruncate(self._file, 0)
        os.write(self._file, str(os.getpid()).encode())

    def __exit__(self, *_: object) -> None:
        os.close(self._file)
