"""Decide about a completed draft: buy its final, or not. One commit a decision.

The decision, the final's job, both links, the events and the batch's numbers are written together,
and one decision a generation is all that the database takes: a second click, a link, the automatic
promotion and a rejection that come at the same time find the first one's.
"""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import structlog

from adapters.ports import Ids
from adapters.store import job_reads
from pipeline.budgets import hold, hold_keys
from pipeline.errors import (
    BatchCancelled,
    CannotReject,
    DraftNotUsable,
    DraftRejected,
    NoSuchJob,
)
from pipeline.final import asked_final, check_draft, job_price
from pipeline.journal import Journal
from pipeline.move import job_event, job_key
from pipeline.new_job import blog_keys, take_places
from pipeline.providers import Providers
from pipeline.tally import OPEN, batch_keys, count
from schemas.events import EventType
from schemas.requests import PromotionRequest
from schemas.step import Look, Lost, RowKey, Step, Writes
from schemas.tables import BatchRow, DecidedBy, Decision, JobRow, PromotionRow
from states.table import State

log = structlog.get_logger(__name__)

EVENT_OF_DECISION = {
    Decision.APPROVED: EventType.DRAFT_APPROVED,
    Decision.REJECTED: EventType.DRAFT_REJECTED,
    Decision.BLOCKED: EventType.DRAFT_BLOCKED,
}
# A final that ended like this may have a successor.
LOST_FINAL = frozenset({State.FAILED, State.CANCELLED})


class DecidedMeanwhile(Lost):
    """Somebody else decided about the draft since it was read: read it again."""


@dataclass(frozen=True, slots=True)
class Promoted:
    """The draft's final; *new* unless an earlier decision made it."""

    final: JobRow
    new: bool


@dataclass(frozen=True, slots=True)
class Candidate:
    """A draft as it was read, with the latest decision about it and what became of that."""

    draft: JobRow
    last: PromotionRow | None = None
    last_final: JobRow | None = None

    @property
    def generation(self) -> int:
        """Which decision the next one is."""
        return self.last.generation + 1 if self.last is not None else 1

    @property
    def standing_final(self) -> JobRow | None:
        """The final that the draft has: bought, and neither failed nor cancelled."""
        final = self.last_final
        return final if final is not None and final.state not in LOST_FINAL else None

    @property
    def keys(self) -> tuple[RowKey, ...]:
        """What a step that decides names as its own."""
        final = self.last_final
        return (job_key(self.draft.id), *((job_key(final.id),) if final is not None else ()))

    @property
    def shared(self) -> tuple[RowKey, ...]:
        return (*batch_keys(self.draft), *blog_keys([self.draft]))


async def candidate(draft_id: UUID, tenant: str, journal: Journal) -> Candidate | None:
    """The draft with what was decided about it; None where there is no such job."""
    draft = await journal.read(job_reads.job, tenant, draft_id)
    if draft is None:
        return None
    last = await journal.read(job_reads.last_promotion, tenant, draft_id)
    if last is None or last.final_job_id is None:
        return Candidate(draft, last)
    return Candidate(draft, last, await journal.read(job_reads.job, tenant, last.final_job_id))


async def promote(
    draft_id: UUID,
    tenant: str,
    wishes: PromotionRequest | None = None,
    *,
    decided_by: DecidedBy = DecidedBy.PERSON,
    journal: Journal,
    ids: Ids,
    providers: Providers,
) -> Promoted:
    """Buy the final of a completed draft; a draft that has one keeps it, and it is returned.

    After a failed, cancelled or blocked one the next is bought. Raises `NoSuchJob`,
    `DraftNotUsable`, `DraftRejected`, `BatchCancelled`, `BlogDeleted`, `UnknownStrategy`,
    `BudgetExceeded`, `PriceUnknown`.
    """
    asked = wishes.model_dump(exclude_unset=True) if wishes is not None else {}
    while True:
        found = await candidate(draft_id, tenant, journal)
        if found is None:
            raise NoSuchJob(draft_id)
        check_draft(found.draft)
        if (final := found.standing_final) is not None:
            return Promoted(final, new=False)
        if found.last is not None and found.last.decision is Decision.REJECTED:
            raise DraftRejected(draft_id)
        final = asked_final(
            found.draft, asked, job_id=ids.new(), now=journal.now(), providers=providers
        )
        try:
            price = job_price(final, providers)
            bought = await journal.record(_approval(found, final, price, decided_by, ids))
        except DecidedMeanwhile:
            continue
        log.info("draft_promoted", draft_job_id=str(draft_id), job_id=str(bought.id))
        return Promoted(bought, new=True)


def _approval(
    found: Candidate, final: JobRow, price: Decimal | None, decided_by: DecidedBy, ids: Ids
) -> Step[JobRow]:
    event_ids = ids.new(), ids.new()

    def decide(look: Look, writes: Writes) -> JobRow:
        return approve(
            look, writes, found, final, price, decided_by=decided_by, event_ids=event_ids
        )

    shared = (*found.shared, *hold_keys([final], [price]))
    return Step("promote", decide, found.keys, shared, creates=True)


async def reject(
    draft_id: UUID,
    tenant: str,
    *,
    reason: str | None = None,
    decided_by: DecidedBy = DecidedBy.PERSON,
    journal: Journal,
    ids: Ids,
) -> JobRow:
    """Decide that a completed draft gets no final, and return it. Rejecting it again is a success.

    Raises `NoSuchJob`, and `CannotReject` for what is no completed draft or has its final.
    """
    event_id, now = ids.new(), journal.now()
    while True:
        found = await candidate(draft_id, tenant, journal)
        if found is None:
            raise NoSuchJob(draft_id)
        try:
            check_draft(found.draft)
        except DraftNotUsable as exc:
            raise CannotReject(draft_id, exc.reason) from exc
        if (final := found.standing_final) is not None:
            why = f"its final is job {final.id}; cancel that one where it is not completed"
            raise CannotReject(draft_id, why, final.id)
        if found.last is not None and found.last.decision is Decision.REJECTED:
            return found.draft
        try:
            return await journal.record(_rejection(found, reason, decided_by, event_id, now))
        except DecidedMeanwhile:
            continue


def _rejection(
    found: Candidate, reason: str | None, decided_by: DecidedBy, event_id: UUID, now: datetime
) -> Step[JobRow]:
    def decide(look: Look, writes: Writes) -> JobRow:
        draft = still_undecided(look, found)
        decision = _decision(found, Decision.REJECTED, decided_by, now, reason=reason)
        return _write(look, writes, draft, found, decision, event_id=event_id)

    return Step("reject", decide, found.keys, found.shared)


def still_undecided(look: Look, found: Candidate) -> JobRow:
    """The draft's row under its lock; raises `DecidedMeanwhile` where *found* is out of date.

    Every decision raises the draft's version. It is asked and not the decision's row, which a look
    that has waited for the draft's lock may not see yet; that row's key is the last guard.
    """
    draft = look.get(JobRow, found.draft.id)
    revived = False
    if found.last_final is not None:
        final = look.get(JobRow, found.last_final.id)
        revived = final is not None and final.state not in LOST_FINAL
    if draft is None or draft.version != found.draft.version or revived:
        raise DecidedMeanwhile("the draft was decided meanwhile")
    return draft


def approve(
    look: Look,
    writes: Writes,
    found: Candidate,
    final: JobRow,
    price: Decimal | None,
    *,
    decided_by: DecidedBy,
    event_ids: tuple[UUID, UUID],
) -> JobRow:
    """Buy *final* for the draft of *found*, within the caller's step, and return it as stored.

    The step names `found.keys`, `found.shared` and `hold_keys`. Where a budget does not admit the
    final at its *price*, a person's request is refused, and an automatic promotion ends in `block`.
    """
    approved_id, queued_id = event_ids
    draft = still_undecided(look, found)
    batch = look.get(BatchRow, draft.batch_id) if draft.batch_id is not None else None
    if batch is not None and batch.cancelled_at is not None:
        raise BatchCancelled(batch.id)
    (placed,) = take_places(look, writes, hold(look, writes, [final], [price], at=final.created_at))
    decision = _decision(
        found, Decision.APPROVED, decided_by, placed.created_at, final_job_id=placed.id
    )
    _write(look, writes, draft, found, decision, event_id=approved_id)
    writes.insert(placed, placed.id)
    writes.insert(job_event(placed, at=placed.created_at, event_id=queued_id))
    return placed


def block(
    look: Look, writes: Writes, found: Candidate, reason: str, *, event_id: UUID, at: datetime
) -> JobRow:
    """Write that an automatic promotion bought nothing, and why; a person may still promote."""
    draft = still_undecided(look, found)
    decision = _decision(found, Decision.BLOCKED, DecidedBy.AUTOMATIC, at, reason=reason)
    return _write(look, writes, draft, found, decision, event_id=event_id)


def _decision(
    found: Candidate, decision: Decision, decided_by: DecidedBy, at: datetime, **facts: Any
) -> PromotionRow:
    return PromotionRow.of(
        draft_job_id=found.draft.id,
        generation=found.generation,
        tenant=found.draft.tenant,
        decision=decision,
        decided_by=decided_by,
        decided_at=at,
        **facts,
    )


def _write(
    look: Look,
    writes: Writes,
    draft: JobRow,
    found: Candidate,
    decision: PromotionRow,
    *,
    event_id: UUID,
) -> JobRow:
    """The decision's row, the draft's next version with its event, the batch's numbers."""
    decided = draft.changed(
        version=draft.version + 1, final_job_id=decision.final_job_id or draft.final_job_id
    )
    writes.insert(decision, decision.draft_job_id, decision.generation)
    writes.update(decided, draft.id)
    kind = EVENT_OF_DECISION[decision.decision]
    facts = {
        "generation": decision.generation,
        "decided_by": decision.decided_by,
        "decision_reason": decision.reason,
    }
    at = decision.decided_at
    writes.insert(job_event(decided, at=at, event_id=event_id, kind=kind, data=facts))
    if draft.batch_id is not None:
        before = found.last.decision.value if found.last is not None else "undecided"
        change = dict.fromkeys((before, decision.decision.value), 0)
        change[before] -= 1
        change[decision.decision.value] += 1
        if decision.final_job_id is not None:
            change |= {"finals": 1, OPEN: 1}
        count(look, writes, draft.batch_id, change, at=at)
    return decided
