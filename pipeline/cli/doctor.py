"""`limner doctor`: what is configured, what is missing, and how to mend it.

Every check looks at one thing and tells it as a `Finding`; nothing is left behind where it looked.
"""

import asyncio
import contextlib
import difflib
import io
import os
import platform
import re
import shutil
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, NoReturn

from pydantic import ValidationError
from pydantic_settings import SettingsError
from rich.text import Text
from sqlalchemy.engine import make_url

from adapters.errors import AlreadyRunning, SchemaOutdated, Unavailable
from adapters.local.processes import WorkerProcesses
from adapters.providers.sketch.provider import SketchSettings
from adapters.providers.sketch.request import Sketch, paint_png
from adapters.store.database import check_schema, held_alone
from pipeline.cli.output import Output, clean
from pipeline.cli.reach import address_of, http_client, is_missing, local_address
from pipeline.cli.start import CommandFailed, finish
from pipeline.settings import Misconfigured, Settings
from pipeline.telemetry import configure_logging
from pipeline.wiring import running
from schemas.migrations import head

PREFIX = "LIMNER_"
# Read by the command line, not by the service.
COMMAND_LINE_NAMES = {"LIMNER_SERVER"}
# Settings that bear the name of somebody else's service.
FOREIGN_PREFIXES = {"stability": "STABILITY_AI_"}
LEAST_FREE_BYTES = 100 * 2**20
SPARE_FREE_BYTES = 2**30
PAINTING_SECONDS = 60.0


class Level(StrEnum):
    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


STYLES = {Level.OK: "green", Level.WARN: "yellow", Level.FAIL: "bold red"}


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found; a *remedy* wherever it is not well."""

    check: str
    level: Level
    detail: str
    remedy: str | None = None


@dataclass(slots=True)
class Report:
    findings: list[Finding] = field(default_factory=list)

    def ok(self, check: str, detail: str) -> None:
        self.findings.append(Finding(check, Level.OK, detail))

    def warn(self, check: str, detail: str, remedy: str) -> None:
        self.findings.append(Finding(check, Level.WARN, detail, remedy))

    def fail(self, check: str, detail: str, remedy: str) -> None:
        self.findings.append(Finding(check, Level.FAIL, detail, remedy))

    @property
    def healthy(self) -> bool:
        return all(one.level is not Level.FAIL for one in self.findings)


def examine(*, server: str | None, home: Path | None, as_json: bool) -> NoReturn:
    """Run every check, print what each found, exit with 0 when none failed."""
    # The checks start parts of the service, whose log belongs to no report.
    configure_logging(io.StringIO())
    out = Output(as_json=as_json)

    async def run() -> int:
        report = Report()
        named = address_of(server) if server is not None else None
        _check_python(report)
        settings = _check_settings(report, home)
        _check_home(report, settings)
        answers = await _check_server(report, settings, named)
        await _check_database(report, settings, limner_answers=answers)
        await _check_painting(report, settings)
        _show(out, report)
        return 0 if report.healthy else 1

    finish(run, out.failed)


def _show(out: Output, report: Report) -> None:
    if out.as_json:
        found = [asdict(one) for one in report.findings]
        out.document({"healthy": report.healthy, "findings": found})
        return
    for one in report.findings:
        detail, remedy = clean(one.detail), clean(one.remedy) if one.remedy else ""
        if not out.for_person:
            out.line(f"{one.level:<4}  {one.check}: {detail}" + (f" -> {remedy}" if remedy else ""))
            continue
        line = Text.assemble((f"{one.level:<4}", STYLES[one.level]), f"  {one.check:<16}", detail)
        out.person(line)
        if remedy:
            out.person(Text.assemble(" " * 22, ("-> ", "dim"), (remedy, "bold")))


def _check_python(report: Report) -> None:
    # An older Python than pyproject.toml asks for does not come as far as here.
    report.ok("python", f"Python {platform.python_version()}, {sys.executable}")


# --- settings


def _check_settings(report: Report, home: Path | None) -> Settings:
    """Name every bad setting; return the settings with the defaults in the place of bad ones."""
    options: dict[str, Any] = {} if home is None else {"home": home}
    before = len(report.findings)
    settings = None
    while settings is None:
        try:
            settings = Settings(**options)
        except ValidationError as exc:
            bad = {_blame(report, error) for error in exc.errors()}
        except SettingsError as exc:  # the text names the field between quotes
            bad = {str(exc).split('"')[1]}
            variable = PREFIX + next(iter(bad)).upper()
            report.fail("settings", f"{variable}: it is not JSON", _unset(variable))
        if settings is None and not _forget(bad, options):
            raise CommandFailed("the settings cannot be read, whatever is left out of them")
    _check_names(report)
    if settings.failpoints:
        report.warn(
            "settings",
            f"{len(settings.failpoints)} failpoints are armed: they break the service for tests",
            "Unset LIMNER_FAILPOINTS.",
        )
    if settings.sketch != SketchSettings():
        report.warn(
            "settings",
            f"sketch is told to misbehave ({settings.sketch})",
            "Unset every LIMNER_SKETCH__… but in tests.",
        )
    if len(report.findings) == before:
        given = sorted(name for name in os.environ if name.upper().startswith(PREFIX))
        report.ok("settings", f"valid; set: {', '.join(given) or 'none'}")
    return settings


def _blame(report: Report, error: Any) -> str:
    """Tell one bad setting; return the name of its field."""
    message = str(error["msg"]).removeprefix("Value error, ")
    places = [str(part) for part in error["loc"]]
    if not places:  # told of all settings at once: the text begins with the one it means
        places = [message.split()[0].rstrip(":")]
        message = message.removeprefix(f"{places[0]}:").strip()
    variable = PREFIX + "__".join(places).upper()
    for section, foreign in FOREIGN_PREFIXES.items():
        if message.startswith(foreign):  # the variable that it means is told by the section itself
            places = [section]
            variable, _, message = message.partition(": ")
        elif places[0].startswith(foreign):
            places, variable = [section], places[0]
    report.fail("settings", f"{variable}: {message}", _unset(variable, places[0]))
    return places[0]


def _unset(variable: str, name: str | None = None) -> str:
    known = Settings.model_fields.get(name or "")
    default = known.get_default() if known is not None else None
    told = f" (its default is {default})" if isinstance(default, str | int) and default else ""
    # What is wrong with a section was said by variables with longer names.
    foreign = FOREIGN_PREFIXES.get(name or "")
    beginnings = (variable, f"{PREFIX}{name}__".upper(), foreign) if foreign else variable
    said = sorted(one for one in os.environ if one.upper().startswith(beginnings)) or [variable]
    return f"Correct {' or '.join(said)}, or unset it{told}; pipeline/settings.py describes it."


def _forget(names: set[str], options: dict[str, Any]) -> bool:
    """Take the settings *names* out of the environment and *options*; whether there were any."""
    found = False
    for name in names:
        found |= options.pop(name, None) is not None
        for variable in list(os.environ):
            setting = variable.upper().removeprefix(PREFIX).partition("__")[0].lower()
            foreign = FOREIGN_PREFIXES.get(name.lower())
            ours = variable.upper().startswith(PREFIX) and setting == name.lower()
            if ours or (foreign is not None and variable.upper().startswith(foreign)):
                del os.environ[variable]
                found = True
    return found


def _check_names(report: Report) -> None:
    """A misspelled variable is no error to anybody: its value is just not taken."""
    known = {PREFIX + name.upper() for name in Settings.model_fields} | COMMAND_LINE_NAMES
    for variable in sorted(os.environ):
        head = variable.upper().partition("__")[0]
        if head.startswith(PREFIX) and head not in known:
            near = difflib.get_close_matches(head, known, 1)
            meant = f"Did you mean {near[0]}? Rename it" if near else "Correct its name"
            report.warn(
                "settings", f"{variable}: there is no such setting", f"{meant}, or unset it."
            )


# --- files


def _check_home(report: Report, settings: Settings) -> None:
    """The home and the pictures in it: written, hard-linked and removed where they will lie."""
    ground = _nearest(settings.home)
    if not ground.is_dir():
        report.fail(
            "home",
            f"{settings.home} cannot be a folder: {ground} is a file",
            "Choose another folder with --home or LIMNER_HOME, or move the file away.",
        )
        return
    problem = _writes_in(ground)
    if problem is not None:
        report.fail(
            "home",
            f"{settings.home} cannot be written: {problem}",
            "Give this user the right to write there, or choose another folder with --home"
            " or LIMNER_HOME.",
        )
    else:
        there = "writable" if settings.home == ground else "not there yet; the first start makes it"
        report.ok("home", f"{settings.home}, {there}")
    _check_room(report, ground)
    _check_pictures(report, settings.home / "pictures")


def _check_room(report: Report, ground: Path) -> None:
    free = shutil.disk_usage(ground).free
    shown = f"{free / 2**30:.1f} GiB free"
    remedy = "Free some room, or choose a folder on another disk with --home or LIMNER_HOME."
    if free < LEAST_FREE_BYTES:
        report.fail("room", shown, remedy)
    elif free < SPARE_FREE_BYTES:
        report.warn("room", shown, remedy)
    else:
        report.ok("room", shown)


def _check_pictures(report: Report, pictures: Path) -> None:
    ground = _nearest(pictures)
    problem = _writes_in(ground) if ground.is_dir() else f"{ground} is a file"
    if problem is not None:
        report.fail(
            "pictures",
            f"{pictures} cannot be written: {problem}",
            "Give this user the right to write there, or choose another folder with --home"
            " or LIMNER_HOME.",
        )
        return
    problem = _links_in(ground)
    if problem is not None:
        report.fail(
            "pictures",
            f"{pictures} lies on a file system without hard links: {problem}",
            "Choose a folder on another file system with --home or LIMNER_HOME.",
        )
        return
    report.ok("pictures", f"{pictures}, writable, with hard links")


def _nearest(path: Path) -> Path:
    """*path*, or what is there of the way to it."""
    for candidate in (path, *path.parents):
        with contextlib.suppress(OSError):
            if candidate.exists():
                return candidate
    return Path(path.anchor)


@contextlib.contextmanager
def _scratch(ground: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(
        dir=ground, prefix=".limner-doctor-", ignore_cleanup_errors=True
    ) as folder:
        yield Path(folder)


def _writes_in(ground: Path) -> str | None:
    """Why nothing can be written in *ground*; None where it can."""
    try:
        with _scratch(ground) as folder, (folder / "file").open("wb") as file:
            file.write(b"limner")
            file.flush()
            os.fsync(file.fileno())
    except OSError as exc:
        return exc.strerror or str(exc)
    return None


def _links_in(ground: Path) -> str | None:
    try:
        with _scratch(ground) as folder:
            (folder / "file").write_bytes(b"limner")
            os.link(folder / "file", folder / "link")
    except OSError as exc:
        return exc.strerror or str(exc)
    return None


# --- server and database


async def _check_server(report: Report, settings: Settings, named: str | None) -> bool:
    """Whether a Limner answers on its address; if nobody does, whether the port is free."""
    address = named or local_address(settings)
    if address is None:
        report.ok("port", "any free one (LIMNER_PORT=0)")
        return False
    check = "server" if named else "port"
    try:
        async with http_client(address) as client:
            if await client.is_alive():
                report.ok(check, f"Limner answers on {address}")
                return True
    except CommandFailed as exc:
        if named:
            report.fail(check, str(exc), "Name Limner's address with --server.")
        else:
            report.fail(
                check,
                f"port {settings.port} is taken by another program",
                "Stop that program, or choose another port with --port or LIMNER_PORT.",
            )
        return False
    if named:
        report.fail(
            check,
            f"nothing answers on {address}",
            "Start `limner serve` there, or name another address with --server.",
        )
        return False
    problem = _listens_on(settings.host, settings.port)
    if problem is not None:
        report.fail(
            check,
            f"{settings.host}:{settings.port} cannot be listened on: {problem}",
            "Choose another port with --port or LIMNER_PORT.",
        )
    else:
        report.ok(check, f"{settings.host}:{settings.port} is free")
    return False


def _listens_on(host: str, port: int) -> str | None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        socket.create_server((host, port), family=family).close()
    except OSError as exc:
        return exc.strerror or str(exc)
    return None


async def _check_database(report: Report, settings: Settings, *, limner_answers: bool) -> None:
    shown = make_url(settings.database_url).render_as_string()
    if is_missing(settings):
        report.ok("database", f"{shown}, not there yet; the first start makes it")
        return
    try:
        await check_schema(settings.database_url)
    except SchemaOutdated as exc:
        told = str(exc).partition(": run")[0]
        found = re.search(r"revision (\d+)", told)
        if found is not None and found[1] > head():
            report.fail(
                "database",
                f"{shown} was made by a newer Limner: {told}",
                "Install the newer Limner, or choose another database with --home or"
                " LIMNER_DATABASE_URL.",
            )
            return
        report.warn(
            "database",
            f"{shown}: {told}",
            "Run `limner migrate`; `limner serve` does so by itself.",
        )
    except Unavailable as exc:
        report.fail(
            "database",
            # SQLAlchemy adds a line that leads to its own documentation.
            str(exc).partition("\n")[0],
            "Start the database or give this user the right to it, or correct LIMNER_DATABASE_URL"
            " (sqlite:///PATH or postgresql://USER@HOST/DATABASE).",
        )
        return
    else:
        report.ok("database", f"{shown}, its schema is up to date")
    try:
        async with _held(settings):
            report.ok("lock", "nobody holds the database")
    except AlreadyRunning as exc:
        if limner_answers:
            report.ok("lock", str(exc))
        else:
            report.warn(
                "lock",
                f"{exc}, and it does not answer here",
                "Name its address with --server, or stop it.",
            )
    except (Unavailable, OSError) as exc:
        report.fail("lock", f"it cannot be taken: {exc}", "Give this user the right to write it.")


@contextlib.asynccontextmanager
async def _held(settings: Settings) -> AsyncIterator[None]:
    async with held_alone(settings.database_url, lambda: None):
        yield


# --- painting


async def _check_painting(report: Report, settings: Settings) -> None:
    """Put the whole service together in a folder of its own, and paint a tiny sketch in it."""
    with tempfile.TemporaryDirectory(prefix="limner-doctor-", ignore_cleanup_errors=True) as folder:
        tried = settings.model_copy(
            update={
                "home": Path(folder),
                "database_url": f"sqlite:///{folder}/limner.sqlite",
                "failpoints": [],
            }
        )
        processes = WorkerProcesses(1)
        try:
            await _check_worker(report, processes)
            await _check_providers(report, tried, processes)
        finally:
            await processes.close()


async def _check_worker(report: Report, processes: WorkerProcesses) -> None:
    sketch = Sketch(
        prompt="a lighthouse", negative_prompt="", seed=1, width=64, height=64, style=None,
        detail="draft",
    )  # fmt: skip
    try:
        async with asyncio.timeout(PAINTING_SECONDS):
            picture = await processes.run(paint_png, sketch)
    except TimeoutError:
        report.fail(
            "worker", f"nothing was painted within {PAINTING_SECONDS:.0f} s", _WORKER_REMEDY
        )
    except (Unavailable, OSError) as exc:
        report.fail("worker", f"it cannot paint: {exc}", _WORKER_REMEDY)
    else:
        report.ok("worker", f"a process painted a tiny sketch ({len(picture)} bytes)")


_WORKER_REMEDY = (
    "See that the machine has memory left and lets this user start processes"
    " (LIMNER_LOCAL__WORKER_PROCESSES says how many)."
)


async def _check_providers(report: Report, tried: Settings, processes: WorkerProcesses) -> None:
    try:
        async with running(tried, processes) as limner:
            providers = limner.providers
    except Misconfigured as exc:
        report.fail("providers", str(exc), "Set LIMNER_DEFAULT_PROVIDER to one of these.")
        return
    except (Unavailable, OSError) as exc:
        report.fail(
            "providers",
            f"the service cannot be put together in {tried.home}: {exc}",
            "See that the folder for temporary files (TMPDIR) can be written.",
        )
        return
    for name in sorted(providers.by_name):
        default = ", the default" if name == providers.default else ""
        report.ok("providers", f"{name}{default}: ready")
    for name, stand_in in sorted(providers.stand_ins.items()):
        told = f"{name} has no key: {stand_in} paints in its place, offline and without AI"
        if name == providers.default:
            report.warn("providers", told, "Set LIMNER_DEFAULT_PROVIDER=sketch to mean it.")
        else:
            report.ok("providers", told)
