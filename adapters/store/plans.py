"""What the store knows of each table: columns, keys, codecs. Derived from the tables.

Derived, not written by hand, so that a new table or column needs no code of its own here.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine.interfaces import Dialect
from sqlmodel import AutoString, UTCDateTime

from adapters.errors import StoreRejected
from adapters.store.columns import as_microseconds
from schemas.columns import Money, as_stored
from schemas.json_text import from_json, to_json
from schemas.step import RowKey, row_key
from schemas.tables import TABLES
from schemas.tables.row import Row

Codec = Callable[[Any], Any] | None
ColumnCodec = Callable[[Sequence[Any]], list[Any]]

# Rows that never change once written; they are looked up but not locked.
IMMUTABLE = frozenset({"InboxRow", "IdempotencyKeyRow"})
# Rows that the process which has written them is likely to need again.
REMEMBERED = frozenset(
    {"JobRow", "ProviderCallRow", "BatchRow", "BlogRow", "BlogSlotRow", "ImageRow"}
)
# Rows that a step nearly always names in order to insert them.
PRESUMED_ABSENT = frozenset({"InboxRow", "SlotCandidateRow"})
# Rows that many steps name and few tenants have.
MOSTLY_ABSENT = frozenset({"BudgetRow"})


class TablePlan:
    """What the store knows of one table: columns, keys, codecs."""

    def __init__(self, row: type[Row], dialect: Dialect) -> None:
        table: sa.Table = TABLES[row].__table__  # type: ignore[attr-defined]  # SQLModel sets it
        self.row = row
        self.name = table.name
        self.lockable = row.__name__ not in IMMUTABLE
        self.remembered = row.__name__ in REMEMBERED
        self.presumed_absent = row.__name__ in PRESUMED_ABSENT
        self.mostly_absent = row.__name__ in MOSTLY_ABSENT
        # A database-given number is neither written nor part of any key that we know beforehand.
        self.columns = [c for c in table.columns if not _given_by_database(c)]
        self.names = [column.name for column in self.columns]
        self.key_names = [c.name for c in table.primary_key.columns if not _given_by_database(c)]
        self.versioned = "version" in self.names
        # How the values of many rows are written, by column.
        self.encoders = {c.name: _encoder(c, dialect) for c in self.columns}
        self.decoders = [
            (column.name, decoder)
            for column in self.columns
            if (decoder := _decoder(column, dialect)) is not None
        ]
        # Columns that may come back other than they were written, and as what they do.
        self._stored_as = {c.name: form for c in self.columns if (form := _stored_form(c))}
        self.comes_back_otherwise = tuple(self._stored_as)
        self.types = [_postgres_type(column) for column in self.columns]
        self.key_types = [self.types[self.names.index(name)] for name in self.key_names]
        self._key_values = itemgetter(*(self.key_names or self.names))
        self._one_key_column = len(self.key_names) == 1
        key_columns = [self.columns[self.names.index(name)] for name in self.key_names]
        self._key_encoders = [_key_encoder(column, dialect) for column in key_columns]

    def update_names(self, changed: set[str]) -> tuple[str, ...]:
        """What an update sends: the key, the version, and the columns that *changed*."""
        sent = changed | {"version"} if self.versioned else changed
        return (*self.key_names, *(n for n in self.names if n in sent and n not in self.key_names))

    def encode(self, rows: Iterable[Row], names: Sequence[str]) -> list[list[Any]]:
        """The values of *rows* as the driver takes them, one list for each column of *names*.

        There is a row at least, and two names. Raises `StoreRejected` for what no database could
        hold.
        """
        try:
            # Row by row, so that each one's dictionary is gone through once.
            values = map(itemgetter(*names), [row.__dict__ for row in rows])
            columns = zip(*values, strict=True)
            return [self.encoders[name](one) for name, one in zip(names, columns, strict=True)]
        except (ValueError, TypeError, KeyError) as exc:
            raise StoreRejected(
                f"a value of {self.name} cannot be stored: {type(exc).__name__}"
            ) from exc

    def encode_key(self, key: Sequence[Any]) -> list[Any]:
        return [
            part if encode is None else encode(part)
            for part, encode in zip(key, self._key_encoders, strict=True)
        ]

    def encode_keys(self, keys: Iterable[Sequence[Any]]) -> list[list[Any]]:
        """*keys* as the driver takes them: one list for each key column."""
        return [
            list(column) if encode is None else list(map(encode, column))
            for column, encode in zip(zip(*keys, strict=True), self._key_encoders, strict=True)
        ]

    def decode(self, values: dict[str, Any]) -> Row:
        """Turn what the driver gave into a row object, unvalidated; the row keeps *values*."""
        for name, decode in self.decoders:
            value = values[name]
            if value is not None:
                values[name] = decode(value)
        return self.row.of_all(values)

    def otherwise_of(self, names: Iterable[str]) -> tuple[str, ...]:
        """Which of *names* may come back other than they were written."""
        return tuple(name for name in names if name in self._stored_as)

    def as_stored(self, row: Row, as_written: Iterable[str]) -> Row:
        """*row* as the database gives it back, which has written its columns *as_written*."""
        values = row.__dict__
        changes = {
            name: self._stored_as[name](values[name])
            for name in as_written
            if values[name] is not None
        }
        return self.row.of_all(values | changes) if changes else row

    def key_in(self, values: Mapping[str, Any]) -> RowKey:
        key = self._key_values(values)
        return row_key((self.row, (key,) if self._one_key_column else key))


def _given_by_database(column: sa.Column[Any]) -> bool:
    return bool(column.info.get("given_by_database"))


def _encoder(column: sa.Column[Any], dialect: Dialect) -> ColumnCodec:
    """How the values of many rows are written."""
    if dialect.name == "postgresql" and isinstance(column.type, UTCDateTime):
        return as_microseconds
    encode = _value_encoder(column, dialect)
    if encode is None:
        return list
    return lambda values: [None if value is None else encode(value) for value in values]


def _value_encoder(column: sa.Column[Any], dialect: Dialect) -> Codec:
    """How a value is written that is not None; None where the driver takes it as it is."""
    if isinstance(column.type, sa.JSON):
        return to_json
    if dialect.name == "postgresql":
        return str if isinstance(column.type, Money) else None
    processor: Codec = column.type.dialect_impl(dialect).bind_processor(dialect)
    return processor


def _key_encoder(column: sa.Column[Any], dialect: Dialect) -> Codec:
    """How a part of a key is written; looks compare it as it is, without a cast."""
    if isinstance(column.type, UTCDateTime | Money | sa.JSON):
        raise TypeError(f"{column} cannot be part of a key")
    return _value_encoder(column, dialect)


def _decoder(column: sa.Column[Any], dialect: Dialect) -> Codec:
    """How a value is read that is not None."""
    if isinstance(column.type, sa.JSON):
        return from_json
    if isinstance(column.type, sa.Enum):
        members: Any = column.type.enum_class
        return {member.value: member for member in members}.__getitem__
    if dialect.name == "postgresql":
        return None  # asyncpg gives aware datetimes in UTC, UUIDs and Decimals
    processor: Codec = column.type.dialect_impl(dialect).result_processor(dialect, None)
    return processor


def _stored_form(column: sa.Column[Any]) -> Codec:
    if isinstance(column.type, sa.JSON):
        return lambda value: from_json(to_json(value))
    if isinstance(column.type, Money):
        return as_stored
    return None


def _postgres_type(column: sa.Column[Any]) -> str:
    """The array element type under which asyncpg sends a column's values."""
    kind = column.type
    if isinstance(kind, sa.JSON):
        return "text"  # cast to jsonb by the statement: asyncpg then needs no codec
    if isinstance(kind, Money):
        return "text"  # so too: a number takes asyncpg three times as long
    if isinstance(kind, UTCDateTime):
        return "int8"  # microseconds, of which the statement makes the moment
    if isinstance(kind, sa.types.Uuid):
        return "uuid"
    if isinstance(kind, sa.Boolean):
        return "bool"
    if isinstance(kind, sa.BigInteger):
        return "int8"
    if isinstance(kind, sa.Integer):
        return "int4"
    if isinstance(kind, sa.String | AutoString):  # Enum is one
        return "text"
    raise TypeError(f"no PostgreSQL type for {column}")


class Plans:
    """One `TablePlan` a table, in the fixed order in which tables are locked and written."""

    def __init__(self, dialect: Dialect) -> None:
        self.by_row = {row: TablePlan(row, dialect) for row in TABLES}
        self.order = {row: number for number, row in enumerate(TABLES)}

    def by_table(self, keys: Iterable[RowKey]) -> dict[type[Row], list[tuple[Any, ...]]]:
        """Group keys by table, each key once; tables in their order, keys in that of arrival."""
        found: defaultdict[type[Row], dict[tuple[Any, ...], None]] = defaultdict(dict)
        for row, key in keys:
            found[row][key] = None
        return {row: list(found[row]) for row in sorted(found, key=self.order.__getitem__)}
