"""Approval links: decide about a draft from a mail or a chat, without a login.

What approving and rejecting mean is not known here: both are handed over, and both settle for
themselves who was first. A link is never used up by being looked at.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import assert_never
from uuid import UUID

import structlog

from adapters.errors import NoSuchObject
from adapters.ports import BlobStore
from adapters.store import reads
from pipeline.errors import BlogGone, NoSuchJob, NotApprovable
from pipeline.journal import Journal
from pipeline.links import Link, Purpose, sign
from pipeline.providers import Providers
from schemas.replies import ApprovalLinksResponse
from schemas.requests import Quality
from schemas.tables import ImageRow, JobRow
from states.table import State

log = structlog.get_logger(__name__)

# Of the variants the narrowest that is at least so wide: enough to decide, small enough to embed.
PICTURE_WIDTH = 500
# A final that ended like this may be bought again.
LOST_FINAL = frozenset({State.FAILED, State.CANCELLED})


@dataclass(frozen=True, slots=True)
class Decisions:
    """What links lead to. Each takes the draft's id and its tenant.

    *approve* buys the final and returns it, or the one that was bought before; *reject* is a
    success when it is done again. Both raise a `PipelineError` for what may not be. *quality* is
    that of the final which approving would buy.
    """

    approve: Callable[[UUID, str], Awaitable[JobRow]]
    reject: Callable[[UUID, str], Awaitable[object]]
    is_rejected: Callable[[UUID, str], Awaitable[bool]]
    quality: Callable[[JobRow], Quality]


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
    job = await journal.read(reads.job, tenant, job_id)
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
    link: Link,
    decisions: Decisions,
    *,
    journal: Journal,
    blobs: BlobStore,
    providers: Providers,
) -> Draft:
    """What the bearer of *link* decides about; raises `NoSuchJob` where it is gone."""
    job = await journal.read(reads.job, link.tenant, link.job_id)
    if job is None:
        raise NoSuchJob(link.job_id)
    final = None
    if job.final_job_id is not None:
        final = await journal.read(reads.job, link.tenant, job.final_job_id)
    provider = providers.by_name.get(job.provider)
    images = await journal.read(reads.images_of_jobs, link.tenant, [job.id])
    return Draft(
        job=job,
        picture=await _picture(images[0], blobs) if images else None,
        price=provider.price(decisions.quality(job)) if provider is not None else None,
        final=final if final is not None and final.state not in LOST_FINAL else None,
        rejected=await decisions.is_rejected(job.id, link.tenant),
    )


async def check_blog(draft: Draft, journal: Journal) -> None:
    """Raise `BlogGone` where the draft's post was deleted: there is nothing to decide."""
    blog_id = draft.job.blog_id
    blog = await journal.read(reads.blog, draft.job.tenant, blog_id) if blog_id else None
    if blog is not None and blog.deleted_at is not None:
        raise BlogGone(blog.blog_id)


async def decide(link: Link, decisions: Decisions) -> None:
    """Do what *link* is for; a `PipelineError` says why it may not be done any more."""
    match link.purpose:
        case Purpose.APPROVE:
            await decisions.approve(link.job_id, link.tenant)
        case Purpose.REJECT:
            await decisions.reject(link.job_id, link.tenant)
        case _ as never:
            assert_never(never)
    log.info("link_used", purpose=link.purpose.value, job_id=str(link.job_id))


async def _picture(image: ImageRow, blobs: BlobStore) -> Picture | None:
    fitting = [one for one in image.variants if one["width"] >= PICTURE_WIDTH] or image.variants
    if not fitting:
        return None
    variant = fitting[0]
    try:
        data = await blobs.get(variant["key"])
    except NoSuchObject:  # it is decided about all the same
        log.error("picture_missing", image_id=str(image.id), key=variant["key"])
        return None
    return Picture(data, variant["content_type"], variant["width"], variant["height"])
