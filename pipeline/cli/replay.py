"""`limner replay`: send stored events once more, part by part."""

import asyncio
from collections import Counter
from typing import Any

from rich.table import Table

from pipeline.cli.client import NoAnswer, Refused
from pipeline.cli.jobs import moment
from pipeline.cli.output import Output, counted
from pipeline.cli.reach import Place
from pipeline.cli.start import checked
from schemas.redelivery import ReplayRequest


async def run_replay(place: Place, out: Output, *, options: dict[str, Any]) -> int:
    """Say how many events were sent; interrupted, also how to go on."""
    given = {name: value for name, value in options.items() if value not in (None, [])}
    for name in {"since", "until"} & given.keys():
        given[name] = moment(f"--{name}", given[name])
    asked = checked(ReplayRequest, given)
    by_type: Counter[str] = Counter()
    sent = failed = 0
    cursor = asked.after
    async with place.reached() as reached:
        try:
            while True:
                part = await reached.client.replay(asked)
                sent, failed, cursor = sent + part.events, failed + part.failed, part.cursor
                by_type.update(part.by_type)
                if part.done:
                    break
                out.note(f"{counted(sent, 'event')} sent …")
                asked = asked.model_copy(update={"after": cursor, "end": part.end})
        except (NoAnswer, Refused, asyncio.CancelledError):
            if sent and cursor is not None:
                out.note(f"{counted(sent, 'event')} sent. Go on with --after {cursor}")
            raise
    if out.as_json:
        told = {"events": sent, "by_type": by_type, "failed": failed, "dry_run": asked.dry_run}
        out.document(told | {"cursor": cursor})
        return 1 if failed else 0
    if out.for_person and by_type:
        out.person(_table(by_type))
    elif not out.for_person:
        for event_type, number in sorted(by_type.items()):
            out.line(event_type, number)
    what = "would be sent" if asked.dry_run else "sent"
    aside = f"; {failed} could not be delivered: limner dead-letters list" if failed else ""
    out.note(f"{counted(sent, 'event')} {what}{aside}.")
    return 1 if failed else 0


def _table(by_type: Counter[str]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("type")
    table.add_column("events", justify="right")
    for event_type, number in sorted(by_type.items()):
        table.add_row(event_type, str(number))
    return table
