"""One group on PostgreSQL: recall or look at its rows, write what its steps decided."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter, itemgetter
from typing import Any, NamedTuple, TypeAlias
from uuid import UUID

import asyncpg

from adapters.store import postgres_statements as sql
from adapters.store.batch import Batch
from adapters.store.columns import Flat, can_take_flat
from adapters.store.memory import UNKNOWN, Found, Memory, Stamp, Version
from adapters.store.plans import Plans, TablePlan
from schemas.step import Look, Outcome, RowKey, Step, decide_group, keys_of, row_key, writes_of
from schemas.tables import EventRow, Row

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"


class Filled(NamedTuple):
    """A part of a write with its rows, ready to be sent."""

    part: sql.Part
    columns: list[list[Any]]
    # Rows that have to be of the transaction that they were found with.
    rows: list[RowKey]

    @property
    def row(self) -> type[Row]:
        return self.part.plan.row


@dataclass(slots=True)
class Decided:
    """What the steps of a group have decided, ready to be written."""

    outcomes: list[Outcome]
    batch: Batch
    found: Found
    rounds: list[list[Filled]]

    @property
    def an_event(self) -> EventRow | None:
        """One of the events that it writes, of an id that nobody else can have given."""
        events: Any = self.batch.inserts.get(EventRow, {}).values()
        # An id that follows from something (version 5) is given by whoever does the same.
        return next((event for event in events if event.event_id.version != 5), None)

    @property
    def is_one_statement(self) -> bool:
        """Whether it is written by one statement that holds an event of its own: what becomes of
        that one can be told without the transaction's id."""
        batch = self.batch
        several = len(self.rounds) > 1 or batch.deletes or batch.forgotten or batch.sent
        return not several and self.an_event is not None


class Groups:
    """Looks and writes of one store's groups, on whichever connection it has."""

    def __init__(self, plans: Plans, memory: Memory, note: tuple[str, str]) -> None:
        """*note* is what a commit tells other processes: channel and text."""
        self._plans = plans
        self._memory = memory
        self._note = "'{}', '{}'".format(*note)
        self._array: Callable[[list[Any]], list[Any]] = list
        # Types of events that are to be sent; None: all.
        self.sendable: tuple[str, ...] | None = None

    async def begin_on(self, connection: Connection) -> None:
        """Find out how arrays are best given to this release of asyncpg."""
        self._array = Flat if await can_take_flat(connection) else list

    async def decide(
        self, connection: Connection, group: Sequence[Step[Any]], found: Found, *, lock: bool
    ) -> Decided:
        """Look at what is not *found* yet, and decide."""
        await self._look(connection, found, lock=lock)
        outcomes = decide_group(group, Look(found.rows, keys_of(group)))
        batch = Batch(self._plans, writes_of(outcomes), found.rows)
        return Decided(outcomes, batch, found, self._encoded(batch, found))

    async def _look(self, connection: Connection, found: Found, *, lock: bool) -> None:
        rest = []
        for row, keys in found.unknown.items():
            plan = self._plans.by_row[row]
            if row.WRITTEN_ONCE:
                await self._look_at_wide(connection, plan, keys, found, lock=lock)
            else:
                rest.append((plan, keys))
        if rest:
            await self._look_at_all(connection, rest, found, lock=lock)
        self._memory.looked(found)
        if not lock:
            named = [row_key((row, key)) for row, keys in found.unknown.items() for key in keys]
            found.absent += [key for key in named if key not in found.rows]

    async def _look_at_wide(
        self,
        connection: Connection,
        plan: TablePlan,
        keys: list[tuple[Any, ...]],
        found: Found,
        *,
        lock: bool,
    ) -> None:
        """Look at rows of many columns; they come only where another version is remembered."""
        named = [row_key((plan.row, key)) for key in keys]
        known = [self._memory.recall(key) or UNKNOWN for key in named]
        seen = self._array([version.by.xid for version in known])
        records = await connection.fetch(
            sql.look(plan, lock=lock), *map(self._array, plan.encode_keys(keys)), seen
        )
        for number, xid, *values in records:
            version = known[number - 1]
            if version.by.xid != xid:
                row = plan.decode(dict(zip(plan.names, values, strict=True)))
                version = Version(Stamp(xid), row)
            found.add(named[number - 1], version, locked=lock)

    async def _look_at_all(
        self,
        connection: Connection,
        tables: list[tuple[TablePlan, list[tuple[Any, ...]]]],
        found: Found,
        *,
        lock: bool,
    ) -> None:
        plans = tuple(plan for plan, _ in tables)
        arrays = [self._array(array) for plan, keys in tables for array in plan.encode_keys(keys)]
        records = await connection.fetch(sql.look_at_all(plans, lock=lock), *arrays)
        for place, xid, record in records:
            plan = plans[place]
            values = dict(zip(plan.names, record, strict=True))
            version = Version(Stamp(xid), plan.decode(values))
            found.add(plan.key_in(values), version, locked=lock)

    def _encoded(self, batch: Batch, found: Found) -> list[list[Filled]]:
        inserts = [self._insert(row, list(rows.values())) for row, rows in batch.inserts.items()]
        by_table = self._plans.by_table
        absences = by_table(found.uninserted(batch)).items()
        locking = [self._check(row, keys) for row, keys in by_table(found.unwritten(batch)).items()]
        first, *rest = [
            [self._update(batch, row, rows, first=not number) for row, rows in one.items()]
            for number, one in enumerate(batch.rounds)
        ] or [[]]
        # They lock in this order, which is that of the looks under locks.
        locking = sorted([*locking, *first], key=lambda filled: self._plans.order[filled.row])
        absent = [self._absence(row, keys) for row, keys in absences]
        return [[*inserts, *locking, *absent], *rest]

    async def write(self, connection: Connection, decided: Decided) -> str:
        """Write what was decided; return the transaction's id.

        Raises `asyncpg.DivisionByZeroError` where a row is not as it was found.
        """
        batch, stamps = decided.batch, decided.found.stamps
        # One note a group, and only where there is something to read or to send.
        note = self._note if batch.inserts else None
        first, *rest = decided.rounds
        ticket = await self._run(connection, first, stamps, batch.published, note)
        for updates in rest:
            await self._run(connection, updates, stamps, [], None)
        for row, keys in self._plans.by_table(batch.deletes).items():
            plan = self._plans.by_row[row]
            await connection.execute(sql.delete(plan), *plan.encode_keys(keys))
        if batch.forgotten:
            await connection.execute(sql.FORGET, batch.forgotten)
        for target, marks in groupby(batch.sent, attrgetter("target")):
            columns = zip(*(mark[:3] for mark in marks), strict=True)
            await connection.execute(sql.SENT, *(list(column) for column in columns), target)
        return ticket

    def _insert(self, row: type[Row], rows: list[Row]) -> Filled:
        plan = self._plans.by_row[row]
        # Most columns of a new row are empty in the whole group; those are not sent at all.
        filled = [
            (name, values)
            for name, values in zip(plan.names, plan.encode(rows, plan.names), strict=True)
            # Mostly the first one tells; to count takes a comparison of each.
            if values[0] is not None or values.count(None) < len(values)
        ]
        names, columns = tuple(name for name, _ in filled), [values for _, values in filled]
        if row is EventRow:
            return Filled(sql.Part("events", plan, names, sendable=self.sendable), columns, [])
        return Filled(sql.Part("insert", plan, names), columns, [])

    def _check(self, row: type[Row], keys: list[tuple[Any, ...]]) -> Filled:
        plan = self._plans.by_row[row]
        keys.sort()
        part = sql.Part("check", plan, tuple(plan.key_names), by_transaction=True)
        return Filled(part, plan.encode_keys(keys), [row_key((row, key)) for key in keys])

    def _absence(self, row: type[Row], keys: list[tuple[Any, ...]]) -> Filled:
        plan = self._plans.by_row[row]
        return Filled(sql.Part("absence", plan, tuple(plan.key_names)), plan.encode_keys(keys), [])

    def _update(
        self, batch: Batch, row: type[Row], rows: dict[RowKey, Row], *, first: bool
    ) -> Filled:
        plan, names = self._plans.by_row[row], batch.update_names[row]
        part = sql.Part("update", plan, names, by_transaction=first)
        keys = sorted(rows, key=itemgetter(1))
        columns = plan.encode([rows[key] for key in keys], names)
        return Filled(part, columns, keys if first else [])

    async def _run(
        self,
        connection: Connection,
        parts: Sequence[Filled],
        stamps: Mapping[RowKey, Stamp],
        published: list[UUID],
        note: str | None,
    ) -> str:
        statement = sql.write(
            tuple(filled.part for filled in parts), published=bool(published), note=note
        )
        arrays: list[list[Any]] = []
        for filled in parts:
            arrays += filled.columns
            if filled.part.by_transaction:
                arrays.append([stamps.get(key, UNKNOWN.by).xid for key in filled.rows])
        if published:
            arrays.append(published)
        ticket: str = await connection.fetchval(statement, *map(self._array, arrays))
        return ticket
