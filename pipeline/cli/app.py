"""The commands and their options. Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted."""

from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.options import AsJson, Home, Server
from pipeline.cli.webhook_commands import webhooks
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
dead_letters = typer.Typer(
    help="Look at events that a subscriber could not digest, deliver or drop them.",
    no_args_is_help=True,
)
app.add_typer(dead_letters, name="dead-letters")
app.add_typer(webhooks, name="webhooks")

budgets = typer.Typer(help="Limit what may be spent.", no_args_is_help=True)
app.add_typer(budgets, name="budgets")
calls = typer.Typer(
    help="Calls of providers whose answer was lost, and what was found out about them.",
    no_args_is_help=True,
)
app.add_typer(calls, name="calls")
providers = typer.Typer(help="Who paints, how each does; say that one is mended.")
app.add_typer(providers, name="providers")


Host = Annotated[
    str | None,
    typer.Option("--host", help="Address to listen on [127.0.0.1]; others need LIMNER_API_KEY."),
]
Port = Annotated[int | None, typer.Option("--port", help="Port to listen on [8080]; 0 = any.")]
OnUnknown = Annotated[
    str | None,
    typer.Option(
        help="park or retry_once, where the answer of a paid call is lost"
        " [retry_once for drafts, park for finals]."
    ),
]
JobId = Annotated[str, typer.Argument(metavar="ID", help="The whole id of a job.")]
BatchId = Annotated[str, typer.Argument(metavar="ID", help="The whole id of a batch.")]
OfBlog = Annotated[
    str | None,
    typer.Option("--blog-id", "--blog", metavar="BLOG", help="For one blog post [for all]."),
]
PerDay = Annotated[
    bool, typer.Option("--per-day", help="For each day (UTC) by itself [for all that is spent].")
]
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
    on_unknown: OnUnknown = None,
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
    quote: Annotated[
        bool, typer.Option("--quote", help="Only say what it would cost; ask for nothing.")
    ] = False,
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
        "on_unknown": on_unknown,
        "provider": provider,
        "fallback": fallback or None,
        "not_before": not_before,
        "deadline_seconds": deadline_seconds,
    }
    command = partial(
        run_submit, request=request, idempotency_key=idempotency_key, wait=wait, quote=quote
    )
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


@blogs.command()
def hold(
    blog_id: BlogId, as_json: AsJson = False, server: Server = None, home: Home = None
) -> None:
    """Legal hold: remove nothing of the post for its age."""
    from pipeline.cli.reach import speak
    from pipeline.cli.retention import run_hold

    run = partial(run_hold, blog_id=blog_id, held=True)
    speak(run, server=server, home=home, as_json=as_json)


@blogs.command()
def release(
    blog_id: BlogId, as_json: AsJson = False, server: Server = None, home: Home = None
) -> None:
    """Let a held post age as others do."""
    from pipeline.cli.reach import speak
    from pipeline.cli.retention import run_hold

    run = partial(run_hold, blog_id=blog_id, held=False)
    speak(run, server=server, home=home, as_json=as_json)


@budgets.command("set")
def set_budget(
    limit: Annotated[
        str, typer.Argument(metavar="LIMIT", help="US dollars, such as 12.50; 0 buys nothing.")
    ],
    blog: OfBlog = None,
    per_day: PerDay = False,
    as_json: AsJson = False,
    server: Server = None,
    home: Home = None,
) -> None:
    """Limit what may be spent. What was charged before counts; jobs under way go on."""
    from pipeline.cli.budgets import run_set
    from pipeline.cli.reach import speak

    wanted = {"limit": limit, "blog_id": blog, "period": _period(per_day)}
    speak(partial(run_set, wanted=wanted), server=server, home=home, as_json=as_json)


@budgets.command("remove")
def remove_budget(
    blog: OfBlog = None,
    per_day: PerDay = False,
    as_json: AsJson = False,
    server: Server = None,
    home: Home = None,
) -> None:
    """Remove a budget: nothing is limited by it any more."""
    from pipeline.cli.budgets import run_remove
    from pipeline.cli.reach import speak

    which = {"blog_id": blog, "period": _period(per_day)}
    speak(partial(run_remove, which=which), server=server, home=home, as_json=as_json)


@budgets.command("show")
def show_budgets(as_json: AsJson = False, server: Server = None, home: Home = None) -> None:
    """All budgets. Piped: blog or -, total or day, limit, spent, held, left, divided by tabs."""
    from pipeline.cli.budgets import run_show
    from pipeline.cli.reach import speak

    speak(run_show, server=server, home=home, as_json=as_json)


def _period(per_day: bool) -> str:
    return "day" if per_day else "total"


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


@calls.command("unknown")
def unknown_calls(as_json: AsJson = False, server: Server = None, home: Home = None) -> None:
    """Calls of which nobody here knows whether they were charged. Piped: call, provider, model,
    amount, since when, what to look for, divided by tabs."""
    from pipeline.cli.calls import run_unknown
    from pipeline.cli.reach import speak

    speak(run_unknown, server=server, home=home, as_json=as_json)


@calls.command("resolve")
def resolve_call(
    call: Annotated[
        str, typer.Argument(metavar="CALL", help="JOB/ATTEMPT, or the id of a job with one.")
    ],
    charged: Annotated[
        bool,
        typer.Option("--charged/--not-charged", help="What the provider's account says."),
    ],
    amount: Annotated[
        str | None,
        typer.Option(metavar="DOLLARS", help="What was charged, where not the list's price."),
    ] = None,
    as_json: AsJson = False,
    server: Server = None,
    home: Home = None,
) -> None:
    """Record what was found out about an unknown call. The job does nothing by itself."""
    from pipeline.cli.calls import run_resolve
    from pipeline.cli.reach import speak

    command = partial(run_resolve, call=call, charged=charged, amount=amount)
    speak(command, server=server, home=home, as_json=as_json)


@app.command("costs")
def day_costs(
    day: Annotated[
        str | None, typer.Option(metavar="DAY", help="Such as 2026-01-31, in UTC [today].")
    ] = None,
    as_json: AsJson = False,
    server: Server = None,
    home: Home = None,
) -> None:
    """What the pictures that were asked for on a day have cost, and may have. Piped: sums, then
    provider, model, calls, confirmed, possible, unknown prices, divided by tabs."""
    from pipeline.cli.calls import run_costs
    from pipeline.cli.reach import speak

    speak(partial(run_costs, day=day), server=server, home=home, as_json=as_json)


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
def replay(
    since: Annotated[
        str | None, typer.Option(metavar="TIME", help="Only what happened from then on (ISO 8601).")
    ] = None,
    until: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Only what happened before it; else before now."),
    ] = None,
    kind: Annotated[
        list[str] | None,
        typer.Option("--type", help="Such as image.job.completed; may be given several times."),
    ] = None,
    subscriber: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Only to it, such as blog-linking; else to whoever subscribes."
        ),
    ] = None,
    reapply: Annotated[
        bool,
        typer.Option(
            "--reapply", help="With --subscriber: also what it has handled; its guards decide."
        ),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say how many it would be, and send none.")
    ] = False,
    after: Annotated[
        str | None, typer.Option(metavar="CURSOR", help="Go on where an earlier one stopped.")
    ] = None,
    as_json: AsJson = False,
    server: Server = None,
    home: Home = None,
) -> None:
    """Send stored events once more. Whoever has handled one passes it over; nothing is bought.
    Piped: type and number, divided by a tab."""
    from pipeline.cli.reach import speak
    from pipeline.cli.replay import run_replay

    options = {
        "since": since,
        "until": until,
        "type": kind,
        "subscriber": subscriber,
        "reapply": reapply,
        "dry_run": dry_run,
        "after": after,
    }
    speak(partial(run_replay, options=options), server=server, home=home, as_json=as_json)


@app.command()
def conformance(
    url: Annotated[str, typer.Argument(metavar="URL", help="Where the subscriber takes events.")],
    effects: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Where it tells, as JSON, what it made of a subject: …?subject={subject}. Without"
            " it only its answers are judged.",
        ),
    ] = None,
    form: Annotated[str, typer.Option(help="webhook, or push as Pub/Sub does it.")] = "webhook",
    secret: Annotated[
        str | None,
        typer.Option(
            envvar="LIMNER_CONFORMANCE_SECRET",
            metavar="WHSEC",
            help="The webhook's secret: whsec_ and base64.",
        ),
    ] = None,
    subscription: Annotated[
        str | None, typer.Option(metavar="NAME", help="The full name that a push is to bear.")
    ] = None,
    authorization: Annotated[
        str | None, typer.Option(metavar="HEADER", help="Sent with each event: Bearer …")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Fire duplicates, old events and garbage at a subscriber that somebody wrote, and tell what
    went wrong. It needs no service; 0 when nothing did. Piped: check, ok, failed or not made,
    detail, divided by tabs."""
    from pipeline.cli.conformance import run_conformance

    run_conformance(
        url,
        effects,
        form=form,
        secret=secret,
        subscription=subscription,
        authorization=authorization,
        as_json=as_json,
    )


SubscriberArgument = Annotated[
    str, typer.Argument(metavar="SUBSCRIBER", help="Such as blog-linking.")
]
EventId = Annotated[str, typer.Argument(metavar="EVENT", help="The whole id of an event.")]
EventIds = Annotated[
    list[str] | None, typer.Argument(metavar="[EVENT]...", help="The whole ids of events.")
]
EveryLetter = Annotated[bool, typer.Option("--all", help="Every one of the subscriber.")]


@dead_letters.command("list")
def list_dead_letters(
    subscriber: Annotated[str | None, typer.Option(metavar="NAME")] = None,
    limit: Annotated[int | None, typer.Option(help="On one page, 1 to 200 [50].")] = None,
    cursor: Annotated[str | None, typer.Option(help="Go on after the page before.")] = None,
    as_json: AsJson = False,
    server: Server = None,
    home: Home = None,
) -> None:
    """What stands aside, the oldest first. Piped: time, subscriber, event, type, failures, error,
    divided by tabs."""
    from pipeline.cli.dead_letters import run_list
    from pipeline.cli.reach import speak

    filters = {"subscriber": subscriber, "limit": limit, "cursor": cursor}
    speak(partial(run_list, filters=filters), server=server, home=home, as_json=as_json)


@dead_letters.command("show")
def show_dead_letter(
    subscriber: SubscriberArgument,
    event_id: EventId,
    as_json: AsJson = False,
    server: Server = None,
    home: Home = None,
) -> None:
    """An event that stands aside, with the error and the event itself."""
    from pipeline.cli.dead_letters import run_show
    from pipeline.cli.reach import speak

    command = partial(run_show, subscriber=subscriber, event_id=event_id)
    speak(command, server=server, home=home, as_json=as_json)


@dead_letters.command("redrive")
def redrive_dead_letters(
    subscriber: SubscriberArgument,
    event_ids: EventIds = None,
    everything: EveryLetter = False,
    as_json: AsJson = False,
    server: Server = None,
    home: Home = None,
) -> None:
    """Deliver events once more to their subscriber. What it handles stands aside no longer."""
    from pipeline.cli.dead_letters import run_redrive
    from pipeline.cli.reach import speak

    command = partial(
        run_redrive, subscriber=subscriber, event_ids=event_ids or [], everything=everything
    )
    speak(command, server=server, home=home, as_json=as_json)


@dead_letters.command("drop")
def drop_dead_letters(
    subscriber: SubscriberArgument,
    event_ids: EventIds = None,
    everything: EveryLetter = False,
    as_json: AsJson = False,
    server: Server = None,
    home: Home = None,
) -> None:
    """Give events up for their subscriber: it does nothing about them."""
    from pipeline.cli.dead_letters import run_drop
    from pipeline.cli.reach import speak

    command = partial(
        run_drop, subscriber=subscriber, event_ids=event_ids or [], everything=everything
    )
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
def provenance(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A PNG, JPEG or WebP.")],
    as_json: AsJson = False,
) -> None:
    """What a picture file says of how it came to be, whoever made it."""
    from pipeline.cli.provenance import run_provenance

    run_provenance(file, as_json=as_json)


@app.command()
def sweep(
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would go; remove nothing.")
    ] = False,
    as_json: AsJson = False,
    server: Server = None,
    home: Home = None,
) -> None:
    """Remove what is older than it is kept. The service does so every hour by itself."""
    from pipeline.cli.reach import speak
    from pipeline.cli.retention import run_sweep

    speak(partial(run_sweep, dry_run=dry_run), server=server, home=home, as_json=as_json)


@app.command()
def provision(
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Print the plan and the equal gcloud commands; make nothing."
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Make what must exist in Google Cloud: queue, topics, subscriptions. Repeating it is harmless.

    Nothing is deleted and no right is granted; buckets are looked at. 1 where a person must act.
    """
    from pipeline.cli.output import Output
    from pipeline.cli.provision import run_provision
    from pipeline.cli.start import started

    started(partial(run_provision, out=Output(as_json=as_json), dry_run=dry_run))


class Profile(StrEnum):
    LOCAL = "local"
    GCP = "gcp"


CONNECTS = {
    Profile.LOCAL: "adapters.local.connect.connect",
    Profile.GCP: "adapters.gcp.connect.connect",
}


@app.command()
def doctor(
    profile: Annotated[
        Profile | None, typer.Option(help="Look at another profile than LIMNER_CONNECT names.")
    ] = None,
    as_json: AsJson = False,
    server: Server = None,
    home: Home = None,
) -> None:
    """What is configured, what is missing, and how to mend it. 0 when nothing fails."""
    from pipeline.cli.doctor.examine import examine

    connect = CONNECTS[profile] if profile is not None else None
    examine(server=server, home=home, connect=connect, as_json=as_json)
