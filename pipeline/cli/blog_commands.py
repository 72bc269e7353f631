"""`limner blogs`: the commands and their options."""

from functools import partial
from typing import Annotated

import typer

from pipeline.cli.options import AsJson, Home, Server, group

blogs = group(help="Look at the pictures of a blog post.", no_args_is_help=True)

BlogId = Annotated[str, typer.Argument(metavar="BLOG", help="The blog_id of the requests.")]


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
