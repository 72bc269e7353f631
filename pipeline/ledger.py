"""What providers have charged, as the ledger of calls knows it.

Jobs, batches, blogs and days tell their costs alike by it. A price that nobody knows is counted and
never taken for zero.
"""

from collections.abc import Iterable
from decimal import Decimal
from typing import NamedTuple

from schemas.tables import CallState

CHARGED = frozenset({CallState.ANSWERED})
# Asked, and the answer is lost or still to come.
MAYBE_CHARGED = frozenset({CallState.UNKNOWN, CallState.INTENT, CallState.ACCEPTED})


class Spending(NamedTuple):
    """Sums in US dollars, under the names that every reply gives them."""

    cost_confirmed: Decimal
    # What lost or open calls may add to it.
    cost_possible: Decimal
    # Calls of either kind at a price that is not known; in neither sum.
    unknown_prices: int


class Calls(NamedTuple):
    """One call, or *number* equal ones."""

    state: CallState
    amount: Decimal | None
    number: int = 1


def asked(calls: Iterable[Calls]) -> list[Calls]:
    """Those that were, or may have been, charged."""
    return [one for one in calls if one.state in CHARGED | MAYBE_CHARGED]


def spending(calls: Iterable[Calls]) -> Spending:
    """Add up *calls*."""
    counted = asked(calls)
    return Spending(
        cost_confirmed=_sum(one for one in counted if one.state in CHARGED),
        cost_possible=_sum(one for one in counted if one.state in MAYBE_CHARGED),
        unknown_prices=sum(one.number for one in counted if one.amount is None),
    )


def _sum(calls: Iterable[Calls]) -> Decimal:
    known = (one.amount * one.number for one in calls if one.amount is not None)
    return sum(known, Decimal(0))
