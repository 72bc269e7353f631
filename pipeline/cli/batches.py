"""`limner batches`: look at a batch, cancel it, bring back what failed of it."""

from uuid import UUID

from rich.table import Table

from pipeline.cli.output import Output, clean, counted, facts
from pipeline.cli.reach import Place
from pipeline.cli.start import WrongUsage
from schemas.replies import BatchStatusResponse, ImageJobStatusResponse, dollars


async def run_show(place: Place, out: Output, *, batch_id: str) -> int:
    wanted = _parsed(batch_id)
    async with place.reached() as reached:
        _show(out, await reached.client.batch(wanted))
    return 0


async def run_cancel(place: Place, out: Output, *, batch_id: str) -> int:
    wanted = _parsed(batch_id)
    async with place.reached() as reached:
        _show(out, await reached.client.cancel_batch(wanted))
    return 0


async def run_retry(place: Place, out: Output, *, batch_id: str) -> int:
    wanted = _parsed(batch_id)
    async with place.reached() as reached:
        answer = await reached.client.retry_batch(wanted)
    if out.as_json:
        out.document(answer)
        return 0
    for job_id in answer.retried_job_ids:
        out.line(job_id)
    number = len(answer.retried_job_ids)
    out.note(f"{counted(number, 'failed job')} brought back." if number else "No job has failed.")
    return 0


def _parsed(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise WrongUsage(
            f"{text!r} is no batch id; it is the batch_id of the reply that accepted the batch"
        ) from None


def _show(out: Output, batch: BatchStatusResponse) -> None:
    if out.as_json:
        out.document(batch)
        return
    pairs = _facts(batch)
    rows = [
        (
            _job(picture.draft),
            picture.decision or "-",
            _job(picture.final),
        )
        for picture in batch.images
    ]
    if out.for_person:
        out.person(facts(pairs))
        table = Table(box=None, pad_edge=False, header_style="dim")
        for name in ("draft", "decision", "final"):
            table.add_column(name, overflow="fold")
        for row in rows:
            table.add_row(*row)
        out.person(table)
        return
    for name, value in pairs:
        if value is not None:
            out.line(f"{name}: {clean(value)}")
    for row in rows:
        out.line(*row)


def _facts(batch: BatchStatusResponse) -> list[tuple[str, object]]:
    counts = ", ".join(f"{number} {state}" for state, number in batch.counts.items() if number)
    owed = f"{counted(batch.jobs_owed, 'job')}, {counted(batch.promotions_owed, 'promotion')}"
    expected = batch.estimated_cost if batch.estimated_cost != batch.cost_confirmed else None
    return [
        ("batch", batch.batch_id),
        ("status", batch.status),
        ("blog", batch.blog_id),
        ("workflow", f"{batch.workflow}, approval {batch.approval}"),
        ("jobs", counts),
        ("owed", owed if batch.completed_at is None else None),
        ("waiting for approval", len(batch.waiting_for_approval) or None),
        ("cost", dollars(batch.cost_confirmed)),
        ("possible besides", dollars(batch.cost_possible) if batch.cost_possible else None),
        ("unknown prices", batch.unknown_prices or None),
        ("expected cost", dollars(expected) if expected else None),
    ]


def _job(job: ImageJobStatusResponse | None) -> str:
    return f"{job.job_id} {job.status}" if job is not None else "-"
