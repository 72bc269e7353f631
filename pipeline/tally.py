"""Keep the numbers of a batch, in the commits that move its jobs and decide its drafts.

Without it nobody could say that a batch is done: the last two jobs to end may do so at the same
moment in two processes. The batch's row is locked by each such commit, so one of them is the last.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar, cast
from uuid import UUID

from pipeline.budgets import book
from pipeline.journal import Journal
from schemas.events import EventType, StreamKind
from schemas.ids import id_from
from schemas.json_text import to_json
from schemas.step import Look, RowKey, Step, Writes, row_key
from schemas.tables import BatchRow, EventRow, JobRow
from states.table import TERMINAL, State

T = TypeVar("T")

OPEN = "open"
# The batch's column in which a job of a state is counted.
COUNTED_AS: Mapping[State, str] = {
    state: state.value if state in TERMINAL else OPEN for state in State
}
COUNTS = (
    "drafts", "finals", OPEN, "completed", "failed", "cancelled",
    "undecided", "approved", "rejected", "blocked",
)  # fmt: skip


def batch_key(batch_id: UUID) -> RowKey:
    return row_key((BatchRow, (batch_id,)))


def batch_keys(job: JobRow) -> tuple[RowKey, ...]:
    """What a step that moves *job* names besides it: its batch, if it has one. Always shared."""
    return (batch_key(job.batch_id),) if job.batch_id is not None else ()


async def record_moves(
    journal: Journal,
    step: Step[T],
    *,
    at: datetime | None = None,
    cancels: UUID | None = None,
) -> T:
    """Record a step that may move jobs or settle calls; count in its commit what it moves, and
    book there what that means for budgets.

    *at* is when, else now. Unless it loses, it also cancels the batch *cancels*, which it names.

    A step that knew the job only by its id loses when that job's batch has to be counted, and is
    recorded once more with the batch named: jobs without a batch never pay for it.
    """
    return await journal.record(_tallied(step, at or journal.now(), cancels))


def _tallied(step: Step[T], at: datetime, cancels: UUID | None) -> Step[T]:
    def decide(look: Look, writes: Writes) -> T:
        writes.tallied, writes.needs_count = True, cancels is not None
        answer = step.decide(look, writes)
        if writes.updates or writes.needs_count:
            jobs = writes.last_updates(JobRow)
            if writes.needs_count:
                _count_moves(look, writes, jobs, at, cancels)
            book(look, writes, jobs)
        return cast("T", _as_left(answer, writes)) if isinstance(answer, JobRow) else answer

    return Step(step.name, decide, step.keys, step.shared, step.creates)


def _as_left(job: JobRow, writes: Writes) -> JobRow:
    """The job that a step returns, with what was booked on it after the step had decided."""
    for key, row in reversed(writes.updates):
        if key.row is JobRow and key.key[0] == job.id:
            return cast("JobRow", row)
    return job


def check_tallied(writes: Writes, before: JobRow, after: State) -> None:
    """Refuse a move that would change what a batch owes while nobody counts it: a defect."""
    if before.batch_id is not None and COUNTED_AS[before.state] != COUNTED_AS[after]:
        if not writes.tallied:
            raise TypeError("a step that moves a batch's job is recorded by record_moves")
        writes.needs_count = True


def _count_moves(
    look: Look,
    writes: Writes,
    jobs: Sequence[tuple[tuple[Any, ...], JobRow]],
    at: datetime,
    cancels: UUID | None,
) -> None:
    changes: dict[UUID, dict[str, int]] = {} if cancels is None else {cancels: {}}
    for (job_id,), after in jobs:
        if (batch_id := after.batch_id) is None:
            continue
        before = look.get(JobRow, job_id)
        if before is None or COUNTED_AS[before.state] == COUNTED_AS[after.state]:
            continue
        change = changes.setdefault(batch_id, {})
        _add(change, COUNTED_AS[before.state], -1)
        _add(change, COUNTED_AS[after.state], 1)
        if after.is_draft and after.state is State.COMPLETED:
            _add(change, "undecided", 1)
    if not changes:
        return
    look.require(map(batch_key, changes))
    for batch_id, change in changes.items():
        count(look, writes, batch_id, change, at=at, cancelled=batch_id == cancels)


def _add(change: dict[str, int], name: str, by: int) -> None:
    change[name] = change.get(name, 0) + by


def count(
    look: Look,
    writes: Writes,
    batch_id: UUID,
    change: Mapping[str, int],
    *,
    at: datetime,
    cancelled: bool = False,
) -> None:
    """Add *change* to a batch's numbers; tell when it comes to owe nothing, and when it does again.

    What a batch owes decides its version: `completed` is written once for each time that it came
    to owe nothing. *cancelled* ends it, whatever it was promised; its jobs' moves are in *change*.
    """
    batch = look.get(BatchRow, batch_id)
    if batch is None:
        return  # a job never waits for the numbers of its batch
    cancelled = cancelled and batch.cancelled_at is None
    if not cancelled and not any(change.values()):
        return
    numbers = {name: getattr(batch, name) + by for name, by in change.items()}
    after = batch.changed(**numbers, **({"cancelled_at": at} if cancelled else {}))
    ended, reopened = after.owed == 0 and batch.owed > 0, after.owed > 0 and batch.owed == 0
    if ended or reopened or cancelled:
        after = after.changed(version=batch.version + 1, ended_at=at if after.owed == 0 else None)
        kind = EventType.BATCH_REOPENED if reopened else EventType.BATCH_COMPLETED
        writes.insert(batch_event(after, kind, at=at))
    writes.update(after, batch_id)


def batch_event(batch: BatchRow, kind: EventType, *, at: datetime) -> EventRow:
    """The event of the batch's present version; its id follows from the version."""
    data = {
        "batch_id": str(batch.id),
        "blog_id": batch.blog_id,
        "blog_job_id": batch.blog_job_id,
        "workflow": batch.workflow,
        "approval": batch.approval,
        "final_quality": batch.final_quality,
        "cancelled": batch.cancelled_at is not None,
        "owed": batch.owed,
        "counts": {name: getattr(batch, name) for name in COUNTS},
    }
    return EventRow.of(
        stream_kind=StreamKind.BATCH,
        stream_id=str(batch.id),
        seq=batch.version,
        event_id=id_from(batch.id, str(batch.version)),
        tenant=batch.tenant,
        type=kind,
        blog_id=batch.blog_id,
        batch_id=batch.id,
        data=to_json(data),
        occurred_at=at,
    )
