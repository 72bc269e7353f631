"""Delete a picture that nothing uses, or a blog: a tombstone that late events respect."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import structlog

from adapters.errors import BlobStoreUnavailable
from adapters.ports import BlobStore, Ids
from adapters.store import job_reads, picture_reads
from pipeline.errors import ImageInUse, NoSuchBlog, NoSuchImage
from pipeline.journal import Journal
from pipeline.move import job_key, move_job
from pipeline.tally import record_moves
from schemas.step import Look, RowKey, Step, Writes
from schemas.tables import BlogRow, BlogSlotRow, ImageRow, JobRow, SlotCandidateRow
from states.slots import Rank
from states.table import State, Trigger

log = structlog.get_logger(__name__)

# Queued jobs of a deleted blog that are cancelled in one commit.
CANCELLED_AT_ONCE = 200


async def delete_image(
    image_id: UUID, *, tenant: str, journal: Journal, blobs: BlobStore, aged: bool = False
) -> None:
    """Delete a picture; one that stands in a post is a 409, an absent or deleted one a 404.

    A mere candidate may be deleted: it is listed no more, and nothing rolls back to it. Where it
    only is too old (*aged*), that of a held post is in use as well.
    """
    image = await journal.read(picture_reads.image, tenant, image_id)
    job = await journal.read(job_reads.job, tenant, image.job_id) if image is not None else None
    if image is None or job is None:
        raise NoSuchImage(image_id)
    now = journal.now()
    slot_key = (tenant, job.blog_id, job.role, job.position) if job.blog_id is not None else None
    withdrawn = _withdrawn(image, job, now)

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
        if aged and blog is not None and blog.held_since is not None:
            raise ImageInUse(image_id, f"blog {blog.blog_id}, which is held")
        if slot_key and look.get(SlotCandidateRow, image_id) is None:
            # Nobody saw it offered. Where it is offered in this very moment, one key is refused.
            writes.insert(withdrawn, image_id)
        writes.update(current.changed(deleted_at=now), image_id)
        return current

    keys = [RowKey(ImageRow, (image_id,))]
    shared = []
    if slot_key is not None:
        keys += [RowKey(BlogSlotRow, slot_key), RowKey(SlotCandidateRow, (image_id,))]
        shared.append(RowKey(BlogRow, slot_key[:2]))
    deleted = await journal.record(Step("delete_image", decide, tuple(keys), tuple(shared)))
    for key in (deleted.key, *(variant["key"] for variant in deleted.variants)):
        try:
            await blobs.delete(key)
        except BlobStoreUnavailable as exc:  # nobody can see it any more; only room is lost
            log.warning("deleted_picture_left_behind", key=key, error=str(exc))


def _withdrawn(image: ImageRow, job: JobRow, now: datetime) -> SlotCandidateRow:
    """The picture as a candidate of its place; deleted, it is shown to nobody."""
    return SlotCandidateRow.of(
        image_id=image.id,
        tenant=job.tenant,
        blog_id=job.blog_id,
        role=job.role,
        position=job.position,
        job_id=job.id,
        rank=Rank.DRAFT if job.is_draft else Rank.FINAL,
        seq=job.version,
        offered_at=now,
    )


@dataclass(frozen=True, slots=True)
class DeletedBlog:
    deleted_at: datetime
    cancelled_jobs: int


async def delete_blog(blog_id: str, *, tenant: str, journal: Journal, ids: Ids) -> DeletedBlog:
    """Leave a tombstone and cancel the blog's queued jobs; running ones finish unlinked.

    Repeating it changes nothing; for a blog that nobody ever named it is a 404, so that a mistyped
    name is not used up. The tombstone and the first cancellations are one commit, so that no death
    between them leaves jobs to be paid for. From that commit on no job can be created for the
    blog, so the queued ones that are found after it are the last.
    """
    deleted_at: datetime | None = None
    cancelled = 0
    while True:
        queued = await journal.read(
            job_reads.queued_jobs_of_blog, tenant, blog_id, CANCELLED_AT_ONCE
        )
        if deleted_at is not None and not queued:
            return DeletedBlog(deleted_at, cancelled)
        step = _deletion(blog_id, tenant, list(queued), journal.now(), ids)
        since, moved = await record_moves(journal, step)
        deleted_at, cancelled = since, cancelled + moved


def _deletion(
    blog_id: str, tenant: str, job_ids: list[UUID], now: datetime, ids: Ids
) -> Step[tuple[datetime, int]]:
    """Write the tombstone where there is none, and cancel those of the jobs that are queued."""
    event_ids = {job_id: ids.new() for job_id in job_ids}
    key = (tenant, blog_id)

    def decide(look: Look, writes: Writes) -> tuple[datetime, int]:
        return _tombstone(look, writes), sum(_cancelled(job_id, look, writes) for job_id in job_ids)

    def _tombstone(look: Look, writes: Writes) -> datetime:
        blog = look.get(BlogRow, *key)
        if blog is None:
            raise NoSuchBlog(blog_id)
        if blog.deleted_at is not None:
            return blog.deleted_at
        writes.update(blog.changed(deleted_at=now), *key)
        return now

    def _cancelled(job_id: UUID, look: Look, writes: Writes) -> bool:
        job = look.get(JobRow, job_id)
        if job is None or job.state is not State.QUEUED:
            return False
        move_job(
            writes,
            job,
            Trigger.CANCEL,
            at=now,
            event_id=event_ids[job_id],
            reason="blog_deleted",
        )
        return True

    keys = tuple(job_key(job_id) for job_id in job_ids)
    return Step("delete_blog", decide, keys, (RowKey(BlogRow, key),))
