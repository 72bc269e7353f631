"""Rows that a process remembers, so that a group need not look at what only this process writes.

What is remembered is taken for true while a group is decided, and held against the database by the
statement that writes it: a row has the id of the transaction that wrote it (`xmin`), and a row that
another process has changed makes the whole group void. It is then decided again, from a look.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

from adapters.store.batch import Batch
from adapters.store.plans import Plans
from schemas.step import RowKey, row_key
from schemas.tables import EventRow, JobRow, Row

# So many rows are kept, the last written or looked at.
MOST_ROWS = 10_000
MOST_ABSENT = 1_000
# After a group was void so many look at every row: others are at work on the same ones.
CAREFUL_GROUPS = 100
# A row tells the lower half of the id of the transaction that has written it.
XID_MASK = 0xFFFF_FFFF


class Stamp:
    """The transaction that has written rows: 0 until it is committed, which no transaction is."""

    __slots__ = ("xid",)

    def __init__(self, xid: int = 0) -> None:
        self.xid = xid


class Version(NamedTuple):
    """A row as a transaction has left it, or will have."""

    by: Stamp
    row: Row
    # Columns that are still as they were written, and would come back another way.
    as_written: tuple[str, ...] = ()


# As one call in C, of a triple.
_version: Callable[[tuple[Stamp, Row, tuple[str, ...]]], Version] = partial(tuple.__new__, Version)

UNKNOWN = Version(Stamp(), Row.of())


Keys = dict[type[Row], list[tuple[Any, ...]]]


@dataclass(slots=True)
class Found:
    """What a group is decided by, and what of it has yet to be held against the database."""

    # Not found yet, by table.
    unknown: Keys
    rows: dict[RowKey, Row] = field(default_factory=dict)
    # Which transaction has written each of the rows.
    stamps: dict[RowKey, Stamp] = field(default_factory=dict)
    # Rows that are not locked.
    assumed: list[RowKey] = field(default_factory=list)
    # Rows taken for absent, without a look or without a lock.
    absent: list[RowKey] = field(default_factory=list)
    # `Memory.forgettings` before it was found.
    forgettings: int = 0

    def add(self, key: RowKey, version: Version, *, locked: bool) -> None:
        self.stamps[key], self.rows[key], _ = version
        if not locked:
            self.assumed.append(key)

    @property
    def is_assumed(self) -> bool:
        """Whether any of it could be otherwise by now."""
        return bool(self.assumed or self.absent)

    def unwritten(self, batch: Batch) -> list[RowKey]:
        """Rows that *batch* does not write: its write has to lock and compare them."""
        written = batch.rounds[0] if batch.rounds else {}
        return [key for key in self.assumed if key not in written.get(key.row, ())]

    def uninserted(self, batch: Batch) -> list[RowKey]:
        """Rows that *batch* does not insert: its write has to see that there are none."""
        return [key for key in self.absent if key not in batch.inserts.get(key.row, ())]


class Memory:
    """Two generations of rows: when the younger one is full, the elder one is forgotten."""

    def __init__(self, plans: Plans) -> None:
        self._plans = plans
        self._young: dict[RowKey, Version] = {}
        self._old: dict[RowKey, Version] = {}
        # What the group that is being written leaves of tables that are not remembered.
        self._pending: dict[RowKey, Version] = {}
        self._stamp = Stamp()
        # Rows of tables that are mostly empty, where there was none.
        self._absent: set[RowKey] = set()
        self._careful = 0
        # While a group is under way of which nobody knows what it will write.
        self.blind = False
        # How often something had to be forgotten: what was decided before that is void.
        self.forgettings = 0

    def clear(self) -> None:
        """Know nothing: another server may give the ids of transactions again."""
        self._young, self._old, self._pending, self._absent = {}, {}, {}, set()
        self.forgettings += 1

    def distrust(self, keys: Iterable[RowKey]) -> None:
        """Forget *keys*, and be careful for a while: something of a group was not as assumed."""
        self._forget(keys)
        self.be_careful()

    def be_careful(self) -> None:
        """Have groups decided under locks for a while."""
        self._careful = CAREFUL_GROUPS

    def trusts_next_group(self) -> bool:
        """Whether it may be decided without locks; asked once of each group, and counts them."""
        if self._careful:
            self._careful -= 1
            return False
        return not self.blind

    def find(self, keys: Keys) -> Found:
        """Find what of a group's rows is known."""
        found = Found({}, forgettings=self.forgettings)
        young, stamps, rows, assumed = self._young, found.stamps, found.rows, found.assumed
        pending, old = self._pending, self._old
        for row, wanted in keys.items():
            plan = self._plans.by_row[row]
            unknown = []
            for key in wanted:
                named = row_key((row, key))
                # In the order of `recall`, without a call for each row.
                version = young.get(named) or pending.get(named) or old.get(named)
                if version is not None and version[2]:
                    version = self.recall(named)
                if version is not None:
                    stamps[named], rows[named], _ = version
                    assumed.append(named)
                elif plan.presumed_absent or (plan.mostly_absent and named in self._absent):
                    found.absent.append(named)
                else:
                    unknown.append(key)
            if unknown:
                found.unknown[row] = unknown
        return found

    def recall(self, key: RowKey) -> Version | None:
        """The last version known of a row, as the database would give it back."""
        for versions in (self._young, self._pending, self._old):
            version = versions.get(key)
            if version is not None:
                if version[2]:
                    by, row, as_written = version
                    row = self._plans.by_row[key[0]].as_stored(row, as_written)
                    version = versions[key] = Version(by, row)
                return version
        return None

    def looked(self, found: Found) -> None:
        """Remember what was *found* in the database, and what of it was not there."""
        if found.forgettings != self.forgettings:
            return  # perhaps another server's
        for row, keys in found.unknown.items():
            plan = self._plans.by_row[row]
            named = [row_key((row, key)) for key in keys]
            if plan.remembered:
                self._remember(
                    {
                        key: Version(found.stamps[key], found.rows[key])
                        for key in named
                        if key in found.rows
                    }
                )
            elif plan.mostly_absent:
                self._absent |= {key for key in named if key not in found.rows}
        if len(self._absent) > MOST_ABSENT:
            self._absent.clear()

    def _remember(self, versions: Mapping[RowKey, Version]) -> None:
        """Put *versions* in the place of what was known of these rows."""
        self._young.update(versions)
        if len(self._young) > MOST_ROWS // 2:
            self._young, self._old = {}, self._young

    def sending(self, batch: Batch) -> None:
        """Know the rows of *batch* as they will be once it is committed."""
        self.blind = False
        by = self._stamp = Stamp()
        for number, written in enumerate((batch.inserts, *batch.rounds)):
            for table, rows in written.items():
                if table is EventRow:
                    continue
                plan = self._plans.by_row[table]
                otherwise = plan.comes_back_otherwise
                if number == 1:  # the first round is of no row that was inserted
                    otherwise = plan.otherwise_of(batch.update_names[table])
                versions = {key: _version((by, row, otherwise)) for key, row in rows.items()}
                if plan.remembered:
                    self._remember(versions)
                else:
                    self._pending |= versions
                    self._absent -= versions.keys()

    def committed(self, batch: Batch, ticket: str) -> None:
        """The transaction *ticket* has written *batch*."""
        self._stamp.xid = int(ticket) & XID_MASK
        self._pending = {}
        # Sent marks change rows past the steps.
        marked = [row_key((JobRow, (mark.job_id,))) for mark in batch.sent]
        if batch.deletes or marked:
            self._forget([*batch.deletes, *marked])

    def failed(self, batch: Batch) -> None:
        """What was sent has not been committed, or nobody knows."""
        self._pending = {}
        self._forget(
            key for one in (batch.inserts, *batch.rounds) for rows in one.values() for key in rows
        )

    def _forget(self, keys: Iterable[RowKey]) -> None:
        for key in keys:
            self._young.pop(key, None)
            self._old.pop(key, None)
            self._absent.discard(key)
        self.forgettings += 1
