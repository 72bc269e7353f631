"""What can be done to a picture that exists, and what callers say of it.

Every operation is a job as any other; without this module only prompts could be asked for.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Self
from uuid import UUID

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    model_validator,
)

from schemas.provenance import SourceType
from schemas.requests import (
    MAX_DEADLINE_SECONDS,
    MAX_POSITION,
    MAX_PROMPT_CHARACTERS,
    MAX_SEED,
    FinalQuality,
    Moment,
    Name,
    OnUnknown,
    Prompt,
    Quality,
    Role,
    Strategy,
    Text,
)

# Of one side of an outpainted picture.
MOST_ADDED = 2_000
MOST_URL_CHARACTERS = 2_048


class Operation(StrEnum):
    """How a picture is made of another one that is not its draft."""

    VARIATION = "variation"
    CONTROL_SKETCH = "control-sketch"
    CONTROL_STRUCTURE = "control-structure"
    CONTROL_STYLE = "control-style"
    UPSCALE_FAST = "upscale-fast"
    UPSCALE_CONSERVATIVE = "upscale-conservative"
    UPSCALE_CREATIVE = "upscale-creative"
    INPAINT = "inpaint"
    OUTPAINT = "outpaint"
    ERASE = "erase"
    SEARCH_AND_REPLACE = "search-and-replace"
    SEARCH_AND_RECOLOR = "search-and-recolor"
    REMOVE_BACKGROUND = "remove-background"


# How a job's picture is made: of words or a draft, or of any other picture.
Way = Strategy | Operation
# The kind of a job that paints by words, or of a draft.
GENERATE = "generate"

UPSCALES = frozenset(
    {Operation.UPSCALE_FAST, Operation.UPSCALE_CONSERVATIVE, Operation.UPSCALE_CREATIVE}
)
# Only these have a quality of their own.
VARIATIONS = frozenset(
    {
        Operation.VARIATION,
        Operation.CONTROL_SKETCH,
        Operation.CONTROL_STRUCTURE,
        Operation.CONTROL_STYLE,
    }
)
# Nothing of the picture itself is in what these make of it.
REPAINTED = VARIATIONS - {Operation.VARIATION}
MASKED = frozenset({Operation.INPAINT, Operation.ERASE})
# These can do nothing without words.
WORDED = frozenset(Operation) - {
    Operation.UPSCALE_FAST,
    Operation.OUTPAINT,
    Operation.ERASE,
    Operation.REMOVE_BACKGROUND,
}


class Operands(BaseModel):
    """What an operation is told beside words and pictures."""

    model_config = ConfigDict(frozen=True)

    # The size that the result is to have, in pixels.
    width: int = 0
    height: int = 0
    scale: int = 1
    # How far a variation may leave its picture: 0 keeps it, 1 forgets it.
    strength: float | None = None
    # What is looked for, to be replaced or recoloured.
    search: str | None = None
    # Pixels that are added.
    left: int = 0
    right: int = 0
    up: int = 0
    down: int = 0


class Kept(StrEnum):
    """What a variation keeps of its picture, where it does not begin with all of it."""

    SKETCH = "sketch"
    """Its lines."""
    STRUCTURE = "structure"
    """Where things stand."""
    STYLE = "style"
    """How it is painted."""


class UpscaleMode(StrEnum):
    FAST = "fast"
    """The very picture, larger."""
    CONSERVATIVE = "conservative"
    """With fine detail that fits the prompt."""
    CREATIVE = "creative"
    """Painted anew from what it shows; takes minutes."""


class Edit(StrEnum):
    INPAINT = "inpaint"
    """Paint what `prompt` says where the mask is white."""
    OUTPAINT = "outpaint"
    """Paint on beyond the edges: `left`, `right`, `up`, `down`."""
    ERASE = "erase"
    """Remove what lies where the mask is white."""
    SEARCH_AND_REPLACE = "search-and-replace"
    """Replace `search_prompt` by `prompt`."""
    SEARCH_AND_RECOLOR = "search-and-recolor"
    """Colour `select_prompt` as `prompt` says."""
    REMOVE_BACKGROUND = "remove-background"
    """Leave the subject alone, on nothing."""


def _two_or_four(value: int) -> int:
    if value not in (2, 4):
        raise ValueError("it must be 2 or 4")
    return value


Scale = Annotated[int, AfterValidator(_two_or_four), Field(json_schema_extra={"enum": [2, 4]})]
Added = Annotated[int, Field(ge=0, le=MOST_ADDED)]
OwnWords = Annotated[Text, StringConstraints(max_length=MAX_PROMPT_CHARACTERS)]


class PictureRequest(BaseModel):
    """Names the picture by one of `image_id`, `job_id`, `image_url`, or sends it as a file `image`.

    The fields are the same in JSON and in a form (multipart).
    """

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    image_id: UUID | None = None
    """A picture of this service."""
    job_id: UUID | None = None
    """A completed job, for its (first) picture."""
    image_url: Annotated[Text, StringConstraints(max_length=MOST_URL_CHARACTERS)] | None = None
    """The address of a picture. One that this service gave is not fetched, but looked up; others
    are fetched only where whoever runs the service allows it."""
    prompt: Prompt | None = None
    """What is to be seen; what the picture was painted of, where it is not given."""
    negative_prompt: OwnWords = ""
    style: Annotated[Text, StringConstraints(min_length=1, max_length=100)] | None = None
    """A style preset of the provider."""
    provider: Name | None = None
    """Who does it; whoever can, the service's default first, where it is not named."""
    seed: Annotated[int, Field(ge=0, le=MAX_SEED)] = 0
    """0 chooses one at random."""
    blog_id: Name | None = None
    """The blog post in which the result is placed."""
    blog_job_id: Name | None = None
    role: Role | None = None
    position: Annotated[int, Field(ge=1, le=MAX_POSITION)] | None = None
    alt_text: Annotated[Text, StringConstraints(max_length=1_000)] | None = None
    caption: Annotated[Text, StringConstraints(max_length=2_000)] | None = None
    not_before: Moment | None = None
    deadline_seconds: Annotated[int, Field(ge=1, le=MAX_DEADLINE_SECONDS)] | None = None
    on_unknown: OnUnknown | None = None

    @property
    def kind(self) -> str:
        """What the job is called."""
        raise NotImplementedError

    @property
    def operation_asked(self) -> Operation:
        raise NotImplementedError

    @property
    def quality_asked(self) -> Quality:
        return Quality.STANDARD

    def operands(self, width: int, height: int) -> Operands:
        """What to do with a picture of *width* x *height*."""
        return Operands(width=width, height=height)

    @model_validator(mode="after")
    def _names_one_picture(self) -> Self:
        if sum(one is not None for one in (self.image_id, self.job_id, self.image_url)) > 1:
            raise ValueError("name the picture by one of image_id, job_id and image_url")
        return self


class VariationRequest(PictureRequest):
    """The body of `POST /api/v1/images/variations`."""

    quality: FinalQuality = Quality.STANDARD
    strength: Annotated[float, Field(ge=0, le=1)] | None = None
    """How far it may leave the picture: 0 keeps it, 1 forgets it; the provider's own measure where
    it is not given."""
    keep: Kept | None = None
    """Keep only this of the picture, and paint the rest by the prompt."""

    OF_KEPT: ClassVar[Mapping[Kept | None, Operation]] = {
        None: Operation.VARIATION,
        Kept.SKETCH: Operation.CONTROL_SKETCH,
        Kept.STRUCTURE: Operation.CONTROL_STRUCTURE,
        Kept.STYLE: Operation.CONTROL_STYLE,
    }

    @property
    def kind(self) -> str:
        return "variation"

    @property
    def operation_asked(self) -> Operation:
        return self.OF_KEPT[self.keep]

    @property
    def quality_asked(self) -> Quality:
        return self.quality

    def operands(self, width: int, height: int) -> Operands:
        return Operands(width=width, height=height, strength=self.strength)


class UpscaleRequest(PictureRequest):
    """The body of `POST /api/v1/images/upscale`."""

    scale: Scale = 2
    """How many times as wide and as high."""
    mode: UpscaleMode = UpscaleMode.FAST

    @property
    def kind(self) -> str:
        return "upscale"

    @property
    def operation_asked(self) -> Operation:
        return Operation(f"upscale-{self.mode.value}")

    def operands(self, width: int, height: int) -> Operands:
        return Operands(width=width * self.scale, height=height * self.scale, scale=self.scale)


class EditRequest(PictureRequest):
    """The body of `POST /api/v1/images/edit`."""

    operation: Edit
    mask_image_id: UUID | None = None
    """For inpaint and erase: a picture of this service, as large as the picture, white where it is
    to change. A form sends it as a file `mask` instead."""
    search_prompt: Prompt | None = None
    """For search-and-replace: what is replaced."""
    select_prompt: Prompt | None = None
    """For search-and-recolor: what is recoloured."""
    left: Added = 0
    right: Added = 0
    up: Added = 0
    down: Added = 0

    # What only some operations take, and which of it they cannot do without.
    OWN: ClassVar[Mapping[str, frozenset[Edit]]] = {
        "mask_image_id": frozenset({Edit.INPAINT, Edit.ERASE}),
        "search_prompt": frozenset({Edit.SEARCH_AND_REPLACE}),
        "select_prompt": frozenset({Edit.SEARCH_AND_RECOLOR}),
        **dict.fromkeys(("left", "right", "up", "down"), frozenset({Edit.OUTPAINT})),
    }

    @property
    def kind(self) -> str:
        return "edit"

    @property
    def operation_asked(self) -> Operation:
        return Operation(self.operation.value)

    def operands(self, width: int, height: int) -> Operands:
        return Operands(
            width=width + self.left + self.right,
            height=height + self.up + self.down,
            search=self.search_prompt or self.select_prompt,
            left=self.left,
            right=self.right,
            up=self.up,
            down=self.down,
        )

    @model_validator(mode="after")
    def _fits_the_operation(self) -> Self:
        for name, operations in self.OWN.items():
            if getattr(self, name) and self.operation not in operations:
                takes = " and ".join(sorted(one.value for one in operations))
                raise ValueError(f"{name} is for {takes}, not for {self.operation.value}")
        for name in ("search_prompt", "select_prompt"):
            if self.operation in self.OWN[name] and getattr(self, name) is None:
                raise ValueError(f"{self.operation.value} needs {name}: what to look for")
        added = self.left + self.right + self.up + self.down
        if self.operation is Edit.OUTPAINT and not added:
            raise ValueError("outpaint needs at least one of left, right, up and down")
        # What the picture was painted of says nothing of what is to be changed.
        if self.operation_asked in WORDED and self.prompt is None:
            raise ValueError(f"{self.operation.value} needs a prompt: what is to be seen there")
        return self


class PaintingOf(BaseModel):
    """What a job keeps of its operation, within its request."""

    model_config = ConfigDict(frozen=True)

    operation: Operation
    operands: Operands
    # A picture of this service by its id, or what was sent with the request by its key.
    source_image_id: UUID | None = None
    source_key: str | None = None
    mask_image_id: UUID | None = None
    mask_key: str | None = None
    # Whether a part of the result comes of a picture that somebody sent, now or for its source; and
    # how the rest of the source came to be.
    keeps_sent: bool = False
    keeps: SourceType | None = None
    # What the whole picture shows, where the job's prompt tells of a change alone.
    shows: str = ""

    @classmethod
    def of(cls, asked: Mapping[str, Any]) -> Self | None:
        """Of a job's request; None for a picture that is made of words or of a draft."""
        return cls.model_validate(asked) if "operation" in asked else None
