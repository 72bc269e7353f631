"""What each event tells: one model a type, of which its JSON Schema and documentation are made.

A model only grows: receivers have stored what they were told, and read it again for ever. Words
that may get companions (qualities, roles, reasons) are plain texts; what is an enumeration here is
complete.
"""

from decimal import Decimal
from typing import Annotated
from uuid import UUID

from pydantic import BaseModel, ConfigDict, PlainSerializer, WithJsonSchema

from schemas.events import CloudEvent, EventType
from schemas.fidelity import Fidelity
from states.table import State

# Text, so that it stays exact; null in an event where the price is not known.
Amount = Annotated[
    Decimal,
    PlainSerializer(str, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "pattern": r"^-?\d+(\.\d+)?(E[+-]?\d+)?$"}),
]


class EventData(BaseModel):
    """The base: members that a reader does not know are passed over."""

    model_config = ConfigDict(extra="ignore", frozen=True, use_attribute_docstrings=True)


class JobData(EventData):
    job_id: UUID
    """The subject of every event of a job."""
    kind: str
    """What kind of job: `generate`, `variation`, `upscale` or `edit`."""
    state: State
    """Where the job stands with this event."""
    attempt: int
    """From 1; each return into the queue raises it."""
    quality: str
    """`draft`, `standard`, `high` or `ultra`."""
    is_draft: bool
    provider: str
    """Who paints, such as `stability_ai`."""
    blog_id: str | None
    """The post that the picture is for."""
    blog_job_id: str | None
    """What the request gave under this name; Limner only passes it on."""
    batch_id: UUID | None
    role: str | None
    """The place in the post: `hero`, `featured`, `inline`, `og` or `thumbnail`."""
    position: int | None
    """Which place of that role, from 1."""
    draft_job_id: UUID | None
    """Of a final: its draft."""
    final_job_id: UUID | None
    """Of a draft: its latest final."""
    reason: str | None
    """Why it came to this state, where there is more to say than the type does."""


class JobQueued(JobData):
    """A job was accepted, or came back into the queue: by a retry, or because its provider was
    busy (`reason` says why)."""


class JobStarted(JobData):
    """A worker took the job up, and is about to ask the provider."""


class JobResultReceived(JobData):
    """The provider's pictures are stored. From here on nothing is paid for again."""


class VariantData(EventData):
    name: str
    """`w` and the width."""
    key: str
    content_type: str
    width: int
    height: int
    size_bytes: int
    sha256: str


class ImageData(EventData):
    image_id: UUID
    """`GET /api/v1/images/{image_id}/content` has its bytes."""
    key: str
    """Where the object lies in the picture store."""
    content_type: str
    width: int
    """Pixels."""
    height: int
    """Pixels."""
    size_bytes: int
    sha256: str
    """Of the bytes, hexadecimal."""
    variants: list[VariantData]
    """Smaller ones, the narrowest first."""


class JobCompleted(JobData):
    """The pictures are measured, stored and ready. Sent once for each time that the job
    completes."""

    model: str
    """The model that painted."""
    cost: Amount | None
    """US dollars; null where the price is not known."""
    alt_text: str | None
    caption: str | None
    fidelity: Fidelity | None
    """Of a final: how much of its draft it kept."""
    images: list[ImageData]


class JobFailed(JobData):
    """The job ended without pictures. It can be retried; `code` says why it failed."""

    code: str
    """For programs, such as `deadline_exceeded`."""


class JobCancelled(JobData):
    """The job was cancelled, by a person or with its batch or post."""


class DecisionData(JobData):
    """A decision about a completed draft; the subject is the draft's job."""

    generation: int
    """Which decision about this draft, from 1. A later one follows a lost final."""
    decided_by: str
    """`person`, `link` or `automatic`."""
    decision_reason: str | None


class DraftApproved(DecisionData):
    """A draft's final was bought; `final_job_id` is its job."""


class DraftRejected(DecisionData):
    """It was decided that a draft gets no final."""


class DraftBlocked(DecisionData):
    """A final should have been bought by itself and was not; a person may still promote."""


class BatchCounts(EventData):
    drafts: int
    """Jobs that are drafts; `drafts` and `finals` add up to all jobs."""
    finals: int
    open: int
    """Jobs not at rest; with `completed`, `failed` and `cancelled` it adds up to all jobs."""
    completed: int
    failed: int
    cancelled: int
    undecided: int
    """Completed drafts about which nothing is decided."""
    approved: int
    rejected: int
    blocked: int


class BatchData(EventData):
    batch_id: UUID
    """The subject of every event of a batch."""
    blog_id: str | None
    blog_job_id: str | None
    workflow: str
    """`draft_then_final` or `final_only`."""
    approval: str
    """`automatic` or `required`."""
    final_quality: str
    cancelled: bool
    owed: int
    """How many jobs and automatic decisions are still to come."""
    counts: BatchCounts


class BatchCreated(BatchData):
    """A batch was accepted, with all of its jobs."""


class BatchCompleted(BatchData):
    """A batch owes nothing any more, also when some of its pictures failed. Sent once for each
    time that it comes to this."""


class BatchReopened(BatchData):
    """A batch that was done owes something again: a retry, a promotion or a late result."""


class FocalPointData(EventData):
    x: float
    """0 is the left edge, 1 the right one."""
    y: float
    """0 is the upper edge, 1 the lower one."""


class SlotData(EventData):
    blog_id: str
    role: str
    position: int
    """Blog, role and position make the subject: `my-post/hero/1`."""
    image_id: UUID | None
    """The picture that the event tells of; null where the place is empty."""
    job_id: UUID | None
    """The job that painted it."""
    is_draft: bool
    alt_text: str | None
    caption: str | None
    focal_point: FocalPointData | None
    """What must stay in sight when the picture is cropped."""
    current_image_id: UUID | None
    """What stands in the place with this event."""
    previous_image_id: UUID | None
    """What stood there before."""
    reason: str | None


class SlotCandidateAdded(SlotData):
    """A picture was offered to a place and does not stand there: a draft, or a final that a later
    one has overtaken."""


class SlotLinked(SlotData):
    """A picture came to stand in an empty place."""


class SlotReplaced(SlotData):
    """A picture took the place of another one; `reason` is `rollback` where a person brought an
    earlier one back."""


class SlotUpdated(SlotData):
    """Alt text, caption or focal point of a place were edited."""


class SlotUnlinked(SlotData):
    """A place was emptied by a person. Its candidates stay."""


class ModelRetired(EventData):
    """A provider no longer has a model. Sent once a key and model; the subject is the key."""

    provider: str
    key_fingerprint: str
    """Tells the keys of a provider apart; it is no part of the key."""
    model: str
    quality: str
    """The quality for which it was asked."""
    job_id: UUID
    """The job that was the first to be told so."""
    detail: str
    """What the provider said."""


DATA: dict[EventType, type[EventData]] = {
    EventType.JOB_QUEUED: JobQueued,
    EventType.JOB_STARTED: JobStarted,
    EventType.JOB_RESULT_RECEIVED: JobResultReceived,
    EventType.JOB_COMPLETED: JobCompleted,
    EventType.JOB_FAILED: JobFailed,
    EventType.JOB_CANCELLED: JobCancelled,
    EventType.DRAFT_APPROVED: DraftApproved,
    EventType.DRAFT_REJECTED: DraftRejected,
    EventType.DRAFT_BLOCKED: DraftBlocked,
    EventType.BATCH_CREATED: BatchCreated,
    EventType.BATCH_COMPLETED: BatchCompleted,
    EventType.BATCH_REOPENED: BatchReopened,
    EventType.SLOT_CANDIDATE_ADDED: SlotCandidateAdded,
    EventType.SLOT_LINKED: SlotLinked,
    EventType.SLOT_REPLACED: SlotReplaced,
    EventType.SLOT_UPDATED: SlotUpdated,
    EventType.SLOT_UNLINKED: SlotUnlinked,
    EventType.MODEL_RETIRED: ModelRetired,
}
"""The model of each type's `data`, in the order in which documents tell of them."""


def data_of(event: CloudEvent) -> EventData:
    """The event's data as its type's model, whichever release sent it.

    Raises `ValueError` for a type that this release does not know, or data that is none.
    """
    return DATA[EventType(event.type)].model_validate(event.data)
