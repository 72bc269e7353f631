"""The port's side of sketch: sizes, prices, worker processes, and misbehaviour for tests."""

import hashlib
from collections.abc import Mapping
from datetime import timedelta
from decimal import Decimal

from pydantic import BaseModel, ConfigDict, Field

from adapters.errors import (
    BadPicture,
    OutcomeUnknown,
    ProviderBusy,
    ProviderRefused,
    ResultGone,
    Unavailable,
)
from adapters.ports import (
    MADE_OF_SOURCE,
    Clock,
    PaintedPicture,
    Painting,
    PaintRequest,
    Parameters,
    Processes,
)
from adapters.providers.replies import content_type_of
from adapters.providers.sketch.request import KNOWN_STYLES, Sketch, paint_png
from schemas.operations import Operation, Way
from schemas.prices import DOCUMENT_1_3_4, Price
from schemas.provenance import SourceType
from schemas.requests import AspectRatio, Quality, Strategy

NAME = "sketch"
MODEL = "sketch-1"
BUSY_FOR = timedelta(seconds=1)

# About so many pixels; drafts are previews, ultra is meant for print.
PIXELS: dict[Quality, int] = {
    Quality.DRAFT: 512 * 288,
    Quality.STANDARD: 1024 * 576,
    Quality.HIGH: 1344 * 768,
    Quality.ULTRA: 1536 * 864,
}
MULTIPLE = 16
# It recognises nothing, and says what it does instead.
UNSEEING: Mapping[Way, str] = {
    **dict.fromkeys(
        (Operation.SEARCH_AND_REPLACE, Operation.SEARCH_AND_RECOLOR),
        "sketch finds nothing in pictures: it changed an oval in the middle",
    ),
    **dict.fromkeys(
        (Operation.UPSCALE_CONSERVATIVE, Operation.UPSCALE_CREATIVE),
        "sketch adds no detail: it resampled the picture",
    ),
    Operation.OUTPAINT: "sketch invents nothing beyond the edges: it mirrored the picture",
    Operation.REMOVE_BACKGROUND: (
        "sketch knows no subject: it removed what has the colour of the upper and lower border"
    ),
}


class SketchSettings(BaseModel):
    """How sketch misbehaves, for tests and demonstrations only. Each share is 0 … 1."""

    model_config = ConfigDict(extra="forbid")

    delay_seconds: float = Field(default=0.0, ge=0)
    busy_share: float = Field(default=0.0, ge=0, le=1)
    refuse_share: float = Field(default=0.0, ge=0, le=1)
    # The painting is done and its answer lost, as when a connection breaks.
    lost_share: float = Field(default=0.0, ge=0, le=1)


class SketchProvider:
    """Paints a scene from the prompt's words. Free, offline, and the same again for a seed."""

    name = NAME
    repeatable = True
    styles = frozenset(KNOWN_STYLES)
    aspect_ratios = tuple(AspectRatio)
    price_book = DOCUMENT_1_3_4
    limits = None
    # Of 20 scenes drafted at 512 x 288 the finals at 1344 x 768 had, at the worst, an SSIM of 0.93
    # by image_to_image and 0.91 by regenerate. An upscaled one has 0.99, and no detail of its own.
    strategies = (Strategy.IMAGE_TO_IMAGE, Strategy.REGENERATE, Strategy.UPSCALE)
    operations = tuple(Operation)

    def __init__(self, processes: Processes, clock: Clock, settings: SketchSettings) -> None:
        self._processes = processes
        self._clock = clock
        self._settings = settings

    async def poll(self, provider_ref: str, request: PaintRequest) -> Painting:
        raise ResultGone("sketch answers at once; it has accepted nothing")

    def resolve_model(self, quality: str, way: Way = Strategy.REGENERATE) -> str:
        return MODEL

    def parameters(self, quality: str, way: Way = Strategy.REGENERATE) -> Parameters:
        return Parameters()

    def quote(self, quality: str, way: Way = Strategy.REGENERATE) -> Price | None:
        return self.price_book.price(MODEL, Quality(quality))

    def price(self, quality: str, way: Way = Strategy.REGENERATE) -> Decimal | None:
        quoted = self.quote(quality, way)
        return quoted.usd if quoted is not None else None

    async def generate(self, request: PaintRequest) -> Painting:
        if request.operation is not None and request.source is None:
            raise ProviderRefused("invalid_request", f"{request.operation.value} needs a picture")
        if request.strategy in MADE_OF_SOURCE and request.source is None:
            raise ProviderRefused(
                "invalid_request", f"{request.strategy.value} needs the draft's picture"
            )
        await self._misbehave(request)
        width, height = size(AspectRatio(request.aspect_ratio), Quality(request.quality))
        operands = request.operands
        if request.operation is not None:
            width, height = operands.width, operands.height
        sketch = Sketch(
            prompt=request.prompt,
            negative_prompt=request.negative_prompt,
            seed=request.seed,
            width=width,
            height=height,
            style=request.style,
            detail="draft" if request.quality == Quality.DRAFT else "final",
            strategy=request.strategy.value,
            source=request.source,
            operation=request.operation.value if request.operation is not None else None,
            mask=request.mask,
            strength=operands.strength,
            added=(operands.left, operands.right, operands.up, operands.down),
        )
        try:
            data = await self._processes.run(paint_png, sketch)
        except Unavailable as exc:
            raise OutcomeUnknown(f"the painting process ended before it was done: {exc}") from exc
        except BadPicture as exc:
            raise ProviderRefused(
                "invalid_request", f"the draft's picture cannot be read: {exc}"
            ) from exc
        way = request.operation or request.strategy
        return Painting(
            pictures=(PaintedPicture(data, content_type_of(data) or "image/png", request.seed),),
            model=MODEL,
            cost=self.price(request.quality, way),
            warnings=(UNSEEING[way],) if way in UNSEEING else (),
            source_type=SourceType.ALGORITHMIC,
        )

    async def _misbehave(self, request: PaintRequest) -> None:
        settings = self._settings
        if settings.delay_seconds:
            await self._clock.sleep(settings.delay_seconds)
        chance = _chance(request, "busy")
        if chance < settings.busy_share:
            raise ProviderBusy("sketch was told to be busy", BUSY_FOR)
        if _chance(request, "refuse") < settings.refuse_share:
            raise ProviderRefused("moderated", "sketch was told to refuse")
        if _chance(request, "lost") < settings.lost_share:
            raise OutcomeUnknown("sketch was told to lose its answer")


def _chance(request: PaintRequest, what: str) -> float:
    """A number in 0 … 1 that is the same for the same attempt."""
    digest = hashlib.sha256(f"{request.job_id}/{request.attempt}/{what}".encode()).digest()
    return int.from_bytes(digest[:6], "big") / 2**48


def size(ratio: AspectRatio, quality: Quality) -> tuple[int, int]:
    """Width and height in pixels: about the quality's area, sides in multiples of 16."""
    across, down = ratio.sides
    unit: float = (PIXELS[quality] / (across * down)) ** 0.5
    return (
        max(MULTIPLE, round(across * unit / MULTIPLE) * MULTIPLE),
        max(MULTIPLE, round(down * unit / MULTIPLE) * MULTIPLE),
    )
