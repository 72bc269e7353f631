"""The options of `limner vary`, `upscale` and `edit`."""

from functools import partial
from typing import Annotated, Any

import typer

from pipeline.cli.options import AsJson, Home, OnUnknown, Server

Picture = Annotated[
    str,
    typer.Argument(
        metavar="PICTURE", help="A file, the id of a completed job or of a picture, or an address."
    ),
]
Prompt = Annotated[
    str | None, typer.Option(help="What is to be seen [what the picture was painted of].")
]
NegativePrompt = Annotated[str | None, typer.Option(help="What it must not show.")]
Style = Annotated[str | None, typer.Option(help="A style preset of the provider.")]
Seed = Annotated[
    int | None, typer.Option(help="Where the provider repeats itself, the same gives the same.")
]
Provider = Annotated[str | None, typer.Option(help="Who does it [whoever painted it, or can].")]
BlogId = Annotated[str | None, typer.Option(help="The blog post to place the result in.")]
Role = Annotated[str | None, typer.Option(help="hero, featured, inline, og or thumbnail.")]
Position = Annotated[int | None, typer.Option(help="Which place of that role, from 1.")]
Key = Annotated[
    str | None, typer.Option(help="The same request under the same key is done once only.")
]
Wait = Annotated[bool, typer.Option("--wait", help="Until the job is at rest.")]
Quote = Annotated[
    bool, typer.Option("--quote", help="Only say what it would cost; ask for nothing.")
]


def add_to(app: typer.Typer) -> None:
    for command in (vary, upscale, edit):
        app.command()(command)


def vary(
    picture: Picture,
    prompt: Prompt = None,
    strength: Annotated[
        float | None, typer.Option(help="How far it may leave the picture: 0 to 1.")
    ] = None,
    keep: Annotated[
        str | None, typer.Option(help="Keep only its sketch, structure or style.")
    ] = None,
    quality: Annotated[str | None, typer.Option(help="standard, high or ultra [standard].")] = None,
    negative_prompt: NegativePrompt = None,
    style: Style = None,
    seed: Seed = None,
    provider: Provider = None,
    on_unknown: OnUnknown = None,
    blog_id: BlogId = None,
    role: Role = None,
    position: Position = None,
    idempotency_key: Key = None,
    wait: Wait = False,
    quote: Quote = False,
    as_json: AsJson = False,
    server: Server = None,
    home: Home = None,
) -> None:
    """Paint a picture like another one. Prints what `submit` prints."""
    _speak("variations", locals(), "strength", "keep", "quality")


def upscale(
    picture: Picture,
    scale: Annotated[int | None, typer.Option(help="2 or 4 times as wide and as high [2].")] = None,
    mode: Annotated[
        str | None,
        typer.Option(help="fast (the very picture), conservative or creative [fast]."),
    ] = None,
    prompt: Prompt = None,
    negative_prompt: NegativePrompt = None,
    style: Style = None,
    seed: Seed = None,
    provider: Provider = None,
    on_unknown: OnUnknown = None,
    blog_id: BlogId = None,
    role: Role = None,
    position: Position = None,
    idempotency_key: Key = None,
    wait: Wait = False,
    quote: Quote = False,
    as_json: AsJson = False,
    server: Server = None,
    home: Home = None,
) -> None:
    """Make a picture larger; a draft then gives it its place. Prints what `submit` prints."""
    _speak("upscale", locals(), "scale", "mode")


def edit(
    operation: Annotated[
        str,
        typer.Argument(
            metavar="OPERATION",
            help="inpaint, outpaint, erase, search-and-replace, search-and-recolor or"
            " remove-background.",
        ),
    ],
    picture: Picture,
    prompt: Annotated[str | None, typer.Option(help="What is to be seen there.")] = None,
    mask: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", help="White where it is to change; as large. Or a picture's id."
        ),
    ] = None,
    search_prompt: Annotated[str | None, typer.Option(help="What is replaced.")] = None,
    select_prompt: Annotated[str | None, typer.Option(help="What is recoloured.")] = None,
    left: Annotated[int | None, typer.Option(help="Pixels to add there.")] = None,
    right: Annotated[int | None, typer.Option()] = None,
    up: Annotated[int | None, typer.Option()] = None,
    down: Annotated[int | None, typer.Option()] = None,
    negative_prompt: NegativePrompt = None,
    style: Style = None,
    seed: Seed = None,
    provider: Provider = None,
    on_unknown: OnUnknown = None,
    blog_id: BlogId = None,
    role: Role = None,
    position: Position = None,
    idempotency_key: Key = None,
    wait: Wait = False,
    quote: Quote = False,
    as_json: AsJson = False,
    server: Server = None,
    home: Home = None,
) -> None:
    """Change a part of a picture. Prints what `submit` prints."""
    own = ("operation", "search_prompt", "select_prompt", "left", "right", "up", "down")
    _speak("edit", locals(), *own)


_COMMON = (
    "prompt", "negative_prompt", "style", "seed", "provider", "on_unknown", "blog_id", "role",
    "position",
)  # fmt: skip


def _speak(path: str, given: dict[str, Any], *own: str) -> None:
    """Run the command of *path* with the options *given*, of which *own* are no other one's."""
    from pipeline.cli.operate import run_operation
    from pipeline.cli.reach import speak

    command = partial(
        run_operation,
        path=path,
        picture=given["picture"],
        request={name: given[name] for name in (*own, *_COMMON)},
        mask=given.get("mask"),
        idempotency_key=given["idempotency_key"],
        wait=given["wait"],
        quote=given["quote"],
    )
    speak(command, server=given["server"], home=given["home"], as_json=given["as_json"])
