"""`limner submit`: ask for one picture, and wait for it where that is wanted."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from time import monotonic
from typing import Any
from uuid import UUID, uuid4

from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from pipeline.cli.client import NoAnswer, Refused
from pipeline.cli.jobs import moment, show_job
from pipeline.cli.output import Output, facts
from pipeline.cli.reach import Place, Reached
from pipeline.cli.start import CommandFailed, WrongUsage, checked
from schemas.replies import (
    CreateImageJobResponse,
    ImageJobStatusResponse,
    QuotedBudget,
    QuoteResponse,
    dollars,
    plain,
)
from schemas.requests import ImageGenerationRequest
from states.table import TERMINAL, State

FIRST_LOOK_SECONDS = 0.05
SLOWEST_LOOK_SECONDS = 1.0
# A server that restarts is back sooner.
SILENCE_SECONDS = 30.0


async def run_submit(
    place: Place,
    out: Output,
    *,
    request: dict[str, Any],
    idempotency_key: str | None,
    wait: bool,
    quote: bool,
) -> int:
    request = {name: value for name, value in request.items() if value is not None}
    if "not_before" in request:
        request["not_before"] = moment("--not-before", request["not_before"]).isoformat()
    checked(ImageGenerationRequest, request)
    async with place.reached(works=wait and not quote, creates=True) as reached:
        if quote:
            show_quote(out, await reached.client.quote(request))
            return 0
        send = partial(reached.client.submit, request)
        return await ask_for(send, reached, out, idempotency_key=idempotency_key, wait=wait)


async def ask_for(
    send: Callable[[str], Awaitable[CreateImageJobResponse]],
    reached: Reached,
    out: Output,
    *,
    idempotency_key: str | None,
    wait: bool,
) -> int:
    """Have *send* ask for a job under a key, and show it, or with *wait* what became of it."""
    # Always a key, so that a request whose reply was lost can be sent again.
    key = idempotency_key or uuid4().hex
    if not (0 < len(key) <= 200 and key.isascii() and key.isprintable() and " " not in key):
        raise WrongUsage("--idempotency-key: 1 to 200 visible ASCII characters without spaces")
    try:
        accepted = await send(key)
    except NoAnswer as exc:
        raise CommandFailed(
            f"{exc}. The request may have been stored: send it again with"
            f" --idempotency-key {key} and it is done once only."
        ) from exc
    if not wait:
        _show_accepted(out, accepted, here=reached.here)
        return 0
    job = await _at_rest(reached, out, accepted.job_id)
    if out.as_json:
        out.document(job)
    elif out.for_person:
        show_job(out, job)
    else:
        out.line(job.job_id)
        for image in job.result.images if job.result else ():
            out.line(image.url)
    if job.status is State.COMPLETED:
        return 0
    if not out.for_person:
        out.error(f"the job {job.status}: {job.error_message or 'no reason is told'}")
    return 1


def _show_accepted(out: Output, accepted: CreateImageJobResponse, *, here: bool) -> None:
    if out.as_json:
        out.document(accepted)
    elif out.for_person:
        seconds = accepted.estimated_completion_time
        is_soon = accepted.status is State.QUEUED and not here
        about = f"; about {seconds} s." if is_soon else "."
        out.line(f"Job {accepted.job_id} is {accepted.status.value}{about}")
    else:
        out.line(accepted.job_id)
    for warning in accepted.warnings:
        out.note(warning)
    if here:
        out.note("No server runs: the job is stored, and the next `limner serve` works on it.")


def show_quote(out: Output, quote: QuoteResponse) -> None:
    if out.as_json:
        out.document(quote)
        return
    (picture,) = quote.pictures
    asked = (("steps", picture.steps), ("cfg_scale", picture.cfg_scale))
    parameters = ", ".join(f"{name} {value:g}" for name, value in asked if value is not None)
    pairs = [
        ("price", _price(quote)),
        ("price book", picture.price_book),
        ("painted by", f"{picture.provider}, {picture.resolved_model}"),
        ("operation", picture.operation),
        ("requested", picture.requested_model),
        ("parameters", parameters or None),
        ("about", f"{quote.estimated_completion_time} s"),
        *(("budget", _left(budget)) for budget in quote.budgets),
        ("allowed", "yes" if quote.allowed else "no"),
    ]
    if out.for_person:
        out.person(facts(pairs))
    else:
        for name, value in pairs:
            if value is not None:
                out.line(f"{name}: {value}")
    for note in (*picture.warnings, *([quote.refusal] if quote.refusal else [])):
        out.note(note)


def _price(quote: QuoteResponse) -> str:
    if quote.price_usd is None:
        return "not known"
    in_credits = quote.price_credits
    credits = f", {plain(in_credits)} credits" if in_credits is not None else ""
    return f"{dollars(quote.price_usd)}{credits}"


def _left(budget: QuotedBudget) -> str:
    whose = f"blog {budget.blog_id}" if budget.blog_id is not None else "everything"
    day = f", {budget.day}" if budget.day else ""
    after = dollars(budget.left_after) if budget.left_after is not None else "unknown"
    return f"{whose}{day}: {dollars(budget.left)} left, {after} afterwards"


async def _at_rest(reached: Reached, out: Output, job_id: UUID) -> ImageJobStatusResponse:
    """Look at the job until it is at rest, over a restart of the server too."""
    wait_seconds = FIRST_LOOK_SECONDS
    heard_at = monotonic()
    warned = False
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        TextColumn("{task.percentage:>3.0f} %"),
        TextColumn("{task.fields[state]:<17}"),
        TimeElapsedColumn(),
        console=out.stderr,
        transient=True,
        disable=not out.for_person,
    ) as progress:
        bar = progress.add_task(f"Job {job_id}", total=100, state="queued")
        try:
            while True:
                reached.check()
                try:
                    job = await reached.client.job(job_id)
                except (NoAnswer, Refused) as exc:
                    if isinstance(exc, Refused) and not exc.is_passing:
                        raise
                    if monotonic() - heard_at > SILENCE_SECONDS:
                        raise CommandFailed(
                            f"{exc}. The job is kept: `limner jobs show {job_id}` tells of it."
                        ) from exc
                else:
                    heard_at = monotonic()
                    progress.update(bar, completed=job.progress_percentage, state=job.status.value)
                    if job.status in TERMINAL:
                        return job
                    if job.status is State.QUEUED and not warned:
                        warned = await _told_of_pause(reached, out)
                await asyncio.sleep(wait_seconds)
                wait_seconds = min(1.5 * wait_seconds, SLOWEST_LOOK_SECONDS)
        except asyncio.CancelledError:
            goes_on = "is kept for the next `limner serve`" if reached.here else "goes on"
            out.note(f"Stopped waiting. Job {job_id} {goes_on}.")
            raise


async def _told_of_pause(reached: Reached, out: Output) -> bool:
    """Whoever waits while dispatch is paused would wait without knowing why."""
    state = await reached.client.dispatch()
    if state.paused:
        why = f" ({state.reason})" if state.reason else ""
        out.note(f"Dispatch is paused{why}; `limner resume` lets the job begin.")
    return state.paused
