"""Budgets: how much may be spent, and what is spent and held."""

from datetime import datetime
from decimal import Decimal

import sqlalchemy as sa
from sqlmodel import Field

from schemas.columns import Money, choice
from schemas.requests import Period
from schemas.tables.row import Row

# In the place of a blog: all of a tenant. In the place of a day: whenever.
ALL = ""


class BudgetRow(Row):
    """A limit. While the row is there what it limits is counted, be it limited or not."""

    tenant: str = Field(primary_key=True)
    blog_id: str = Field(primary_key=True)
    period: Period = Field(primary_key=True, sa_type=choice(Period, "budget_period"))
    # US dollars; None where nothing is limited (any more).
    amount: Decimal | None = Field(default=None, sa_type=Money)
    # What the ledger says was charged before it was counted; of a daily budget: on that day.
    uncounted: Decimal = Field(default=Decimal(0), sa_type=Money)
    uncounted_on: str = ALL
    set_at: datetime


class Budget(BudgetRow, table=True):
    __tablename__ = "budgets"


class SpendRow(Row):
    """What is held and was charged since it is counted, on one day or in all."""

    tenant: str = Field(primary_key=True)
    blog_id: str = Field(primary_key=True)
    day: str = Field(primary_key=True)
    held: Decimal = Field(default=Decimal(0), sa_type=Money)
    spent: Decimal = Field(default=Decimal(0), sa_type=Money)


class Spend(SpendRow, table=True):
    __tablename__ = "spend"
    __table_args__ = (
        # On SQLite money is text.
        sa.CheckConstraint("CAST(held AS NUMERIC) >= 0", name="spend_holds_something"),
    )
