"""`limner providers`: the commands and their options."""

from functools import partial
from typing import Annotated

import typer

from pipeline.cli.options import AsJson, Home, Server, group

providers = group(help="Who paints, how each does; say that one is mended.")


@providers.callback(invoke_without_command=True)
def list_providers(
    context: typer.Context, as_json: AsJson = False, server: Server = None, home: Home = None
) -> None:
    """Who paints and how each does. Piped: name, status, reason, queued jobs, how many of them are
    put off, divided by tabs."""
    if context.invoked_subcommand is not None:
        return
    from pipeline.cli.providers import run_list
    from pipeline.cli.reach import speak

    speak(run_list, server=server, home=home, as_json=as_json)


@providers.command("reset")
def reset_provider(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Such as stability_ai.")],
    as_json: AsJson = False,
    server: Server = None,
    home: Home = None,
) -> None:
    """Say that a provider is mended: the jobs that wait for it begin at once."""
    from pipeline.cli.providers import run_reset
    from pipeline.cli.reach import speak

    speak(partial(run_reset, name=name), server=server, home=home, as_json=as_json)
