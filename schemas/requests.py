"""What callers may ask for. Unknown fields are refused, so that a typing error is never ignored."""

from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any, Self
from uuid import UUID

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    model_validator,
)

from states.table import ImageJobStatus

# What the database keeps of an amount of money.
MONEY_DIGITS, MONEY_PLACES = 14, 6
MAX_PROMPT_CHARACTERS = 10_000
MAX_SEED = 4_294_967_294
MAX_POSITION = 10_000
MAX_DEADLINE_SECONDS = 30 * 86_400
DEFAULT_LINK_SECONDS = 7 * 86_400
MAX_LINK_SECONDS = 30 * 86_400
# A name is part of an address; a key is a header's value.
NAME_PATTERN = r"^[^\s/?#]+$"
KEY_PATTERN = r"^[\x21-\x7e]+$"
MAX_KEY_CHARACTERS = 200


class Quality(StrEnum):
    DRAFT = "draft"
    STANDARD = "standard"
    HIGH = "high"
    ULTRA = "ultra"


class AspectRatio(StrEnum):
    R21_9 = "21:9"
    R16_9 = "16:9"
    R3_2 = "3:2"
    R4_3 = "4:3"
    R5_4 = "5:4"
    R1_1 = "1:1"
    R4_5 = "4:5"
    R3_4 = "3:4"
    R2_3 = "2:3"
    R9_16 = "9:16"
    R9_21 = "9:21"

    @property
    def sides(self) -> tuple[int, int]:
        width, height = self.value.split(":")
        return int(width), int(height)


class Period(StrEnum):
    """What a budget limits: all that is ever spent, or each day (UTC) for itself."""

    TOTAL = "total"
    DAY = "day"


class Role(StrEnum):
    """What a picture is for in its blog post."""

    HERO = "hero"
    FEATURED = "featured"
    INLINE = "inline"
    OG = "og"
    THUMBNAIL = "thumbnail"


def _without_nul(value: Any) -> Any:
    if isinstance(value, str) and "\x00" in value:
        raise ValueError("must not contain the character NUL, which no database stores")
    return value


def _encodable(value: Any) -> Any:
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            raise ValueError("must be valid Unicode (a lone surrogate was found)") from None
    return value


def _stripped(value: str) -> str:
    if not (kept := value.strip()):
        raise ValueError("it must not be empty")
    return kept


def _no_draft(value: Quality) -> Quality:
    if value is Quality.DRAFT:
        raise ValueError("a final is not a draft; it must be 'standard', 'high' or 'ultra'")
    return value


def _of_our_days(value: datetime) -> datetime:
    """Near the ends of the calendar no time zone could be told and nothing be added."""
    if not 2000 <= value.year < 2200:
        raise ValueError("its year must be from 2000 to 2199")
    return value


Moment = Annotated[AwareDatetime, AfterValidator(_of_our_days)]
FinalQuality = Annotated[Quality, AfterValidator(_no_draft)]
Text = Annotated[str, BeforeValidator(_without_nul), BeforeValidator(_encodable)]
Prompt = Annotated[
    Text,
    StringConstraints(min_length=1, max_length=MAX_PROMPT_CHARACTERS),
    AfterValidator(_stripped),
]
Name = Annotated[Text, StringConstraints(min_length=1, max_length=200, pattern=NAME_PATTERN)]


class Strategy(StrEnum):
    """How a final is made of its draft."""

    IMAGE_TO_IMAGE = "image_to_image"
    UPSCALE = "upscale"
    REGENERATE = "regenerate"


class OnUnknown(StrEnum):
    """What is done where a paid call's answer is lost, so that nobody knows whether it was charged.

    `park` fails the job (`outcome_unknown`) and leaves the rest to a person; `retry_once` asks the
    provider once more, which may be paid for twice, and parks the job when that is lost as well.
    """

    PARK = "park"
    RETRY_ONCE = "retry_once"


class ImageGenerationRequest(BaseModel):
    """The body of `POST /api/v1/images/generate-async`."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    prompt: Prompt
    """What the picture shows."""
    negative_prompt: Annotated[Text, StringConstraints(max_length=MAX_PROMPT_CHARACTERS)] = ""
    """What it must not show."""
    quality: Quality = Quality.STANDARD
    """`draft` is a quick preview; the others are finals."""
    provider: Name | None = None
    """Who paints; the service's default where it is not named."""
    fallback: Annotated[list[Name], Field(max_length=10)] | None = None
    """Who paints, in this order, where the provider cannot and charged nothing; empty for nobody.
    Where it is not given, a provider that was named stands alone, and the default one falls back
    along the service's own list."""
    style: Annotated[Text, StringConstraints(min_length=1, max_length=100)] | None = None
    """A style preset of the provider."""
    aspect_ratio: AspectRatio = AspectRatio.R1_1
    seed: Annotated[int, Field(ge=0, le=MAX_SEED, strict=True)] = 0
    """The same seed and prompt give the same composition; 0 chooses one at random."""
    blog_id: Name | None = None
    """The blog post in which the finished picture is placed."""
    blog_job_id: Name | None = None
    """Your own id of the job that writes the post; given back unchanged."""
    role: Role | None = None
    """Which kind of place in the post: inline where it is not given."""
    position: Annotated[int, Field(ge=1, le=MAX_POSITION, strict=True)] | None = None
    """Which place of that kind, from 1: the next free one where it is not given."""
    alt_text: Annotated[Text, StringConstraints(max_length=1_000)] | None = None
    caption: Annotated[Text, StringConstraints(max_length=2_000)] | None = None
    not_before: Moment | None = None
    """The provider is not asked before this time."""
    deadline_seconds: Annotated[int, Field(ge=1, le=MAX_DEADLINE_SECONDS, strict=True)] | None = (
        None
    )
    """The job fails (`deadline_exceeded`) when the provider was not asked within this time."""
    draft_job_id: UUID | None = None
    """The completed draft of which this is the final; it inherits the draft's place and seed, and
    what is not given here."""
    strategy: Strategy | None = None
    """How the final is made of its draft; the best that the provider has where it is not given."""
    on_unknown: OnUnknown | None = None
    """What is done where the answer of a paid call is lost; the service's setting where it is not
    given (`retry_once` for drafts, `park` for finals)."""


class Workflow(StrEnum):
    DRAFT_THEN_FINAL = "draft_then_final"
    FINAL_ONLY = "final_only"


class Approval(StrEnum):
    """Who decides that a completed draft gets its final."""

    AUTOMATIC = "automatic"
    REQUIRED = "required"


class BatchImageGenerationRequest(BaseModel):
    """Several pictures asked for at once: all are accepted in one commit, or none is.

    `draft_then_final`: every picture is made as a draft first, then as a final. An image's
    `quality` is that of its final where it names one other than `draft`; else `final_quality` is.
    `final_only`: no drafts; `quality`, and where an image names none `final_quality`.
    """

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    images: Annotated[list[ImageGenerationRequest], Field(min_length=1, max_length=100)]
    blog_id: Name | None = None
    """The blog post of all images that name none themselves."""
    blog_job_id: Name | None = None
    workflow: Workflow = Workflow.DRAFT_THEN_FINAL
    final_quality: FinalQuality = Quality.HIGH
    approval: Approval = Approval.AUTOMATIC
    """`automatic`: each completed draft gets its final. `required`: when it is promoted."""
    strategy: Strategy | None = None
    """How finals are made of their drafts; the best that the provider has where it is not given."""
    on_unknown: OnUnknown | None = None
    """Of all images that say nothing of it themselves, drafts and finals."""


class PromotionRequest(BaseModel):
    """The body of `POST /api/v1/images/jobs/{job_id}/promote`; the draft's own where not given."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    quality: FinalQuality | None = None
    """`high`, or what the draft's batch asked for, where it is not given."""
    strategy: Strategy | None = None
    """How the final is made of its draft; the best that the provider has where it is not given."""
    prompt: Prompt | None = None
    negative_prompt: Annotated[Text, StringConstraints(max_length=MAX_PROMPT_CHARACTERS)] | None = (
        None
    )
    aspect_ratio: AspectRatio | None = None
    on_unknown: OnUnknown | None = None
    """What is done where the answer of the final's paid call is lost; what the draft's batch asked
    for, else the service's setting, where it is not given."""


class RejectionRequest(BaseModel):
    """The body of `POST /api/v1/images/jobs/{job_id}/reject`."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    reason: Annotated[Text, StringConstraints(max_length=1_000)] | None = None


MAX_PAGE = 200


class JobFilters(BaseModel):
    """The query of `GET /api/v1/images/jobs`."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    state: list[ImageJobStatus] = []
    """May be given several times."""
    blog_id: Name | None = None
    batch_id: UUID | None = None
    quality: Quality | None = None
    since: Moment | None = None
    """Only jobs requested at or after this time."""
    limit: Annotated[int, Field(ge=1, le=MAX_PAGE)] = 50
    cursor: UUID | None = None
    """The `next_cursor` of the page before."""


def _exact(value: Any) -> Any:
    if isinstance(value, bool | float):
        # What pydantic takes for a refusal.
        raise ValueError("it must be an amount as text, such as '12.50', which stays exact")  # noqa: TRY004
    return value


Dollars = Annotated[
    Decimal,
    BeforeValidator(_exact),
    Field(ge=0, max_digits=MONEY_DIGITS, decimal_places=MONEY_PLACES, allow_inf_nan=False),
]


class BudgetName(BaseModel):
    """Which budget: the query of `DELETE /api/v1/images/budgets`."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    period: Period = Period.TOTAL
    """`total`: all that is ever spent. `day`: each day (UTC) for itself."""
    blog_id: Name | None = None
    """The blog post that it limits; all of the tenant's pictures where it is not given."""


class BudgetRequest(BudgetName):
    """The body of `PUT /api/v1/images/budgets`."""

    limit: Dollars
    """US dollars, as text: `"12.50"`."""


class FocalPoint(BaseModel):
    """What must stay in sight when a picture is cropped."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    x: Annotated[float, Field(ge=0, le=1, strict=True)]
    """0 is the left edge, 1 the right one."""
    y: Annotated[float, Field(ge=0, le=1, strict=True)]
    """0 is the upper edge, 1 the lower one."""


class SlotUpdate(BaseModel):
    """What a person says of a place of a post; it stays whichever picture stands there."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    alt_text: Annotated[Text, StringConstraints(max_length=1_000)] | None = None
    """Empty for a picture that is decoration; null for what the request said."""
    caption: Annotated[Text, StringConstraints(max_length=2_000)] | None = None
    focal_point: FocalPoint | None = None

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not self.model_fields_set:
            raise ValueError("name at least one of alt_text, caption and focal_point")
        return self


class RollbackRequest(BaseModel):
    """Which earlier candidate is to stand in the place: name its picture or its job."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    image_id: UUID | None = None
    job_id: UUID | None = None

    @model_validator(mode="after")
    def _names_one(self) -> Self:
        if (self.image_id is None) == (self.job_id is None):
            raise ValueError("name either image_id or job_id")
        return self


class ApprovalLinksRequest(BaseModel):
    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    expires_in_seconds: Annotated[int, Field(ge=60, le=MAX_LINK_SECONDS, strict=True)] = (
        DEFAULT_LINK_SECONDS
    )
    """7 days where it is not given, 30 days at most."""
