"""What commands print: colours for a person, plain lines for a pipe, one JSON document for both."""

import json
import sys
from collections.abc import Iterable
from typing import Any, TextIO

from pydantic import BaseModel
from rich.console import Console
from rich.table import Table
from rich.text import Text

STATE_STYLES = {
    "queued": "yellow",
    "running": "cyan",
    "processing_result": "cyan",
    "completed": "green",
    "failed": "red",
    "cancelled": "magenta",
}


class Output:
    """Results go to stdout, notes and problems to stderr; a person is whoever has a terminal."""

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        self.for_person = sys.stdout.isatty() and not as_json
        for stream in (sys.stdout, sys.stderr):
            if hasattr(stream, "reconfigure"):  # a terminal that knows ASCII only
                stream.reconfigure(errors="backslashreplace")
        self._stdout = _console(sys.stdout)
        self.stderr = _console(sys.stderr)

    def document(self, shown: BaseModel | dict[str, Any]) -> None:
        """Print one JSON document on one line."""
        value = shown.model_dump(mode="json") if isinstance(shown, BaseModel) else shown
        print(json.dumps(value), flush=True)

    def line(self, *parts: object) -> None:
        """Print one plain line, its parts divided by tabs."""
        print("\t".join(clean(part) for part in parts), flush=True)

    def person(self, shown: Text | Table) -> None:
        # Addresses are not broken at the edge of the terminal: they are there to be copied.
        self._stdout.print(shown, soft_wrap=isinstance(shown, Text))

    def note(self, text: str) -> None:
        """Something beside the result."""
        self.stderr.print(Text(clean(text), style="dim"), soft_wrap=True)

    def error(self, text: str) -> None:
        """What went wrong, in one line."""
        self.stderr.print(Text(clean(f"limner: {text}"), style="red"), soft_wrap=True)

    def failed(self, text: str) -> None:
        """Say why the command cannot go on; the JSON of it has a problem's form (RFC 9457)."""
        self.error(text)
        if self.as_json:
            title = "The command failed"
            self.document({"type": "urn:limner:problem:command", "title": title, "detail": text})


def _console(stream: TextIO) -> Console:
    return Console(
        file=stream, force_terminal=stream.isatty(), highlight=False, markup=False, emoji=False
    )


def clean(value: object) -> str:
    """*value* as text that can neither steer a terminal nor break a line."""
    if value is None:
        return "-"
    return "".join(
        char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in str(value)
    )


def counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def state_text(state: str) -> Text:
    return Text(state, style=STATE_STYLES.get(state, ""))


def facts(pairs: Iterable[tuple[str, object]]) -> Table:
    """Names and values below each other; what has no value is left out."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in pairs:
        if value is not None:
            grid.add_row(name, value if isinstance(value, Text) else Text(clean(value)))
    return grid
