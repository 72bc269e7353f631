"""What happened, as it travels: CloudEvents 1.0 with our types. Never a signed URL inside."""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

import pydantic_core
from pydantic import BaseModel, ConfigDict

from schemas.tables import EventRow

SOURCE = "/limner"
SEQUENCE_DIGITS = 10


class StreamKind(StrEnum):
    JOB = "job"
    BATCH = "batch"
    SLOT = "slot"
    PROVIDER = "provider"


class EventType(StrEnum):
    JOB_QUEUED = "image.job.queued"
    JOB_STARTED = "image.job.started"
    JOB_RESULT_RECEIVED = "image.job.result_received"
    JOB_COMPLETED = "image.job.completed"
    JOB_FAILED = "image.job.failed"
    JOB_CANCELLED = "image.job.cancelled"
    DRAFT_APPROVED = "image.draft.approved"
    DRAFT_REJECTED = "image.draft.rejected"
    DRAFT_BLOCKED = "image.draft.blocked"
    BATCH_CREATED = "image.batch.created"
    BATCH_COMPLETED = "image.batch.completed"
    BATCH_REOPENED = "image.batch.reopened"
    SLOT_CANDIDATE_ADDED = "blog.image.candidate_added"
    SLOT_LINKED = "blog.image.linked"
    SLOT_REPLACED = "blog.image.replaced"
    SLOT_UPDATED = "blog.image.updated"
    SLOT_UNLINKED = "blog.image.unlinked"
    MODEL_RETIRED = "provider.model_retired"


class CloudEvent(BaseModel):
    """One event on the wire. A receiver orders by `sequence` per `subject`."""

    model_config = ConfigDict(frozen=True)

    specversion: str = "1.0"
    id: UUID
    source: str = SOURCE
    type: str
    subject: str
    time: datetime
    datacontenttype: str = "application/json"
    dataschema: str
    sequence: str
    sequencetype: str = "Integer"
    tenant: str
    data: dict[str, Any]

    @property
    def seq(self) -> int:
        return int(self.sequence)


def cloud_event(row: EventRow) -> CloudEvent:
    """The wire form of a stored event."""
    return CloudEvent.model_construct(
        id=row.event_id,
        type=row.type,
        subject=row.stream_id,
        time=row.occurred_at,
        dataschema=f"{SOURCE}/schemas/{row.type}.json",
        sequence=str(row.seq).zfill(SEQUENCE_DIGITS),
        tenant=row.tenant,
        data=pydantic_core.from_json(row.data),
    )


def data_json(data: dict[str, Any]) -> str:
    """Serialise an event's data, once."""
    return pydantic_core.to_json(data).decode()
