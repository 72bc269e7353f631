"""draft-promotion: a completed draft of a batch gets the final that was asked for with it, once.

Only the first decision about a draft is ever its own. Whatever somebody else decided stands, a
cancelled batch buys nothing, and a deleted blog leaves the promotion blocked.
"""

from uuid import UUID

import structlog

from adapters.ports import Ids
from pipeline.final import owed_final
from pipeline.journal import Journal
from pipeline.new_job import blog_is_deleted
from pipeline.promote import (
    Candidate,
    DecidedMeanwhile,
    approve,
    block,
    candidate,
)
from schemas.events import CloudEvent
from schemas.step import Look, RowKey, Step, Writes
from schemas.tables import BatchRow, DecidedBy, InboxRow

log = structlog.get_logger(__name__)

NAME = "draft-promotion"


async def promote_draft(event: CloudEvent, journal: Journal, ids: Ids) -> None:
    """Buy the final of a completed draft, if its batch says so."""
    if event.data.get("batch_id") is None or not event.data["is_draft"]:
        return
    draft_id = UUID(event.data["job_id"])
    while True:
        found = await candidate(draft_id, event.tenant, journal)
        if found is None:
            log.error("completed_draft_is_gone", draft_job_id=str(draft_id))
            return
        try:
            outcome = await journal.record(_promotion(event.id, found, journal, ids))
        except DecidedMeanwhile:
            continue
        log.info("draft_handled", draft_job_id=str(draft_id), outcome=outcome)
        return


def _promotion(handled: UUID, found: Candidate, journal: Journal, ids: Ids) -> Step[str]:
    now = journal.now()
    final = owed_final(found.draft, job_id=ids.new(), now=now)
    event_ids = ids.new(), ids.new()

    def decide(look: Look, writes: Writes) -> str:
        if look.get(InboxRow, NAME, handled) is not None:
            return "handled before"
        writes.insert(InboxRow.of(subscriber=NAME, event_id=handled, handled_at=now), NAME, handled)
        if found.last is not None:
            return "decided before"
        batch = look.get(BatchRow, found.draft.batch_id)
        if batch is None or not batch.awaits_promotion:
            return "its batch buys nothing by itself"
        if blog_is_deleted(look, found.draft):
            block(look, writes, found, "blog_deleted", event_id=event_ids[0], at=now)
            return "blocked: the blog was deleted"
        approve(look, writes, found, final, decided_by=DecidedBy.AUTOMATIC, event_ids=event_ids)
        return "approved"

    keys = (RowKey(InboxRow, (NAME, handled)), *found.keys)
    return Step("promote_draft", decide, keys, found.shared)
