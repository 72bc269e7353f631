"""Reads of pictures and of the places in which they stand. Each takes the tenant."""

from collections.abc import Sequence
from uuid import UUID

from sqlmodel import Session, col, select

from schemas.tables import (
    Blog,
    BlogSlot,
    Image,
    SlotCandidate,
    SlotChange,
)


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


def slot_candidate(
    session: Session, tenant: str, blog_id: str, *, image_id: UUID | None, job_id: UUID | None
) -> SlotCandidate | None:
    """The candidate that is this picture and of this job, as far as they are named."""
    query = select(SlotCandidate).where(
        SlotCandidate.tenant == tenant, SlotCandidate.blog_id == blog_id
    )
    if image_id is not None:
        query = query.where(SlotCandidate.image_id == image_id)
    if job_id is not None:
        query = query.where(SlotCandidate.job_id == job_id)
    return session.exec(query.order_by(col(SlotCandidate.seq).desc()).limit(1)).one_or_none()


def slot_candidates(session: Session, tenant: str, blog_id: str) -> Sequence[SlotCandidate]:
    """Whatever was offered to the blog's slots, the best standing first."""
    return session.exec(
        select(SlotCandidate)
        .where(SlotCandidate.tenant == tenant, SlotCandidate.blog_id == blog_id)
        .order_by(
            col(SlotCandidate.rank).desc(),
            col(SlotCandidate.job_id).desc(),
            col(SlotCandidate.seq).desc(),
        )
    ).all()


def slot_changes(session: Session, tenant: str, blog_id: str) -> Sequence[SlotChange]:
    """What stood in the blog's slots, the newest first."""
    return session.exec(
        select(SlotChange)
        .where(SlotChange.tenant == tenant, SlotChange.blog_id == blog_id)
        .order_by(col(SlotChange.version).desc())
    ).all()
