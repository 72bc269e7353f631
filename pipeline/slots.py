"""Offer a picture to a place of a blog, and write a place's next version with its event.

Whatever the order in which pictures are offered, and offered again, the place ends the same: the
guard is the picture's standing and the place's floor, not the event that brought it.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple, Self
from uuid import UUID

from adapters.ports import Ids
from pipeline.journal import Journal
from schemas.events import EventType, StreamKind
from schemas.json_text import to_json
from schemas.step import Look, RowKey, Writes
from schemas.tables import (
    BlogRow,
    BlogSlotRow,
    EventRow,
    ImageRow,
    SlotCandidateRow,
    SlotChangeRow,
)
from states.slots import Rank, Standing, may_fill


class Slot(NamedTuple):
    """The key of a slot's row."""

    tenant: str
    blog_id: str
    role: str
    position: int

    @classmethod
    def of(cls, row: BlogSlotRow | SlotCandidateRow | SlotChangeRow) -> Self:
        return cls(row.tenant, row.blog_id, row.role, row.position)

    @property
    def row_key(self) -> RowKey:
        return RowKey(BlogSlotRow, tuple(self))

    @property
    def blog_key(self) -> RowKey:
        return RowKey(BlogRow, (self.tenant, self.blog_id))

    def __str__(self) -> str:
        return f"{self.blog_id}/{self.role}/{self.position}"


@dataclass(frozen=True, slots=True)
class Moment:
    """When a change is made, and the fresh ids of it; made before `decide`."""

    at: datetime
    event_id: UUID

    @classmethod
    def now(cls, journal: Journal, ids: Ids) -> Self:
        return cls(journal.now(), ids.new())


def offer(
    look: Look,
    writes: Writes,
    candidate: SlotCandidateRow,
    moment: Moment,
    *,
    may_stand: bool = True,
) -> str:
    """Offer a picture to its slot, inside a step that named slot, candidate and image.

    A final takes the place if it may; whatever may not is kept as a candidate. Offering it again
    changes nothing. Returns what became of it.
    """
    image = look.get(ImageRow, candidate.image_id)
    if image is None or image.deleted_at is not None:
        return "the picture was deleted"
    known = look.get(SlotCandidateRow, candidate.image_id) is not None
    if not known:
        writes.insert(candidate, candidate.image_id)
    place = Slot.of(candidate)
    slot = look.get(BlogSlotRow, *place)
    current = standing_of(slot)
    floor = slot.floor_job_id if slot else None
    if may_stand and may_fill(offered(candidate), current, floor):
        kind = EventType.SLOT_LINKED if current is None else EventType.SLOT_REPLACED
        filled = next_version(slot, place, moment, **filled_with(candidate))
        write_slot(writes, slot, filled, kind, moment, candidate)
        return kind.value
    if known:
        return "offered before"
    kind = EventType.SLOT_CANDIDATE_ADDED
    write_slot(writes, slot, next_version(slot, place, moment), kind, moment, candidate)
    return kind.value


def standing_of(slot: BlogSlotRow | None) -> Standing | None:
    """What stands in a slot; None for an empty one."""
    if slot is None or slot.job_id is None:
        return None
    return Standing(slot.rank, slot.job_id, slot.seq)


def offered(candidate: SlotCandidateRow) -> Standing:
    return Standing(candidate.rank, candidate.job_id, candidate.seq)


def filled_with(candidate: SlotCandidateRow) -> dict[str, Any]:
    """The columns of a slot in which *candidate* stands."""
    return {name: getattr(candidate, name) for name in ("image_id", "job_id", "rank", "seq")}


def next_version(
    slot: BlogSlotRow | None, place: Slot, moment: Moment, **changes: Any
) -> BlogSlotRow:
    before = slot or BlogSlotRow.of(**place._asdict(), version=0, updated_at=moment.at)
    return before.changed(version=before.version + 1, updated_at=moment.at, **changes)


def write_slot(
    writes: Writes,
    before: BlogSlotRow | None,
    slot: BlogSlotRow,
    kind: EventType,
    moment: Moment,
    picture: SlotCandidateRow | None,
    *,
    reason: str | None = None,
) -> None:
    """Write the slot's next version with its event, and what came to stand there."""
    place = Slot.of(slot)
    if before is None:
        writes.insert(slot, *place)
    else:
        writes.update(slot, *place)
    writes.insert(_event(before, slot, kind, moment, picture, reason))
    previous_id = before.image_id if before else None
    if slot.image_id != previous_id:
        change = SlotChangeRow.of(
            **place._asdict(),
            version=slot.version,
            change=kind.value,
            reason=reason,
            image_id=slot.image_id,
            job_id=slot.job_id,
            rank=slot.rank,
            at=moment.at,
        )
        writes.insert(change, *place, slot.version)


def _event(
    before: BlogSlotRow | None,
    slot: BlogSlotRow,
    kind: EventType,
    moment: Moment,
    picture: SlotCandidateRow | None,
    reason: str | None,
) -> EventRow:
    """The event of a slot's version; it tells of *picture*, else of what stands there."""
    told: BlogSlotRow | SlotCandidateRow = picture or slot
    own = (picture.alt_text, picture.caption) if picture else (None, None)
    data = {
        "blog_id": slot.blog_id,
        "role": slot.role,
        "position": slot.position,
        "image_id": _text(told.image_id),
        "job_id": _text(told.job_id),
        "is_draft": told.rank == Rank.DRAFT,
        "alt_text": slot.alt_text if slot.alt_text is not None else own[0],
        "caption": slot.caption if slot.caption is not None else own[1],
        "focal_point": slot.focal_point,
        "current_image_id": _text(slot.image_id),
        "previous_image_id": _text(before.image_id) if before else None,
        "reason": reason,
    }
    return EventRow.of(
        stream_kind=StreamKind.SLOT.value,
        stream_id=str(Slot.of(slot)),
        seq=slot.version,
        event_id=moment.event_id,
        tenant=slot.tenant,
        type=kind.value,
        blog_id=slot.blog_id,
        data=to_json(data),
        occurred_at=moment.at,
    )


def _text(value: UUID | None) -> str | None:
    return str(value) if value is not None else None
