"""`limner dead-letters`: the commands and their options."""

from functools import partial
from typing import Annotated

import typer

from pipeline.cli.options import AsJson, Home, Server, group

dead_letters = group(
    help="Look at events that a subscriber could not digest, deliver or drop them.",
    no_args_is_help=True,
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
