"""What callers are told. Names and types of the requirements document 1.3.4, plus our own."""

from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, PlainSerializer

from schemas.fidelity import Fidelity
from schemas.operations import Operation
from schemas.requests import (
    Approval,
    AspectRatio,
    FocalPoint,
    OnUnknown,
    Period,
    Quality,
    Role,
    Strategy,
    Workflow,
)
from schemas.tables.batches import Decision
from states.table import ImageJobStatus

# JSON has no decimals; six places are kept exactly by a double at any price a picture has.
Dollars = Annotated[Decimal, PlainSerializer(float, return_type=float, when_used="json")]


def plain(amount: Decimal) -> str:
    """*amount* in full, without an exponent and without zeros at its end."""
    return format(amount.normalize(), "f")


def dollars(amount: Decimal) -> str:
    """As people write it: cents are two digits, and what is less than a cent is not rounded."""
    number = plain(abs(amount))
    cents = "0" if number[-2:-1] == "." else ""
    return f"{'-' if amount < 0 else ''}${number}{cents}"


# A sum, or a share of one: text, so that it stays exact however long it is.
Exact = Annotated[Decimal, PlainSerializer(plain, return_type=str, when_used="json")]


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
    operation: Operation | None = None
    """What is done to the picture that it is made of."""


class GeneratedImagesResponse(BaseModel):
    """The reply of `POST /api/v1/images/generate` where the pictures were made in time."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    success: bool
    images: "list[ImageResponse]"
    job_id: UUID
    """The job that made them; its status tells the rest."""
    provider: str
    model: str
    generation_time_seconds: float
    cost: Dollars | None
    """US dollars; null where the price is not known."""
    is_draft: bool
    warnings: list[str] = []


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
    resolved_model: str
    """The model that painted, also where another one was requested."""
    seed: int | None = None
    cost: Dollars | None
    """US dollars; null where the price is not known."""
    price_book: str | None = None
    """The version of the price book that says so."""
    fidelity: Fidelity | None = None
    """Of a final: how much of its draft it kept; null where the draft's picture is gone."""


class SurplusResponse(BaseModel):
    """A result that was paid for and that no job took: it came too late."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    attempt: int
    provider: str
    model: str
    cost: Exact | None
    """US dollars; null where the price is not known. Counted in `cost_confirmed`."""
    received_at: datetime | None
    manifest: str
    """Where the picture store keeps it: the manifest names the delivered bytes."""


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
    operation: Operation | None = None
    """How it is made of another picture; null where it is made of words, or of its draft."""
    source_image_id: UUID | None = None
    """The picture of this service of which it is made; null where that was sent."""
    on_unknown: OnUnknown | None = None
    """What is done where the answer of a paid call is lost; null where calls are free and simply
    asked again."""
    decision: Decision | None = None
    """What was decided last about a completed draft."""
    created_at: datetime
    queued_at: datetime
    started_at: datetime | None
    completed_at: datetime | None
    """When the job came to rest: completed, failed or cancelled."""


class WaitingResponse(BaseModel):
    """Why a queued job is not begun, whoever's turn it is."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    reason: str
    """`rate_limit`, `provider_paused`, `provider_unusable`, `provider_busy`, or
    `provider_not_configured`."""
    detail: str
    """In words, with what to do."""
    until: datetime | None
    """When it is looked at again at the latest; null where a person has to act."""


class ImageJobStatusResponse(ImageGenerationJobStatus):
    """The reply of `GET /api/v1/images/jobs/{job_id}`."""

    progress_percentage: float
    current_stage: ImageJobStatus
    """The last working stage that was entered."""
    estimated_time_remaining: int | None
    """Seconds; null once the job has come to rest."""
    queue_position: int | None = None
    """1 is next; null for a job that does not wait, or may not begin yet."""
    not_before: datetime | None = None
    waiting: WaitingResponse | None = None
    """Null for a job that only waits for its turn."""
    deadline_at: datetime | None = None
    held: Exact | None = None
    """US dollars that budgets hold for the job's next or present call; null where none do."""
    result: ImageResultResponse | None
    cost_confirmed: Exact
    """US dollars that are known to be charged, for all attempts and for what came too late."""
    cost_possible: Exact
    """What lost or open calls may add to it, by the price list."""
    unknown_prices: int
    """Calls that were, or may have been, charged at a price nobody knows; in neither sum."""
    surplus: list[SurplusResponse]
    """Paid results that the job did not take."""
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
    cost_confirmed: Exact
    """US dollars that are known to be charged."""
    cost_possible: Exact
    """What lost or open calls may add to it, by the price list."""
    unknown_prices: int
    """Calls that were, or may have been, charged at a price nobody knows; in neither sum."""
    estimated_cost: Dollars | None
    """`cost_confirmed` and what is owed at present prices; null where one of them is not known."""
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


class PreviewResponse(BaseModel):
    """The draft that shows what may come to stand in a place."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    image_id: UUID
    job_id: UUID
    url: str
    width: int
    height: int
    srcset: str


class CandidateResponse(BaseModel):
    """A picture that was offered to a place and still exists."""

    image_id: UUID
    job_id: UUID
    is_draft: bool
    is_current: bool
    url: str
    width: int
    height: int
    alt_text: str | None
    caption: str | None
    offered_at: datetime


class SlotHistoryEntry(BaseModel):
    """One version of a place in which another picture, or none, came to stand there."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    version: int
    change: str
    """The event's type: `blog.image.linked`, `replaced` or `unlinked`."""
    reason: str | None
    """`rollback` where a person brought the picture back."""
    image_id: UUID | None
    job_id: UUID | None
    url: str | None
    """Null where none stood there, and where the picture was deleted since."""
    at: datetime


class SlotResponse(BaseModel):
    """One place of a blog post: the picture that stands in it, and those that might."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    role: Role
    position: int
    image_id: UUID | None
    """What stands here; null until a final does. The drafts before it are its preview."""
    job_id: UUID | None
    is_draft: bool
    """True only where a person rolled back to a draft."""
    url: str | None
    width: int | None
    height: int | None
    alt_text: str | None
    """As a person wrote it, else as it was requested."""
    caption: str | None
    focal_point: FocalPoint | None
    srcset: str | None
    """For `<img srcset>`, beside `url` as `src`: WebP in three widths, and the original where it is
    wider than all of them (two sources of one width are not allowed)."""
    variants: list[ImageVariantResponse]
    preview: PreviewResponse | None
    """The newest draft that was requested after what stands here; null where there is none."""
    candidates: list[CandidateResponse]
    """Whatever was offered, finals first, then the latest request first."""
    history: list[SlotHistoryEntry]
    """What stood here, the newest first."""
    version: int
    updated_at: datetime


class BlogImagesResponse(BaseModel):
    blog_id: str
    images: list[SlotResponse]


class QualityCost(BaseModel):
    """What the provider charged for one quality."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    quality: Quality
    jobs: int
    """Jobs for which the provider was asked and may have charged."""
    cost_confirmed: Exact
    """US dollars that are known to be charged."""
    cost_possible: Exact
    """US dollars that lost or open calls may add to it, by the price list."""
    unknown_prices: int
    """Calls that were, or may have been, charged at a price nobody knows; in neither sum."""


class DraftSaving(BaseModel):
    """What drafting first saved against painting each try as a final.

    `share` = 1 - (drafts + finals) / (tries x mean final): n drafts at d and their final at f
    cost n·d + f instead of n·f.
    """

    model_config = ConfigDict(use_attribute_docstrings=True)

    tries: int
    """Completed drafts."""
    finals: int
    """Completed finals of drafts."""
    drafts_spent: Exact
    finals_spent: Exact
    all_final: Exact
    """What the tries would have cost, each at the mean price of these finals."""
    saved: Exact
    """Negative where drafting cost more, as it does with one draft for each final."""
    share: Exact | None
    """Of `all_final`; null where that is zero."""


class BlogCostsResponse(BaseModel):
    """The reply of `GET /api/v1/blogs/{blog_id}/costs`. Money is text: exact US dollars."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    blog_id: str
    currency: str = "USD"
    drafts: int
    """Completed drafts."""
    finals: int
    """Completed finals, with a draft or without."""
    cost_confirmed: Exact
    cost_possible: Exact
    unknown_prices: int
    price_books: list[str]
    """The versions of the price books by which these amounts were found."""
    by_quality: list[QualityCost]
    saving: DraftSaving | None
    """Null until a final of a draft is completed, and while a price that it needs is unknown."""


class BudgetResponse(BaseModel):
    """How much may be spent. Money is text: exact US dollars."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    blog_id: str | None
    """Null for all of the tenant's pictures, with a blog or without."""
    period: Period
    day: str | None
    """Of a daily budget: the day (UTC) that the amounts are of."""
    limit: Exact
    spent: Exact
    """What the ledger says was charged; more than `limit` where a call was dearer than expected, or
    begun before there was a limit."""
    held: Exact
    """For jobs under way, and for calls whose answer is lost or still to come."""
    left: Exact
    """What may still be asked for: `limit` - `spent` - `held`. Negative above the limit."""


class BudgetListResponse(BaseModel):
    """The reply of `GET /api/v1/images/budgets`."""

    currency: str = "USD"
    budgets: list[BudgetResponse]


class QuotedPicture(BaseModel):
    """What one picture would cost, and how it would be painted."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    quality: Quality
    blog_id: str | None
    provider: str
    requested_model: str | None
    """What the quality is called for, of old; null for an operation."""
    resolved_model: str
    """What would paint it now."""
    strategy: Strategy | None
    """Null for an operation."""
    operation: Operation | None = None
    steps: int | None
    """Null where the model takes none."""
    cfg_scale: float | None
    """Null where the model takes none."""
    price_usd: Exact | None
    """Null where it is not known."""
    price_credits: Exact | None
    """The same in the provider's credits; null where it has none."""
    price_book: str
    """The version of the price book that says so."""
    warnings: list[str]


class QuotedBudget(BudgetResponse):
    left_after: Exact | None
    """Null where a price is not known."""


class QuoteResponse(BaseModel):
    """The reply of `POST /api/v1/images/quote`. Nothing is stored, held or asked of a provider."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    currency: str = "USD"
    price_usd: Exact | None
    """Of all `pictures`: what the request would be charged. Null where one is not known."""
    price_credits: Exact | None
    """The same in credits; null where one has none, or they are of different providers."""
    allowed: bool
    """Whether the budgets would admit the request now."""
    refusal: str | None
    """Why they would not, as the 402 would say."""
    budgets: list[QuotedBudget]
    """What limits the request, and what would be left of it."""
    estimated_completion_time: int
    """Seconds."""
    pictures: list[QuotedPicture]
    """What the request asks for at once."""
    finals: list[QuotedPicture]
    """What the drafts of a batch get afterwards, each when it is approved, and then admitted."""
    finals_price_usd: Exact | None
    """Of all of `finals`; null where one is not known."""


class ApprovalLinksResponse(BaseModel):
    """Two links that a mail or a chat can carry; whoever has one may use it, until it expires."""

    job_id: UUID
    approve_url: str
    reject_url: str
    expires_at: datetime


class PaintingResponse(BaseModel):
    """How a provider paints one quality, and what it costs."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    quality: Quality
    strategy: Strategy
    """`regenerate` paints from the prompt alone, as every draft is."""
    requested_model: str
    """What the quality is called for, of old."""
    resolved_model: str
    """What paints it now."""
    price_usd: Exact | None
    """Of one picture; null where it is not known."""
    price_credits: Exact | None
    """The same in the provider's credits; null where it has none."""
    retired: bool
    """The provider has answered that it no longer has the resolved model."""


class OperationResponse(BaseModel):
    """What a provider does to pictures, and what it costs."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    operation: Operation
    quality: Quality
    """Of a variation as it was asked for; all else is `standard`."""
    model: str
    price_usd: Exact | None
    """Null where it is not known."""
    price_credits: Exact | None
    """The same in the provider's credits; null where it has none."""
    retired: bool
    """The provider has answered that it no longer has the model."""


class ProviderResponse(BaseModel):
    """A provider that is configured here, and what it takes."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    name: str
    is_default: bool
    stands_in_for: list[str]
    """Providers that are not configured and in whose place this one paints."""
    styles: list[str]
    aspect_ratios: list[AspectRatio]
    cropped_aspect_ratios: list[AspectRatio]
    """Cropped of the nearest of `aspect_ratios`."""
    strategies: list[Strategy]
    """How finals are made of drafts, the best way first."""
    price_book: str
    """The version of the price list."""
    models: list[PaintingResponse]
    operations: list[OperationResponse] = []
    """What it does to pictures that exist."""


class ProviderStatus(StrEnum):
    OK = "ok"
    PAUSED = "paused"
    """It asked to be left alone for a while."""
    OPEN = "open"
    """It takes nothing before a person acts; one job at a time tries it."""
    NOT_CONFIGURED = "not_configured"
    UNKNOWN = "unknown"
    """It was never asked with the present key."""


class RetiredModel(BaseModel):
    model: str
    since: datetime


class ProviderHealth(BaseModel):
    """How a provider does."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    name: str
    status: ProviderStatus
    reason: str | None = None
    """`unauthorized`, `permission_denied`, `out_of_credit`, `retry_after`, or null."""
    detail: str | None = None
    """In words, with what to do."""
    since: datetime | None = None
    """When it was found unusable."""
    next_probe_at: datetime | None = None
    """When a job tries it again; while one does, when another would."""
    probe_job_id: UUID | None = None
    """The job that tries it now; null where it is another tenant's."""
    paused_until: datetime | None = None
    queued_jobs: int = 0
    """Of this tenant."""
    waiting_jobs: int = 0
    """Of the queued ones, how many are put off."""
    p50_seconds: dict[Quality, float] = {}
    """Half of the pictures took no longer; only of qualities that were measured often enough."""
    retired_models: list[RetiredModel] = []
    key_fingerprint: str | None = None
    """Tells keys apart, and gives none away; null where none was used yet."""


class ProviderHealthResponse(BaseModel):
    """The reply of `GET /api/v1/images/providers/health`."""

    providers: list[ProviderHealth]


class ProviderListResponse(BaseModel):
    """The reply of `GET /api/v1/images/providers`."""

    default: str
    fallback: list[str]
    """Who paints, in order, where the default provider cannot and charged nothing."""
    providers: list[ProviderResponse]


class HealthResponse(BaseModel):
    status: str
