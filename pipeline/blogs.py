"""The places of a blog as callers see them: what stands there, what might, what stood there."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from adapters.store import picture_reads
from pipeline.addresses import BaseUrl
from pipeline.errors import BlogGone, NoSuchSlot
from pipeline.journal import Journal
from pipeline.slots import Slot, offered, standing_of
from pipeline.status import image_variants, picture_url
from schemas.replies import (
    BlogImagesResponse,
    CandidateResponse,
    PreviewResponse,
    SlotHistoryEntry,
    SlotResponse,
)
from schemas.requests import FocalPoint, Role
from schemas.tables import BlogSlotRow, ImageRow, SlotCandidateRow, SlotChangeRow
from states.slots import Rank, preview_of


async def blog_images(
    blog_id: str, *, tenant: str, journal: Journal, base_url: BaseUrl
) -> BlogImagesResponse:
    """What stands in each place of a blog, in the order of role and position."""
    blog = await journal.read(picture_reads.blog, tenant, blog_id)
    if blog is not None and blog.deleted_at is not None:
        raise BlogGone(blog_id)
    # The slots first: what they name was committed with them or before, so it is found after.
    slots = await journal.read(picture_reads.slots, tenant, blog_id)
    candidates = await journal.read(picture_reads.slot_candidates, tenant, blog_id)
    changes = await journal.read(picture_reads.slot_changes, tenant, blog_id)
    ids = {one.image_id for one in candidates} | {one.image_id for one in changes if one.image_id}
    images = await journal.read(picture_reads.images, tenant, list(ids)) if ids else []
    seen = _Seen(base_url, {one.id: one for one in images if one.deleted_at is None})
    of_slot: dict[Slot, list[SlotCandidateRow]] = defaultdict(list)
    for candidate in candidates:
        of_slot[Slot.of(candidate)].append(candidate)
    stood: dict[Slot, list[SlotChangeRow]] = defaultdict(list)
    for change in changes:
        stood[Slot.of(change)].append(change)
    return BlogImagesResponse(
        blog_id=blog_id,
        images=[seen.slot(slot, of_slot[Slot.of(slot)], stood[Slot.of(slot)]) for slot in slots],
    )


async def blog_image(place: Slot, *, journal: Journal, base_url: BaseUrl) -> SlotResponse:
    """One place of a blog; raises `NoSuchSlot` where nothing was ever offered to it."""
    blog = await blog_images(place.blog_id, tenant=place.tenant, journal=journal, base_url=base_url)
    for slot in blog.images:
        if (slot.role, slot.position) == (place.role, place.position):
            return slot
    raise NoSuchSlot(str(place))


def shown_texts(
    slot: BlogSlotRow, candidates: Sequence[SlotCandidateRow]
) -> tuple[str | None, str | None]:
    """Alt text and caption of a slot: a person's, the picture's own, or the last that was given.

    *candidates* have the best standing first. A swap to a picture without texts keeps them.
    """
    current_first = sorted(candidates, key=lambda one: one.image_id != slot.image_id)
    alt_texts = [slot.alt_text, *(one.alt_text for one in current_first)]
    captions = [slot.caption, *(one.caption for one in current_first)]
    return _first(alt_texts), _first(captions)


def _first(texts: Sequence[str | None]) -> str | None:
    return next((text for text in texts if text is not None), None)


@dataclass(frozen=True, slots=True)
class _Seen:
    """The pictures that still exist, by id, and where they are fetched."""

    base_url: BaseUrl
    images: Mapping[UUID, ImageRow]

    def slot(
        self,
        slot: BlogSlotRow,
        candidates: Sequence[SlotCandidateRow],
        changes: Sequence[SlotChangeRow],
    ) -> SlotResponse:
        image = self.images.get(slot.image_id) if slot.image_id else None
        alt_text, caption = shown_texts(slot, candidates)
        there = [one for one in candidates if one.image_id in self.images]
        return SlotResponse(
            role=Role(slot.role),
            position=slot.position,
            image_id=slot.image_id,
            job_id=slot.job_id,
            is_draft=slot.rank == Rank.DRAFT,
            url=picture_url(self.base_url, image.id) if image else None,
            width=image.width if image else None,
            height=image.height if image else None,
            alt_text=alt_text,
            caption=caption,
            focal_point=FocalPoint(**slot.focal_point) if slot.focal_point else None,
            srcset=self._srcset(image) if image else None,
            variants=image_variants(image, self.base_url) if image else [],
            preview=self._preview(slot, there),
            candidates=[self._candidate(one, slot) for one in there],
            history=[self._entry(one) for one in changes],
            version=slot.version,
            updated_at=slot.updated_at,
        )

    def _preview(
        self, slot: BlogSlotRow, candidates: Sequence[SlotCandidateRow]
    ) -> PreviewResponse | None:
        by_standing = {offered(one): one for one in candidates}
        standing = preview_of(by_standing, standing_of(slot), slot.floor_job_id)
        if standing is None:
            return None
        image = self.images[by_standing[standing].image_id]
        return PreviewResponse(
            image_id=image.id,
            job_id=image.job_id,
            url=picture_url(self.base_url, image.id),
            width=image.width,
            height=image.height,
            srcset=self._srcset(image),
        )

    def _candidate(self, candidate: SlotCandidateRow, slot: BlogSlotRow) -> CandidateResponse:
        image = self.images[candidate.image_id]
        return CandidateResponse(
            image_id=candidate.image_id,
            job_id=candidate.job_id,
            is_draft=candidate.rank == Rank.DRAFT,
            is_current=candidate.image_id == slot.image_id,
            url=picture_url(self.base_url, image.id),
            width=image.width,
            height=image.height,
            alt_text=candidate.alt_text,
            caption=candidate.caption,
            offered_at=candidate.offered_at,
        )

    def _entry(self, change: SlotChangeRow) -> SlotHistoryEntry:
        exists = change.image_id in self.images
        return SlotHistoryEntry(
            version=change.version,
            change=change.change,
            reason=change.reason,
            image_id=change.image_id,
            job_id=change.job_id,
            url=picture_url(self.base_url, change.image_id) if exists and change.image_id else None,
            at=change.at,
        )

    def _srcset(self, image: ImageRow) -> str:
        widths = {one["width"]: one["name"] for one in image.variants}
        sources = [
            f"{picture_url(self.base_url, image.id, name)} {width}w"
            for width, name in sorted(widths.items())
        ]
        if image.width not in widths:  # two sources of one width: the browser knows no better one
            sources.append(f"{picture_url(self.base_url, image.id)} {image.width}w")
        return ", ".join(sources)
