"""Move a job inside a step: the new row and the one event that goes with every new version."""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from adapters.errors import AdapterError
from pipeline.tally import check_tallied
from schemas.events import EventType, StreamKind
from schemas.json_text import to_json
from schemas.step import Lost, RowKey, Writes, row_key
from schemas.tables import EventRow, JobRow
from states.machine import IllegalMove, move
from states.table import OPEN, TERMINAL, State, Trigger

# How long a job may wait for its task before the sweep sends another; it doubles with each, since
# a long wait is more often a long queue than a lost task.
FIRST_PATIENCE = timedelta(minutes=15)
MOST_PATIENCE = timedelta(hours=8)

EVENT_OF_STATE: dict[State, EventType] = {
    State.QUEUED: EventType.JOB_QUEUED,
    State.RUNNING: EventType.JOB_STARTED,
    State.PROCESSING_RESULT: EventType.JOB_RESULT_RECEIVED,
    State.COMPLETED: EventType.JOB_COMPLETED,
    State.FAILED: EventType.JOB_FAILED,
    State.CANCELLED: EventType.JOB_CANCELLED,
}


class JobMoved(Lost):
    """The job is no longer where the step expected it. *job* is what it is now, None if absent."""

    def __init__(self, job: JobRow | None, reason: str) -> None:
        super().__init__(reason)
        self.job = job


def patience(dispatch: int) -> timedelta:
    """How long to wait for the task of the *dispatch*-th sending."""
    doublings: int = 2 ** min(dispatch - 1, 8)
    return min(FIRST_PATIENCE * doublings, MOST_PATIENCE)


def first_wake(
    now: datetime, not_before: datetime | None = None, deadline_at: datetime | None = None
) -> datetime:
    """When the sweep first looks at a job that was just queued."""
    wake = max(now, not_before or now) + patience(1)
    return min(wake, deadline_at) if deadline_at is not None else wake


def job_key(job_id: UUID) -> RowKey:
    return row_key((JobRow, (job_id,)))


def move_job(
    writes: Writes,
    job: JobRow,
    trigger: Trigger,
    *,
    at: datetime,
    event_id: UUID,
    reason: str | None = None,
    data: dict[str, Any] | None = None,
    **changes: Any,
) -> JobRow:
    """Pull *trigger* on *job*: write the next version and its event; return the new row.

    *changes* are further columns, *data* further facts for the event. Raises `JobMoved` when the
    state does not admit the trigger.
    """
    try:
        target = move(job.state, trigger)
    except IllegalMove as exc:
        raise JobMoved(job, str(exc)) from exc
    check_tallied(writes, job, target.target)
    new: dict[str, Any] = {"state": target.target, "version": job.version + 1}
    if target.raises_attempt:
        new |= {
            "attempt": job.attempt + 1,
            "dispatch": 1,
            "dispatched_to": None,
            "resumes": 0,
            "queued_at": at,
            "wake_at": first_wake(at, None, job.deadline_at),
            "lease_until": None,
            "lease_token": None,
            "ended_at": None,
            "error": None,
        }
    if target.counts_as_retry:
        new |= {"retry_count": job.retry_count + 1, "busy_since": None}
    if target.source is State.QUEUED:
        new["waiting"] = None
    if target.target in OPEN:
        new["stage"] = target.target
    if target.source in TERMINAL:
        new["ended_at"] = None
    if target.target in TERMINAL:
        new |= {"ended_at": at, "wake_at": None, "lease_until": None, "lease_token": None}
    moved = job.changed(**(new | changes))
    writes.update(moved, job.id)
    writes.insert(job_event(moved, at=at, event_id=event_id, reason=reason, data=data))
    return moved


def job_event(
    job: JobRow,
    *,
    at: datetime,
    event_id: UUID,
    kind: EventType | None = None,
    reason: str | None = None,
    data: dict[str, Any] | None = None,
) -> EventRow:
    """The event of the job's present version, with what every receiver needs of the job."""
    facts: dict[str, Any] = {
        "job_id": str(job.id),
        "kind": job.kind,
        "state": str(job.state),
        "attempt": job.attempt,
        "quality": job.quality,
        "is_draft": job.is_draft,
        "provider": job.provider,
        "blog_id": job.blog_id,
        "blog_job_id": job.blog_job_id,
        "batch_id": str(job.batch_id) if job.batch_id else None,
        "role": job.role,
        "position": job.position,
        "draft_job_id": str(job.draft_job_id) if job.draft_job_id else None,
        "final_job_id": str(job.final_job_id) if job.final_job_id else None,
        "reason": reason,
    }
    return EventRow.of(
        stream_kind=StreamKind.JOB,
        stream_id=str(job.id),
        seq=job.version,
        event_id=event_id,
        tenant=job.tenant,
        type=kind or EVENT_OF_STATE[job.state],
        blog_id=job.blog_id,
        batch_id=job.batch_id,
        data=to_json(facts | (data or {})),
        occurred_at=at,
    )


def fail_job(
    writes: Writes,
    job: JobRow,
    code: str,
    message: str,
    *,
    at: datetime,
    event_id: UUID,
    **details: Any,
) -> JobRow:
    """Fail *job*: *code* is for programs, *message* says what it means and what to do."""
    return move_job(
        writes,
        job,
        Trigger.FAIL,
        at=at,
        event_id=event_id,
        reason=code,
        error=error_facts(code, message, **details),
        data={"code": code},
    )


def retry_job(
    writes: Writes, job: JobRow, *, at: datetime, event_id: UUID, reason: str, **changes: Any
) -> JobRow:
    """Bring a job that came to rest back for another attempt, which may be charged once more.

    Whoever calls it has seen to it that there is money for that.
    """
    return move_job(
        writes,
        job,
        Trigger.RETRY,
        at=at,
        event_id=event_id,
        reason=reason,
        not_before=None,
        deadline_at=None,
        staged=None,
        **changes,
    )


def exceed_deadline(writes: Writes, job: JobRow, *, at: datetime, event_id: UUID) -> JobRow:
    """Fail a queued job whose deadline has passed."""
    message = (
        "The provider was not asked before the job's deadline. Nothing was charged. Retry the job,"
        " or ask again with a later deadline."
    )
    return fail_job(writes, job, "deadline_exceeded", message, at=at, event_id=event_id)


def error_facts(code: str, message: str, **details: Any) -> dict[str, Any]:
    """What a failed job says of itself: a code for programs, a message for people."""
    return {"code": code, "message": message, "details": details}


def told(exc: AdapterError) -> str:
    return str(exc) or type(exc).__name__
