"""`limner jobs`: the commands and their options."""

from functools import partial
from typing import Annotated

import typer

from pipeline.cli.options import AsJson, Home, OnUnknown, Server, group

jobs = group(
    help="Look at jobs, cancel them, bring them back, decide about drafts.", no_args_is_help=True
)

JobId = Annotated[str, typer.Argument(metavar="ID", help="The whole id of a job.")]


@jobs.command("list")
def list_jobs(
    state: Annotated[list[str] | None, typer.Option(help="May be given several times.")] = None,
    blog_id: Annotated[str | None, typer.Option()] = None,
    batch_id: Annotated[str | None, typer.Option()] = None,
    quality: Annotated[str | None, typer.Option()] = None,
    since: Annotated[
        str | None, typer.Option(metavar="TIME", help="Requested at or after it (ISO 8601).")
    ] = None,
    limit: Annotated[int | None, typer.Option(help="Jobs on one page, 1 to 200 [50].")] = None,
    cursor: Annotated[str | None, typer.Option(help="Go on after the page before.")] = None,
    as_json: AsJson = False,
    server: Server = None,
    home: Home = None,
) -> None:
    """Jobs, the newest request first. Piped: id, state, quality, place, time, divided by tabs."""
    from pipeline.cli.jobs import run_list
    from pipeline.cli.reach import speak

    filters = {
        "state": state,
        "blog_id": blog_id,
        "batch_id": batch_id,
        "quality": quality,
        "since": since,
        "limit": limit,
        "cursor": cursor,
    }
    speak(partial(run_list, filters=filters), server=server, home=home, as_json=as_json)


@jobs.command()
def show(job_id: JobId, as_json: AsJson = False, server: Server = None, home: Home = None) -> None:
    """Where a job stands, and its pictures once it is completed."""
    from pipeline.cli.jobs import run_show
    from pipeline.cli.reach import speak

    speak(partial(run_show, job_id=job_id), server=server, home=home, as_json=as_json)


@jobs.command()
def cancel(
    job_id: JobId, as_json: AsJson = False, server: Server = None, home: Home = None
) -> None:
    """Cancel a job that is not at rest. Cancelling it again changes nothing."""
    from pipeline.cli.jobs import run_cancel
    from pipeline.cli.reach import speak

    speak(partial(run_cancel, job_id=job_id), server=server, home=home, as_json=as_json)


@jobs.command()
def retry(job_id: JobId, as_json: AsJson = False, server: Server = None, home: Home = None) -> None:
    """Bring a failed or cancelled job back. It may cost once more."""
    from pipeline.cli.jobs import run_retry
    from pipeline.cli.reach import speak

    speak(partial(run_retry, job_id=job_id), server=server, home=home, as_json=as_json)


@jobs.command()
def promote(
    job_id: JobId,
    quality: Annotated[
        str | None, typer.Option(help="standard, high or ultra [what its batch asked for; high].")
    ] = None,
    strategy: Annotated[
        str | None, typer.Option(help="image_to_image, upscale or regenerate [the best there is].")
    ] = None,
    on_unknown: OnUnknown = None,
    as_json: AsJson = False,
    server: Server = None,
    home: Home = None,
) -> None:
    """Buy the final of a completed draft. Doing it again buys nothing more."""
    from pipeline.cli.jobs import run_promote
    from pipeline.cli.reach import speak

    wishes = {"quality": quality, "strategy": strategy, "on_unknown": on_unknown}
    command = partial(run_promote, job_id=job_id, wishes=wishes)
    speak(command, server=server, home=home, as_json=as_json)


@jobs.command()
def reject(
    job_id: JobId,
    reason: Annotated[str | None, typer.Option(metavar="TEXT")] = None,
    as_json: AsJson = False,
    server: Server = None,
    home: Home = None,
) -> None:
    """Decide that a completed draft gets no final, for good."""
    from pipeline.cli.jobs import run_reject
    from pipeline.cli.reach import speak

    command = partial(run_reject, job_id=job_id, reason=reason)
    speak(command, server=server, home=home, as_json=as_json)
