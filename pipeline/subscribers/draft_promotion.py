"""draft-promotion: a completed draft of a batch gets the final that was asked for with it, once.

Only the first decision about a draft is ever its own. Whatever somebody else decided stands, a
cancelled batch buys nothing, and a deleted blog or an exhausted budget leaves it blocked.
"""

from collections.abc import Sequence
from dataclasses import dataclass
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
from schemas.step import Look, RowKey, Step, Writes, row_key
from schemas.tables import BatchRow, BlogRow, DecidedBy, InboxRow, JobRow

log = structlog.get_logger(__name__)

NAME = "draft-promotion"


async def promote_drafts(
    events: Sequence[CloudEvent], journal: Journal, ids: Ids, providers: Providers
) -> list[Exception | None]:
    """Buy the finals of drafts whose batches say so; for each event None, or its failure."""
    steps = [
        promotion_step(event, journal.now(), ids, providers) if _is_of_batch(event) else None
        for event in events
    ]
    return await record_steps(events, steps, journal, _tell)


def _is_of_batch(event: CloudEvent) -> bool:
    return event.data.get("batch_id") is not None and bool(event.data["is_draft"])


def _tell(event: CloudEvent, outcome: str) -> None:
    log.info("draft_handled", draft_job_id=event.data["job_id"], outcome=outcome)


def promotion_step(event: CloudEvent, now: datetime, ids: Ids, providers: Providers) -> Step[str]:
    """The step that answers what became of the draft of a batch."""
    draft_id, batch_id = read_id(event.data["job_id"]), read_id(event.data["batch_id"])
    promotion = _Promotion(event, draft_id, batch_id, now, ids, providers)
    inbox_key = row_key((InboxRow, (NAME, event.id)))
    # The draft and its blog are named only where its batch buys something.
    return Step("promote_draft", promotion.decide, (inbox_key,), (batch_key(batch_id),))


@dataclass(slots=True, eq=False)
class _Promotion:
    """The decision about one completed draft."""

    event: CloudEvent
    draft_id: UUID
    batch_id: UUID
    now: datetime
    ids: Ids
    providers: Providers
    # Decided again, the step has the same ids; most batches buy nothing and need none.
    _made: tuple[UUID, tuple[UUID, UUID]] | None = None

    def decide(self, look: Look, writes: Writes) -> str:
        event_id = self.event.id
        if look.get(InboxRow, NAME, event_id) is not None:
            return "handled before"
        handled = InboxRow.of(subscriber=NAME, event_id=event_id, handled_at=self.now)
        writes.insert(handled, NAME, event_id)
        batch = look.get(BatchRow, self.batch_id)
        if batch is None or not batch.awaits_promotion:
            return "its batch buys nothing by itself"
        look.require((job_key(self.draft_id), *self._blog_key()))
        draft = look.get(JobRow, self.draft_id)
        if draft is None or draft.version != self.event.seq:
            return "decided before"  # nothing else changes a completed draft
        return self._promote(draft, look, writes)

    def _promote(self, draft: JobRow, look: Look, writes: Writes) -> str:
        found = Candidate(draft)
        final_id, event_ids = self._new_ids()
        if blog_is_deleted(look, draft):
            block(look, writes, found, "blog_deleted", event_id=event_ids[0], at=self.now)
            return "blocked: the blog was deleted"
        final = owed_final(draft, job_id=final_id, now=self.now)
        price = job_price(final, self.providers)
        by = DecidedBy.AUTOMATIC
        try:
            approve(look, writes, found, final, price, decided_by=by, event_ids=event_ids)
        except (BudgetExceeded, PriceUnknown) as exc:
            block(look, writes, found, exc.code, event_id=event_ids[0], at=self.now)
            return f"blocked: {exc}"
        return "approved"

    def _blog_key(self) -> tuple[RowKey, ...]:
        blog_id = self.event.data["blog_id"]
        return (RowKey(BlogRow, (self.event.tenant, blog_id)),) if blog_id is not None else ()

    def _new_ids(self) -> tuple[UUID, tuple[UUID, UUID]]:
        if self._made is None:
            self._made = (self.ids.new(), (self.ids.new(), self.ids.new()))
        return self._made
