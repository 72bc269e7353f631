"""Rows and steps for tests that look at the journal and the store from below."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from pipeline.move import job_event, job_key, move_job
from schemas.step import Look, RowKey, Step, Writes
from schemas.tables import JobRow
from states.table import State, Trigger

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def new_job(**columns: Any) -> JobRow:
    """A queued job at version 1."""
    given: dict[str, Any] = {
        "id": uuid4(),
        "tenant": "default",
        "kind": "generate",
        "state": State.QUEUED,
        "version": 1,
        "wake_at": NOW + timedelta(minutes=15),
        "stage": State.QUEUED,
        "quality": "draft",
        "is_draft": True,
        "provider": "sketch",
        "request": {"prompt": "a lighthouse", "aspect_ratio": "1:1", "seed": 1},
        "created_at": NOW,
        "queued_at": NOW,
    }
    return JobRow(**given | columns)


def create(job: JobRow, *, keys: tuple[RowKey, ...] = ()) -> Step[UUID]:
    """A step that stores *job* and its first event."""
    event_id = uuid4()

    def decide(_: Look, writes: Writes) -> UUID:
        writes.insert(job, job.id)
        writes.insert(job_event(job, at=NOW, event_id=event_id))
        return job.id

    return Step("create", decide, keys, creates=True)


def pull(job_id: UUID, trigger: Trigger, **changes: Any) -> Step[JobRow]:
    """A step that pulls *trigger* on a stored job and returns the moved row."""
    event_id = uuid4()

    def decide(look: Look, writes: Writes) -> JobRow:
        job = look.get(JobRow, job_id)
        assert job is not None
        return move_job(writes, job, trigger, at=NOW, event_id=event_id, **changes)

    return Step(trigger.value, decide, (job_key(job_id),))
