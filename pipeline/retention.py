"""Remove what is older than it is kept: pictures of drafts, raw bytes, history, first replies.

Without it a database and a bucket only grow. By small parts, each harmless to repeat: a row first
says that its picture is gone, then its bytes go; a death in between leaves room taken, and nothing
else. Two processes that do so at once do no harm.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from typing import Any
from uuid import UUID

import structlog
from pydantic import ValidationError

from adapters.errors import BlobStoreUnavailable, NoSuchObject, Unavailable
from adapters.ports import BlobStore, Clock
from adapters.store import retention_reads as old
from pipeline.delete import delete_image
from pipeline.errors import ImageInUse, NoSuchImage
from pipeline.journal import Journal, JournalClosed
from pipeline.move import job_key
from pipeline.staging import load_manifest, sent_keys
from schemas.retention import Kind, Removed, RetentionSettings
from schemas.step import Look, RowKey, Step, Writes
from schemas.tables import (
    Delivery,
    DeliveryRow,
    IdempotencyKey,
    IdempotencyKeyRow,
    Image,
    Inbox,
    InboxRow,
    JobRow,
    Row,
)
from states.table import State

log = structlog.get_logger(__name__)

AT_ONCE = 200
# A service that was just started has better to do.
FIRST_AFTER_SECONDS = 300.0
# An effect must be remembered longer than its event can be sent again.
REMEMBERED_LONGER = timedelta(days=7)
# A process that died between a picture's row and its bytes did so this long ago at most.
LOOK_BACK = timedelta(days=7)
LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)


@dataclass(slots=True)
class Retention:
    journal: Journal
    blobs: BlobStore
    clock: Clock
    keep: RetentionSettings
    # Until when the bytes of deleted pictures were seen to be gone by this process.
    _cleared: datetime | None = None
    # Of jobs that ended before, what was sent with them was seen to be gone. What a post's hold
    # has kept of them goes after the next start.
    _sent_cleared: datetime = LONG_AGO

    async def run(self) -> None:
        """Remove again and again until cancelled."""
        await self.clock.sleep(FIRST_AFTER_SECONDS)
        while True:
            if self.keep.enabled:
                try:
                    await self.once()
                except (Unavailable, JournalClosed) as exc:
                    log.warning("retention_interrupted", error=str(exc))
                except Exception:
                    log.exception("retention_failed")
            await self.clock.sleep(self.keep.interval_seconds)

    async def once(self, *, dry_run: bool = False) -> list[Removed]:
        """Remove what is old, or only say what would be. Raises `Unavailable`; then again later."""
        sweep = _Pass(self.journal, self.blobs, self.journal.now(), dry_run=dry_run)
        keep = self.keep
        await sweep.drafts(keep.drafts_days, keep.undecided_days)
        if not dry_run:
            await sweep.leftovers(self._cleared or sweep.now - LOOK_BACK)
            self._cleared = sweep.now
        await sweep.staged(keep.staged_days)
        await sweep.sent(self._sent_cleared, keep.staged_days)
        if not dry_run:
            self._sent_cleared = sweep.now - timedelta(days=keep.staged_days)
        await sweep.events(keep.events_days)
        remembered = timedelta(days=keep.events_days) + REMEMBERED_LONGER
        for kind, table, row, since, age in (
            (Kind.EFFECTS, Inbox, InboxRow, "handled_at", remembered),
            (Kind.DELIVERIES, Delivery, DeliveryRow, "ended_at", remembered),
            (
                Kind.REPLIES, IdempotencyKey, IdempotencyKeyRow, "created_at",
                timedelta(days=keep.replies_days),
            ),
        ):  # fmt: skip
            await sweep.rows(kind, table, row, since, age)
        found = list(sweep.found.values())
        if not dry_run and any(one.number for one in found):
            log.info("old_removed", **{one.kind.value: one.number for one in found})
        return found


@dataclass(slots=True)
class _Pass:
    """One pass over everything."""

    journal: Journal
    blobs: BlobStore
    now: datetime
    dry_run: bool
    found: dict[Kind, Removed] = field(
        default_factory=lambda: {kind: Removed(kind=kind, number=0, bytes=0) for kind in Kind}
    )

    async def drafts(self, days: int, undecided_days: int) -> None:
        before = self.now - timedelta(days=days)
        undecided = min(before, self.now - timedelta(days=undecided_days))

        async def read(after: UUID) -> Sequence[Image]:
            return await self.journal.read(old.old_drafts, before, undecided, after, AT_ONCE)

        await self._each(read, old.NIL, lambda image: image.id, self._remove_draft)

    async def _remove_draft(self, image: Image) -> None:
        if not self.dry_run:
            try:
                await delete_image(
                    image.id, tenant=image.tenant, journal=self.journal, blobs=self.blobs, aged=True
                )
            except (ImageInUse, NoSuchImage):
                return  # somebody was faster
        size = image.size_bytes + sum(one["size_bytes"] for one in image.variants)
        self._count(Kind.DRAFTS, size)

    async def leftovers(self, since: datetime) -> None:
        """Remove the bytes of pictures deleted since, again: whoever did so may have died."""

        async def read(after: UUID) -> Sequence[Image]:
            return await self.journal.read(old.deleted_images, since, after, AT_ONCE)

        async def remove(image: Image) -> None:
            for key in (image.key, *(one["key"] for one in image.variants)):
                await self.blobs.delete(key)

        await self._each(read, old.NIL, lambda image: image.id, remove)

    async def staged(self, days: int) -> None:
        before = self.now - timedelta(days=days)

        async def read(after: UUID) -> Sequence[JobRow]:
            return await self.journal.read(old.old_staged, before, after, AT_ONCE)

        await self._each(read, old.NIL, lambda job: job.id, self._remove_staged)

    async def _remove_staged(self, job: JobRow) -> None:
        assert job.staged is not None
        size = 0
        if not self.dry_run:
            try:
                manifest = await load_manifest(job.staged, self.blobs)
                for picture in manifest.pictures:
                    await self.blobs.delete(picture.key)
                for key in sent_keys(job):
                    await self.blobs.delete(key)
                # The manifest last: as long as it lies there, the next pass finds the rest.
                await self.blobs.delete(job.staged)
            except NoSuchObject:
                pass  # an earlier pass died after the last deletion
            except (BlobStoreUnavailable, ValidationError) as exc:
                log.warning("raw_bytes_not_removed", job_id=str(job.id), error=str(exc))
                return
            await self.journal.record(_forgotten(job.id, job.staged))
        self._count(Kind.RAW, size)

    async def sent(self, since: datetime, days: int) -> None:
        """Remove what was sent for jobs that came to nothing; a retry then finds it gone."""
        before = self.now - timedelta(days=days)

        async def read(after: UUID) -> Sequence[JobRow]:
            return await self.journal.read(old.sent_in_vain, since, before, after, AT_ONCE)

        async def remove(job: JobRow) -> None:
            there = [key for key in sent_keys(job) if await self.blobs.exists(key)]
            if not self.dry_run:
                for key in there:
                    await self.blobs.delete(key)
            self._count(Kind.SENT, 0, len(there))

        await self._each(read, old.NIL, lambda job: job.id, remove)

    async def events(self, days: int) -> None:
        before = self.now - timedelta(days=days)
        after = 0
        while True:
            found = await self.journal.read(old.first_events, after, AT_ONCE)
            # Only from the beginning on, without a gap: a reader that stands at an event that is
            # there must find all that came after it.
            aged = takewhile(lambda one: one.occurred_at < before and not one.is_kept, found)
            gone = [one.position for one in aged]
            if gone and not self.dry_run:
                await self.journal.record(_forgetting(gone))
            self._count(Kind.EVENTS, 0, len(gone))
            if len(gone) < AT_ONCE:
                return
            after = found[-1].position

    async def rows(
        self, kind: Kind, table: type[Row], row: type[Row], since: str, age: timedelta
    ) -> None:
        after: tuple[Any, ...] | None = None
        while True:
            keys = await self.journal.read(
                old.old_rows, table, since, self.now - age, after, AT_ONCE
            )
            if not keys:
                return
            if not self.dry_run:
                await self.journal.record(_deleting([RowKey(row, tuple(key)) for key in keys]))
            self._count(kind, 0, len(keys))
            after = keys[-1]

    async def _each(
        self,
        read: Callable[[UUID], Awaitable[Sequence[Any]]],
        after: UUID,
        key: Callable[[Any], UUID],
        remove: Callable[[Any], Awaitable[None]],
    ) -> None:
        while found := await read(after):
            for one in found:
                await remove(one)
            after = key(found[-1])

    def _count(self, kind: Kind, size: int, number: int = 1) -> None:
        before = self.found[kind]
        self.found[kind] = Removed(
            kind=kind, number=before.number + number, bytes=before.bytes + size
        )


def _forgotten(job_id: UUID, staged: str) -> Step[None]:
    """The job has no raw bytes any more. No event: nothing that callers see has changed."""

    def decide(look: Look, writes: Writes) -> None:
        job = look.get(JobRow, job_id)
        if job is not None and job.state is State.COMPLETED and job.staged == staged:
            writes.update(job.changed(staged=None), job_id)

    return Step("forget_raw_bytes", decide, (job_key(job_id),))


def _forgetting(positions: list[int]) -> Step[None]:
    def decide(_: Look, writes: Writes) -> None:
        writes.forgotten.extend(positions)

    return Step("forget_events", decide)


def _deleting(keys: list[RowKey]) -> Step[None]:
    def decide(look: Look, writes: Writes) -> None:
        for key in keys:
            if look.get(key.row, *key.key) is not None:
                writes.delete(key.row, *key.key)

    return Step("remove_old", decide, tuple(keys))
