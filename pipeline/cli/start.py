"""Read the settings, run a command's coroutine, and say what went wrong in one clear line."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, NoReturn

import typer
from pydantic import ValidationError
from pydantic_settings import SettingsError

from adapters.errors import AlreadyRunning, SchemaOutdated, Unavailable
from pipeline.settings import Misconfigured, Settings
from pipeline.telemetry import configure_logging


class CommandFailed(Exception):
    """The command cannot go on; its text says why and what to do."""


def started(command: Callable[[Settings], Awaitable[int]], **options: Any) -> NoReturn:
    """Run *command* with the settings of the environment and *options*; exit with its code."""
    configure_logging()
    try:
        settings = Settings(**{name: value for name, value in options.items() if value is not None})
    except ValidationError as exc:
        for error in exc.errors():
            place = ".".join(str(part) for part in error["loc"]) or "settings"
            message = error["msg"].removeprefix("Value error, ")
            typer.echo(f"limner: {place}: {message}", err=True)
        raise typer.Exit(2) from None
    except SettingsError as exc:  # a value of the environment that should be JSON
        typer.echo(f"limner: {exc}", err=True)
        raise typer.Exit(2) from None
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            code = runner.run(_run(command, settings))
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    except Misconfigured as exc:
        typer.echo(f"limner: {exc}", err=True)
        raise typer.Exit(2) from None
    except AlreadyRunning as exc:
        _fail(f"{exc}. Stop it first, or choose another folder with --home.")
    # OSError: a home that is a file, or may not be written.
    except (CommandFailed, SchemaOutdated, Unavailable, OSError) as exc:
        _fail(str(exc))
    raise typer.Exit(code)


async def _run(command: Callable[[Settings], Awaitable[int]], settings: Settings) -> int:
    return await command(settings)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:  # not on every platform
        return None
    return uvloop.new_event_loop


def _fail(message: str) -> NoReturn:
    typer.echo(f"limner: {message}", err=True)
    raise typer.Exit(1)
