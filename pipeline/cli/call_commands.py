"""`limner calls`: the commands and their options."""

from functools import partial
from typing import Annotated

import typer

from pipeline.cli.options import AsJson, Home, Server, group

calls = group(
    help="Calls of providers whose answer was lost, and what was found out about them.",
    no_args_is_help=True,
)


@calls.command("unknown")
def unknown_calls(as_json: AsJson = False, server: Server = None, home: Home = None) -> None:
    """Calls of which nobody here knows whether they were charged. Piped: call, provider, model,
    amount, since when, what to look for, divided by tabs."""
    from pipeline.cli.calls import run_unknown
    from pipeline.cli.reach import speak

    speak(run_unknown, server=server, home=home, as_json=as_json)


@calls.command("resolve")
def resolve_call(
    call: Annotated[
        str, typer.Argument(metavar="CALL", help="JOB/ATTEMPT, or the id of a job with one.")
    ],
    charged: Annotated[
        bool,
        typer.Option("--charged/--not-charged", help="What the provider's account says."),
    ],
    amount: Annotated[
        str | None,
        typer.Option(metavar="DOLLARS", help="What was charged, where not the list's price."),
    ] = None,
    as_json: AsJson = False,
    server: Server = None,
    home: Home = None,
) -> None:
    """Record what was found out about an unknown call. The job does nothing by itself."""
    from pipeline.cli.calls import run_resolve
    from pipeline.cli.reach import speak

    command = partial(run_resolve, call=call, charged=charged, amount=amount)
    speak(command, server=server, home=home, as_json=as_json)
