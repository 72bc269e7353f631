"""`limner calls` and `limner costs`: what a person has to decide, and what a day has cost."""

from datetime import date
from uuid import UUID

from rich.table import Table
from rich.text import Text

from pipeline.cli.client import Client
from pipeline.cli.output import Output, clean, counted, facts
from pipeline.cli.reach import Place
from pipeline.cli.start import CommandFailed, WrongUsage, checked
from schemas.ledger import CallResponse, DayCostsResponse, ModelCost, ResolutionRequest
from schemas.replies import dollars
from schemas.tables.calls import CallState

MOST_ON_A_PAGE = "200"
UNKNOWN_PRICE = "price unknown"


async def run_unknown(place: Place, out: Output) -> int:
    async with place.reached() as reached:
        calls = await _all(reached.client, state=[CallState.UNKNOWN.value])
    if out.as_json:
        out.document({"calls": [call.model_dump(mode="json") for call in calls]})
    elif not out.for_person:
        for call in calls:
            amount = _amount(call)
            out.line(_name(call), call.provider, call.model, amount, _since(call), call.look_for)
    elif not calls:
        out.person(Text("Of every call it is known whether it was charged."))
    else:
        for call in calls:
            out.person(facts(_facts(call)))
            out.person(Text())
        out.note("limner calls resolve CALL --charged | --not-charged")
    return 0


async def run_resolve(
    place: Place, out: Output, *, call: str, charged: bool, amount: str | None
) -> int:
    job_id, attempt = _parsed(call)
    if amount is not None and not charged:
        raise WrongUsage("--amount: it belongs to --charged; leave it out")
    given = {"charged": charged} | ({"amount": amount} if amount is not None else {})
    found = checked(ResolutionRequest, given).model_dump(mode="json", exclude_unset=True)
    async with place.reached() as reached:
        if attempt is None:
            attempt = await _only_attempt(reached.client, job_id)
        told = await reached.client.resolve_call(job_id, attempt, found)
    if out.as_json:
        out.document(told)
    elif out.for_person:
        said = f"charged ({_amount(told)})" if charged else "not charged"
        out.person(Text(f"Call {_name(told)} is recorded as {said}. {told.what_now}"))
    else:
        out.line(_name(told), told.state, _amount(told), told.job_status)
        out.note(told.what_now)
    return 0


async def run_costs(place: Place, out: Output, *, day: str | None) -> int:
    if day is not None:
        try:
            day = date.fromisoformat(day).isoformat()
        except ValueError:
            raise WrongUsage(f"--day: {day!r} is no day; one is 2026-01-31") from None
    async with place.reached() as reached:
        costs = await reached.client.day_costs(day)
    if out.as_json:
        out.document(costs)
    elif out.for_person:
        out.person(facts(_sums(costs)))
        if costs.by_model:
            out.person(_models(costs.by_model))
    else:
        for name, value in _sums(costs):
            if value is not None:
                out.line(f"{name}: {value}")
        for one in costs.by_model:
            prices = one.cost_confirmed, one.cost_possible, one.unknown_prices
            out.line(one.provider, one.model, one.calls, *prices)
    return 0


async def _all(client: Client, **query: str | list[str]) -> list[CallResponse]:
    found: list[CallResponse] = []
    cursor: str | None = None
    while True:
        after = {"cursor": cursor} if cursor is not None else {}
        page = await client.calls({"limit": MOST_ON_A_PAGE, **query, **after})
        found += page.calls
        cursor = page.next_cursor
        if cursor is None:
            return found


async def _only_attempt(client: Client, job_id: UUID) -> int:
    """Which call of the job is meant where none is named: its unknown one, or the resolved one."""
    calls = await _all(client, job_id=str(job_id))
    unknown = [call for call in calls if call.state is CallState.UNKNOWN]
    meant = unknown or [call for call in calls if call.resolved_at is not None]
    if not meant:
        raise CommandFailed(f"job {job_id} has no call whose outcome is unknown")
    if len(meant) > 1:
        names = ", ".join(_name(call) for call in meant)
        raise CommandFailed(f"job {job_id} has several such calls; name one of {names}")
    return meant[0].attempt


def _parsed(text: str) -> tuple[UUID, int | None]:
    job_id, slash, attempt = text.partition("/")
    try:
        if slash and not (attempt.isascii() and attempt.isdigit() and int(attempt) > 0):
            raise ValueError(attempt)
        return UUID(job_id), int(attempt) if slash else None
    except ValueError:
        raise WrongUsage(
            f"{text!r} names no call; one is a job's id, or JOB/ATTEMPT as `limner calls unknown`"
            " tells it"
        ) from None


def _name(call: CallResponse) -> str:
    return f"{call.job_id}/{call.attempt}"


def _amount(call: CallResponse) -> str:
    return dollars(call.amount) if call.amount is not None else UNKNOWN_PRICE


def _since(call: CallResponse) -> str:
    return (call.settled_at or call.asked_at).isoformat(timespec="seconds").replace("+00:00", "Z")


def _facts(call: CallResponse) -> list[tuple[str, object]]:
    return [
        ("call", _name(call)),
        (
            "job",
            f"{call.job_status}, {call.quality}"
            + (f", blog {call.blog_id}" if call.blog_id else ""),
        ),
        ("asked", f"{call.provider}, {call.model}, {_amount(call)}"),
        ("unknown since", _since(call)),
        ("what is known", call.detail),
        ("look for", call.look_for),
    ]


def _sums(costs: DayCostsResponse) -> list[tuple[str, object]]:
    return [
        ("day", costs.day),
        ("calls", costs.calls),
        ("cost", dollars(costs.cost_confirmed)),
        ("possible besides", dollars(costs.cost_possible) if costs.cost_possible else None),
        ("unknown prices", costs.unknown_prices or None),
    ]


def _models(models: list[ModelCost]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("provider", "model"):
        table.add_column(name, overflow="fold")
    for name in ("calls", "cost", "possible", "credits"):
        table.add_column(name, justify="right")
    for one in models:
        credits = (
            f"{one.credits_confirmed.normalize():f}" if one.credits_confirmed is not None else "-"
        )
        unknown = f" + {counted(one.unknown_prices, 'unknown price')}" if one.unknown_prices else ""
        table.add_row(
            clean(one.provider),
            clean(one.model),
            str(one.calls),
            dollars(one.cost_confirmed) + unknown,
            dollars(one.cost_possible),
            credits,
        )
    return table
