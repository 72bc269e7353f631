"""PostgreSQL's statements, derived from the tables: few looks at a group's rows, one write.

A round trip costs more than a row. Mostly a group makes one, its write; what is not remembered was
looked at before, over another connection. BEGIN and COMMIT come round a group that has no event,
several rounds, deletes or marks, and round one that is decided under locks.
"""

from collections.abc import Iterable, Iterator
from functools import cache
from itertools import count
from typing import Literal, NamedTuple

import sqlalchemy as sa
from sqlmodel import UTCDateTime

from adapters.store.columns import from_microseconds
from adapters.store.plans import TablePlan
from schemas.columns import Money

FORGET = "DELETE FROM events WHERE position = ANY($1::bigint[])"
SENT = (
    # With the settings of `connect` each mark finds its job by the key. Joined, a plan that was
    # made while the table was small compares every mark with every open job.
    # A row that another process has locked is left out: it is being taken up, and its lock must
    # not be waited for out of the order of keys.
    "UPDATE jobs SET dispatched_to = $4 WHERE id = ANY(ARRAY("
    "SELECT t.id FROM unnest($1::uuid[], $2::int4[], $3::int4[]) AS m(id, attempt, dispatch)"
    " CROSS JOIN LATERAL (SELECT j.id FROM jobs j"
    " WHERE j.id = m.id AND j.attempt = m.attempt AND j.dispatch = m.dispatch"
    " AND j.ended_at IS NULL FOR UPDATE SKIP LOCKED) t))"
)


@cache
def look(plan: TablePlan, *, lock: bool) -> str:
    """Look at rows of one table; with *lock*, lock them in the order of their keys.

    Parameters: one array for each key column, and one with the transactions whose versions of the
    rows are known. Gives (number of the key from 1, transaction, columns), the columns only where
    the row is of another transaction.
    """
    seen = len(plan.key_names) + 1
    columns = ", ".join(f'CASE WHEN t.xmin <> k.seen THEN t."{name}" END' for name in plan.names)
    keys = ", ".join(f"${number}::{kind}[]" for number, kind in enumerate(plan.key_types, 1))
    join = " AND ".join(f't."{name}" = k."{name}"' for name in plan.key_names)
    return (
        f"SELECT k.number, t.xmin, {columns} FROM {plan.name} t"
        f" JOIN unnest({keys}, ${seen}::xid[]) WITH ORDINALITY"
        f" AS k({_quoted(plan.key_names)}, seen, number) ON {join}"
        + (f" ORDER BY {_quoted(plan.key_names, 't.')} FOR UPDATE OF t" if lock else "")
    )


@cache
def look_at_all(plans: tuple[TablePlan, ...], *, lock: bool) -> str:
    """Look at rows; with *lock*, lock them, tables in the order of *plans*, rows in that of keys.

    Parameters: one array for each key column of each table. Gives (number of the plan, transaction
    that has written the row, row).
    """
    numbers = count(1)
    looks, reads = [], []
    for place, plan in enumerate(plans):
        keys = ", ".join(f"${next(numbers)}::{kind}[]" for kind in plan.key_types)
        join = " AND ".join(f't."{name}" = k."{name}"' for name in plan.key_names)
        locks = " FOR UPDATE OF t" if lock and plan.lockable else ""
        looks.append(
            f"l{place} AS MATERIALIZED (SELECT t.xmin, {_quoted(plan.names, 't.')}"
            f" FROM {plan.name} t"
            f" JOIN unnest({keys}) AS k({_quoted(plan.key_names)}) ON {join}"
            f" ORDER BY {_quoted(plan.key_names, 't.')}{locks})"
        )
        reads.append(f"SELECT {place}, xmin, ROW({_quoted(plan.names)}) FROM l{place}")
    return f"WITH {', '.join(looks)} {' UNION ALL '.join(reads)}"


class Part(NamedTuple):
    """Rows of one table in a group's write. Parameters: one array for each column of *names*.

    The first update of rows, and a check of those that are only held against the database, have one
    array more: the transactions that have written the rows. An absence is a check of keys that have
    no row. Events of *sendable* types, where given, are to be sent, else all.
    """

    kind: Literal["insert", "events", "update", "check", "absence"]
    plan: TablePlan
    names: tuple[str, ...]
    by_transaction: bool = False
    sendable: tuple[str, ...] | None = None


@cache
def write(parts: tuple[Part, ...], *, published: bool = False, note: str | None = None) -> str:
    """Write all of *parts*, none of which touches a row of another.

    Parameters: those of the parts in turn, then (*published*) an array of event ids that have
    left. With *note* a text is sent to whoever listens there: `channel, text`. Gives one row, the
    transaction's id first. Divides by zero where an update or a check finds fewer rows than it
    names, or an absence any.
    """
    numbers = count(1)
    ctes, gives = [], ["pg_current_xact_id()::text"]
    if note is not None:
        gives.append(f"pg_notify({note})")
    for place, part in enumerate(parts):
        keys = next(numbers)  # the first parameter of the part
        numbers = count(keys)
        wanted = f"cardinality(${keys})"
        match part.kind:
            case "insert":
                ctes.append(f"w{place} AS ({_insert(part, numbers)})")
                continue
            case "events":
                ctes.append(
                    f"w{place} AS ({_insert(part, numbers)} RETURNING event_id, position, type)"
                )
                if part.sendable != ():
                    ctes.append(f"o{place} AS ({_outbox(part.sendable, f'w{place}')})")
                continue
            case "update":
                ctes.append(f"w{place} AS ({_update(part, numbers)} RETURNING 1)")
            case "check":
                ctes.append(f"w{place} AS ({_check(part, numbers)})")
            case "absence":
                ctes.append(f"w{place} AS ({_check(part, numbers)})")
                wanted = "0"
        gives.append(f"(SELECT 1 / (count(*) = {wanted})::int FROM w{place})")
    if published:
        ctes.append(f"p AS (DELETE FROM outbox WHERE event_id = ANY(${next(numbers)}::uuid[]))")
    start = f"WITH {', '.join(ctes)} " if ctes else ""
    return f"{start}SELECT {', '.join(gives)}"


@cache
def delete(plan: TablePlan) -> str:
    """Parameters: one array for each key column."""
    keys = ", ".join(f"${number}::{kind}[]" for number, kind in enumerate(plan.key_types, 1))
    join = " AND ".join(f't."{name}" = k."{name}"' for name in plan.key_names)
    return (
        f"DELETE FROM {plan.name} t USING unnest({keys}) AS k({_quoted(plan.key_names)})"
        f" WHERE {join}"
    )


def _insert(part: Part, numbers: Iterator[int]) -> str:
    values = ", ".join(_cast(part.plan, name) for name in part.names)
    return (
        f"INSERT INTO {part.plan.name} ({_quoted(part.names)})"
        f" SELECT {values} FROM {_unnest(part, numbers)}"
    )


def _outbox(sendable: tuple[str, ...] | None, events: str) -> str:
    # The types stand in the text: they are ours, hold no quote, and are the same for a whole run.
    types = ", ".join(f"'{one}'" for one in sendable or ())
    of_types = "" if sendable is None else f" WHERE type IN ({types})"
    return (
        f"INSERT INTO outbox (event_id, position) SELECT event_id, position FROM {events}{of_types}"
    )


def _update(part: Part, numbers: Iterator[int]) -> str:
    plan = part.plan
    sets = ", ".join(f'"{n}" = {_cast(plan, n)}' for n in part.names[len(plan.key_names) :])
    join = " AND ".join(f't."{name}" = u."{name}"' for name in plan.key_names)
    if part.by_transaction:
        # Nobody else has written this row since it was seen.
        join += " AND t.xmin = u.seen"
    elif plan.versioned:
        # Unchanged, or exactly one further than the round before has left it.
        join += " AND t.version IN (u.version - 1, u.version)"
    return f"UPDATE {plan.name} t SET {sets} FROM {_unnest(part, numbers)} WHERE {join}"


def _check(part: Part, numbers: Iterator[int]) -> str:
    """Lock rows, and find those that are still of the transactions that were seen.

    Where there are none, the lock on their table is all the same what `money_reads.uncounted`
    waits for.
    """
    join = " AND ".join(f't."{name}" = u."{name}"' for name in part.names)
    if part.by_transaction:
        join += " AND t.xmin = u.seen"
    found = f"SELECT 1 FROM {part.plan.name} t JOIN {_unnest(part, numbers)} ON {join}"
    return f"{found} FOR UPDATE OF t"


def _unnest(part: Part, numbers: Iterator[int]) -> str:
    kinds = [part.plan.types[part.plan.names.index(name)] for name in part.names]
    names = _quoted(part.names)
    if part.by_transaction:
        kinds.append("xid")
        names += ", seen"
    arrays = ", ".join(f"${next(numbers)}::{kind}[]" for kind in kinds)
    return f"unnest({arrays}) AS u({names})"


def _cast(plan: TablePlan, name: str) -> str:
    kind, sent = plan.columns[plan.names.index(name)].type, f'u."{name}"'
    if isinstance(kind, sa.JSON):
        return f"{sent}::jsonb"
    if isinstance(kind, Money):
        return f"{sent}::numeric"
    return from_microseconds(sent) if isinstance(kind, UTCDateTime) else sent


def _quoted(names: Iterable[str], prefix: str = "") -> str:
    return ", ".join(f'{prefix}"{name}"' for name in names)
