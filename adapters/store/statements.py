"""The SQL of the journal's writes, derived from the tables, and the codecs of their columns.

Derived, not written by hand, so that a new table or column needs no statement of its own. Set-based
on PostgreSQL (one statement a table and group, whatever the number of rows), row by row through
`executemany` on SQLite, where a statement costs no round trip.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import Any
from uuid import UUID

import pydantic_core
import sqlalchemy as sa
from sqlalchemy.engine.interfaces import Dialect

from adapters.errors import StoreRejected
from schemas.step import RowKey, SentMark, Writes
from schemas.tables import TABLES, EventRow
from schemas.tables.row import Row

Codec = Callable[[Any], Any] | None

# Rows that never change once written; they are looked up but not locked.
IMMUTABLE = frozenset({"InboxRow", "DeadLetterRow", "IdempotencyKeyRow"})


class TablePlan:
    """What the store knows of one table: columns, keys, codecs."""

    def __init__(self, row: type[Row], dialect: Dialect) -> None:
        table: sa.Table = TABLES[row].__table__  # type: ignore[attr-defined]  # SQLModel sets it
        self.row = row
        self.name = table.name
        self.lockable = row.__name__ not in IMMUTABLE
        # A database-given number is neither written nor part of any key that we know beforehand.
        self.columns = [c for c in table.columns if not _given_by_database(c)]
        self.names = [column.name for column in self.columns]
        self.key_names = [c.name for c in table.primary_key.columns if not _given_by_database(c)]
        self.versioned = "version" in self.names
        self.encoders = [_encoder(column, dialect) for column in self.columns]
        self.decoders = [
            (column.name, decoder)
            for column in self.columns
            if (decoder := _decoder(column, dialect)) is not None
        ]
        self._codecs = list(zip(self.names, self.encoders, strict=True))
        self._codec_by_name = dict(self._codecs)
        self._codecs_by_names: dict[tuple[str, ...], list[tuple[str, Codec]]] = {}
        self.types = [_postgres_type(column) for column in self.columns]
        self.key_types = [self.types[self.names.index(name)] for name in self.key_names]
        self._key_encoders = [self.encoders[self.names.index(name)] for name in self.key_names]

    def update_names(self, changed: set[str]) -> tuple[str, ...]:
        """What an update sends: the key, the version, and the columns that *changed*."""
        sent = changed | {"version"} if self.versioned else changed
        return (*self.key_names, *(n for n in self.names if n in sent and n not in self.key_names))

    def encode(self, row: Row, names: tuple[str, ...] | None = None) -> list[Any]:
        """A row's values (all, or those of *names*) as the driver takes them.

        Raises `StoreRejected` for what no database could hold.
        """
        values = row.__dict__
        try:
            return [
                values[name] if encode is None else encode(values[name])
                for name, encode in self._codecs_of(names)
            ]
        except (ValueError, TypeError, KeyError) as exc:
            raise StoreRejected(
                f"a value of {self.name} cannot be stored: {type(exc).__name__}"
            ) from exc

    def _codecs_of(self, names: tuple[str, ...] | None) -> list[tuple[str, Codec]]:
        if names is None:
            return self._codecs
        found = self._codecs_by_names.get(names)
        if found is None:
            found = self._codecs_by_names[names] = [(n, self._codec_by_name[n]) for n in names]
        return found

    def encode_key(self, key: Sequence[Any]) -> list[Any]:
        return [
            part if encode is None else encode(part)
            for part, encode in zip(key, self._key_encoders, strict=True)
        ]

    def decode(self, record: Any) -> Row:
        """Turn a driver's row (a mapping of names) into a row object, unvalidated."""
        values = dict(record)
        for name, decode in self.decoders:
            values[name] = decode(values[name])
        return self.row.of_all(values)

    def key_of(self, row: Row) -> tuple[Any, ...]:
        return tuple(getattr(row, name) for name in self.key_names)


def _given_by_database(column: sa.Column[Any]) -> bool:
    return bool(column.info.get("given_by_database"))


def _encoder(column: sa.Column[Any], dialect: Dialect) -> Codec:
    if isinstance(column.type, sa.JSON):
        return lambda value: None if value is None else pydantic_core.to_json(value).decode()
    if dialect.name == "postgresql" and not isinstance(column.type, sa.JSON):
        return None  # asyncpg takes aware datetimes, UUIDs, Decimals and our enums as they are
    processor: Codec = column.type.dialect_impl(dialect).bind_processor(dialect)
    return processor


def _decoder(column: sa.Column[Any], dialect: Dialect) -> Codec:
    if isinstance(column.type, sa.JSON):
        return lambda value: None if value is None else pydantic_core.from_json(value)
    if isinstance(column.type, sa.Enum):
        return column.type.enum_class  # of values, not of names
    if dialect.name == "postgresql":
        return None  # asyncpg gives aware datetimes in UTC, UUIDs and Decimals
    processor: Codec = column.type.dialect_impl(dialect).result_processor(dialect, None)
    return processor


def _postgres_type(column: sa.Column[Any]) -> str:
    """The array element type under which asyncpg sends a column's values."""
    kind = column.type
    if isinstance(kind, sa.JSON):
        return "text"  # cast to jsonb by the statement: asyncpg then needs no codec
    if isinstance(kind, sa.types.Uuid):
        return "uuid"
    if isinstance(kind, sa.Boolean):
        return "bool"
    if isinstance(kind, sa.BigInteger):
        return "int8"
    if isinstance(kind, sa.Integer):
        return "int4"
    if isinstance(kind, sa.String):  # Enum is one
        return "text"
    if isinstance(kind, sa.TypeDecorator):
        return {"UTCDateTime": "timestamptz", "Money": "numeric", "AutoString": "text"}[
            type(kind).__name__
        ]
    raise TypeError(f"no PostgreSQL type for {column}")


class Plans:
    """One `TablePlan` a table, in the fixed order in which tables are locked and written."""

    def __init__(self, dialect: Dialect) -> None:
        self.by_row = {row: TablePlan(row, dialect) for row in TABLES}
        self.order = {row: number for number, row in enumerate(TABLES)}

    def sorted_keys(self, keys: Iterable[RowKey]) -> dict[type[Row], list[tuple[Any, ...]]]:
        """Group keys by table, tables in their order and keys in theirs."""
        found: dict[type[Row], set[tuple[Any, ...]]] = {}
        for row, key in keys:
            found.setdefault(row, set()).add(key)
        return {row: sorted(found[row]) for row in sorted(found, key=self.order.__getitem__)}


def sqlite_select(plan: TablePlan) -> str:
    return f"SELECT {_quoted(plan.names)} FROM {plan.name} WHERE {_equal(plan.key_names, '?')}"


def sqlite_insert(plan: TablePlan) -> str:
    marks = ", ".join("?" * len(plan.names))
    return f"INSERT INTO {plan.name} ({_quoted(plan.names)}) VALUES ({marks})"


@cache
def sqlite_update(plan: TablePlan, names: tuple[str, ...]) -> str:
    """Parameters: by name, as `plan.update_names` gives them."""
    sets = ", ".join(f'"{name}" = :{name}' for name in names[len(plan.key_names) :])
    keys = " AND ".join(f'"{name}" = :{name}' for name in plan.key_names)
    guard = f" AND {CAS.format(t='', new=':version')}" if plan.versioned else ""
    return f"UPDATE {plan.name} SET {sets} WHERE {keys}{guard}"


# Unchanged, or exactly one further: nobody else has written this row since it was looked at.
CAS = "{t}version IN ({new} - 1, {new})"

SQLITE_LAST_EVENT = "SELECT COALESCE(MAX(position), 0) FROM events"
# Run right after the insert of a group's events, with the position before it.
SQLITE_OUTBOX = (
    "INSERT INTO outbox (event_id, position) SELECT event_id, position FROM events"
    " WHERE position > ?"
)
SQLITE_PUBLISHED = "DELETE FROM outbox WHERE event_id = ?"
SQLITE_SENT = (
    "UPDATE jobs SET dispatched_to = ? WHERE id = ? AND attempt = ? AND dispatch = ?"
    " AND ended_at IS NULL"
)


def _quoted(names: Iterable[str], prefix: str = "") -> str:
    return ", ".join(f'{prefix}"{name}"' for name in names)


def _equal(names: Iterable[str], mark: str) -> str:
    return " AND ".join(f'"{name}" = {mark}' for name in names)


@cache
def postgres_select(plan: TablePlan) -> str:
    """Lock rows in key order and return them. Parameters: one array a key column."""
    keys = ", ".join(f"${n}::{kind}[]" for n, kind in enumerate(plan.key_types, 1))
    names = _quoted(plan.key_names)
    join = " AND ".join(f't."{name}" = k."{name}"' for name in plan.key_names)
    lock = " FOR UPDATE OF t" if plan.lockable else ""
    return (
        f"SELECT {_quoted(plan.names, 't.')} FROM {plan.name} t"
        f" JOIN unnest({keys}) AS k({names}) ON {join}"
        f" ORDER BY {_quoted(plan.key_names, 't.')}{lock}"
    )


@cache
def postgres_insert(plan: TablePlan, names: tuple[str, ...]) -> str:
    """Parameters: one array for each column of *names*; the others become NULL."""
    return (
        f"INSERT INTO {plan.name} ({_quoted(names)})"
        f" SELECT {_cast_columns(plan, names)} FROM {_unnest(plan, names)}"
    )


@cache
def postgres_events(plan: TablePlan, names: tuple[str, ...]) -> str:
    """Insert events and their outbox rows. Parameters as for `postgres_insert`."""
    return (
        f"WITH written AS ({postgres_insert(plan, names)} RETURNING event_id, position)"
        " INSERT INTO outbox (event_id, position) SELECT event_id, position FROM written"
    )


@cache
def postgres_update(plan: TablePlan, names: tuple[str, ...]) -> str:
    """Parameters: one array for each column of *names*, as `plan.update_names` gives them."""
    sets = ", ".join(f'"{name}" = {_cast(plan, name)}' for name in names[len(plan.key_names) :])
    join = " AND ".join(f't."{name}" = u."{name}"' for name in plan.key_names)
    guard = f" AND {CAS.format(t='t.', new='u.version')}" if plan.versioned else ""
    source = _unnest(plan, names)
    return f"UPDATE {plan.name} t SET {sets} FROM {source} WHERE {join}{guard}"


POSTGRES_PUBLISHED = "DELETE FROM outbox WHERE event_id = ANY($1::uuid[])"

POSTGRES_SENT = (
    # A row that another process has locked is left out: it is being taken up, and its lock must
    # not be waited for out of the order of keys.
    "UPDATE jobs j SET dispatched_to = f.target FROM ("
    "SELECT t.id, m.target FROM jobs t JOIN"
    " unnest($1::uuid[], $2::int4[], $3::int4[], $4::text[]) AS m(id, attempt, dispatch, target)"
    " ON t.id = m.id AND t.attempt = m.attempt AND t.dispatch = m.dispatch"
    " WHERE t.ended_at IS NULL FOR UPDATE OF t SKIP LOCKED) f WHERE j.id = f.id"
)


def _unnest(plan: TablePlan, names: Sequence[str]) -> str:
    arrays = ", ".join(
        f"${n}::{plan.types[plan.names.index(name)]}[]" for n, name in enumerate(names, 1)
    )
    return f"unnest({arrays}) AS u({_quoted(names)})"


def _cast(plan: TablePlan, name: str) -> str:
    column = plan.columns[plan.names.index(name)]
    return f'u."{name}"::jsonb' if isinstance(column.type, sa.JSON) else f'u."{name}"'


def _cast_columns(plan: TablePlan, names: Iterable[str]) -> str:
    return ", ".join(_cast(plan, name) for name in names)


class Batch:
    """The writes of a whole group, sorted into statements: tables in order, updates in rounds."""

    def __init__(self, plans: Plans, all_writes: Iterable[Writes]) -> None:
        self.inserts: dict[type[Row], dict[RowKey, Row]] = {}
        self.rounds: list[dict[type[Row], dict[RowKey, Row]]] = []
        self.published: list[UUID] = []
        self.sent: list[SentMark] = []
        changed: dict[type[Row], set[str]] = {}
        inserted: dict[RowKey, Row] = {}
        updated_in: dict[RowKey, int] = {}
        for writes in all_writes:
            for number, (key, row) in enumerate(writes.inserts):
                # An event's key is given by the database; here any that is its own will do.
                own = RowKey(EventRow, (id(writes), number)) if key.row is EventRow else key
                inserted[own] = row
                self.inserts.setdefault(own.row, {})[own] = row
            for key, row in writes.updates:
                plan = plans.by_row[key.row]
                if not plan.versioned and key in inserted:
                    # A shared row made and changed again in one group is written once, as it ends.
                    self.inserts[key.row][key] = row
                    continue
                # Every version is written, so that the guard sees each arrow; else the last.
                number = updated_in.get(key, -1) + 1 if plan.versioned else 0
                updated_in[key] = number
                while len(self.rounds) <= number:
                    self.rounds.append({})
                self.rounds[number].setdefault(key.row, {})[key] = row
            for table, columns in writes.changed.items():
                changed.setdefault(table, set()).update(columns)
            self.published += writes.published
            self.sent += writes.sent
        order = plans.order.__getitem__
        self.inserts = {row: self.inserts[row] for row in sorted(self.inserts, key=order)}
        self.rounds = [{row: one[row] for row in sorted(one, key=order)} for one in self.rounds]
        # What any update of a table changes is sent for all of them: few, wide statements.
        self.update_names = {
            row: plans.by_row[row].update_names(columns) for row, columns in changed.items()
        }
        self.published.sort()
        self.sent.sort()

    def __bool__(self) -> bool:
        return bool(self.inserts or self.rounds or self.published or self.sent)
