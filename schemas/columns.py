"""Column types that mean the same on SQLite and PostgreSQL: money, JSON, states."""

from decimal import ROUND_HALF_UP, Decimal
from enum import StrEnum
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.engine.interfaces import Dialect
from sqlalchemy.types import TypeDecorator, TypeEngine

from schemas.requests import MONEY_DIGITS, MONEY_PLACES


class Money(TypeDecorator[Decimal]):
    """US dollars as Decimal. NUMERIC on PostgreSQL; text on SQLite, whose numbers are floats."""

    impl = sa.Numeric(MONEY_DIGITS, MONEY_PLACES)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        if dialect.name == "sqlite":
            return dialect.type_descriptor(sa.String(32))
        return dialect.type_descriptor(sa.Numeric(MONEY_DIGITS, MONEY_PLACES))

    def process_bind_param(self, value: Decimal | None, dialect: Dialect) -> Any:
        if value is None or dialect.name != "sqlite":
            return value
        return format(value, "f")

    def process_result_value(self, value: Any, dialect: Dialect) -> Decimal | None:
        return None if value is None else Decimal(value)


SMALLEST_AMOUNT = Decimal(1).scaleb(-MONEY_PLACES)


def as_stored(amount: Decimal) -> Decimal:
    """The amount as PostgreSQL keeps it, so that what is added is what is taken away."""
    return amount.quantize(SMALLEST_AMOUNT, ROUND_HALF_UP)


Json = sa.JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")
"""A JSON document; None is SQL's NULL."""


GIVEN: dict[str, Any] = {"info": {"given_by_database": True}}
"""`sa_column_kwargs` of a column that the database fills in; the journal never writes it."""


def choice(values: type[StrEnum], name: str) -> sa.Enum:
    """A text column with a CHECK that admits the values of *values* only."""
    return sa.Enum(
        values,
        name=name,
        native_enum=False,
        create_constraint=True,
        length=32,
        values_callable=lambda enum: [member.value for member in enum],
    )


def partial_index(name: str, *columns: str, where: str) -> sa.Index:
    """An index over the rows for which *where* holds, on both databases."""
    return sa.Index(name, *columns, postgresql_where=sa.text(where), sqlite_where=sa.text(where))
