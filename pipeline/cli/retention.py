"""`limner sweep`, and `limner blogs hold` and `release`: what is removed for its age."""

from rich.table import Table
from rich.text import Text

from pipeline.cli.blogs import parsed_name
from pipeline.cli.output import Output
from pipeline.cli.reach import Place

MEBIBYTE = 2**20


async def run_sweep(place: Place, out: Output, *, dry_run: bool) -> int:
    async with place.reached() as reached:
        swept = await reached.client.sweep(dry_run=dry_run)
    if out.as_json:
        out.document(swept)
    elif not out.for_person:
        for one in swept.removed:
            out.line(one.kind, one.number, one.bytes)
    elif not any(one.number for one in swept.removed):
        out.person(Text("Nothing is older than it is kept."))
    else:
        table = Table(box=None, pad_edge=False, header_style="dim")
        table.add_column("would go" if dry_run else "gone")
        table.add_column("number", justify="right")
        table.add_column("MiB", justify="right")
        for one in swept.removed:
            size = f"{one.bytes / MEBIBYTE:.1f}" if one.bytes else ""
            table.add_row(one.kind, str(one.number), size)
        out.person(table)
    return 0


async def run_hold(place: Place, out: Output, *, blog_id: str, held: bool) -> int:
    wanted = parsed_name(blog_id)
    async with place.reached() as reached:
        told = await reached.client.hold_blog(wanted, held=held)
    if out.as_json:
        out.document(told)
    elif not out.for_person:
        out.line(told.blog_id, "held" if told.held else "released")
    elif told.held:
        out.person(Text("Held: nothing of it is removed for its age."))
    else:
        out.person(Text("Released: it ages as others do."))
    return 0
