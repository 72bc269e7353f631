"""`limner budgets`: what may be spent, and what is left of it."""

from typing import Any

from rich.table import Table
from rich.text import Text

from pipeline.cli.output import Output, clean
from pipeline.cli.reach import Place
from pipeline.cli.start import checked
from schemas.replies import BudgetResponse, dollars
from schemas.requests import BudgetName, BudgetRequest, Period


async def run_set(place: Place, out: Output, *, wanted: dict[str, Any]) -> int:
    asked = checked(BudgetRequest, _given(wanted), arguments=("limit",))
    async with place.reached(creates=True) as reached:
        budget = await reached.client.set_budget(asked)
    if out.as_json:
        out.document(budget)
    elif out.for_person:
        out.person(_table([budget]))
    else:
        _line(out, budget)
    return 0


async def run_remove(place: Place, out: Output, *, which: dict[str, Any]) -> int:
    asked = checked(BudgetName, _given(which))
    async with place.reached() as reached:
        await reached.client.remove_budget(asked)
    if out.as_json:
        out.document(asked)
    elif out.for_person:
        out.person(Text("The budget is removed: nothing is limited by it any more."))
    return 0


async def run_show(place: Place, out: Output) -> int:
    async with place.reached() as reached:
        found = await reached.client.budgets()
    if out.as_json:
        out.document(found)
    elif not out.for_person:
        for budget in found.budgets:
            _line(out, budget)
    elif found.budgets:
        out.person(_table(found.budgets))
    else:
        out.person(Text("Nothing is limited. `limner budgets set 10` limits all to $10."))
    return 0


def _given(options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def _line(out: Output, budget: BudgetResponse) -> None:
    amounts = (budget.limit, budget.spent, budget.held, budget.left)
    out.line(budget.blog_id, budget.day or budget.period, *map(dollars, amounts))


def _table(budgets: list[BudgetResponse]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("budget of", "period"):
        table.add_column(name)
    for name in ("limit", "spent", "held", "left"):
        table.add_column(name, justify="right", no_wrap=True)
    for budget in budgets:
        table.add_row(
            f"blog {clean(budget.blog_id)}" if budget.blog_id is not None else "everything",
            f"each day; {budget.day}" if budget.period is Period.DAY else "in all",
            *map(dollars, (budget.limit, budget.spent, budget.held)),
            Text(dollars(budget.left), style="" if budget.left > 0 else "red"),
        )
    return table
