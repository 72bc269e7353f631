"""Whole columns as arrays for asyncpg, without what it does for nothing with each value.

Before it writes an array asyncpg asks of every element whether it is an array itself; of strings,
ids and numbers that takes longer than to write them (a tenth of the worker's time, before this).
And it compares every moment with two infinities and brings it to UTC, which takes twice as long as
to count its microseconds.
"""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

import asyncpg

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# PostgreSQL multiplies intervals as floats, which are exact so far.
_TOO_MANY = 2**53


def as_microseconds(moments: Iterable[datetime | None]) -> list[int | None]:
    """Microseconds since 1970, exactly; None stays. Raises `ValueError` from the year 2255 on."""
    # Spelled out, since `// timedelta(microseconds=1)` takes longer.
    counts = [
        None
        if moment is None
        else ((since := moment - _EPOCH).days * 86_400 + since.seconds) * 1_000_000
        + since.microseconds
        for moment in moments
    ]
    if max(filter(None, counts), default=0) >= _TOO_MANY:
        raise ValueError("a moment is too late to be stored exactly")
    return counts


def from_microseconds(sql: str) -> str:
    """The expression for the moment that the expression *sql* counts the microseconds of."""
    return f"timestamptz 'epoch' + {sql} * interval '1 microsecond'"


class Flat(list[Any]):
    """Values none of which is an array: whoever goes through them first sees but one of them.

    For asyncpg alone, which goes through an array twice; `can_take_flat` tells whether it does.
    """

    __slots__ = ("_seen",)

    def __init__(self, values: list[Any]) -> None:
        super().__init__(values)
        self._seen = False

    def __iter__(self) -> Iterator[Any]:
        if self._seen:
            return super().__iter__()
        self._seen = True
        return iter(self[:1])


async def can_take_flat(connection: "asyncpg.Connection[asyncpg.Record]") -> bool:
    """Whether this release of asyncpg writes `Flat` values as it writes a list of them."""
    values = ["a", None, "b"]
    try:
        return bool(await connection.fetchval("SELECT $1::text[]", Flat(values)) == values)
    except (ValueError, asyncpg.PostgresError, asyncpg.InterfaceError):
        return False
