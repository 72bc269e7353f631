"""`limner webhooks`: the commands and their options."""

from functools import partial
from typing import Annotated

import typer

from pipeline.cli.options import AsJson, Home, Server, group

webhooks = group(
    help="Have events sent to an address, and look at what was sent.", no_args_is_help=True
)

WebhookId = Annotated[str, typer.Argument(metavar="ID", help="The whole id of a webhook.")]
Types = Annotated[
    list[str] | None,
    typer.Option("--type", help="Such as image.job.completed; may be given several times [all]."),
]
OfBlog = Annotated[str | None, typer.Option(help="Only events of this blog [all].")]


@webhooks.command("add")
def add_webhook(
    url: Annotated[str, typer.Argument(metavar="URL", help="Where events are sent; https.")],
    types: Types = None,
    blog_id: OfBlog = None,
    description: Annotated[str | None, typer.Option(metavar="TEXT")] = None,
    as_json: AsJson = False,
    server: Server = None,
    home: Home = None,
) -> None:
    """Have events sent to an address. Piped: its id, and the secret, which is told only here."""
    from pipeline.cli.reach import speak
    from pipeline.cli.webhooks import run_add

    asked = {"url": url, "types": types, "blog_id": blog_id, "description": description}
    speak(partial(run_add, asked=asked), server=server, home=home, as_json=as_json)


@webhooks.command("list")
def list_webhooks(as_json: AsJson = False, server: Server = None, home: Home = None) -> None:
    """All webhooks. Piped: id, enabled, failing or disabled, pending, failed, address, divided by
    tabs."""
    from pipeline.cli.reach import speak
    from pipeline.cli.webhooks import run_list

    speak(run_list, server=server, home=home, as_json=as_json)


@webhooks.command("show")
def show_webhook(
    webhook_id: WebhookId, as_json: AsJson = False, server: Server = None, home: Home = None
) -> None:
    """What it is told of, how it does, and what to do where it is disabled."""
    from pipeline.cli.reach import speak
    from pipeline.cli.webhooks import run_show

    command = partial(run_show, webhook_id=webhook_id)
    speak(command, server=server, home=home, as_json=as_json)


@webhooks.command("remove")
def remove_webhook(
    webhook_id: WebhookId, as_json: AsJson = False, server: Server = None, home: Home = None
) -> None:
    """Send nothing to it any more, and forget its secrets."""
    from pipeline.cli.reach import speak
    from pipeline.cli.webhooks import run_remove

    command = partial(run_remove, webhook_id=webhook_id)
    speak(command, server=server, home=home, as_json=as_json)


@webhooks.command("enable")
def enable_webhook(
    webhook_id: WebhookId, as_json: AsJson = False, server: Server = None, home: Home = None
) -> None:
    """Send what was waiting, and what happens from now on."""
    from pipeline.cli.reach import speak
    from pipeline.cli.webhooks import run_enable

    command = partial(run_enable, webhook_id=webhook_id, enabled=True)
    speak(command, server=server, home=home, as_json=as_json)


@webhooks.command("disable")
def disable_webhook(
    webhook_id: WebhookId, as_json: AsJson = False, server: Server = None, home: Home = None
) -> None:
    """Send nothing until it is enabled. What was waiting is kept; what happens is not noted."""
    from pipeline.cli.reach import speak
    from pipeline.cli.webhooks import run_enable

    command = partial(run_enable, webhook_id=webhook_id, enabled=False)
    speak(command, server=server, home=home, as_json=as_json)


@webhooks.command("rotate")
def rotate_secret(
    webhook_id: WebhookId,
    overlap_seconds: Annotated[
        int | None,
        typer.Option(help="How long the present secret signs as well, to 604800 [86400]."),
    ] = None,
    as_json: AsJson = False,
    server: Server = None,
    home: Home = None,
) -> None:
    """Make a new secret. Piped: its webhook's id, and the secret, which is told only here."""
    from pipeline.cli.reach import speak
    from pipeline.cli.webhooks import run_rotate

    command = partial(run_rotate, webhook_id=webhook_id, overlap_seconds=overlap_seconds)
    speak(command, server=server, home=home, as_json=as_json)


@webhooks.command("deliveries")
def list_deliveries(
    webhook_id: WebhookId,
    state: Annotated[str | None, typer.Option(help="pending, delivered or failed [all].")] = None,
    limit: Annotated[
        int | None, typer.Option(help="Deliveries on one page, 1 to 200 [50].")
    ] = None,
    cursor: Annotated[str | None, typer.Option(help="Go on after the page before.")] = None,
    as_json: AsJson = False,
    server: Server = None,
    home: Home = None,
) -> None:
    """What was sent, the newest event first. Piped: id, status, attempts, type, subject, last
    answer or error, divided by tabs."""
    from pipeline.cli.reach import speak
    from pipeline.cli.webhooks import run_deliveries

    filters = {"state": state, "limit": limit, "cursor": cursor}
    command = partial(run_deliveries, webhook_id=webhook_id, filters=filters)
    speak(command, server=server, home=home, as_json=as_json)


@webhooks.command("redeliver")
def redeliver(
    webhook_id: WebhookId,
    delivery_id: Annotated[
        str | None, typer.Argument(metavar="[DELIVERY]", help="The id of one delivery.")
    ] = None,
    failed: Annotated[
        bool, typer.Option("--failed", help="All that were given up, instead of one.")
    ] = False,
    as_json: AsJson = False,
    server: Server = None,
    home: Home = None,
) -> None:
    """Send a delivery again, whatever became of it, or all that were given up."""
    from pipeline.cli.reach import speak
    from pipeline.cli.webhooks import run_redeliver

    if failed is (delivery_id is not None):
        raise typer.BadParameter("name either one DELIVERY or --failed")
    command = partial(run_redeliver, webhook_id=webhook_id, delivery_id=delivery_id)
    speak(command, server=server, home=home, as_json=as_json)


@webhooks.command("test")
def try_webhook(
    webhook_id: WebhookId, as_json: AsJson = False, server: Server = None, home: Home = None
) -> None:
    """Send a message that means nothing, and say what came of it; 0 when it arrived."""
    from pipeline.cli.reach import speak
    from pipeline.cli.webhooks import run_test

    command = partial(run_test, webhook_id=webhook_id)
    speak(command, server=server, home=home, as_json=as_json)
