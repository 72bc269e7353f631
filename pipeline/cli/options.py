"""Options that nearly every command has, and what their groups have in common."""

from pathlib import Path
from typing import Annotated, Any

import typer

Home = Annotated[
    Path | None, typer.Option("--home", help="Folder of the database and pictures [./.limner].")
]
Server = Annotated[
    str | None,
    typer.Option(
        "--server",
        envvar="LIMNER_SERVER",
        show_envvar=False,
        metavar="URL",
        help="The server to speak to, and no other [http://127.0.0.1:8080; LIMNER_SERVER]."
        " Where it is not named and none runs, the command takes the database itself.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
OnUnknown = Annotated[
    str | None,
    typer.Option(
        help="park or retry_once, where the answer of a paid call is lost"
        " [retry_once for drafts, park for finals]."
    ),
]


def group(**told: Any) -> typer.Typer:
    """A group of commands. What stands in brackets in a help text is shown, and not a markup."""
    return typer.Typer(rich_markup_mode="markdown", **told)
