"""The writes of a whole group, sorted for the databases: tables in order, updates in rounds."""

from collections.abc import Iterable, Mapping
from uuid import UUID

from adapters.store.plans import Plans
from schemas.step import RowKey, SentMark, Writes, row_key
from schemas.tables import EventRow
from schemas.tables.row import Row


class Batch:
    def __init__(
        self, plans: Plans, all_writes: Iterable[Writes], stored: Mapping[RowKey, Row]
    ) -> None:
        """*stored* are the rows as the database has them, which no step has changed yet."""
        self._stored = stored
        self.inserts: dict[type[Row], dict[RowKey, Row]] = {}
        # The first round may share a statement with the inserts: it touches none of their rows.
        self.rounds: list[dict[type[Row], dict[RowKey, Row]]] = []
        self.deletes: list[RowKey] = []
        self.forgotten: list[int] = []
        self.published: list[UUID] = []
        self.sent: list[SentMark] = []
        self._inserted: set[RowKey] = set()
        # The round in which a row was written last.
        self._round: dict[RowKey, int] = {}
        changed: dict[type[Row], set[str]] = {}
        for writes in all_writes:
            if writes.inserts:
                self._add_inserts(writes)
            if writes.updates:
                self._add_updates(writes, plans)
            for table, columns in writes.changed.items():
                known = changed.get(table)
                changed[table] = columns if known is None else known | columns
            self.deletes += writes.deletes
            self.forgotten += writes.forgotten
            self.published += writes.published
            self.sent += writes.sent
        order = plans.order.__getitem__
        self.inserts = {row: self.inserts[row] for row in sorted(self.inserts, key=order)}
        self.rounds = [{row: one[row] for row in sorted(one, key=order)} for one in self.rounds]
        # What any update of a table changes is sent for all of them: few, wide statements.
        self.update_names = {
            row: plans.by_row[row].update_names(columns) for row, columns in changed.items()
        }
        self.published.sort(key=lambda event_id: event_id.int)
        self.sent.sort(key=lambda mark: (mark.target, mark.job_id.int))

    def _add_inserts(self, writes: Writes) -> None:
        for key, row in writes.inserts:
            rows = self.inserts.get(key.row)
            if rows is None:
                rows = self.inserts[key.row] = {}
            if key.row is EventRow:
                # An event's key is given by the database; here any that is its own will do.
                rows[row_key((EventRow, (len(rows),)))] = row
            else:
                rows[key] = row
                self._inserted.add(key)

    def _add_updates(self, writes: Writes, plans: Plans) -> None:
        for key, row in writes.updates:
            is_new = key in self._inserted
            if plans.by_row[key.row].versioned:
                # Every version is written, so that the guard sees each arrow; of one, the last.
                number = self._round.get(key, 0 if is_new else -1)
                if number < 0 or not self._is_superseded(number, key, row):
                    number += 1
            elif is_new:
                # A shared row made and changed again in one group is written once, as it ends.
                self.inserts[key.row][key] = row
                continue
            else:
                number = 0
            self._round[key] = number
            while len(self.rounds) <= number:
                self.rounds.append({})
            self.rounds[number].setdefault(key.row, {})[key] = row

    def _is_superseded(self, number: int, key: RowKey, row: Row) -> bool:
        """Whether *row* may take the place of what this round writes: another content of the same
        version, or the version behind one that is stored already."""
        if number >= len(self.rounds):
            return False
        written = self.rounds[number].get(key.row, {}).get(key)
        if written is None:
            return False
        version = written.__dict__["version"]
        if version == row.__dict__["version"]:
            return True
        stored = self._stored.get(key)
        return stored is not None and stored.__dict__["version"] == version

    def __bool__(self) -> bool:
        return bool(
            self.inserts
            or self.rounds
            or self.deletes
            or self.forgotten
            or self.published
            or self.sent
        )
