"""Reads of jobs, of what people decided about drafts, and of batches. Each takes the tenant, save
those that estimate: times and queues are alike for all.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

import sqlalchemy as sa
from sqlmodel import Session, col, select

from schemas.operations import GENERATE
from schemas.tables import (
    Batch,
    IdempotencyKey,
    Job,
    Promotion,
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


def last_promotion(session: Session, tenant: str, draft_id: UUID) -> Promotion | None:
    """The latest decision about a draft."""
    return session.exec(
        select(Promotion)
        .where(Promotion.draft_job_id == draft_id, Promotion.tenant == tenant)
        .order_by(col(Promotion.generation).desc())
        .limit(1)
    ).one_or_none()


def promotions_of(session: Session, tenant: str, draft_ids: Sequence[UUID]) -> Sequence[Promotion]:
    """All decisions about drafts, the earlier ones first."""
    return session.exec(
        select(Promotion)
        .where(col(Promotion.draft_job_id).in_(draft_ids), Promotion.tenant == tenant)
        .order_by(col(Promotion.draft_job_id), col(Promotion.generation))
    ).all()


def kept_reply(session: Session, tenant: str, route: str, key: str) -> IdempotencyKey | None:
    return session.exec(
        select(IdempotencyKey).where(
            IdempotencyKey.tenant == tenant,
            IdempotencyKey.route == route,
            IdempotencyKey.key == key,
        )
    ).one_or_none()


def undecided_drafts(
    session: Session, tenant: str, blog_id: str, prompt: str, limit: int
) -> Sequence[Job]:
    """Completed drafts of a prompt in a blog about which nobody decided; none of dead batches."""
    decided = select(Promotion.draft_job_id).where(Promotion.draft_job_id == Job.id).exists()
    cancelled = (
        select(Batch.id)
        .where(Batch.id == Job.batch_id, col(Batch.cancelled_at).is_not(None))
        .exists()
    )
    return session.exec(
        select(Job)
        .where(
            Job.tenant == tenant,
            Job.blog_id == blog_id,
            col(Job.is_draft).is_(True),
            Job.state == State.COMPLETED,
            col(Job.request)["prompt"].as_string() == prompt,
            ~decided,
            ~cancelled,
        )
        .limit(limit)
    ).all()


def batch(session: Session, tenant: str, batch_id: UUID) -> Batch | None:
    return session.exec(
        select(Batch).where(Batch.id == batch_id, Batch.tenant == tenant)
    ).one_or_none()


def jobs_of_batch(session: Session, tenant: str, batch_id: UUID) -> Sequence[Job]:
    """In the order in which they were asked for."""
    return session.exec(
        select(Job).where(Job.batch_id == batch_id, Job.tenant == tenant).order_by(col(Job.id))
    ).all()


def queued_count(session: Session, before: UUID | None = None) -> int:
    """How many jobs wait, of those requested before the job *before*. All tenants share a queue."""
    query = (
        select(sa.func.count())
        .select_from(Job)
        .where(col(Job.ended_at).is_(None), Job.state == State.QUEUED)
    )
    if before is not None:
        query = query.where(col(Job.id) < before)
    return session.exec(query).one()


def recent_spans(session: Session, quality: str, limit: int) -> Sequence[timedelta]:
    """From start to end, of the newest completed jobs of a quality. All tenants': an estimate."""
    spans = session.exec(
        select(Job.started_at, Job.ended_at)
        .where(Job.state == State.COMPLETED, Job.quality == quality, Job.kind == GENERATE)
        .order_by(col(Job.id).desc())
        .limit(limit)
    ).all()
    return [ended - started for started, ended in spans if started and ended]
