"""What happened, as it travels: CloudEvents 1.0 with our types. Never a signed URL inside."""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, StringConstraints

from schemas.json_text import from_json
from schemas.tables import EventRow

_set = object.__setattr__

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


# Types whose data has changed so that receivers of before could not read it; all others are at 1.
DATA_VERSIONS: Mapping[str, int] = MappingProxyType({})


def dataschema(event_type: str) -> str:
    """Names the schema of a type's data; `schemas/published/events/` has it under this `$id`."""
    return f"urn:limner:schema:{event_type}:{DATA_VERSIONS.get(event_type, 1)}"


class CloudEvent(BaseModel):
    """One event on the wire (CloudEvents 1.0, structured JSON)."""

    model_config = ConfigDict(
        frozen=True, use_attribute_docstrings=True, json_schema_serialization_defaults_required=True
    )

    specversion: Literal["1.0"] = "1.0"
    id: UUID
    """The same at every repetition: remember it, in the commit of what you do about the event."""
    source: str = SOURCE
    type: str
    subject: str
    """What it happened to: a job's or a batch's id, or a place (`my-post/hero/1`)."""
    time: AwareDatetime
    """When it was committed, by the database's clock."""
    datacontenttype: Literal["application/json"] = "application/json"
    dataschema: str
    """Names the schema of `data` and its version."""
    sequence: Annotated[str, StringConstraints(pattern="^[0-9]{10}$")]
    """The subject's version: 1, 2, 3 … without a gap, with leading zeros. Order by it."""
    sequencetype: Literal["Integer"] = "Integer"
    tenant: str
    data: dict[str, Any]

    @property
    def seq(self) -> int:
        return int(self.sequence)


def cloud_event(row: EventRow) -> CloudEvent:
    """The wire form of a stored event."""
    values = {
        "specversion": "1.0",
        "id": row.event_id,
        "source": SOURCE,
        "type": row.type,
        "subject": row.stream_id,
        "time": row.occurred_at,
        "datacontenttype": "application/json",
        "dataschema": dataschema(row.type),
        "sequence": str(row.seq).zfill(SEQUENCE_DIGITS),
        "sequencetype": "Integer",
        "tenant": row.tenant,
        "data": from_json(row.data),
    }
    # As `model_construct` does, which looks at every field by itself: one for each finished job.
    event = object.__new__(CloudEvent)
    _set(event, "__dict__", values)
    _set(event, "__pydantic_fields_set__", set(values))
    _set(event, "__pydantic_extra__", None)
    _set(event, "__pydantic_private__", None)
    return event


def read_event(message: bytes | str) -> CloudEvent:
    """The event that *message* is (structured JSON); raises `ValueError` for what is none."""
    event = CloudEvent.model_validate_json(message)
    if not event.model_fields_set >= {"specversion", "source"}:
        raise ValueError("it lacks specversion or source")
    if _has_nul(event.model_dump()):
        raise ValueError("a text in it holds NUL, which no database stores")
    return event


def _has_nul(value: Any) -> bool:
    if isinstance(value, str):
        return "\0" in value
    if isinstance(value, dict):
        return any(_has_nul(one) for pair in value.items() for one in pair)
    return isinstance(value, list) and any(_has_nul(one) for one in value)
