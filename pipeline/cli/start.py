"""Read the settings, run a command's coroutine, and say what went wrong in one clear line."""

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

import typer
from pydantic import ValidationError
from pydantic_settings import SettingsError

from adapters.errors import AlreadyRunning, SchemaOutdated, Unavailable
from pipeline.telemetry import configure_logging

# It takes most of a command's start, and a command that was told its server needs no settings.
if TYPE_CHECKING:
    from pipeline.settings import Settings

INTERRUPTED = 130


class CommandFailed(Exception):
    """The command cannot go on; its text says why and what to do."""


class WrongUsage(Exception):
    """The command was asked for something that there is not; one line of text each."""


Failed = Callable[[str], object]


def started(command: "Callable[[Settings], Awaitable[int]]", **options: Any) -> NoReturn:
    """Run *command* with the settings of the environment and *options*; exit with its code."""
    configure_logging()

    async def run() -> int:
        return await command(settings_of(**options))

    finish(run)


def settings_of(**options: Any) -> "Settings":
    """The settings of the environment and of those *options* that are not None."""
    from pipeline.settings import Settings

    try:
        return Settings(**{name: value for name, value in options.items() if value is not None})
    except ValidationError as exc:
        lines = []
        for error in exc.errors():
            place = ".".join(str(part) for part in error["loc"]) or "settings"
            lines.append(f"{place}: {error['msg'].removeprefix('Value error, ')}")
        raise WrongUsage(*lines) from None
    except SettingsError as exc:  # a value of the environment that should be JSON
        raise WrongUsage(str(exc)) from None


def finish(command: Callable[[], Awaitable[int]], failed: Failed | None = None) -> NoReturn:
    """Run *command* to its end and exit with its code; *failed* tells why it cannot go on."""
    failed = failed or partial(typer.echo, err=True)
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            code = runner.run(_run(command))
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None
    except WrongUsage as exc:
        for line in exc.args:
            typer.echo(f"limner: {line}", err=True)
        raise typer.Exit(2) from None
    except AlreadyRunning as exc:
        failed(f"limner: {exc}. Stop it first, or choose another folder with --home.")
        raise typer.Exit(1) from None
    except BrokenPipeError:  # `limner events | head` has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(1) from None
    # OSError: a home that is a file, or may not be written.
    except (CommandFailed, SchemaOutdated, Unavailable, OSError) as exc:
        failed(f"limner: {exc}")
        raise typer.Exit(1) from None
    raise typer.Exit(code)


async def _run(command: Callable[[], Awaitable[int]]) -> int:
    from pipeline.settings import Misconfigured

    try:
        return await command()
    except Misconfigured as exc:
        raise WrongUsage(str(exc)) from None


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:  # not on every platform
        return None
    return uvloop.new_event_loop
