"""`limner jobs`: look at jobs, cancel them, bring them back, decide about drafts."""

from datetime import datetime
from typing import Any
from uuid import UUID

from rich.table import Table
from rich.text import Text

from pipeline.cli.output import Output, clean, facts, state_text
from pipeline.cli.reach import Place
from pipeline.cli.start import WrongUsage, checked
from schemas.fidelity import Fidelity
from schemas.replies import ImageJobStatusResponse, SurplusResponse, dollars
from schemas.requests import JobFilters, PromotionRequest


async def run_list(place: Place, out: Output, *, filters: dict[str, Any]) -> int:
    filters = {name: value for name, value in filters.items() if value not in (None, [])}
    if "since" in filters:
        filters["since"] = moment("--since", filters["since"])
    wanted = checked(JobFilters, filters)
    query = wanted.model_dump(mode="json", exclude_unset=True)
    async with place.reached() as reached:
        page = await reached.client.jobs(query)
    if out.as_json:
        out.document(page)
        return 0
    if out.for_person:
        out.person(_table(page.jobs) if page.jobs else Text("There are no such jobs."))
    else:
        for job in page.jobs:
            out.line(job.job_id, job.status, job.quality, _place(job), _time(job.created_at))
    if page.next_cursor is not None:
        out.note(f"There are more: --cursor {page.next_cursor}")
    return 0


async def run_show(place: Place, out: Output, *, job_id: str) -> int:
    wanted = parsed_id(job_id)
    async with place.reached() as reached:
        show_job(out, await reached.client.job(wanted))
    return 0


async def run_cancel(place: Place, out: Output, *, job_id: str) -> int:
    wanted = parsed_id(job_id)
    async with place.reached() as reached:
        job = await reached.client.cancel(wanted)
    _show_moved(out, job)
    return 0


async def run_retry(place: Place, out: Output, *, job_id: str) -> int:
    wanted = parsed_id(job_id)
    async with place.reached() as reached:
        job = await reached.client.retry(wanted)
        here = reached.here
    _show_moved(out, job)
    if here:
        out.note("No server runs: the next `limner serve` works on the job.")
    return 0


async def run_promote(place: Place, out: Output, *, job_id: str, wishes: dict[str, Any]) -> int:
    wanted = parsed_id(job_id)
    given = {name: value for name, value in wishes.items() if value is not None}
    asked = checked(PromotionRequest, given)
    async with place.reached() as reached:
        promoted = await reached.client.promote(
            wanted, asked.model_dump(mode="json", exclude_unset=True)
        )
        here = reached.here
    if out.as_json:
        out.document(promoted)
    elif out.for_person:
        out.person(Text(f"{promoted.message}: job {promoted.job_id} ({promoted.strategy})."))
    else:
        out.line(promoted.job_id, promoted.status)
    if here:
        out.note("No server runs: the next `limner serve` works on the job.")
    return 0


async def run_reject(place: Place, out: Output, *, job_id: str, reason: str | None) -> int:
    wanted = parsed_id(job_id)
    async with place.reached() as reached:
        job = await reached.client.reject(wanted, reason)
    if out.for_person:
        out.person(Text(f"Draft {job.job_id} is rejected; it gets no final."))
    elif out.as_json:
        out.document(job)
    else:
        out.line(job.job_id, job.decision)
    return 0


def parsed_id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise WrongUsage(
            f"{text!r} is no job id; one is told by `limner submit` and `limner jobs list`"
        ) from None


def show_job(out: Output, job: ImageJobStatusResponse) -> None:
    """Everything of one job that a person asks for."""
    if out.as_json:
        out.document(job)
        return
    pairs = _facts(job)
    if out.for_person:
        out.person(facts(pairs))
        return
    for name, value in pairs:
        if value is not None:
            out.line(f"{name}: {clean(value)}")


def _facts(job: ImageJobStatusResponse) -> list[tuple[str, object]]:
    result = job.result
    working = job.completed_at is None
    return [
        ("job", job.job_id),
        ("state", state_text(job.status)),
        ("error", job.error_message),
        ("progress", f"{job.progress_percentage:.0f} %" if working else None),
        ("remaining", f"{job.estimated_time_remaining} s" if working else None),
        ("queue position", job.queue_position),
        ("quality", job.quality),
        ("place", _place(job) if job.blog_id else None),
        ("batch", job.batch_id),
        ("decision", job.decision),
        ("draft", job.draft_job_id),
        ("final", job.final_job_id),
        ("strategy", job.strategy),
        ("operation", job.operation),
        ("on unknown", job.on_unknown),
        ("fidelity", _fidelity(result.fidelity) if result and result.fidelity else None),
        ("attempt", job.attempt if job.attempt > 1 else None),
        ("requested", _time(job.created_at)),
        ("not before", _time(job.not_before) if job.not_before else None),
        ("waits", job.waiting.detail if job.waiting else None),
        ("deadline", _time(job.deadline_at) if working and job.deadline_at else None),
        ("at rest", _time(job.completed_at) if job.completed_at else None),
        ("painted by", f"{result.provider}, {result.model}" if result else None),
        ("cost", dollars(job.cost_confirmed) if job.cost_confirmed or result else None),
        ("possible besides", dollars(job.cost_possible) if job.cost_possible else None),
        ("unknown prices", job.unknown_prices or None),
        *(("surplus", _surplus(one)) for one in job.surplus),
        *(("warning", warning) for warning in job.warnings),
        *(
            ("picture", f"{image.url} ({image.width}x{image.height})")
            for image in (result.images if result else ())
        ),
    ]


def _surplus(one: SurplusResponse) -> str:
    cost = dollars(one.cost) if one.cost is not None else "at an unknown price"
    return f"attempt {one.attempt}, {one.provider} ({one.model}), {cost}, kept as {one.manifest}"


def _fidelity(kept: Fidelity) -> str:
    return f"{kept.verdict} (SSIM {kept.ssim:.2f}, hash distance {kept.hash_distance})"


def _show_moved(out: Output, job: ImageJobStatusResponse) -> None:
    if out.as_json:
        out.document(job)
    elif out.for_person:
        out.person(Text.assemble(f"Job {job.job_id} is ", state_text(job.status), "."))
    else:
        out.line(job.job_id, job.status)


def _table(jobs: list[ImageJobStatusResponse]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    # An id is there to be copied, so it is never cut.
    table.add_column("job", no_wrap=True, min_width=36)
    for name in ("state", "quality"):
        table.add_column(name, no_wrap=True)
    table.add_column("place", overflow="fold")
    table.add_column("requested")
    for job in jobs:
        table.add_row(
            str(job.job_id),
            state_text(job.status),
            job.quality.value,
            clean(_place(job)),
            _time(job.created_at),
        )
    return table


def _place(job: ImageJobStatusResponse) -> str | None:
    if job.blog_id is None:
        return None
    place = f" {job.role} {job.position}" if job.role else ""
    return f"{job.blog_id}{place}"


def _time(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")


def moment(option: str, text: str) -> datetime:
    """The time of *option* as a person writes it; without a zone it is this machine's."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise WrongUsage(
            f"{option}: {text!r} is no time; one is 2026-01-31, 2026-01-31T12:00 or"
            " 2026-01-31T12:00:00Z"
        ) from None
    return found if found.tzinfo is not None else found.astimezone()
