"""Delete a picture that nothing uses, or a blog: a tombstone that late events respect."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import structlog

from adapters.errors import BlobStoreUnavailable
from adapters.ports import BlobStore, Ids
from adapters.store import reads
from pipeline.errors import ImageInUse, NoSuchBlog, NoSuchImage
from pipeline.journal import Journal
from pipeline.move import job_key, move_job
from pipeline.tally import record_moves
from schemas.step import Look, RowKey, Step, Writes
from schemas.tables import BlogRow, BlogSlotRow, ImageRow, JobRow
from states.table import State, Trigger

log = structlog.get_logger(__name__)

# Queued jobs of a deleted blog that are cancelled in one commit.
CANCELLED_AT_ONCE = 200


async def delete_image(image_id: UUID, *, tenant: str, journal: Journal, blobs: BlobStore) -> None:
    """Delete a picture; one that stands in a post is a 409, an absent or deleted one a 404.

    A mere candidate may be deleted: it is listed no more, and nothing rolls back to it.
    """
    image = await journal.read(reads.image, tenant, image_id)
    job = await journal.read(reads.job, tenant, image.job_id) if image is not None else None
    if image is None or job is None:
        raise NoSuchImage(image_id)
    now = journal.now()
    slot_key = (tenant, job.blog_id, job.role, job.position) if job.blog_id is not None else None

    def decide(look: Look, writes: Writes) -> ImageRow:
        current = look.get(ImageRow, image_id)
        if current is None or current.tenant != tenant or current.deleted_at is not None:
            raise NoSuchImage(image_id)
        slot = look.get(BlogSlotRow, *slot_key) if slot_key else None
        blog = look.get(BlogRow, *slot_key[:2]) if slot_key else None
        stands = slot is not None and slot.image_id == image_id
        if slot is not None and stands and not (blog is not None and blog.deleted_at):
            place = f"{slot.role} {slot.position} of blog {slot.blog_id}"
            raise ImageInUse(image_id, place)
        writes.update(current.changed(deleted_at=now), image_id)
        return current

    keys = [RowKey(ImageRow, (image_id,))]
    shared = []
    if slot_key is not None:
        keys.append(RowKey(BlogSlotRow, slot_key))
        shared.append(RowKey(BlogRow, slot_key[:2]))
    deleted = await journal.record(Step("delete_image", decide, tuple(keys), tuple(shared)))
    for key in (deleted.key, *(variant["key"] for variant in deleted.variants)):
        try:
            await blobs.delete(key)
        except BlobStoreUnavailable as exc:  # nobody can see it any more; only room is lost
            log.warning("deleted_picture_left_behind", key=key, error=str(exc))


@dataclass(frozen=True, slots=True)
class DeletedBlog:
    deleted_at: datetime
    cancelled_jobs: int


async def delete_blog(blog_id: str, *, tenant: str, journal: Journal, ids: Ids) -> DeletedBlog:
    """Leave a tombstone and cancel the blog's queued jobs; running ones finish unlinked.

    Repeating it changes nothing; for a blog that nobody ever named it is a 404, so that a mistyped
    name is not used up. From the tombstone's commit on no job can be created for the
    blog, so the queued ones that are found after it are the last.
    """
    deleted_at = await journal.record(_tombstone(blog_id, tenant, journal.now()))
    cancelled = 0
    while True:
        queued = await journal.read(reads.queued_jobs_of_blog, tenant, blog_id, CANCELLED_AT_ONCE)
        if not queued:
            return DeletedBlog(deleted_at, cancelled)
        cancelled += await record_moves(journal, _cancel_queued(list(queued), journal.now(), ids))


def _tombstone(blog_id: str, tenant: str, now: datetime) -> Step[datetime]:
    def decide(look: Look, writes: Writes) -> datetime:
        blog = look.get(BlogRow, tenant, blog_id)
        if blog is None:
            raise NoSuchBlog(blog_id)
        if blog.deleted_at is not None:
            return blog.deleted_at
        writes.update(blog.changed(deleted_at=now), tenant, blog_id)
        return now

    return Step("delete_blog", decide, shared=(RowKey(BlogRow, (tenant, blog_id)),))


def _cancel_queued(job_ids: list[UUID], now: datetime, ids: Ids) -> Step[int]:
    event_ids = {job_id: ids.new() for job_id in job_ids}

    def decide(look: Look, writes: Writes) -> int:
        count = 0
        for job_id in job_ids:
            job = look.get(JobRow, job_id)
            if job is not None and job.state is State.QUEUED:
                move_job(
                    writes,
                    job,
                    Trigger.CANCEL,
                    at=now,
                    event_id=event_ids[job_id],
                    reason="blog_deleted",
                )
                count += 1
        return count

    return Step("cancel_queued", decide, tuple(job_key(job_id) for job_id in job_ids))
