"""What a subscriber remembers, in its own database: the events it has handled, and the newest of
each subject. Without it a repetition would have its effect twice.
"""

from datetime import UTC, datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

metadata = sa.MetaData()

HANDLED = sa.Table(
    "limner_inbox",
    metadata,
    sa.Column("subscriber", sa.String(200), primary_key=True),
    sa.Column("event_id", sa.Uuid(), primary_key=True),
    sa.Column("handled_at", sa.DateTime(timezone=True), nullable=False),
)
NEWEST = sa.Table(
    "limner_newest",
    metadata,
    sa.Column("subscriber", sa.String(200), primary_key=True),
    sa.Column("handler", sa.String(200), primary_key=True),
    sa.Column("tenant", sa.String(200), primary_key=True),
    sa.Column("subject", sa.String(500), primary_key=True),
    sa.Column("sequence", sa.BigInteger(), nullable=False),
)


class HandledBefore(Exception):
    """The event's effect is committed: roll back, and take it for done."""


def remember(connection: sa.Connection, subscriber: str, event_id: UUID) -> None:
    """Note an event in the transaction of its effect; raises `HandledBefore`.

    Of two deliveries at the same moment the second waits here for the first one's end.
    """
    key = {"subscriber": subscriber, "event_id": event_id}
    row = key | {"handled_at": datetime.now(UTC)}
    try:
        noted = _insert_new(connection, HANDLED, key, row)
    except IntegrityError as exc:
        raise HandledBefore from exc
    if not noted:
        raise HandledBefore


def is_newest(
    connection: sa.Connection,
    subscriber: str,
    handler: str,
    *,
    tenant: str,
    subject: str,
    sequence: int,
) -> bool:
    """Note *sequence*; False where *handler* has been given a later one of the subject."""
    key: dict[str, object] = {
        "subscriber": subscriber,
        "handler": handler,
        "tenant": tenant,
        "subject": subject,
    }
    later = (
        sa.update(NEWEST)
        .where(*(NEWEST.c[name] == value for name, value in key.items()))
        .where(NEWEST.c.sequence < sequence)
        .values(sequence=sequence)
    )
    if connection.execute(later).rowcount:
        return True
    return _insert_new(connection, NEWEST, key, key | {"sequence": sequence})


def _insert_new(
    connection: sa.Connection, table: sa.Table, key: dict[str, object], row: dict[str, object]
) -> bool:
    """Insert *row* unless *key* is taken; raises `IntegrityError` when it is taken meanwhile."""
    taken = sa.exists().where(*(table.c[name] == value for name, value in key.items()))
    values = sa.select(*(sa.literal(value, table.c[name].type) for name, value in row.items()))
    statement = sa.insert(table).from_select(list(row), values.where(~taken))
    return bool(connection.execute(statement).rowcount)
