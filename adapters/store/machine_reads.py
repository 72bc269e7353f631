"""What the machinery asks, of all tenants save where it names one: jobs that are due or unsent,
providers' keys, queues.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple, Self
from uuid import UUID

import sqlalchemy as sa
from sqlmodel import Session, col, select

from schemas.tables import (
    CallState,
    Dispatch,
    Job,
    JobRow,
    Provider,
    ProviderCall,
)
from states.table import State


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


class Sending(NamedTuple):
    """What the relay needs of a job to send it."""

    tenant: str
    job_id: UUID
    attempt: int
    dispatch: int
    not_before: datetime | None

    @classmethod
    def of(cls, job: JobRow) -> Self:
        return cls(job.tenant, job.id, job.attempt, job.dispatch, job.not_before)


def unsent_jobs(
    session: Session,
    incarnation: str,
    limit: int,
    *,
    queued_since: datetime | None = None,
    after: Sending | None = None,
) -> Sequence[Sending]:
    """Open jobs that wait for a worker and were not sent to this queue. All tenants: the sweep's.

    In the order of their ids; *after* is the last of the page before.

    A received job whose lease lives goes on by itself. A running job waits for a worker only where
    its provider works asynchronously: its call is `accepted` and is to be polled.
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
    rows = session.exec(
        sa.select(Job.tenant, Job.id, Job.attempt, Job.dispatch, Job.not_before)  # type: ignore[call-overload]  # five columns are too many for SQLModel's select
        .where(
            col(Job.ended_at).is_(None),
            sa.or_(col(Job.dispatched_to).is_(None), col(Job.dispatched_to) != incarnation),
            col(Job.lease_token).is_(None),
            sa.or_(
                col(Job.state).in_([State.QUEUED, State.PROCESSING_RESULT]),
                sa.and_(col(Job.state) == State.RUNNING, polled),
            ),
        )
        .where(
            sa.true() if queued_since is None else col(Job.queued_at) >= queued_since,
            sa.true() if after is None else col(Job.id) > after.job_id,
        )
        .order_by(col(Job.id))
        .limit(limit)
    ).all()
    return [Sending(*row) for row in rows]


def dispatch(session: Session) -> Dispatch | None:
    """Whether jobs are sent. All tenants: the relay's."""
    return session.exec(select(Dispatch)).one_or_none()


def provider_keys(session: Session) -> Sequence[Provider]:
    """What is known of each provider's key. All tenants share them."""
    return session.exec(select(Provider)).all()


def waiting_jobs(session: Session, provider: str, waiting: str, limit: int) -> Sequence[UUID]:
    """Jobs that are put off for one reason, the oldest first. All tenants share the key."""
    return session.exec(
        select(Job.id)
        .where(Job.provider == provider, Job.waiting == waiting, Job.state == State.QUEUED)
        .order_by(col(Job.id))
        .limit(limit)
    ).all()


class Queue(NamedTuple):
    """How many jobs are queued for a provider, and how many of them are put off."""

    provider: str
    queued: int
    waiting: int


def queues(session: Session, tenant: str) -> Sequence[Queue]:
    """The tenant's part of the queue before each provider."""
    rows = session.exec(
        select(Job.provider, sa.func.count(), sa.func.count(col(Job.waiting)))
        .where(Job.tenant == tenant, col(Job.ended_at).is_(None), Job.state == State.QUEUED)
        .group_by(col(Job.provider))
    ).all()
    return [Queue(*row) for row in rows]


def recent_spans_by_provider(
    session: Session, limit: int = 500
) -> Sequence[tuple[str, str, timedelta]]:
    """Provider, quality, and from start to end, of the newest completed jobs. All tenants'."""
    spans = session.exec(
        select(Job.provider, Job.quality, Job.started_at, Job.ended_at)
        .where(Job.state == State.COMPLETED)
        .order_by(col(Job.id).desc())
        .limit(limit)
    ).all()
    return [
        (provider, quality, ended - started)
        for provider, quality, started, ended in spans
        if started and ended
    ]


def alive(session: Session) -> bool:
    """Whether the database answers, from its own pages and not only from memory."""
    return session.exec(select(sa.func.count()).select_from(sa.table("alembic_version"))).one() > 0
