"""One group on PostgreSQL: lock and look at its rows, write what its steps decided."""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from itertools import groupby
from operator import attrgetter
from typing import Any, Literal, NamedTuple, TypeAlias
from uuid import UUID

import asyncpg

from adapters.errors import StoreConflict
from adapters.store import postgres_statements as sql
from adapters.store.batch import Batch
from adapters.store.columns import Flat, can_take_flat
from adapters.store.plans import Plans, TablePlan
from schemas.step import Look, RowKey, Step, row_key
from schemas.tables import EventRow, JobRow, Row

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
Part = tuple[sql.Part, list[list[Any]]]

# So many rows are kept, so that a look fetches only what others have changed since.
MOST_KNOWN = 5_000
# A row tells the lower half of the id of the transaction that has written it.
XID_MASK = 0xFFFF_FFFF


class _Version(NamedTuple):
    """A row as a transaction has left it."""

    xid: int
    row: Row


# No transaction has the id 0.
UNKNOWN = _Version(0, Row.of())


class Groups:
    """Looks and writes of one store's groups, on whichever connection it has."""

    def __init__(self, plans: Plans, note: tuple[str, str]) -> None:
        """*note* is what a commit tells other processes: channel and text."""
        self._plans = plans
        self._note = "'{}', '{}'".format(*note)
        self._known: OrderedDict[RowKey, _Version] = OrderedDict()
        self._array: Callable[[list[Any]], list[Any]] = list

    async def begin_on(self, connection: Connection) -> None:
        """Find out how arrays are best given to this release of asyncpg, and know no rows.

        Another server than before may give the ids of transactions again.
        """
        self._known.clear()
        self._array = Flat if await can_take_flat(connection) else list

    async def look(self, connection: Connection, group: Sequence[Step[Any]]) -> Look:
        named: list[RowKey] = []
        for step in group:
            named += step.keys
            named += step.shared
        rows: dict[RowKey, Row] = {}
        rest = []
        for row, keys in self._plans.by_table(named).items():
            plan = self._plans.by_row[row]
            if row.WRITTEN_ONCE:
                await self._look_at_known(connection, plan, keys, rows)
            else:
                rest.append((plan, keys))
        if rest:
            await self._look_at_all(connection, rest, rows)
        return Look(rows, named)

    async def _look_at_known(
        self,
        connection: Connection,
        plan: TablePlan,
        keys: list[tuple[Any, ...]],
        rows: dict[RowKey, Row],
    ) -> None:
        """Look at rows of many columns; they come only where another version of them is known."""
        named = [row_key((plan.row, key)) for key in keys]
        known = [self._known.get(key, UNKNOWN) for key in named]
        seen = self._array([version.xid for version in known])
        found = await connection.fetch(
            sql.look(plan), *map(self._array, plan.encode_keys(keys)), seen
        )
        for number, xid, *values in found:
            key = named[number - 1]
            version = known[number - 1]
            if version.xid == xid:
                rows[key] = version.row
                self._known.move_to_end(key)
            else:
                row = rows[key] = plan.decode(dict(zip(plan.names, values, strict=True)))
                self._remember(key, _Version(xid, row))

    async def _look_at_all(
        self,
        connection: Connection,
        tables: list[tuple[TablePlan, list[tuple[Any, ...]]]],
        rows: dict[RowKey, Row],
    ) -> None:
        plans = tuple(plan for plan, _ in tables)
        arrays = [self._array(array) for plan, keys in tables for array in plan.encode_keys(keys)]
        for place, record in await connection.fetch(sql.look_at_all(plans), *arrays):
            plan = plans[place]
            values = dict(zip(plan.names, record, strict=True))
            rows[plan.key_in(values)] = plan.decode(values)

    def _remember(self, key: RowKey, version: _Version) -> None:
        self._known[key] = version
        if len(self._known) > MOST_KNOWN:
            self._known.popitem(last=False)

    def committed(self, batch: Batch, ticket: str) -> None:
        """Know the rows that *batch* has changed as the transaction *ticket* has left them."""
        xid = int(ticket) & XID_MASK
        for one_round in batch.rounds:
            for table, rows in one_round.items():
                if not table.WRITTEN_ONCE:
                    continue
                plan, names = self._plans.by_row[table], batch.update_names[table]
                as_written = plan.comes_back_as_written(names)
                for key, row in rows.items():
                    before = self._known.get(key)
                    if before is not None:
                        stored = row if as_written else plan.as_stored(row, before.row, names)
                        self._known[key] = _Version(xid, stored)
        for mark in batch.sent:  # they change rows past the steps
            self._known.pop(RowKey(JobRow, (mark.job_id,)), None)

    async def write(self, connection: Connection, batch: Batch) -> tuple[str, int]:
        """Write *batch*; return the transaction's id and the backend's."""
        # One note a group, and only where there is something to read or to send.
        note = self._note if batch.inserts else None
        inserts = [self._insert(row, list(rows.values())) for row, rows in batch.inserts.items()]
        rounds = [
            [self._update(batch, row, list(rows.values())) for row, rows in one_round.items()]
            for one_round in batch.rounds
        ]
        first, *rest = rounds or [[]]
        ticket = await self._run(connection, [*inserts, *first], batch.published, note)
        for updates in rest:
            await self._run(connection, updates, [], None)
        for row, keys in self._plans.by_table(batch.deletes).items():
            plan = self._plans.by_row[row]
            await connection.execute(sql.delete(plan), *plan.encode_keys(keys))
        if batch.forgotten:
            await connection.execute(sql.FORGET, batch.forgotten)
        for target, marks in groupby(batch.sent, attrgetter("target")):
            columns = zip(*(mark[:3] for mark in marks), strict=True)
            await connection.execute(sql.SENT, *(list(column) for column in columns), target)
        return ticket

    def _insert(self, row: type[Row], rows: list[Row]) -> Part:
        plan = self._plans.by_row[row]
        # Most columns of a new row are empty in the whole group; those are not sent at all.
        filled = [
            (name, values)
            for name, values in zip(plan.names, plan.encode(rows, plan.names), strict=True)
            if values.count(None) < len(values)
        ]
        kind: Literal["events", "insert"] = "events" if row is EventRow else "insert"
        part = sql.Part(kind, plan, tuple(name for name, _ in filled))
        return part, [values for _, values in filled]

    def _update(self, batch: Batch, row: type[Row], rows: list[Row]) -> Part:
        plan, names = self._plans.by_row[row], batch.update_names[row]
        return sql.Part("update", plan, names), plan.encode(rows, names)

    async def _run(
        self,
        connection: Connection,
        parts: Sequence[Part],
        published: list[UUID],
        note: str | None,
    ) -> tuple[str, int]:
        statement = sql.write(
            tuple(part for part, _ in parts), published=bool(published), note=note
        )
        arrays = [array for _, columns in parts for array in columns]
        ticket, backend, _, *changed = await connection.fetchrow(
            statement, *map(self._array, arrays), *([self._array(published)] if published else [])
        )
        updates = [(part, columns) for part, columns in parts if part.kind == "update"]
        for (part, columns), found in zip(updates, changed, strict=True):
            if found != len(columns[0]):
                raise StoreConflict(f"rows of {part.plan.name} had moved: {found} were found")
        return ticket, backend
