"""`limner calls` and `limner costs`: what a person must decide, and what was paid on a day."""

from datetime import date
from typing import Any
from uuid import UUID

from rich.table import Table
from rich.text import Text

from pipeline.cli.output import Output, clean, counted, facts
from pipeline.cli.reach import Place
from pipeline.cli.start import WrongUsage, checked
from schemas.replies import CallResponse, dollars
from schemas.requests import CallResolution, CallVerdict


async def run_unknown(place: Place, out: Output) -> int:
    async with place.reached() as reached:
        found = await reached.client.unknown_calls()
    if out.as_json:
        out.document(found)
    elif not out.for_person:
        for call in found.calls:
            asked_at = call.asked_at.isoformat()
            out.line(call.call_id, call.provider, call.model, _amount(call), asked_at, call.detail)
    elif found.calls:
        for call in found.calls:
            out.person(_about(call))
            out.person(Text())
        out.person(
            Text(
                f"{counted(len(found.calls), 'call')} may have cost {dollars(found.cost_possible)}."
                " Look at the provider, then `limner calls resolve ID --charged` or"
                " `--not-charged`."
            )
        )
    else:
        out.person(Text("No answer is lost: there is nothing to decide."))
    return 0


async def run_resolve(
    place: Place,
    out: Output,
    *,
    call_id: str,
    charged: bool,
    not_charged: bool,
    amount: str | None,
) -> int:
    if charged == not_charged:
        raise WrongUsage("say what was found at the provider: --charged or --not-charged")
    job_id, attempt = _parts(call_id)
    verdict = CallVerdict.CHARGED if charged else CallVerdict.NOT_CHARGED
    asked: dict[str, Any] = {"verdict": verdict.value}
    if amount is not None:
        asked["amount"] = amount
    found = checked(CallResolution, asked)
    async with place.reached() as reached:
        call = await reached.client.resolve_call(job_id, attempt, found)
    if out.as_json:
        out.document(call)
    elif out.for_person:
        cost = f"charged: {_amount(call)}" if charged else "not charged"
        out.person(Text(f"The call is settled as {cost}. {call.note or ''}".strip()))
    else:
        out.line(call.call_id, call.state, _amount(call))
    return 0


async def run_costs(place: Place, out: Output, *, day: str | None) -> int:
    try:
        asked = date.fromisoformat(day) if day is not None else None
    except ValueError:
        raise WrongUsage(f"--day: {clean(day or '')} is no day such as 2026-01-31") from None
    async with place.reached() as reached:
        costs = await reached.client.day_costs(asked)
    if out.as_json:
        out.document(costs)
    elif not out.for_person:
        for one in costs.by_provider:
            amounts = map(dollars, (one.cost_confirmed, one.cost_possible))
            out.line(one.provider, one.model, one.calls, *amounts, one.unknown_prices)
    else:
        out.person(
            facts(
                [
                    ("day (UTC)", costs.day.isoformat()),
                    ("calls", costs.calls),
                    ("charged", dollars(costs.cost_confirmed)),
                    ("possible besides", dollars(costs.cost_possible)),
                    ("unknown prices", costs.unknown_prices or None),
                ]
            )
        )
        if costs.by_provider:
            out.person(Text())
            table = Table(box=None, pad_edge=False, header_style="dim")
            for name in ("provider", "model", "calls", "charged", "possible"):
                table.add_column(name, justify="left" if name in ("provider", "model") else "right")
            for one in costs.by_provider:
                amounts = map(dollars, (one.cost_confirmed, one.cost_possible))
                table.add_row(clean(one.provider), clean(one.model), str(one.calls), *amounts)
            out.person(table)
    return 0


def _parts(call_id: str) -> tuple[UUID, int]:
    job, _, attempt = call_id.rpartition(".")
    try:
        return UUID(job), int(attempt)
    except ValueError:
        raise WrongUsage(
            f"ID: {clean(call_id)} is no call; `limner calls unknown` lists them"
            " (<job id>.<attempt>)"
        ) from None


def _amount(call: CallResponse) -> str:
    return dollars(call.amount) if call.amount is not None else "unknown"


def _about(call: CallResponse) -> Table:
    return facts(
        [
            ("call", call.call_id),
            ("provider", f"{clean(call.provider)} ({clean(call.model)})"),
            ("may have cost", _amount(call)),
            ("asked at", f"{call.asked_at:%Y-%m-%d %H:%M:%S} UTC"),
            ("known", clean(call.detail or "")),
            ("look for", clean(call.look_for or "")),
        ]
    )
