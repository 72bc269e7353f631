"""Every read of the product. Each takes the tenant, save those of the machinery, which say so."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
from sqlmodel import Session, col, select

from schemas.tables import (
    Blog,
    BlogSlot,
    CallState,
    DeadLetter,
    Event,
    Image,
    Job,
    ProviderCall,
)
from states.table import State


def job(session: Session, tenant: str, job_id: UUID) -> Job | None:
    return session.exec(select(Job).where(Job.id == job_id, Job.tenant == tenant)).one_or_none()


def jobs_page(
    session: Session,
    tenant: str,
    *,
    before: UUID | None,
    limit: int,
    states: Sequence[State] = (),
    blog_id: str | None = None,
    batch_id: UUID | None = None,
    quality: str | None = None,
    since: datetime | None = None,
) -> Sequence[Job]:
    """Jobs from the newest request to the oldest, those requested before the job *before*."""
    query = select(Job).where(Job.tenant == tenant)
    if before is not None:
        query = query.where(col(Job.id) < before)
    if states:
        query = query.where(col(Job.state).in_(states))
    if blog_id is not None:
        query = query.where(Job.blog_id == blog_id)
    if batch_id is not None:
        query = query.where(Job.batch_id == batch_id)
    if quality is not None:
        query = query.where(Job.quality == quality)
    if since is not None:
        query = query.where(col(Job.created_at) >= since)
    return session.exec(query.order_by(col(Job.id).desc()).limit(limit)).all()


def queued_jobs_of_blog(session: Session, tenant: str, blog_id: str, limit: int) -> Sequence[UUID]:
    return session.exec(
        select(Job.id)
        .where(Job.tenant == tenant, Job.blog_id == blog_id, Job.state == State.QUEUED)
        .limit(limit)
    ).all()


def images_of_jobs(session: Session, tenant: str, job_ids: Sequence[UUID]) -> Sequence[Image]:
    return session.exec(
        select(Image)
        .where(
            col(Image.job_id).in_(job_ids),
            Image.tenant == tenant,
            col(Image.deleted_at).is_(None),
        )
        .order_by(col(Image.job_id), col(Image.index))
    ).all()


def image(session: Session, tenant: str, image_id: UUID) -> Image | None:
    return session.exec(
        select(Image).where(
            Image.id == image_id, Image.tenant == tenant, col(Image.deleted_at).is_(None)
        )
    ).one_or_none()


def images(session: Session, tenant: str, image_ids: Sequence[UUID]) -> Sequence[Image]:
    return session.exec(
        select(Image).where(col(Image.id).in_(image_ids), Image.tenant == tenant)
    ).all()


def blog(session: Session, tenant: str, blog_id: str) -> Blog | None:
    return session.exec(
        select(Blog).where(Blog.tenant == tenant, Blog.blog_id == blog_id)
    ).one_or_none()


def slots(session: Session, tenant: str, blog_id: str) -> Sequence[BlogSlot]:
    return session.exec(
        select(BlogSlot)
        .where(BlogSlot.tenant == tenant, BlogSlot.blog_id == blog_id)
        .order_by(col(BlogSlot.role), col(BlogSlot.position))
    ).all()


def call(session: Session, tenant: str, job_id: UUID, attempt: int) -> ProviderCall | None:
    return session.exec(
        select(ProviderCall).where(
            ProviderCall.job_id == job_id,
            ProviderCall.attempt == attempt,
            ProviderCall.tenant == tenant,
        )
    ).one_or_none()


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


# The machinery's reads: they serve every tenant and answer to no caller.


def due_jobs(session: Session, now: datetime, limit: int) -> Sequence[Job]:
    """Open jobs whose `wake_at` has come. All tenants: the sweep's."""
    return session.exec(
        select(Job)
        .where(col(Job.ended_at).is_(None), col(Job.wake_at) <= now)
        .order_by(col(Job.wake_at))
        .limit(limit)
    ).all()


def working_jobs(session: Session) -> Sequence[Job]:
    """Jobs that some process is, or was, at work on. All tenants: the sweep's, at start."""
    return session.exec(
        select(Job).where(
            col(Job.ended_at).is_(None),
            col(Job.state).in_([State.RUNNING, State.PROCESSING_RESULT]),
        )
    ).all()


def unsent_jobs(session: Session, incarnation: str, limit: int) -> Sequence[Job]:
    """Open jobs that wait for a worker and were not sent to this queue. All tenants: the sweep's.

    A running job waits for a worker only where its provider works asynchronously: its call is
    `accepted` and is to be polled.
    """
    polled = (
        select(ProviderCall.job_id)
        .where(
            ProviderCall.job_id == Job.id,
            ProviderCall.attempt == Job.attempt,
            ProviderCall.state == CallState.ACCEPTED,
        )
        .exists()
    )
    return session.exec(
        select(Job)
        .where(
            col(Job.ended_at).is_(None),
            sa.or_(col(Job.dispatched_to).is_(None), col(Job.dispatched_to) != incarnation),
            sa.or_(
                col(Job.state).in_([State.QUEUED, State.PROCESSING_RESULT]),
                sa.and_(col(Job.state) == State.RUNNING, polled),
            ),
        )
        .order_by(col(Job.queued_at))
        .limit(limit)
    ).all()


def unpublished_events(session: Session, before: datetime, limit: int) -> Sequence[Event]:
    """Events that have not left, older than *before*. All tenants: the sweep's."""
    return session.exec(
        select(Event)
        .where(col(Event.published_at).is_(None), col(Event.occurred_at) <= before)
        .order_by(col(Event.position))
        .limit(limit)
    ).all()


def overdue_calls(session: Session, now: datetime, limit: int) -> Sequence[ProviderCall]:
    """Open calls whose `due_at` has come, whatever their job's state. All tenants: the sweep's."""
    return session.exec(
        select(ProviderCall)
        .where(col(ProviderCall.due_at) <= now)
        .order_by(col(ProviderCall.due_at))
        .limit(limit)
    ).all()


def dead_letters(session: Session, tenant: str) -> Sequence[DeadLetter]:
    return session.exec(
        select(DeadLetter)
        .where(DeadLetter.tenant == tenant)
        .order_by(col(DeadLetter.quarantined_at))
    ).all()


def alive(session: Session) -> bool:
    """Whether the database answers, from its own pages and not only from memory."""
    return session.exec(select(sa.func.count()).select_from(sa.table("alembic_version"))).one() > 0
