"""What has grown older than it is kept. Each read is one bounded part, in the order of its keys."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

import sqlalchemy as sa
from sqlmodel import Session, col, select

from schemas.operations import GENERATE
from schemas.tables import (
    Batch,
    Blog,
    BlogSlot,
    Event,
    Image,
    Job,
    Outbox,
    Promotion,
    Row,
)
from states.table import State

NIL = UUID(int=0)


class OldEvent(NamedTuple):
    position: int
    occurred_at: datetime
    # It has not left for the bus, its post is held, or it is the last of all.
    is_kept: bool


def old_drafts(
    session: Session, before: datetime, undecided_before: datetime, after: UUID, limit: int
) -> Sequence[Image]:
    """Pictures of drafts that came to rest before *before*, and that nobody waits for.

    Left out are those that stand in a post, of a held post, of a draft whose final is being made,
    and until *undecided_before* of one that is to be decided in its batch.
    """
    final = sa.orm.aliased(Job)
    decided = sa.exists().where(col(Promotion.draft_job_id) == col(Job.id))
    awaited = sa.exists().where(
        col(Batch.id) == col(Job.batch_id), col(Batch.cancelled_at).is_(None)
    )
    stands = sa.exists().where(col(BlogSlot.image_id) == col(Image.id))
    in_work = sa.exists().where(col(final.draft_job_id) == col(Job.id), final.ended_at.is_(None))  # type: ignore[union-attr]
    query = (
        select(Image)
        .join(Job, col(Job.id) == col(Image.job_id))
        .where(
            col(Job.is_draft),
            col(Job.ended_at) < before,
            col(Image.deleted_at).is_(None),
            col(Image.id) > after,
            ~stands,
            ~in_work,
            sa.or_(decided, ~awaited, col(Job.ended_at) < undecided_before),
            ~_held(Job.tenant, Job.blog_id),
        )
    )
    return session.exec(query.order_by(col(Image.id)).limit(limit)).all()


def deleted_images(session: Session, since: datetime, after: UUID, limit: int) -> Sequence[Image]:
    """Pictures that were deleted from *since* on; their rows stay."""
    query = select(Image).where(col(Image.deleted_at) >= since, col(Image.id) > after)
    return session.exec(query.order_by(col(Image.id)).limit(limit)).all()


def old_staged(session: Session, before: datetime, after: UUID, limit: int) -> Sequence[Job]:
    """Jobs that were completed before *before* and whose raw bytes lie there still."""
    query = select(Job).where(
        col(Job.state) == State.COMPLETED,
        col(Job.ended_at) < before,
        col(Job.staged).is_not(None),
        col(Job.id) > after,
        ~_held(Job.tenant, Job.blog_id),
    )
    return session.exec(query.order_by(col(Job.id)).limit(limit)).all()


def sent_in_vain(
    session: Session, since: datetime, before: datetime, after: UUID, limit: int
) -> Sequence[Job]:
    """Jobs that failed or were cancelled from *since* on and before *before*, and whose requests
    may have brought pictures with them."""
    query = select(Job).where(
        col(Job.state).in_((State.FAILED, State.CANCELLED)),
        col(Job.kind) != GENERATE,
        col(Job.ended_at) >= since,
        col(Job.ended_at) < before,
        col(Job.id) > after,
        ~_held(Job.tenant, Job.blog_id),
    )
    return session.exec(query.order_by(col(Job.id)).limit(limit)).all()


def first_events(session: Session, after: int, limit: int) -> Sequence[OldEvent]:
    """The oldest events behind position *after*, old or not."""
    last = sa.select(sa.func.max(col(Event.position))).scalar_subquery()
    unsent = sa.exists().where(col(Outbox.event_id) == col(Event.event_id))
    kept = sa.or_(unsent, _held(Event.tenant, Event.blog_id), col(Event.position) == last)
    query = (
        sa.select(col(Event.position), col(Event.occurred_at), kept)
        .where(col(Event.position) > after)
        .order_by(col(Event.position))
        .limit(limit)
    )
    return [OldEvent(*row) for row in session.execute(query)]


def old_rows(
    session: Session,
    table: type[Row],
    since: str,
    before: datetime,
    after: tuple[object, ...] | None,
    limit: int,
) -> Sequence[tuple[object, ...]]:
    """The keys of rows of *table* whose column *since* is before *before*."""
    keys = [sa.inspect(table).c[column.name] for column in sa.inspect(table).primary_key]
    query = sa.select(*keys).where(sa.inspect(table).c[since] < before)
    if after is not None:
        bound = (sa.literal(value, key.type) for value, key in zip(after, keys, strict=True))
        query = query.where(sa.tuple_(*keys) > sa.tuple_(*bound))
    return [tuple(row) for row in session.execute(query.order_by(*keys).limit(limit))]


def _held(tenant: object, blog_id: object) -> sa.ColumnElement[bool]:
    return sa.exists().where(
        col(Blog.tenant) == tenant, col(Blog.blog_id) == blog_id, col(Blog.held_since).is_not(None)
    )
