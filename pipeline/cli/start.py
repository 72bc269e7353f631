"""Read the settings, run a command's coroutine, and say what went wrong in one clear line."""

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import typer
from pydantic import BaseModel, ValidationError

from adapters.errors import AlreadyRunning, SchemaOutdated, Unavailable

# Imported where they are used: a command that was told its server needs neither the settings nor
# a log, and they would take most of its start.
if TYPE_CHECKING:
    from pipeline.settings import Settings

M = TypeVar("M", bound=BaseModel)

INTERRUPTED = 130


class CommandFailed(Exception):
    """The command cannot go on; its text says why and what to do."""


class WrongUsage(Exception):
    """The command was asked for something that there is not; one line of text each."""


Failed = Callable[[str], object]


def started(command: "Callable[[Settings], Awaitable[int]]", **options: Any) -> NoReturn:
    """Run *command* with the settings of the environment and *options*; exit with its code."""
    from pipeline.telemetry.logs import configure_logging

    configure_logging(for_good=True)

    async def run() -> int:
        settings = settings_of(**options)
        with misconfiguration_told():
            return await command(settings)

    finish(run)


@contextmanager
def misconfiguration_told() -> Iterator[None]:
    """A setting that only shows to be wrong when the parts are joined is wrong usage as well."""
    from pipeline.settings import Misconfigured

    try:
        yield
    except Misconfigured as exc:
        raise WrongUsage(*exc.args) from None


def settings_of(**options: Any) -> "Settings":
    """The settings of the environment and of those *options* that are not None."""
    from pydantic_settings import SettingsError

    from pipeline.settings import Settings

    try:
        return Settings(**{name: value for name, value in options.items() if value is not None})
    except ValidationError as exc:
        from pipeline.faults import fault

        lines = []
        for error in exc.errors():
            place = ".".join(str(part) for part in error["loc"]) or "settings"
            lines.append(f"{place}: {fault(error)}")
        raise WrongUsage(*lines) from None
    except SettingsError as exc:  # a value of the environment that should be JSON
        raise WrongUsage(str(exc)) from None


def checked(
    model: type[M], options: Mapping[str, Any], *, arguments: Collection[str] = ("prompt",)
) -> M:
    """*options* as *model*; raises `WrongUsage` with a line for each option that is wrong.

    *arguments* are given without the name of an option.
    """
    try:
        return model.model_validate(options)
    except ValidationError as exc:
        raise WrongUsage(*(_option_error(one, arguments) for one in exc.errors())) from None


def _option_error(error: Any, arguments: Collection[str]) -> str:
    from pipeline.faults import fault

    if not error["loc"]:  # of several options together
        return fault(error)
    name = str(error["loc"][0]).replace("_", "-")
    shown = name.upper() if name in arguments else f"--{name}"
    return f"{shown}: {fault(error)}"


def finish(command: Callable[[], Awaitable[int]], failed: Failed | None = None) -> NoReturn:
    """Run *command* to its end and exit with its code; *failed* tells why it cannot go on."""
    failed = failed or _tell
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            code = runner.run(_coroutine(command))
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None
    except WrongUsage as exc:
        for line in exc.args:
            _tell(line)
        raise typer.Exit(2) from None
    except AlreadyRunning as exc:
        failed(f"{exc}. Stop it first, or choose another folder with --home.")
        raise typer.Exit(1) from None
    except BrokenPipeError:  # `limner events | head` has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(1) from None
    # OSError: a home that is a file, or may not be written.
    except (CommandFailed, SchemaOutdated, Unavailable, OSError) as exc:
        # SQLAlchemy adds a line that leads to its own documentation.
        failed(str(exc).partition("\n")[0])
        raise typer.Exit(1) from None
    raise typer.Exit(code)


def _tell(line: str) -> None:
    typer.echo(f"limner: {line}", err=True)


async def _coroutine(command: Callable[[], Awaitable[int]]) -> int:
    return await command()


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:  # not on every platform
        return None
    return uvloop.new_event_loop
