"""The commands and their options. Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    name="limner",
    help="Limner illustrates blogs: requests for pictures become durable jobs.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,
)

Home = Annotated[
    Path | None, typer.Option("--home", help="Folder of the database and pictures [./.limner].")
]
Host = Annotated[
    str | None, typer.Option("--host", help="Loopback address to listen on [127.0.0.1].")
]
Port = Annotated[int | None, typer.Option("--port", help="Port to listen on [8080]; 0 = any.")]


@app.command()
def serve(host: Host = None, port: Port = None, home: Home = None) -> None:
    """Run the service: API, queue, bus, subscribers and sweep in one process."""
    from pipeline.cli.serve import run_service
    from pipeline.cli.start import started

    started(run_service, host=host, port=port, home=home)


@app.command()
def demo(
    host: Host = None,
    port: Port = None,
    home: Home = None,
    leave: Annotated[
        bool, typer.Option("--exit", help="End after the demonstration instead of serving on.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object as the last line.")
    ] = False,
) -> None:
    """Run the service and illustrate a sample blog post with it."""
    from functools import partial

    from pipeline.cli.demo import run_demo
    from pipeline.cli.start import started

    started(partial(run_demo, leave=leave, as_json=as_json), host=host, port=port, home=home)


@app.command()
def migrate(home: Home = None) -> None:
    """Bring the database to this program's schema. Safe to repeat."""
    from pipeline.cli.migrate import run_migration
    from pipeline.cli.start import started

    started(run_migration, home=home)
