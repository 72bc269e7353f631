"""What callers are told. Names and types of the requirements document 1.3.4, plus our own."""

from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, PlainSerializer

from schemas.requests import Approval, Quality, Role, Strategy, Workflow
from schemas.tables.batches import Decision
from states.table import ImageJobStatus

# JSON has no decimals; six places are kept exactly by a double at any price a picture has.
Dollars = Annotated[Decimal, PlainSerializer(float, return_type=float, when_used="json")]


class Problem(BaseModel):
    """An error (RFC 9457, `application/problem+json`)."""

    model_config = ConfigDict(extra="allow")

    type: str
    title: str
    status: int
    detail: str
    instance: str | None = None


class CreateImageJobResponse(BaseModel):
    job_id: UUID
    status: ImageJobStatus
    message: str
    estimated_completion_time: int
    """Seconds."""
    is_draft: bool
    warnings: list[str] = []
    draft_job_id: UUID | None = None
    """The draft of which the job is the final."""
    strategy: Strategy | None = None
    """How it is made of its draft."""


class BatchImageGenerationResponse(BaseModel):
    batch_id: UUID
    job_ids: list[UUID]
    status: ImageJobStatus
    total_images: int
    estimated_completion_time: int
    """Seconds, until the jobs of `job_ids` are done; finals of drafts follow."""
    warnings: list[str] = []


class ImageVariantResponse(BaseModel):
    url: str
    width: int
    height: int
    content_type: str


class ImageResponse(BaseModel):
    image_id: UUID
    url: str
    width: int
    height: int
    content_type: str
    size_bytes: int
    sha256: str
    variants: list[ImageVariantResponse]


class ImageResultResponse(BaseModel):
    success: bool
    images: list[ImageResponse]
    generation_time_seconds: float
    provider: str
    model: str
    requested_model: str | None = None
    seed: int | None = None
    cost: Dollars | None
    """US dollars; null where the price is not known."""


class ImageGenerationJobStatus(BaseModel):
    """A job as it is tracked: where it stands and how it came there."""

    job_id: UUID
    status: ImageJobStatus
    quality: Quality
    attempt: int
    retry_count: int
    provider: str
    blog_id: str | None
    blog_job_id: str | None
    role: Role | None
    position: int | None
    is_draft: bool
    draft_job_id: UUID | None
    final_job_id: UUID | None
    batch_id: UUID | None = None
    strategy: Strategy | None = None
    """How a final is made of its draft."""
    decision: Decision | None = None
    """What was decided last about a completed draft."""
    created_at: datetime
    queued_at: datetime
    started_at: datetime | None
    completed_at: datetime | None
    """When the job came to rest: completed, failed or cancelled."""


class ImageJobStatusResponse(ImageGenerationJobStatus):
    """The reply of `GET /api/v1/images/jobs/{job_id}`."""

    progress_percentage: float
    current_stage: ImageJobStatus
    """The last working stage that was entered."""
    estimated_time_remaining: int | None
    """Seconds; null once the job has come to rest."""
    queue_position: int | None = None
    """1 is next; null for a job that does not wait."""
    not_before: datetime | None = None
    deadline_at: datetime | None = None
    result: ImageResultResponse | None
    error_message: str | None
    error_details: dict[str, Any] | None
    warnings: list[str]


class PromotionResponse(CreateImageJobResponse):
    """The final of a draft; 202 where it was bought now, 200 where the draft had it already."""

    final_job_id: UUID
    quality: Quality


class BatchStatus(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    COMPLETED = "completed"
    """Nothing is owed any more; single jobs may have failed."""
    CANCELLED = "cancelled"


class BatchImage(BaseModel):
    """One picture of a batch: its draft, what was decided about it, and its final."""

    draft: ImageJobStatusResponse | None
    decision: Decision | None
    final: ImageJobStatusResponse | None
    """The latest; null while there is none."""
    final_job_ids: list[UUID]
    """All that were bought, the first one first."""


class BatchStatusResponse(BaseModel):
    """The reply of `GET /api/v1/images/batches/{batch_id}`."""

    batch_id: UUID
    status: BatchStatus
    version: int
    workflow: Workflow
    approval: Approval
    final_quality: Quality
    blog_id: str | None
    blog_job_id: str | None
    created_at: datetime
    completed_at: datetime | None
    """When it came to owe nothing; null while it owes something."""
    cancelled_at: datetime | None
    total_images: int
    counts: dict[ImageJobStatus, int]
    """Of all jobs, drafts and finals, how many stand in each state."""
    jobs_owed: int
    """Jobs that are not at rest."""
    promotions_owed: int
    """Completed drafts that are about to get their finals."""
    waiting_for_approval: list[UUID]
    """Completed drafts about which a person is to decide."""
    cost: Dollars
    """US dollars charged so far, as far as prices are known."""
    uncertain_cost: Dollars
    """What may have been charged as well: calls whose answers were lost."""
    unpriced_calls: int
    """Calls that were, or may have been, charged at a price that is not known."""
    estimated_cost: Dollars | None
    """`cost` and what is owed at present prices; null where one of them is not known."""
    estimated_time_remaining: int | None
    """Seconds; null once nothing is owed."""
    images: list[BatchImage]


class BatchRetryResponse(BaseModel):
    retried_job_ids: list[UUID]
    batch: BatchStatusResponse


class JobListResponse(BaseModel):
    """One page of `GET /api/v1/images/jobs`, the newest request first."""

    jobs: list[ImageJobStatusResponse]
    next_cursor: UUID | None
    """Give it as `cursor` for the next page; null on the last one."""


class DeletedBlogResponse(BaseModel):
    blog_id: str
    deleted_at: datetime
    cancelled_jobs: int
    """Queued jobs of the blog that this request cancelled."""


class DispatchResponse(BaseModel):
    paused: bool
    paused_at: datetime | None
    reason: str | None


class SlotResponse(BaseModel):
    """One place of a blog post and the picture that stands in it."""

    role: Role
    position: int
    image_id: UUID | None
    job_id: UUID | None
    is_draft: bool
    url: str | None
    width: int | None
    height: int | None
    alt_text: str | None
    caption: str | None
    variants: list[ImageVariantResponse]
    version: int
    updated_at: datetime


class BlogImagesResponse(BaseModel):
    blog_id: str
    images: list[SlotResponse]


class HealthResponse(BaseModel):
    status: str
