"""blog-linking: when a picture is finished, it takes its place in the blog post, exactly once.

The effect shares a commit with its inbox row, and the place decides by rank and request order, so
repetitions, delays and reordering change nothing.
"""

from uuid import UUID

import structlog

from adapters.ports import Ids
from pipeline.journal import Journal
from schemas.events import CloudEvent, EventType, StreamKind, data_json
from schemas.step import Look, RowKey, Step, Writes
from schemas.tables import BlogRow, BlogSlotRow, EventRow, InboxRow
from states.slots import Rank, Standing, may_fill

log = structlog.get_logger(__name__)

NAME = "blog-linking"


async def link(event: CloudEvent, journal: Journal, ids: Ids) -> None:
    """Put the first picture of a completed job into its slot, if the slot is to have it."""
    facts = event.data
    if facts["blog_id"] is None:
        return
    slot_key = (event.tenant, facts["blog_id"], facts["role"], facts["position"])
    standing = Standing(
        Rank.DRAFT if facts["is_draft"] else Rank.FINAL, UUID(facts["job_id"]), event.seq
    )
    now, event_id = journal.now(), ids.new()

    def decide(look: Look, writes: Writes) -> str:
        if look.get(InboxRow, NAME, event.id) is not None:
            return "handled before"
        writes.insert(
            InboxRow.of(subscriber=NAME, event_id=event.id, handled_at=now),
            NAME,
            event.id,
        )
        blog = look.get(BlogRow, event.tenant, facts["blog_id"])
        if blog is not None and blog.deleted_at is not None:
            return "the blog was deleted"
        slot = look.get(BlogSlotRow, *slot_key)
        current = standing_of(slot)
        if not may_fill(standing, current, slot.floor_job_id if slot else None):
            return "a better picture stands there"
        new = BlogSlotRow.of(
            tenant=event.tenant,
            blog_id=facts["blog_id"],
            role=facts["role"],
            position=facts["position"],
            version=slot.version + 1 if slot else 1,
            image_id=UUID(facts["images"][0]["image_id"]),
            job_id=standing.job_id,
            rank=standing.rank,
            seq=standing.seq,
            floor_job_id=slot.floor_job_id if slot else None,
            alt_text=_kept(facts["alt_text"], slot.alt_text if slot else None),
            caption=_kept(facts["caption"], slot.caption if slot else None),
            updated_at=now,
        )
        if slot is None:
            writes.insert(new, *slot_key)
        else:
            writes.update(new, *slot_key)
        kind = EventType.SLOT_LINKED if current is None else EventType.SLOT_REPLACED
        writes.insert(_slot_event(new, slot, kind, event_id))
        return kind.value

    keys = (RowKey(InboxRow, (NAME, event.id)), RowKey(BlogSlotRow, slot_key))
    blog = RowKey(BlogRow, (event.tenant, facts["blog_id"]))
    outcome = await journal.record(Step("link", decide, keys, (blog,)))
    log.info("picture_linked", job_id=facts["job_id"], blog_id=facts["blog_id"], outcome=outcome)


def standing_of(slot: BlogSlotRow | None) -> Standing | None:
    """What stands in a slot; None for an empty one."""
    if slot is None or slot.job_id is None:
        return None
    return Standing(slot.rank, slot.job_id, slot.seq)


def _kept(offered: str | None, present: str | None) -> str | None:
    return offered if offered is not None else present


def _slot_event(
    slot: BlogSlotRow, before: BlogSlotRow | None, kind: EventType, event_id: UUID
) -> EventRow:
    data = {
        "blog_id": slot.blog_id,
        "role": slot.role,
        "position": slot.position,
        "image_id": str(slot.image_id),
        "job_id": str(slot.job_id),
        "is_draft": slot.rank == Rank.DRAFT,
        "alt_text": slot.alt_text,
        "caption": slot.caption,
        "previous_image_id": str(before.image_id) if before and before.image_id else None,
    }
    return EventRow.of(
        stream_kind=StreamKind.SLOT.value,
        stream_id=f"{slot.blog_id}/{slot.role}/{slot.position}",
        seq=slot.version,
        event_id=event_id,
        tenant=slot.tenant,
        type=kind.value,
        blog_id=slot.blog_id,
        data=data_json(data),
        occurred_at=slot.updated_at,
    )
