"""Reads of the history, in its order, and of what could not be handled. Each takes the tenant, or a
filter that has one, save those of the machinery.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
from sqlmodel import Session, col, select
from sqlmodel.sql.expression import SelectOfScalar

from schemas.cursors import EventCursor, EventFilter, LetterCursor
from schemas.tables import (
    DeadLetter,
    Event,
    Lineage,
    Outbox,
)


def events_of_stream(
    session: Session, tenant: str, stream_kind: str, stream_id: str
) -> Sequence[Event]:
    return session.exec(
        select(Event)
        .where(
            Event.stream_kind == stream_kind,
            Event.stream_id == stream_id,
            Event.tenant == tenant,
        )
        .order_by(col(Event.seq))
    ).all()


def event_count(session: Session, tenant: str, blog_id: str) -> int:
    return session.exec(
        select(sa.func.count())
        .select_from(Event)
        .where(Event.tenant == tenant, Event.blog_id == blog_id)
    ).one()


def unpublished_events(
    session: Session, before: datetime, limit: int, *, after: UUID | None = None
) -> Sequence[Event]:
    """Events that have not left, older than *before*. All tenants: the sweep's.

    In the order of their ids; *after* is the last of the page before.
    """
    unsent = (
        select(Event)
        .join(Outbox, col(Outbox.position) == col(Event.position))
        .where(col(Event.occurred_at) <= before)
        .order_by(col(Outbox.event_id))
        .limit(limit)
    )
    if after is not None:
        unsent = unsent.where(col(Outbox.event_id) > after)
    return session.exec(unsent).all()


def tail(session: Session) -> EventCursor:
    """The cursor after the last event that can be read now. All tenants: the feed's."""
    lineage = session.exec(select(Lineage.name)).one()
    newest = _in_order(select(Event).where(_readable(session)), descending=True).limit(1)
    last = session.exec(newest).one_or_none()
    return EventCursor.of(lineage, last) if last else EventCursor.beginning(lineage)


def holds(session: Session, cursor: EventCursor) -> bool:
    """Whether a reader can go on after *cursor* here without missing an event. All tenants.

    It can where the event that it names lies at its place, whatever the epoch. Then all that it
    has not seen lies behind: what was there before a restore keeps its order, and what is written
    after one gets higher positions (SQLite), higher transaction ids or a higher epoch.

    A cursor of another database is refused, and one of what a restore has undone: its event is not
    there, even where its place was given again and the order has long passed it. So is one whose
    event was removed for its age, since those after it may have been removed as well.

    Not noticed is an event that the reader has seen and that a restore has undone while it kept
    later ones, as it happens to transactions that are open when a backup is taken.
    """
    lineage = session.exec(select(Lineage.name)).one()
    if cursor.lineage != lineage:
        return False
    if cursor == EventCursor.beginning(lineage):
        return True
    event = session.get(Event, cursor.place.position)
    return event is not None and EventCursor.of(lineage, event) == cursor


def events_after(
    session: Session,
    after: EventCursor,
    limit: int,
    wanted: EventFilter | None = None,
    end: EventCursor | None = None,
) -> tuple[Sequence[Event], EventCursor]:
    """At most *limit* events that are *wanted*, and the cursor after all that was looked through.

    They come in the order in which no event ever appears behind a reader. On PostgreSQL a position
    is given before its commit, so a lower one may be committed later; readable is only what was
    written by transactions older than every open one. Nobody writes into an older epoch any more,
    so that all of it can be read, whatever transaction ids it carries. All tenants: the feed's,
    which gives each watcher its own. They end with *end*, a tail of before, where it is given.
    """
    end = end or tail(session)
    if end.place <= after.place:
        return [], after
    place = _place()
    # Nothing appears before the end any more, so that the two queries need no common snapshot.
    query = select(Event).where(place > _at(after), place <= _at(end))
    if wanted is not None:
        query = query.where(*_wanted(wanted))
    events = session.exec(_in_order(query).limit(limit)).all()
    return events, EventCursor.of(end.lineage, events[-1]) if len(events) == limit else end


def event_counts(
    session: Session, after: EventCursor, end: EventCursor, wanted: EventFilter
) -> dict[str, int]:
    """How many events are *wanted* after *after* and up to *end*, by type. A tenant's."""
    found = session.exec(
        select(Event.type, sa.func.count())
        .where(_place() > _at(after), _place() <= _at(end), *_wanted(wanted))
        .group_by(Event.type)
        .order_by(Event.type)
    ).all()
    return dict(found)


def _place() -> sa.Tuple:
    return sa.tuple_(Event.epoch, Event.xid, Event.position)


def _at(cursor: EventCursor) -> sa.Tuple:
    return sa.tuple_(*(sa.literal(part, sa.BigInteger) for part in cursor.place))


def _wanted(wanted: EventFilter) -> Iterator[sa.ColumnElement[bool]]:
    yield col(Event.tenant) == wanted.tenant
    if wanted.types:
        yield col(Event.type).in_(wanted.types)
    if wanted.blog_id is not None:
        yield col(Event.blog_id) == wanted.blog_id
    if wanted.batch_id is not None:
        yield col(Event.batch_id) == wanted.batch_id
    if wanted.job_id is not None:
        yield col(Event.stream_kind) == "job"
        yield col(Event.stream_id) == str(wanted.job_id)
    if wanted.since is not None:
        yield col(Event.occurred_at) >= wanted.since
    if wanted.until is not None:
        yield col(Event.occurred_at) < wanted.until


def _readable(session: Session) -> sa.ColumnElement[bool]:
    if session.get_bind().dialect.name == "sqlite":
        return sa.true()  # one writer: positions are given in the order of the commits
    # In the same statement, so that epoch and snapshot are of one moment.
    epoch = sa.select(col(Lineage.epoch)).scalar_subquery()
    oldest_open: sa.ColumnElement[int] = sa.literal_column(
        "pg_snapshot_xmin(pg_current_snapshot())::text::bigint"
    )
    return sa.or_(
        col(Event.epoch) < epoch, sa.and_(col(Event.epoch) == epoch, col(Event.xid) < oldest_open)
    )


def _in_order(query: SelectOfScalar[Event], *, descending: bool = False) -> SelectOfScalar[Event]:
    order = [col(Event.epoch), col(Event.xid), col(Event.position)]
    return query.order_by(*(part.desc() if descending else part for part in order))


def dead_letters(
    session: Session,
    tenant: str,
    *,
    subscriber: str | None = None,
    after: LetterCursor | None = None,
    limit: int | None = None,
) -> Sequence[DeadLetter]:
    """In the order in which they were put aside."""
    order = (
        col(DeadLetter.quarantined_at),
        col(DeadLetter.event_id),
        col(DeadLetter.subscriber),
    )
    query = select(DeadLetter).where(DeadLetter.tenant == tenant)
    if subscriber is not None:
        query = query.where(DeadLetter.subscriber == subscriber)
    if after is not None:
        columns = DeadLetter.__table__.c  # type: ignore[attr-defined]  # SQLModel sets it
        place = (sa.literal(part, columns[name].type) for name, part in after._asdict().items())
        query = query.where(sa.tuple_(*order) > sa.tuple_(*place))
    return session.exec(query.order_by(*order).limit(limit)).all()


def dead_letter(
    session: Session, tenant: str, subscriber: str, event_id: UUID
) -> DeadLetter | None:
    return session.exec(
        select(DeadLetter).where(
            DeadLetter.tenant == tenant,
            DeadLetter.subscriber == subscriber,
            DeadLetter.event_id == event_id,
        )
    ).one_or_none()


def dead_letter_count(session: Session, tenant: str, subscriber: str | None = None) -> int:
    query = select(sa.func.count()).select_from(DeadLetter).where(DeadLetter.tenant == tenant)
    if subscriber is not None:
        query = query.where(DeadLetter.subscriber == subscriber)
    return session.exec(query).one()
