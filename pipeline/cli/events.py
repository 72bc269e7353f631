"""`limner events`: what happened, and what happens, one line each."""

import asyncio
import json
from contextlib import aclosing
from typing import Any

import httpx2
from rich.text import Text

from pipeline.cli.client import Client, NoAnswer, Query, Refused
from pipeline.cli.output import STATE_STYLES, Output, clean
from pipeline.cli.reach import Place

RESET = "reset"
FIRST_WAIT_SECONDS = 0.2
LONGEST_WAIT_SECONDS = 5.0


async def run_events(
    place: Place,
    out: Output,
    *,
    follow: bool,
    since_id: str | None,
    filters: dict[str, Any],
) -> int:
    """Print the events there are after the cursor; to *follow* goes on until it is interrupted."""
    given = {name: value for name, value in filters.items() if value not in (None, [])}
    query: dict[str, str | list[str]] = {"follow": "true" if follow else "false", **given}
    async with place.reached(needs_server=follow) as reached:
        reader = _Reader(reached.client, out, query, since_id)
        if follow:
            await reader.follow()
        await reader.read()
        return 1 if reader.was_reset else 0


class _Reader:
    def __init__(self, client: Client, out: Output, query: Query, after: str | None) -> None:
        self._client = client
        self._out = out
        self._query = query
        self._after = after
        self.was_reset = False

    async def read(self) -> int:
        """Print one stream to its end; how many events it gave."""
        number = 0
        async with aclosing(self._client.events(self._query, after=self._after)) as stream:
            async for event in stream:
                number += 1
                self._after = event.id or self._after
                if event.event == RESET:
                    self.was_reset = True
                    self._say_reset(event)
                else:
                    _show(self._out, event)
        return number

    async def follow(self) -> None:
        """Print one stream after the other: each goes on where the one before ended."""
        wait_seconds = FIRST_WAIT_SECONDS
        gone = False
        while True:
            try:
                if await self.read():
                    wait_seconds = FIRST_WAIT_SECONDS
                gone = False
            except NoAnswer as exc:
                if not gone:
                    self._out.note(f"{exc}. Waiting for it.")
                gone = True
            except Refused as exc:
                if not exc.is_passing:
                    raise
                if not gone:
                    self._out.note(f"{exc.problem.title}. Waiting for it.")
                gone = True
            await asyncio.sleep(wait_seconds)
            wait_seconds = min(2 * wait_seconds, LONGEST_WAIT_SECONDS)

    def _say_reset(self, event: httpx2.ServerSentEvent) -> None:
        told = json.loads(event.data) if event.data else {}
        told = told if isinstance(told, dict) else {"reason": told}
        if self._out.as_json:
            self._out.document({"type": RESET, "cursor": event.id, **told})
        self._out.error(
            f"the cursor is not of this database. What came before {event.id} may be missing here."
        )


def _show(out: Output, event: httpx2.ServerSentEvent) -> None:
    told: dict[str, Any] = json.loads(event.data)
    if out.as_json:
        # As an extension of the CloudEvent: with it a program goes on where it stopped.
        out.document(told | {"cursor": event.id})
    elif out.for_person:
        kind = clean(told["type"])
        style = STATE_STYLES.get(kind.rpartition(".")[2], "")
        line = Text.assemble(
            (clean(told["time"])[:19], "dim"), "  ", (f"{kind:<26}", style), clean(told["subject"])
        )
        out.person(line)
    else:
        out.line(told["time"], told["type"], told["subject"], told["sequence"], event.id)
