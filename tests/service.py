"""The real program in a test: `limner serve` as a process of its own, or inside of this one."""

import asyncio
import atexit
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic
from typing import Any, Self

import httpx2

from adapters.local.processes import InlineProcesses
from adapters.providers.sketch.provider import SketchSettings
from adapters.store.database import migrate
from pipeline.routes.app import create_app
from pipeline.settings import Settings
from pipeline.wiring import Limner, running

LIMNER = Path(sys.executable).with_name("limner")
GENERATE = "/api/v1/images/generate-async"
JOBS = "/api/v1/images/jobs"
# Nothing takes this long; a test that waits in vain fails here, with words.
PATIENCE_SECONDS = 30.0
POLL_SECONDS = 0.01
LOCAL = "http://127.0.0.1"


# What the program reads beside its own settings.
FOREIGN = (
    *("STABILITY_AI_", "GEMINI_", "OPENAI_"),
    *("GOOGLE_", "CLOUD_TASKS_", "CLOUD_RUN_", "PUBSUB_", "STORAGE_"),
)


def environment(**settings: str) -> dict[str, str]:
    """This process's environment with *settings* (`times__drain_seconds`) as Limner's only ones.

    A name in capitals is a variable as it is.
    """
    kept = {
        name: value
        for name, value in os.environ.items()
        # A start that compiles the whole program anew is no warm one.
        if not name.startswith(("LIMNER_", *FOREIGN)) and name != "PYTHONDONTWRITEBYTECODE"
    }
    return kept | {
        name if name.isupper() else f"LIMNER_{name.upper()}": value
        for name, value in settings.items()
    }


def command(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run one command to its end."""
    return subprocess.run(
        [LIMNER, *arguments],
        env=environment(**settings),
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )


def rows(database: Path, query: str, *parameters: object) -> list[tuple[Any, ...]]:
    """Read the database directly, past the program."""
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=5)) as connection:
        return connection.execute(query, parameters).fetchall()


def stored(database: Path) -> dict[str, int]:
    """How many rows each table holds; those of the schema itself left out, and the outbox, whose
    rows go by themselves."""
    tables = rows(database, "SELECT name FROM sqlite_master WHERE type = 'table'")
    others = ("sqlite_", "alembic_", "outbox")
    names = [name for (name,) in tables if not name.startswith(others)]
    return {name: rows(database, f"SELECT count(*) FROM {name}")[0][0] for name in names}


class Service:
    """`limner serve` on a free port: started on entering, gone with all its kin on leaving."""

    def __init__(self, home: Path, *, subscriber: str | None = None, **settings: str) -> None:
        """*settings* as in `environment`; change the attribute to restart with others.

        With *subscriber* it is the process that pulls that one's events.
        """
        self.home = home
        self.arguments = ["serve"] if subscriber is None else ["subscriber", subscriber]
        self.settings = settings
        self.database = home / "limner.sqlite"
        self.log: list[Mapping[str, Any]] = []
        self.address = ""
        self._process: subprocess.Popen[bytes] | None = None
        self._reader: threading.Thread | None = None
        self._news = threading.Condition()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
        self._ended()
        if kind is not None:
            print(*(json.dumps(dict(line)) for line in self.log[-40:]), sep="\n", file=sys.stderr)

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None
        return self._process

    @property
    def client(self) -> httpx2.Client:
        """A client of its own for every block that asks for one; close it."""
        key = self.settings.get("api_key")
        headers = {"Authorization": f"Bearer {key}"} if key is not None else {}
        return httpx2.Client(base_url=self.address, timeout=PATIENCE_SECONDS, headers=headers)

    def start(self, *, ready: bool = True) -> None:
        """Start the program; return when /readyz says 200, or at once when it need not."""
        self.home.parent.mkdir(parents=True, exist_ok=True)
        self.log = []
        self._process = subprocess.Popen(
            [LIMNER, *self.arguments, "--port", "0", "--home", self.home],
            env=environment(**self.settings),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            cwd=self.home.parent,
            process_group=0,
        )
        self._reader = threading.Thread(target=self._read_log, args=(self.process,), daemon=True)
        self._reader.start()
        if ready:
            started = "listening" if self.arguments == ["serve"] else "subscribed"
            self.address = self.wait_for_log(started)["address"]
            with self.client as client:
                self.until(lambda: client.get("/readyz").status_code == 200, "ready")

    def kill(self) -> None:
        """SIGKILL to the program, not to its workers: they are to end by themselves."""
        self.process.kill()
        self._ended()

    def died(self) -> int:
        """Wait for the program to end by itself (by a failpoint); its exit code."""
        code = self.process.wait(PATIENCE_SECONDS)
        self._ended()
        return code

    def stop(self, within_seconds: float = PATIENCE_SECONDS) -> int:
        """SIGTERM; the exit code. Fails when the program takes longer than *within_seconds*."""
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(within_seconds)
        self._ended()
        return code

    def restart(self) -> None:
        if self.process.poll() is None:
            self.kill()
        self.start()

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def until(
        self, condition: Callable[[], bool], what: str, seconds: float = PATIENCE_SECONDS
    ) -> None:
        """Return when *condition* holds, looking again and again while the program lives."""
        deadline = monotonic() + seconds
        while not condition():
            with suppress(subprocess.TimeoutExpired):
                code = self.process.wait(POLL_SECONDS)
                raise AssertionError(f"the program ended ({code}) before it was {what}")
            assert monotonic() < deadline, f"not {what} within {seconds:.0f} s"

    def wait_for_log(self, message: str, seconds: float = PATIENCE_SECONDS) -> Mapping[str, Any]:
        """The first log line *message*, as soon as it is written."""

        def found() -> Mapping[str, Any] | None:
            return next((line for line in self.log if line["message"] == message), None)

        with self._news:
            self._news.wait_for(lambda: found() or self._silent(), seconds)
        line = found()
        assert line is not None, f"no {message!r} in the log: {self.log[-20:]}"
        return line

    def rows(self, query: str, *parameters: object) -> list[tuple[Any, ...]]:
        return rows(self.database, query, *parameters)

    def count(self, table: str, where: str = "1 = 1") -> int:
        number: int = self.rows(f"SELECT count(*) FROM {table} WHERE {where}")[0][0]
        return number

    def _silent(self) -> bool:
        return self._reader is None or not self._reader.is_alive()

    def _read_log(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stderr is not None
        with process.stderr as lines:
            for line in lines:
                try:
                    told = json.loads(line)
                except ValueError:  # a traceback, or a line for a person
                    told = {"message": line.decode(errors="replace").rstrip("\n")}
                with self._news:
                    self.log.append(told)
                    self._news.notify_all()
        with self._news:
            self._news.notify_all()

    def _ended(self) -> None:
        """Reap the program and see that none of its workers outlives it.

        They all hold the writing end of the log's pipe, so its end is the end of the last of them.
        """
        self.process.wait(PATIENCE_SECONDS)
        assert self._reader is not None
        self._reader.join(PATIENCE_SECONDS)
        outlived = self._reader.is_alive()
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        assert not outlived, "workers outlived the program"


@dataclass(frozen=True, slots=True)
class Here:
    """The service in this process: what routes use, and a client that needs no socket."""

    limner: Limner
    http: httpx2.AsyncClient

    @property
    def database(self) -> Path:
        return self.limner.settings.home / "limner.sqlite"

    def rows(self, query: str, *parameters: object) -> list[tuple[Any, ...]]:
        return rows(self.database, query, *parameters)

    def count(self, table: str, where: str = "1 = 1") -> int:
        number: int = self.rows(f"SELECT count(*) FROM {table} WHERE {where}")[0][0]
        return number

    def stored(self) -> dict[str, int]:
        return stored(self.database)

    async def submit(self, **request: Any) -> str:
        """Have a job accepted; its id."""
        reply = await self.http.post(GENERATE, json={"prompt": "a lighthouse"} | request)
        assert reply.status_code == 202, reply.text
        job_id: str = reply.json()["job_id"]
        return job_id

    async def status(self, job_id: str) -> dict[str, Any]:
        reply = await self.http.get(f"{JOBS}/{job_id}")
        assert reply.status_code == 200, reply.text
        told: dict[str, Any] = reply.json()
        return told

    async def completed(self, job_id: str) -> dict[str, Any]:
        """The job's status once it is completed, and linked where it belongs to a blog."""

        def linked() -> bool:
            query = "SELECT state, blog_id IS NULL FROM jobs WHERE id = ?"
            ((state, alone),) = self.rows(query, job_id.replace("-", ""))
            return state == "completed" and bool(alone or self._handled(job_id))

        await self.until(linked, f"job {job_id} completed")
        return await self.status(job_id)

    def _handled(self, job_id: str) -> bool:
        query = (
            "SELECT 1 FROM inbox JOIN events USING (event_id)"
            " WHERE stream_id = ? AND type = 'image.job.completed'"
        )
        return bool(self.rows(query, job_id))

    async def until(self, condition: Callable[[], bool], what: str) -> None:
        """Return when *condition* holds, looking again after every commit of the journal."""
        committed = asyncio.Event()
        self.limner.journal.subscribe(lambda _: committed.set())
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                while not condition():
                    await committed.wait()
                    committed.clear()
        except TimeoutError:
            raise AssertionError(f"not within {PATIENCE_SECONDS:.0f} s: {what}") from None


@asynccontextmanager
async def served(settings: Settings) -> AsyncIterator[Here]:
    """Run the service with *settings* in this process, pictures painted in place."""
    database = settings.home / "limner.sqlite"
    if not database.exists():
        database.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(await _migrated(), database)
    async with running(settings, InlineProcesses()) as limner, client_of(limner) as http:
        yield Here(limner, http)


async def _migrated() -> Path:
    """An empty database at this program's schema, made once: migrating takes most of a start."""
    path = Path(_TEMPLATES.name) / "limner.sqlite"
    if not path.exists():
        await migrate(f"sqlite:///{path}")
    return path


_TEMPLATES = TemporaryDirectory(prefix="limner-template-", ignore_cleanup_errors=True)
atexit.register(_TEMPLATES.cleanup)


def client_of(limner: Limner) -> httpx2.AsyncClient:
    # A defect is to be seen as its caller sees it: as a reply.
    transport = httpx2.ASGITransport(app=create_app(limner), raise_app_exceptions=False)
    return httpx2.AsyncClient(transport=transport, base_url=LOCAL, timeout=PATIENCE_SECONDS)


def idle_settings(home: Path, **changes: Any) -> Settings:
    """Jobs are accepted and started, and then paint for ever."""
    never = SketchSettings(delay_seconds=3600)
    return Settings(home=home, sketch=never, times={"drain_seconds": 0}, **changes)
