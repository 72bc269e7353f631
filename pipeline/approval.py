"""Approval links: decide about a draft from a mail or a chat, without a login.

Promoting and rejecting settle for themselves who was first. A link is never used up by being
looked at.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import assert_never
from uuid import UUID

import structlog

from adapters.errors import NoSuchObject
from adapters.ports import BlobStore, Ids
from adapters.store import job_reads, picture_reads
from pipeline.errors import BlogGone, NoSuchJob, NotApprovable
from pipeline.final import final_price
from pipeline.journal import Journal
from pipeline.links import Link, Purpose, sign
from pipeline.promote import candidate, promote, reject
from pipeline.providers import Providers
from schemas.replies import ApprovalLinksResponse
from schemas.tables import DecidedBy, Decision, ImageRow, JobRow
from states.table import State

log = structlog.get_logger(__name__)

# Of the variants the narrowest that is at least so wide, else the widest: enough to decide, small
# enough to embed.
PICTURE_WIDTH = 500


@dataclass(frozen=True, slots=True)
class Picture:
    data: bytes
    content_type: str
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Draft:
    """A draft as the bearer of a link sees it."""

    job: JobRow
    picture: Picture | None
    # What approving costs (USD); None where it is not known.
    price: Decimal | None
    # The final that stands: bought, and neither failed nor cancelled.
    final: JobRow | None
    rejected: bool

    @property
    def decided(self) -> Purpose | None:
        if self.final is not None:
            return Purpose.APPROVE
        return Purpose.REJECT if self.rejected else None


async def approval_links(
    job_id: UUID,
    tenant: str,
    *,
    lifetime: timedelta,
    secret: bytes,
    journal: Journal,
    address: Callable[[str], str],
) -> ApprovalLinksResponse:
    """Links that approve and reject a completed draft; *address* makes a URL of a token."""
    job = await journal.read(job_reads.job, tenant, job_id)
    if job is None:
        raise NoSuchJob(job_id)
    if not job.is_draft:
        raise NotApprovable(job_id, f"it is a {job.quality} picture, not a draft")
    if job.state is not State.COMPLETED:
        raise NotApprovable(job_id, f"it is {job.state.value}, not completed")
    # Whole seconds, as the token has them.
    expires_at = (journal.now() + lifetime).replace(microsecond=0)
    approve, reject = (
        address(sign(Link(purpose, tenant, job_id, expires_at), secret)) for purpose in Purpose
    )
    return ApprovalLinksResponse(
        job_id=job_id, approve_url=approve, reject_url=reject, expires_at=expires_at
    )


async def draft_of(
    link: Link, *, journal: Journal, blobs: BlobStore, providers: Providers
) -> Draft:
    """What the bearer of *link* decides about; raises `NoSuchJob` where it is gone."""
    found = await candidate(link.job_id, link.tenant, journal)
    if found is None:
        raise NoSuchJob(link.job_id)
    job = found.draft
    provider = providers.by_name.get(job.provider)
    images = await journal.read(picture_reads.images_of_jobs, link.tenant, [job.id])
    return Draft(
        job=job,
        picture=await _picture(images[0], blobs) if images else None,
        price=final_price(job, provider) if provider is not None else None,
        final=found.standing_final,
        rejected=found.last is not None and found.last.decision is Decision.REJECTED,
    )


async def check_blog(draft: Draft, journal: Journal) -> None:
    """Raise `BlogGone` where the draft's post was deleted: there is nothing to decide."""
    blog_id = draft.job.blog_id
    blog = await journal.read(picture_reads.blog, draft.job.tenant, blog_id) if blog_id else None
    if blog is not None and blog.deleted_at is not None:
        raise BlogGone(blog.blog_id)


async def decide(link: Link, *, journal: Journal, ids: Ids, providers: Providers) -> None:
    """Do what *link* is for; a `PipelineError` says why it may not be done any more."""
    match link.purpose:
        case Purpose.APPROVE:
            await promote(
                link.job_id,
                link.tenant,
                decided_by=DecidedBy.LINK,
                journal=journal,
                ids=ids,
                providers=providers,
            )
        case Purpose.REJECT:
            await reject(
                link.job_id, link.tenant, decided_by=DecidedBy.LINK, journal=journal, ids=ids
            )
        case _ as never:
            assert_never(never)
    log.info("link_used", purpose=link.purpose.value, job_id=str(link.job_id))


async def _picture(image: ImageRow, blobs: BlobStore) -> Picture | None:
    if not image.variants:
        return None
    wide_enough = (one for one in image.variants if one["width"] >= PICTURE_WIDTH)
    variant = next(wide_enough, image.variants[-1])
    try:
        data = await blobs.get(variant["key"])
    except NoSuchObject:  # it is decided about all the same
        log.error("picture_missing", image_id=str(image.id), key=variant["key"])
        return None
    return Picture(data, variant["content_type"], variant["width"], variant["height"])
