"""`limner budgets`: the commands and their options."""

from functools import partial
from typing import Annotated

import typer

from pipeline.cli.options import AsJson, Home, Server, group

budgets = group(help="Limit what may be spent.", no_args_is_help=True)

OfBlog = Annotated[
    str | None,
    typer.Option("--blog-id", "--blog", metavar="BLOG", help="For one blog post [for all]."),
]
PerDay = Annotated[
    bool, typer.Option("--per-day", help="For each day (UTC) by itself [for all that is spent].")
]


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
