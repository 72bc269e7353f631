"""Every read of the product. Each takes the tenant, save those of the machinery, which say so."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
from sqlmodel import Session, col, select

from schemas.tables import (
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


def images_of_jobs(session: Session, tenant: str, job_ids: Sequence[UUID]) -> Sequence[Image]:
    return session.exec(
        select(Image)
        .where(col(Image.job_id).in_(job_ids), Image.tenant == tenant)
        .order_by(col(Image.job_id), col(Image.index))
    ).all()


def image(session: Session, tenant: str, image_id: UUID) -> Image | None:
    return session.exec(
        select(Image).where(Image.id == image_id, Image.tenant == tenant)
    ).one_or_none()


def images(session: Session, tenant: str, image_ids: Sequence[UUID]) -> Sequence[Image]:
    return session.exec(
        select(Image).where(col(Image.id).in_(image_ids), Image.tenant == tenant)
    ).all()


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
    """Whether the database answers at all."""
    return session.exec(select(sa.literal(1))).one() == 1
