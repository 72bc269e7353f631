"""W3C trace context: without it nobody could see the way of one job through queue and bus.

A job's id is the id of its trace, so that every task and event of it belongs together, whichever
process sends it and however often.
"""

from uuid import UUID

from schemas.events import CloudEvent
from schemas.tasks import ImageTask

SAMPLED = "01"


def task_traceparent(task: ImageTask) -> str:
    return _traceparent(task.job_id, task.name[:16])


def event_traceparent(event: CloudEvent) -> str:
    """The trace of the event's job; of an event without one, its own."""
    try:
        trace = UUID(str(event.data.get("job_id") or event.data.get("batch_id") or event.id))
    except ValueError:
        trace = event.id
    return _traceparent(trace, event.id.hex[-16:])


def _traceparent(trace: UUID, span: str) -> str:
    return f"00-{trace.hex}-{span}-{SAMPLED}"
