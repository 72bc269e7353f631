"""`limner providers`: who paints, how each of them does, and that one is mended."""

from rich.table import Table
from rich.text import Text

from pipeline.cli.output import Output, clean
from pipeline.cli.reach import Place
from schemas.replies import ProviderHealth, ProviderListResponse, ProviderStatus

STYLES = {
    ProviderStatus.OK: "green",
    ProviderStatus.UNKNOWN: "dim",
    ProviderStatus.PAUSED: "yellow",
    ProviderStatus.NOT_CONFIGURED: "yellow",
    ProviderStatus.OPEN: "bold red",
}


async def run_list(place: Place, out: Output) -> int:
    async with place.reached() as reached:
        known = await reached.client.providers()
        health = await reached.client.provider_health()
    if out.as_json:
        listed = known.model_dump(mode="json")
        out.document(listed | {"health": health.model_dump(mode="json")["providers"]})
    elif out.for_person:
        _show_table(out, known, health.providers)
    else:
        for one in health.providers:
            out.line(one.name, one.status, one.reason, one.queued_jobs, one.waiting_jobs)
    return 0


async def run_reset(place: Place, out: Output, *, name: str) -> int:
    async with place.reached() as reached:
        health = await reached.client.reset_provider(name)
    if out.as_json:
        out.document(health)
    elif out.for_person:
        waits = f"; {health.queued_jobs} queued jobs go on" if health.queued_jobs else ""
        out.person(Text(f"{health.name} is {health.status}{waits}."))
    else:
        out.line(health.name, health.status)
    return 0


def _show_table(out: Output, known: ProviderListResponse, health: list[ProviderHealth]) -> None:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("provider", "status", "queued", "put off", "models"):
        table.add_column(column, overflow="fold")
    models = {
        one.name: ", ".join(dict.fromkeys(model.resolved_model for model in one.models))
        for one in known.providers
    }
    for one in health:
        default = " (default)" if one.name == known.default else ""
        table.add_row(
            clean(one.name) + default,
            Text(one.status, style=STYLES[one.status]),
            str(one.queued_jobs),
            str(one.waiting_jobs),
            clean(models.get(one.name, "-")),
        )
    out.person(table)
    for one in health:
        if one.detail is not None:
            out.note(one.detail)
