"""blog-linking: when a picture is finished, it is offered to its place in the blog, exactly once.

A final takes the place, a draft is shown as its preview. The effect shares a commit with its inbox
row, and the place decides by rank and request order, so repetitions, delays and reordering change
nothing.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

import structlog

from adapters.ports import Ids
from adapters.store import job_reads
from pipeline.journal import Journal
from pipeline.slots import Moment, Slot, offer
from pipeline.subscribers.together import record_steps
from schemas.events import CloudEvent
from schemas.ids import read_id
from schemas.step import Look, Step, Writes, row_key
from schemas.tables import BlogRow, Decision, ImageRow, InboxRow, SlotCandidateRow
from states.slots import Rank

log = structlog.get_logger(__name__)

NAME = "blog-linking"


async def link(events: Sequence[CloudEvent], journal: Journal, ids: Ids) -> list[Exception | None]:
    """Offer the first picture of each completed job to its slot; for each None, or its failure."""
    finals = [event for event in events if _is_placed(event) and _draft_of(event) is not None]
    answers = await asyncio.gather(*(_was_refused(event, journal) for event in finals))
    refused = {event.id for event, answer in zip(finals, answers, strict=True) if answer}
    steps = [
        link_step(event, Moment.now(journal, ids), may_stand=event.id not in refused)
        if _is_placed(event)
        else None
        for event in events
    ]
    return await record_steps(events, steps, journal, _tell)


def _is_placed(event: CloudEvent) -> bool:
    return event.data["blog_id"] is not None


def _draft_of(event: CloudEvent) -> str | None:
    draft_id: str | None = event.data.get("draft_job_id")
    return draft_id


def _tell(event: CloudEvent, outcome: str) -> None:
    log.info(
        "picture_linked",
        job_id=event.data["job_id"],
        blog_id=event.data["blog_id"],
        outcome=outcome,
    )


async def _was_refused(event: CloudEvent, journal: Journal) -> bool:
    """Whether somebody has decided that the draft gets no final: this one came late, all the same.

    Nobody can decide so once the final is completed, so this may be read before the step.
    """
    draft_id = _draft_of(event)
    assert draft_id is not None
    last = await journal.read(job_reads.last_promotion, event.tenant, read_id(draft_id))
    return last is not None and last.decision is Decision.REJECTED


def link_step(event: CloudEvent, moment: Moment, *, may_stand: bool = True) -> Step[str]:
    """The step that answers what became of the picture; one that may not stand is a candidate."""
    candidate = _candidate(event, moment)
    place = Slot.of(candidate)

    def decide(look: Look, writes: Writes) -> str:
        if look.get(InboxRow, NAME, event.id) is not None:
            return "handled before"
        writes.insert(
            InboxRow.of(subscriber=NAME, event_id=event.id, handled_at=moment.at),
            NAME,
            event.id,
        )
        blog = look.get(BlogRow, place.tenant, place.blog_id)
        if blog is not None and blog.deleted_at is not None:
            return "the blog was deleted"
        return offer(look, writes, candidate, moment, may_stand=may_stand)

    keys = (
        row_key((InboxRow, (NAME, event.id))),
        row_key((SlotCandidateRow, (candidate.image_id,))),
        row_key((ImageRow, (candidate.image_id,))),
        place.row_key,
    )
    return Step("link", decide, keys, (place.blog_key,))


def _candidate(event: CloudEvent, moment: Moment) -> SlotCandidateRow:
    facts: dict[str, Any] = event.data
    return SlotCandidateRow.of(
        image_id=read_id(facts["images"][0]["image_id"]),
        tenant=event.tenant,
        blog_id=facts["blog_id"],
        role=facts["role"],
        position=facts["position"],
        job_id=read_id(facts["job_id"]),
        rank=Rank.DRAFT if facts["is_draft"] else Rank.FINAL,
        seq=event.seq,
        alt_text=facts["alt_text"],
        caption=facts["caption"],
        offered_at=moment.at,
    )
