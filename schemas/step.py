"""A step: the unit that the journal commits. Pure; what is read and written, never how.

A step names the rows it needs and a `decide` function. The store finds the rows, calls `decide`
with them, and writes what it asked for in one transaction with the other steps of its group. It
locks them before, or decides first, by rows that it remembers, and compares them as it writes:
where one has changed, the group is decided again. So `decide` may run more than once and must be
pure: everything that differs between two runs (ids, the time) is made once.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, NamedTuple, TypeVar
from uuid import UUID

from schemas.tables.row import Row

R = TypeVar("R", bound=Row)
T = TypeVar("T")


class Lost(Exception):
    """A step that may not be done now; nothing of it is written. Subclasses say why."""


class RowKey(NamedTuple):
    """One row by its primary key, in the order of the table's key columns."""

    row: type[Row]
    key: tuple[Any, ...]


# `RowKey(row, key)` as one call in C, of a pair; the tuple's own takes 40 % longer.
row_key: Callable[[tuple[type[Row], tuple[Any, ...]]], RowKey] = partial(tuple.__new__, RowKey)


class RowsUnnamed(Lost):
    """The step found that it needs rows which it did not name. The journal records it again, with
    *keys* among its shared rows: what is seldom needed is named by those alone who need it."""

    def __init__(self, keys: Iterable[RowKey]) -> None:
        self.keys = tuple(keys)
        super().__init__(f"rows were not named: {', '.join(map(str, self.keys))}")


class SentMark(NamedTuple):
    """A job that was handed to the queue *target*; void once its attempt or dispatch is past."""

    job_id: UUID
    attempt: int
    dispatch: int
    target: str


class Look:
    """The rows of a group, as the steps before this one left them.

    A row that is there is what it says, or nothing of the group is written. A row that is absent
    may have been committed by another process while this look waited for a lock: a step that
    decides by an absence inserts that very row, so that its key settles the race and the group is
    repeated.
    """

    def __init__(self, rows: dict[RowKey, Row], named: Iterable[RowKey]) -> None:
        # A key that was named and not found stands here with None.
        self._rows: dict[RowKey, Row | None] = dict.fromkeys(named)
        self._rows.update(rows)

    def get(self, row: type[R], *key: Any) -> R | None:
        """Return the row, or None where the database has none. The step must have named it."""
        try:
            return self._rows[row, key]  # type: ignore[index, return-value]  # a RowKey is this very pair, and costs more
        except KeyError:
            raise LookupError(
                f"no step of this group named {row.__name__} {key}: it was not looked for"
            ) from None

    def require(self, keys: Iterable[RowKey]) -> None:
        """Raise `RowsUnnamed` for those of *keys* that no step of this group named."""
        if unnamed := [key for key in keys if key not in self._rows]:
            raise RowsUnnamed(unnamed)

    def accept(self, writes: "Writes") -> None:
        """Let the steps behind see *writes*, and note which columns their updates change.

        Only those are sent, and an update that changes none is left out. Raises `ValueError` for a
        change of what is written once.
        """
        rows = self._rows
        for _, row in writes.inserts:
            row.take_named_since(None)  # it is kept; what it was made of need not be
        if writes.updates:
            seen: dict[RowKey, Row] = {}
            updates = []
            for key, row in writes.updates:
                before = seen.get(key) or rows.get(key)
                changed = _changed(before, row)
                if changed:
                    seen[key] = row
                    updates.append((key, row))
                    known = writes.changed.get(key.row)
                    writes.changed[key.row] = changed if known is None else known | changed
            writes.updates = updates
            rows.update(writes.inserts)
            rows.update(seen)
        else:
            rows.update(writes.inserts)
        if writes.deletes:
            rows.update(dict.fromkeys(writes.deletes))


def _changed(before: Row | None, after: Row) -> set[str]:
    names = after.take_named_since(before)  # mostly it was made of that very row
    if before is None:
        return set(after.__dict__)
    old, new = before.__dict__, after.__dict__
    changed = {name for name in names or new if old[name] is not new[name]}
    for name in changed & after.__class__.WRITTEN_ONCE:
        if old[name] != new[name]:
            raise ValueError(f"{name} of {after.__class__.__name__} is written once")
    return changed


class Writes:
    """What one step wants written."""

    __slots__ = (
        "changed", "deletes", "forgotten", "inserts", "needs_count", "published", "sent",
        "tallied", "updates",
    )  # fmt: skip

    def __init__(self) -> None:
        self.inserts: list[tuple[RowKey, Row]] = []
        # In order; a row that moves twice stands here twice and is written twice.
        self.updates: list[tuple[RowKey, Row]] = []
        # Rows of tables without a version, named by the step among its own keys.
        self.deletes: list[RowKey] = []
        # Positions of events that are too old to be read again by anybody.
        self.forgotten: list[int] = []
        # Columns that the updates change, by table; filled in once the step is decided.
        self.changed: dict[type[Row], set[str]] = {}
        # Events that have left for the bus, by their ids, and jobs that have left for the queue.
        self.published: list[UUID] = []
        self.sent: list[SentMark] = []
        # Whether the jobs that it moves are counted where they count (`pipeline.tally`).
        self.tallied = False
        # Whether one of them is to be counted otherwise than before.
        self.needs_count = False

    def insert(self, row: Row, *key: Any) -> None:
        self.inserts.append((row_key((row.__class__, key)), row))

    def update(self, row: Row, *key: Any) -> None:
        self.updates.append((row_key((row.__class__, key)), row))

    def last_updates(self, table: type[R]) -> list[tuple[tuple[Any, ...], R]]:
        """Keys and rows of one table as the updates so far leave them, in order of the first."""
        found = [(key, row) for (of, key), row in self.updates if of is table]
        return list(dict(found).items()) if len(found) > 1 else found  # type: ignore[arg-type, return-value]  # the key names the type

    def delete(self, row: type[Row], *key: Any) -> None:
        """Remove a row; an absent one is a success."""
        self.deletes.append(RowKey(row, key))


@dataclass(slots=True, eq=False)  # not frozen: that takes four times as long to make
class Step(Generic[T]):
    """One change. *decide* returns the step's answer, or raises `Lost`.

    *keys* are this step's alone within a group; *shared* rows (a blog, a budget) may be named by
    many steps of a group, which are then decided in the order in which they arrived.
    """

    name: str
    decide: Callable[[Look, Writes], T]
    keys: tuple[RowKey, ...] = ()
    shared: tuple[RowKey, ...] = ()
    # Creations are bounded; steps of jobs that exist always enter.
    creates: bool = False


def keys_of(steps: Iterable[Step[Any]]) -> list[RowKey]:
    """The rows that *steps* name, those that several share more than once."""
    return [key for step in steps for key in (*step.keys, *step.shared)]


@dataclass(slots=True)
class Outcome:
    """What became of a step: an answer with its writes, or the error that its caller gets."""

    answer: Any = None
    error: Exception | None = None
    writes: Writes | None = None


def decide_group(steps: Iterable[Step[Any]], look: Look) -> list[Outcome]:
    """Decide the steps of one group in the order of their arrival."""
    outcomes = []
    for step in steps:
        writes = Writes()
        try:
            answer = step.decide(look, writes)
            look.accept(writes)
        except Exception as exc:  # a loser or a defect: its caller gets it, nobody else is hurt
            outcomes.append(Outcome(error=exc))
            continue
        outcomes.append(Outcome(answer=answer, writes=writes))
    return outcomes


def writes_of(outcomes: Iterable[Outcome]) -> list[Writes]:
    """What the steps that were not lost want written."""
    return [outcome.writes for outcome in outcomes if outcome.writes is not None]
