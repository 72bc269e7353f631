"""SQLite's statements, derived from the tables: row by row, since none costs a round trip."""

from collections.abc import Iterable
from functools import cache

from adapters.store.plans import TablePlan

LAST_EVENT = "SELECT COALESCE(MAX(position), 0) FROM events"
FORGET = "DELETE FROM events WHERE position = ?"
PUBLISHED = "DELETE FROM outbox WHERE event_id = ?"
SENT = (
    "UPDATE jobs SET dispatched_to = ? WHERE id = ? AND attempt = ? AND dispatch = ?"
    " AND ended_at IS NULL"
)


@cache
def outbox(sendable: tuple[str, ...] | None) -> str:
    """Run right after the insert of a group's events, with the position before it and *sendable*,
    the types that are to be sent; None: all."""
    types = "" if sendable is None else f" AND type IN ({', '.join('?' * len(sendable))})"
    return (
        "INSERT INTO outbox (event_id, position) SELECT event_id, position FROM events"
        f" WHERE position > ?{types}"
    )


@cache
def select(plan: TablePlan) -> str:
    keys = " AND ".join(f'"{name}" = ?' for name in plan.key_names)
    return f"SELECT {_quoted(plan.names)} FROM {plan.name} WHERE {keys}"


@cache
def insert(plan: TablePlan) -> str:
    marks = ", ".join("?" * len(plan.names))
    return f"INSERT INTO {plan.name} ({_quoted(plan.names)}) VALUES ({marks})"


@cache
def update(plan: TablePlan, names: tuple[str, ...]) -> str:
    """Parameters: numbered, in the order of *names* as `plan.update_names` gives them."""
    numbers = {name: number for number, name in enumerate(names, 1)}
    sets = ", ".join(f'"{n}" = ?{numbers[n]}' for n in names if n not in plan.key_names)
    keys = " AND ".join(f'"{n}" = ?{numbers[n]}' for n in plan.key_names)
    if plan.versioned:
        # Unchanged, or exactly one further: nobody else has written this row since the look.
        new = f"?{numbers['version']}"
        keys += f" AND version IN ({new} - 1, {new})"
    return f"UPDATE {plan.name} SET {sets} WHERE {keys}"


@cache
def delete(plan: TablePlan) -> str:
    keys = " AND ".join(f'"{name}" = ?' for name in plan.key_names)
    return f"DELETE FROM {plan.name} WHERE {keys}"


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)
