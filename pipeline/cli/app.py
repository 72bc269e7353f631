"""The commands and their options. Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted."""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from pipeline.roles import Role

EXIT_CODES = (
    "Exit codes: 0 done; 1 failed (with --wait also: the job failed or was cancelled);"
    " 2 wrong usage or settings; 130 interrupted."
)

app = typer.Typer(
    name="limner",
    help="Limner illustrates blogs: requests for pictures become durable jobs.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,
)
jobs = typer.Typer(
    help="Look at jobs, cancel them, bring them back, decide about drafts.", no_args_is_help=True
)
app.add_typer(jobs, name="jobs")
batches = typer.Typer(
    help="Look at batches, cancel them, bring back what failed.", no_args_is_help=True
)
app.add_typer(batches, name="batches")
blogs = typer.Typer(help="Look at the pictures of a blog post.", no_args_is_help=True)
app.add_typer(blogs, name="blogs")

providers = typer.Typer(help="Who paints, how each does; say that one is mended.")
app.add_typer(providers, name="providers")


Home = Annotated[
    Path | None, typer.Option("--home", help="Folder of the database and pictures [./.limner].")
]
Host = Annotated[
    str | None,
    typer.Option("--host", help="Address to listen on [127.0.0.1]; others need LIMNER_API_KEY."),
]
Port = Annotated[int | None, typer.Option("--port", help="Port to listen on [8080]; 0 = any.")]
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
JobId = Annotated[str, typer.Argument(metavar="ID", help="The whole id of a job.")]
BatchId = Annotated[str, typer.Argument(metavar="ID", help="The whole id of a batch.")]
BlogId = Annotated[str, typer.Argument(metavar="BLOG", help="The blog_id of the requests.")]


def _tell_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"limner {version('limner')}")
        raise typer.Exit


@app.callback()
def every(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_tell_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    """Options of the command line itself."""


@app.command()
def serve(
    role: Annotated[
        Role, typer.Option(help="Which part of the service this process is, beside Google Cloud.")
    ] = Role.ALL,
    name: Annotated[
        str | None,
        typer.Option(
            help="The subscriber whose events are pulled, such as blog-linking; without it those"
            " of all are taken as they are pushed."
        ),
    ] = None,
    host: Host = None,
    port: Port = None,
    home: Home = None,
) -> None:
    """Run the service: API, worker, subscribers and sweep in one process, or one of them."""
    if name is not None and role is not Role.SUBSCRIBER:
        raise typer.BadParameter("--name goes with --role subscriber only")
    if name is not None:
        subscriber(name, host=host, port=port, home=home)
    from pipeline.cli.serve import run_service
    from pipeline.cli.start import started

    started(partial(run_service, role=role), host=host, port=port, home=home)


@app.command()
def subscriber(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Such as blog-linking.")],
    host: Host = None,
    port: Port = None,
    home: Home = None,
) -> None:
    """Pull the events of one subscriber from Pub/Sub: `serve --role subscriber --name NAME`."""
    from pipeline.cli.serve import run_subscriber
    from pipeline.cli.start import started

    started(partial(run_subscriber, name=name), host=host, port=port, home=home)


@app.command()
def demo(
    host: Host = None,
    port: Port = None,
    home: Home = None,
    leave: Annotated[
        bool, typer.Option("--exit", help="End after the demonstration instead of serving on.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object as the last line.")
    ] = False,
) -> None:
    """Run the service and illustrate a sample blog post with it."""
    from pipeline.cli.demo import run_demo
    from pipeline.cli.start import started

    started(partial(run_demo, leave=leave, as_json=as_json), host=host, port=port, home=home)


@app.command()
def migrate(as_json: AsJson = False, home: Home = None) -> None:
    """Bring the database to this program's schema. Safe to repeat."""
    from pipeline.cli.migrate import run_migration
    from pipeline.cli.start import started

    started(partial(run_migration, as_json=as_json), home=home)


@app.command()
def submit(
    prompt: Annotated[str, typer.Argument(metavar="PROMPT", help="What the picture shows.")],
    quality: Annotated[
        str | None, typer.Option(help="draft, standard, high or ultra [standard].")
    ] = None,
    aspect_ratio: Annotated[str | None, typer.Option(help="Such as 16:9 or 3:4 [1:1].")] = None,
    style: Annotated[str | None, typer.Option(help="A style preset of the provider.")] = None,
    seed: Annotated[
        int | None, typer.Option(help="The same seed and prompt give the same composition.")
    ] = None,
    negative_prompt: Annotated[str | None, typer.Option(help="What it must not show.")] = None,
    blog_id: Annotated[str | None, typer.Option(help="The blog post to place it in.")] = None,
    role: Annotated[
        str | None, typer.Option(help="hero, featured, inline, og or thumbnail [inline].")
    ] = None,
    position: Annotated[
        int | None, typer.Option(help="Which place of that role, from 1 [the next free one].")
    ] = None,
    alt_text: Annotated[str | None, typer.Option()] = None,
    caption: Annotated[str | None, typer.Option()] = None,
    draft_job_id: Annotated[
        str | None, typer.Option(help="The completed draft of which this is the final.")
    ] = None,
    strategy: Annotated[
        str | None,
        typer.Option(
            help="How a final is made of its draft: image_to_image, upscale or regenerate"
            " [the best there is]."
        ),
    ] = None,
    provider: Annotated[
        str | None, typer.Option(help="Who paints [the service's default].")
    ] = None,
    fallback: Annotated[
        list[str] | None,
        typer.Option(help="Who paints where that one cannot, uncharged; several in their order."),
    ] = None,
    not_before: Annotated[
        str | None, typer.Option(metavar="TIME", help="Begin then at the earliest (ISO 8601).")
    ] = None,
    deadline_seconds: Annotated[
        int | None, typer.Option(help="Fail, uncharged, when it was not begun within this time.")
    ] = None,
    idempotency_key: Annotated[
        str | None, typer.Option(help="The same request under the same key is done once only.")
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Until the job is at rest.")] = False,
    as_json: AsJson = False,
    server: Server = None,
    home: Home = None,
) -> None:
    """Ask for a picture. Piped, the first line is the job's id; with --wait, addresses follow."""
    from pipeline.cli.reach import speak
    from pipeline.cli.submit import run_submit

    request = {
        "prompt": prompt,
        "quality": quality,
        "aspect_ratio": aspect_ratio,
        "style": style,
        "seed": seed,
        "negative_prompt": negative_prompt,
        "blog_id": blog_id,
        "role": role,
        "position": position,
        "alt_text": alt_text,
        "caption": caption,
        "draft_job_id": draft_job_id,
        "strategy": strategy,
        "provider": provider,
        "fallback": fallback or None,
        "not_before": not_before,
        "deadline_seconds": deadline_seconds,
    }
    command = partial(run_submit, request=request, idempotency_key=idempotency_key, wait=wait)
    speak(command, server=server, home=home, as_json=as_json)


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
    as_json: AsJson = False,
    server: Server = None,
    home: Home = None,
) -> None:
    """Buy the final of a completed draft. Doing it again buys nothing more."""
    from pipeline.cli.jobs import run_promote
    from pipeline.cli.reach import speak

    wishes = {"quality": quality, "strategy": strategy}
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


@batches.command("show")
def show_batch(
    batch_id: BatchId, as_json: AsJson = False, server: Server = None, home: Home = None
) -> None:
    """Where a batch stands. Piped: facts, then draft, final and states of each picture."""
    from pipeline.cli.batches import run_show
    from pipeline.cli.reach import speak

    speak(partial(run_show, batch_id=batch_id), server=server, home=home, as_json=as_json)


@batches.command("cancel")
def cancel_batch(
    batch_id: BatchId, as_json: AsJson = False, server: Server = None, home: Home = None
) -> None:
    """Cancel all jobs of a batch that are not at rest; nothing more is bought for it."""
    from pipeline.cli.batches import run_cancel
    from pipeline.cli.reach import speak

    speak(partial(run_cancel, batch_id=batch_id), server=server, home=home, as_json=as_json)


@batches.command("retry")
def retry_batch(
    batch_id: BatchId, as_json: AsJson = False, server: Server = None, home: Home = None
) -> None:
    """Bring the failed jobs of a batch back. It may cost once more."""
    from pipeline.cli.batches import run_retry
    from pipeline.cli.reach import speak

    speak(partial(run_retry, batch_id=batch_id), server=server, home=home, as_json=as_json)


@blogs.command("show")
def show_blog(
    blog_id: BlogId, as_json: AsJson = False, server: Server = None, home: Home = None
) -> None:
    """What stands in each place. Piped: role, position, final, draft, preview or empty, how many
    candidates, address, divided by tabs."""
    from pipeline.cli.blogs import run_show
    from pipeline.cli.reach import speak

    speak(partial(run_show, blog_id=blog_id), server=server, home=home, as_json=as_json)


@blogs.command()
def costs(
    blog_id: BlogId, as_json: AsJson = False, server: Server = None, home: Home = None
) -> None:
    """What its pictures cost, and what drafting first has saved."""
    from pipeline.cli.blogs import run_costs
    from pipeline.cli.reach import speak

    speak(partial(run_costs, blog_id=blog_id), server=server, home=home, as_json=as_json)


@providers.callback(invoke_without_command=True)
def list_providers(
    context: typer.Context, as_json: AsJson = False, server: Server = None, home: Home = None
) -> None:
    """Who paints and how each does. Piped: name, status, reason, queued jobs, how many of them are
    put off, divided by tabs."""
    if context.invoked_subcommand is not None:
        return
    from pipeline.cli.providers import run_list
    from pipeline.cli.reach import speak

    speak(run_list, server=server, home=home, as_json=as_json)


@providers.command("reset")
def reset_provider(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Such as stability_ai.")],
    as_json: AsJson = False,
    server: Server = None,
    home: Home = None,
) -> None:
    """Say that a provider is mended: the jobs that wait for it begin at once."""
    from pipeline.cli.providers import run_reset
    from pipeline.cli.reach import speak

    speak(partial(run_reset, name=name), server=server, home=home, as_json=as_json)


@app.command()
def events(
    follow: Annotated[
        bool, typer.Option("--follow", help="Go on with what happens, until Ctrl-C.")
    ] = False,
    blog_id: Annotated[str | None, typer.Option()] = None,
    batch_id: Annotated[str | None, typer.Option()] = None,
    kind: Annotated[
        list[str] | None,
        typer.Option("--type", help="Such as image.job.completed; may be given several times."),
    ] = None,
    since_id: Annotated[
        str | None,
        typer.Option(metavar="CURSOR", help="Only what came after it [--follow: from now on]."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")] = False,
    server: Server = None,
    home: Home = None,
) -> None:
    """What happened. Piped: time, type, subject, sequence, cursor, divided by tabs."""
    from pipeline.cli.events import run_events
    from pipeline.cli.reach import speak

    filters = {"blog_id": blog_id, "batch_id": batch_id, "type": kind}
    command = partial(run_events, follow=follow, since_id=since_id, filters=filters)
    speak(command, server=server, home=home, as_json=as_json)


@app.command()
def pause(
    reason: Annotated[str | None, typer.Option(metavar="TEXT")] = None,
    as_json: AsJson = False,
    server: Server = None,
    home: Home = None,
) -> None:
    """Begin no job until `limner resume`. Requests are still accepted."""
    from pipeline.cli.dispatch import run_pause
    from pipeline.cli.reach import speak

    speak(partial(run_pause, reason=reason), server=server, home=home, as_json=as_json)


@app.command()
def resume(as_json: AsJson = False, server: Server = None, home: Home = None) -> None:
    """Begin queued jobs again, those first that waited longest."""
    from pipeline.cli.dispatch import run_resume
    from pipeline.cli.reach import speak

    speak(run_resume, server=server, home=home, as_json=as_json)


@app.command()
def doctor(as_json: AsJson = False, server: Server = None, home: Home = None) -> None:
    """What is configured, what is missing, and how to mend it. 0 when nothing fails."""
    from pipeline.cli.doctor.examine import examine

    examine(server=server, home=home, as_json=as_json)
