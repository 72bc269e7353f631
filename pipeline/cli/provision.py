"""`limner provision`: make what must exist in the cloud, or print the plan of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.text import Text

from adapters.errors import Unavailable
from adapters.site import Part, Site, Standing
from pipeline.cli.output import Output, clean, counted
from pipeline.cli.start import WrongUsage
from pipeline.settings import Settings
from pipeline.wiring import site_of

STYLES = {"fits": "green", "stuck": "bold red", "unknown": "bold red", "failed": "bold red"}
DONE = {Standing.CREATE: "created", Standing.UPDATE: "updated"}
NOTHING_TO_MAKE = (
    "in the local profile nothing must exist outside of Limner; LIMNER_CONNECT chooses another one"
    " (adapters.gcp.connect.connect)"
)


@dataclass(frozen=True, slots=True)
class Outcome:
    part: Part
    # A `Standing`, or what was done: created, updated, failed.
    verb: str
    error: str | None = None


async def run_provision(settings: Settings, out: Output, *, dry_run: bool) -> int:
    async with site_of(settings) as site:
        if site is None:
            raise WrongUsage(NOTHING_TO_MAKE)
        outcomes = []
        show = _shower(out, dry_run=dry_run)
        for part in await site.look():
            outcome = Outcome(part, part.standing) if dry_run else await _made(part)
            outcomes.append(outcome)
            show(outcome)
        _sum_up(out, site, outcomes, dry_run=dry_run)
    bad = {"stuck", "unknown", "failed"}
    return 1 if any(one.verb in bad for one in outcomes) else 0


async def _made(part: Part) -> Outcome:
    if part.make is None:
        return Outcome(part, part.standing)
    try:
        await part.make()
    except Unavailable as exc:
        return Outcome(part, "failed", str(exc))
    return Outcome(part, DONE[part.standing])


def _shower(out: Output, *, dry_run: bool) -> Callable[[Outcome], None]:
    def show(outcome: Outcome) -> None:
        if out.as_json:
            return
        part = outcome.part
        _line(out, outcome.verb, part.name)
        for told in part.details:
            _line(out, "", told)
        if outcome.error is not None:
            _line(out, "", outcome.error)
        if part.command is not None and (dry_run or outcome.error is not None):
            _line(out, "", part.command, style="bold")
        if part.remedy is not None:
            _line(out, "", f"-> {part.remedy}", style="bold")

    return show


def _line(out: Output, verb: str, told: str, style: str = "") -> None:
    if out.for_person:
        head = Text(f"{verb:<9}", STYLES.get(verb, "cyan"))
        out.person(Text.assemble(head, (clean(told), style)))
    else:
        out.line(f"{verb:<9}{told}")


def _sum_up(out: Output, site: Site, outcomes: Sequence[Outcome], *, dry_run: bool) -> None:
    if out.as_json:
        parts = [
            {
                "name": one.part.name,
                "outcome": one.verb,
                "details": one.part.details,
                "error": one.error,
                "command": one.part.command,
                "remedy": one.part.remedy,
            }
            for one in outcomes
        ]
        out.document({"dry_run": dry_run, "parts": parts, "grants": site.grants})
        return
    if dry_run:
        _line(out, "rights", "nothing is granted by limner provision; these commands do it:")
        for grant in site.grants:
            _line(out, "", grant, style="bold")
    changed = sum(one.part.make is not None and one.verb != "failed" for one in outcomes)
    verb = "would be made or changed" if dry_run else "made or changed"
    out.note(
        f"{counted(changed, 'part')} {verb}. `limner doctor --profile gcp` looks at all of it,"
        " rights included."
    )
