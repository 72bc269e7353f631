"""`limner pause` and `limner resume`: whether queued jobs are begun."""

from rich.text import Text

from pipeline.cli.output import Output, clean
from pipeline.cli.reach import Place
from schemas.replies import DispatchResponse


async def run_pause(place: Place, out: Output, *, reason: str | None) -> int:
    async with place.reached() as reached:
        _show(out, await reached.client.pause(reason))
    return 0


async def run_resume(place: Place, out: Output) -> int:
    async with place.reached() as reached:
        _show(out, await reached.client.resume())
    return 0


def _show(out: Output, state: DispatchResponse) -> None:
    if out.as_json:
        out.document(state)
    elif not out.for_person:
        out.line("paused" if state.paused else "running")
    elif state.paused:
        why = f" ({clean(state.reason)})" if state.reason else ""
        held = Text.assemble(("Paused", "yellow"), f"{why}: requests are stored and not begun.")
        out.person(held)
    else:
        out.person(Text.assemble(("Running", "green"), ": queued jobs are begun."))
