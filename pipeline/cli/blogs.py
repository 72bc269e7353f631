"""`limner blogs`: what stands in the places of a post, and what its pictures cost."""

from rich.table import Table
from rich.text import Text

from pipeline.cli.output import Output, clean, counted, facts
from pipeline.cli.reach import Place
from pipeline.cli.start import WrongUsage
from schemas.replies import BlogCostsResponse, BlogImagesResponse, SlotResponse, dollars

# What a blog_id may not hold: it is part of an address.
SEPARATORS = "/?#"


async def run_show(place: Place, out: Output, *, blog_id: str) -> int:
    wanted = parsed_name(blog_id)
    async with place.reached() as reached:
        blog = await reached.client.blog_images(wanted)
    if out.as_json:
        out.document(blog)
    elif out.for_person:
        out.person(_table(blog) if blog.images else Text("Nothing was ever offered to this blog."))
    else:
        for slot in blog.images:
            out.line(slot.role, slot.position, _standing(slot), len(slot.candidates), _url(slot))
    return 0


async def run_costs(place: Place, out: Output, *, blog_id: str) -> int:
    wanted = parsed_name(blog_id)
    async with place.reached() as reached:
        costs = await reached.client.blog_costs(wanted)
    if out.as_json:
        out.document(costs)
        return 0
    pairs = _costs(costs)
    if out.for_person:
        out.person(facts(pairs))
        return 0
    for name, value in pairs:
        if value is not None:
            out.line(f"{name}: {value}")
    return 0


def parsed_name(text: str) -> str:
    if not text or any(char.isspace() or char in SEPARATORS for char in text):
        raise WrongUsage(f"{text!r} is no blog id: it has no spaces and none of {SEPARATORS}")
    return text


def _standing(slot: SlotResponse) -> str:
    """What a reader of the post would see in the place."""
    if slot.image_id is not None:
        return "draft" if slot.is_draft else "final"
    return "preview" if slot.preview is not None else "empty"


def _url(slot: SlotResponse) -> str | None:
    return slot.url or (slot.preview.url if slot.preview is not None else None)


def _table(blog: BlogImagesResponse) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("place", "shows"):
        table.add_column(name, no_wrap=True)
    table.add_column("candidates", justify="right")
    table.add_column("alt text", overflow="fold")
    table.add_column("picture", overflow="fold")
    for slot in blog.images:
        alt_text = Text("none", style="yellow") if slot.alt_text is None else clean(slot.alt_text)
        table.add_row(
            f"{slot.role} {slot.position}",
            _standing(slot),
            str(len(slot.candidates)),
            alt_text,
            clean(_url(slot)),
        )
    return table


def _costs(costs: BlogCostsResponse) -> list[tuple[str, object]]:
    saving = costs.saving
    return [
        ("spent", dollars(costs.cost_confirmed)),
        ("possible besides", dollars(costs.cost_possible) if costs.cost_possible else None),
        ("unknown prices", costs.unknown_prices or None),
        *(
            (one.quality.value, f"{dollars(one.cost_confirmed)} ({counted(one.jobs, 'job')})")
            for one in costs.by_quality
        ),
        ("drafts", costs.drafts),
        ("finals", costs.finals),
        ("saved by drafts", dollars(saving.saved) if saving else None),
        (
            "share of all-final",
            f"{saving.share:.1%}" if saving and saving.share is not None else None,
        ),
    ]
