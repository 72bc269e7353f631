"""What callers are told. Names and types of the requirements document 1.3.4, plus our own."""

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, PlainSerializer

from schemas.fidelity import Fidelity
from schemas.requests import Quality, Role
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


class BatchImageGenerationResponse(BaseModel):
    batch_id: UUID
    job_ids: list[UUID]
    status: ImageJobStatus
    total_images: int
    estimated_completion_time: int
    """Seconds."""


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
    fidelity: Fidelity | None = None
    """Of a final: how much of its draft it kept; null where the draft's picture is gone."""


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
