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


def spending(calls: Iterable[tuple[CallState, Decimal | None]]) -> Spending:
    """Add up *calls*, each by its state and its amount."""
    asked = [call for call in calls if call[0] in CHARGED | MAYBE_CHARGED]
    return Spending(
        cost_confirmed=_sum(amount for state, amount in asked if state in CHARGED),
        cost_possible=_sum(amount for state, amount in asked if state in MAYBE_CHARGED),
        unknown_prices=sum(amount is None for _, amount in asked),
    )


def _sum(amounts: Iterable[Decimal | None]) -> Decimal:
    return sum((amount for amount in amounts if amount is not None), Decimal(0))
