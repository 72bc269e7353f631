"""A person's word on a place of a blog: roll back, unlink, edit. What they decide stays decided.

Rollback and unlinking set a floor that only later requests pass, so neither a late event nor a
replay of old ones undoes them.
"""

from uuid import UUID

import structlog

from adapters.ports import Ids
from adapters.store import picture_reads
from pipeline.errors import BlogGone, NoSuchCandidate, NoSuchSlot
from pipeline.journal import Journal
from pipeline.slots import Moment, Slot, filled_with, next_version, standing_of, write_slot
from schemas.events import EventType
from schemas.requests import SlotUpdate
from schemas.step import Look, RowKey, Step, Writes
from schemas.tables import BlogRow, BlogSlotRow, ImageRow, SlotCandidateRow
from states.slots import raised_floor

log = structlog.get_logger(__name__)

ROLLBACK = "rollback"


async def roll_back(
    place: Slot, *, image_id: UUID | None, job_id: UUID | None, journal: Journal, ids: Ids
) -> None:
    """Put an earlier candidate, named by its picture or its job, back into the slot.

    Only finals that are requested after this replace it. A candidate that does not belong to the
    slot, or whose picture was deleted, is a `NoSuchCandidate`.
    """
    named = image_id or job_id
    assert named is not None
    candidate = await journal.read(
        picture_reads.slot_candidate, place.tenant, place.blog_id, image_id=image_id, job_id=job_id
    )
    if candidate is None or Slot.of(candidate) != place:
        await _check_slot(place, journal)
        raise NoSuchCandidate(str(place), named)
    await journal.record(rollback_step(candidate, Moment.now(journal, ids), ids.new()))
    log.info("slot_rolled_back", slot=str(place), image_id=str(candidate.image_id))


def rollback_step(candidate: SlotCandidateRow, moment: Moment, decision_id: UUID) -> Step[None]:
    place = Slot.of(candidate)

    def decide(look: Look, writes: Writes) -> None:
        slot = _present(look, place)
        image = look.get(ImageRow, candidate.image_id)
        if image is None or image.deleted_at is not None:
            raise NoSuchCandidate(str(place), candidate.image_id)
        floor = raised_floor(decision_id, standing_of(slot), slot.floor_job_id)
        if slot.image_id == candidate.image_id:
            # It stands there already: nothing happens to be seen, and nothing may replace it.
            writes.update(slot.changed(floor_job_id=floor), *place)
            return
        kind = EventType.SLOT_LINKED if slot.image_id is None else EventType.SLOT_REPLACED
        filled = next_version(slot, place, moment, **filled_with(candidate), floor_job_id=floor)
        write_slot(writes, slot, filled, kind, moment, candidate, reason=ROLLBACK)

    keys = (place.row_key, RowKey(ImageRow, (candidate.image_id,)))
    return Step("roll_back", decide, keys, (place.blog_key,))


async def unlink(place: Slot, *, journal: Journal, ids: Ids) -> None:
    """Empty the slot. Only finals that are requested after this fill it; candidates stay."""
    await journal.record(unlink_step(place, Moment.now(journal, ids), ids.new()))
    log.info("slot_unlinked", slot=str(place))


def unlink_step(place: Slot, moment: Moment, decision_id: UUID) -> Step[None]:
    def decide(look: Look, writes: Writes) -> None:
        slot = _present(look, place)
        floor = raised_floor(decision_id, standing_of(slot), slot.floor_job_id)
        if slot.image_id is None:
            # Empty as it is, it is kept so against what was requested and has not come yet.
            writes.update(slot.changed(floor_job_id=floor), *place)
            return
        emptied = next_version(
            slot, place, moment, image_id=None, job_id=None, rank=0, seq=0, floor_job_id=floor
        )
        write_slot(writes, slot, emptied, EventType.SLOT_UNLINKED, moment, None)

    return Step("unlink", decide, (place.row_key,), (place.blog_key,))


async def update(place: Slot, changes: SlotUpdate, *, journal: Journal, ids: Ids) -> None:
    """Set texts and focal point of the slot; they stay whichever picture comes to stand there."""
    await journal.record(update_step(place, changes, Moment.now(journal, ids)))


def update_step(place: Slot, changes: SlotUpdate, moment: Moment) -> Step[None]:
    # A text that is null is the request's own again; what is not named stays as it is.
    wanted = changes.model_dump(exclude_unset=True)

    def decide(look: Look, writes: Writes) -> None:
        slot = _present(look, place)
        if all(getattr(slot, name) == value for name, value in wanted.items()):
            return
        updated = next_version(slot, place, moment, **wanted)
        write_slot(writes, slot, updated, EventType.SLOT_UPDATED, moment, None)

    return Step("update_slot", decide, (place.row_key,), (place.blog_key,))


def _present(look: Look, place: Slot) -> BlogSlotRow:
    blog = look.get(BlogRow, place.tenant, place.blog_id)
    if blog is not None and blog.deleted_at is not None:
        raise BlogGone(place.blog_id)
    slot = look.get(BlogSlotRow, *place)
    if slot is None:
        raise NoSuchSlot(str(place))
    return slot


async def _check_slot(place: Slot, journal: Journal) -> None:
    blog = await journal.read(picture_reads.blog, place.tenant, place.blog_id)
    if blog is not None and blog.deleted_at is not None:
        raise BlogGone(place.blog_id)
    slots = await journal.read(picture_reads.slots, place.tenant, place.blog_id)
    if place not in map(Slot.of, slots):
        raise NoSuchSlot(str(place))
