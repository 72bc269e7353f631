"""The commands and their options. Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted."""

from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.batch_commands import batches
from pipeline.cli.blog_commands import blogs
from pipeline.cli.budget_commands import budgets
from pipeline.cli.call_commands import calls
from pipeline.cli.dead_letter_commands import dead_letters
from pipeline.cli.job_commands import jobs
from pipeline.cli.operation_commands import add_to as add_operations_to
from pipeline.cli.options import AsJson, Home, OnUnknown, Server, group
from pipeline.cli.provider_commands import providers
from pipeline.cli.webhook_commands import webhooks
from pipeline.roles import Role

EXIT_CODES = (
    "Exit codes: 0 done; 1 failed (with --wait also: the job failed or was cancelled);"
    " 2 wrong usage or settings; 130 interrupted."
)

app = group(
    name="limner",
    help="Limner illustrates blogs: requests for pictures become durable jobs.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,
)
app.add_typer(jobs, name="jobs")
app.add_typer(batches, name="batches")
app.add_typer(blogs, name="blogs")
app.add_typer(dead_letters, name="dead-letters")
app.add_typer(webhooks, name="webhooks")
app.add_typer(budgets, name="budgets")
app.add_typer(calls, name="calls")
app.add_typer(providers, name="providers")


Host = Annotated[
    str | None,
    typer.Option("--host", help="Address to listen on [127.0.0.1]; others need LIMNER_API_KEY."),
]
Port = Annotated[int | None, typer.Option("--port", help="Port to listen on [8080]; 0 = any.")]


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


add_operations_to(app)


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
