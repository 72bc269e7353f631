"""draft-promotion: a completed draft of a batch gets the final that was asked for with it, once.

Only the first decision about a draft is ever its own. Whatever somebody else decided stands, a
cancelled batch buys nothing, and a deleted blog or an exhausted budget leaves it blocked.
"""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import structlog

from adapters.ports import Ids
from pipeline.errors import BudgetExceeded, PriceUnknown
from pipeline.final import job_price, owed_final
from pipeline.journal import Journal
from pipeline.move import job_key
from pipeline.new_job import blog_is_deleted
from pipeline.promote import Candidate, approve, block
from pipeline.providers import Providers
from pipeline.subscribers.together import record_steps
from pipeline.tally import batch_key
from schemas.events import CloudEvent
from schemas.ids import read_id
from schemas.step import Look, RowKey, Step, Writes
from schemas.tables import BatchRow, BlogRow, DecidedBy, InboxRow, JobRow

log = structlog.get_logger(__name__)

NAME = "draft-promotion"


async def promote_drafts(
    events: Sequence[CloudEvent], journal: Journal, ids: Ids, providers: Providers
) -> list[Exception | None]:
    """Buy the finals of drafts whose batches say so; for each event None, or its failure."""
    steps = [
        _promotion(event, journal.now(), ids, providers) if _is_of_batch(event) else None
        for event in events
    ]
    return await record_steps(events, steps, journal, _tell)


def _is_of_batch(event: CloudEvent) -> bool:
    return event.data.get("batch_id") is not None and bool(event.data["is_draft"])


def _tell(event: CloudEvent, outcome: str) -> None:
    log.info("draft_handled", draft_job_id=event.data["job_id"], outcome=outcome)


def _promotion(event: CloudEvent, now: datetime, ids: Ids, providers: Providers) -> Step[str]:
    draft_id, batch_id = read_id(event.data["job_id"]), read_id(event.data["batch_id"])
    blog_id = event.data["blog_id"]

    # Most batches buy nothing, and need no ids; decided again, a step gets the same ones. To make a
    # function with a cache takes as long as three ids.
    made: list[tuple[UUID, tuple[UUID, UUID]]] = []

    def new_ids() -> tuple[UUID, tuple[UUID, UUID]]:
        if not made:
            made.append((ids.new(), (ids.new(), ids.new())))
        return made[0]

    def decide(look: Look, writes: Writes) -> str:
        if look.get(InboxRow, NAME, event.id) is not None:
            return "handled before"
        writes.insert(
            InboxRow.of(subscriber=NAME, event_id=event.id, handled_at=now), NAME, event.id
        )
        batch = look.get(BatchRow, batch_id)
        if batch is None or not batch.awaits_promotion:
            return "its batch buys nothing by itself"
        look.require((draft_key, *blog))
        draft = look.get(JobRow, draft_id)
        if draft is None or draft.version != event.seq:
            return "decided before"  # nothing else changes a completed draft
        found = Candidate(draft)
        final_id, event_ids = new_ids()
        if blog_is_deleted(look, draft):
            block(look, writes, found, "blog_deleted", event_id=event_ids[0], at=now)
            return "blocked: the blog was deleted"
        final = owed_final(draft, job_id=final_id, now=now)
        price = job_price(final, providers)
        by = DecidedBy.AUTOMATIC
        try:
            approve(look, writes, found, final, price, decided_by=by, event_ids=event_ids)
        except (BudgetExceeded, PriceUnknown) as exc:
            block(look, writes, found, exc.code, event_id=event_ids[0], at=now)
            return f"blocked: {exc}"
        return "approved"

    inbox_key, draft_key = RowKey(InboxRow, (NAME, event.id)), job_key(draft_id)
    blog = (RowKey(BlogRow, (event.tenant, blog_id)),) if blog_id is not None else ()
    # The draft and its blog are named only where its batch buys something.
    return Step("promote_draft", decide, (inbox_key,), (batch_key(batch_id),))
