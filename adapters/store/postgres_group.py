"""One group on PostgreSQL: lock and look at its rows, write what its steps decided."""

from collections import OrderedDict
from collections.abc import Sequence
from itertools import groupby
from operator import attrgetter
from typing import Any, Literal, TypeAlias
from uuid import UUID

import asyncpg

from adapters.errors import StoreConflict
from adapters.store import postgres_statements as sql
from adapters.store.batch import Batch
from adapters.store.plans import Plans, TablePlan
from schemas.step import Look, RowKey, Step
from schemas.tables import EventRow, Row

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
Part = tuple[sql.Part, list[list[Any]]]

# Of so many rows what is written once is kept, so that no later look fetches it again.
MOST_KNOWN = 20_000


class Groups:
    """Looks and writes of one store's groups, on whichever connection it has."""

    def __init__(self, plans: Plans, note: tuple[str, str]) -> None:
        """*note* is what a commit tells other processes: channel and text."""
        self._plans = plans
        self._note = "'{}', '{}'".format(*note)
        self._known: OrderedDict[RowKey, dict[str, Any]] = OrderedDict()

    async def look(self, connection: Connection, group: Sequence[Step[Any]]) -> Look:
        named = [key for step in group for key in (*step.keys, *step.shared)]
        rows: dict[RowKey, Row] = {}
        rest = []
        for row, keys in self._plans.by_table(named).items():
            plan = self._plans.by_row[row]
            if row.WRITTEN_ONCE:
                await self._look_at_wide(connection, plan, keys, rows)
            else:
                rest.append((plan, keys))
        if rest:
            await self._look_at_all(connection, rest, rows)
        return Look(rows, named)

    async def _look_at_wide(
        self,
        connection: Connection,
        plan: TablePlan,
        keys: list[tuple[Any, ...]],
        rows: dict[RowKey, Row],
    ) -> None:
        """Look at rows of many columns; those written once come only where they are not known."""
        whole = [RowKey(plan.row, key) not in self._known for key in keys]
        for record in await connection.fetch(sql.look(plan), *_arrays(plan, keys), whole):
            values = dict(zip(plan.names, record, strict=True))
            key = plan.key_in(values)
            known = self._known.get(key)
            if known is not None:
                self._known.move_to_end(key)
                rows[key] = plan.decode(values, known)
                continue
            found = rows[key] = plan.decode(values)
            self._remember(key, found)

    async def _look_at_all(
        self,
        connection: Connection,
        tables: list[tuple[TablePlan, list[tuple[Any, ...]]]],
        rows: dict[RowKey, Row],
    ) -> None:
        plans = tuple(plan for plan, _ in tables)
        arrays = [array for plan, keys in tables for array in _arrays(plan, keys)]
        for place, record in await connection.fetch(sql.look_at_all(plans), *arrays):
            plan = plans[place]
            values = dict(zip(plan.names, record, strict=True))
            rows[plan.key_in(values)] = plan.decode(values)

    def _remember(self, key: RowKey, row: Row) -> None:
        self._known[key] = {name: row.__dict__[name] for name in row.WRITTEN_ONCE}
        if len(self._known) > MOST_KNOWN:
            self._known.popitem(last=False)

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
            await connection.execute(sql.delete(plan), *_arrays(plan, keys))
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
            if any(value is not None for value in values)
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
            statement, *arrays, *([published] if published else [])
        )
        updates = [(part, columns) for part, columns in parts if part.kind == "update"]
        for (part, columns), found in zip(updates, changed, strict=True):
            if found != len(columns[0]):
                raise StoreConflict(f"rows of {part.plan.name} had moved: {found} were found")
        return ticket, backend


def _arrays(plan: TablePlan, keys: Sequence[tuple[Any, ...]]) -> list[list[Any]]:
    return [list(array) for array in zip(*map(plan.encode_key, keys), strict=True)]
