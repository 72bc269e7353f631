"""What providers share that are asked once by HTTP, charge, and answer with the picture."""

import hashlib
from abc import abstractmethod
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import ClassVar, Self

import structlog

from adapters.errors import ProviderRefused, ProviderUnusable, ResultGone
from adapters.http import ChargingService, Meaning, open_client
from adapters.ports import KeyLimits, PaintedPicture, Painting, PaintRequest, Parameters, Processes
from adapters.providers.replies import Drawn
from adapters.providers.settings import PainterSettings
from adapters.providers.shapes import in_shape, nearest
from adapters.providers.words import STYLES
from schemas.operations import Operation, Way
from schemas.prices import Price, book_of_qualities
from schemas.requests import AspectRatio, Quality, Strategy

log = structlog.get_logger(__name__)

# So much of the time for a painting is the service's; the rest is for what is done to its picture.
SHARE_OF_SERVICE = 0.9


class HttpPainter(AbstractAsyncContextManager["HttpPainter"]):
    """Use it as a context, which holds the connections. A provider says the rest by `_paint`."""

    name: str
    # What people call the service.
    title: str
    # Errors that it names in its replies; what it names otherwise goes by its status.
    error_names: ClassVar[Mapping[str, Meaning]]
    most_source_bytes: ClassVar[int]
    # Where prices come from, and when they were read.
    prices_of: str

    repeatable = False
    styles = STYLES
    strategies: tuple[Strategy, ...] = (Strategy.IMAGE_TO_IMAGE, Strategy.REGENERATE)
    aspect_ratios: tuple[AspectRatio, ...]

    def __init__(
        self,
        settings: PainterSettings,
        processes: Processes,
        within: timedelta,
        headers: Mapping[str, str],
    ) -> None:
        """*within* is the time that a painting may take in all, *headers* bear the key."""
        self._processes = processes
        self._within = within * SHARE_OF_SERVICE
        self._afterwards = within * (1 - SHARE_OF_SERVICE) * 0.9
        self._own_models = settings.models
        self._max_reply_bytes = settings.max_reply_bytes
        self._client = open_client(settings.base_url, headers)
        self._service = ChargingService(self.title, self._client, settings.secret, self.error_names)
        # Without a key it is the server that has the limit.
        of = settings.secret or settings.base_url
        self.limits = KeyLimits(
            fingerprint=hashlib.sha256(f"limner/{self.name}/{of}".encode()).hexdigest()[:8],
            requests=settings.rate_requests,
            window=timedelta(seconds=settings.rate_window_seconds),
        )
        known = {quality: self._known_usd(quality) for quality in Quality}
        self.price_book = book_of_qualities(self.prices_of, known, settings.usd)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()

    @abstractmethod
    def _usual_model(self, quality: Quality) -> str: ...

    @property
    def operations(self) -> tuple[Operation, ...]:
        """Another picture of the same composition; all else needs masks or sizes of its own."""
        return (Operation.VARIATION,) if Strategy.IMAGE_TO_IMAGE in self.strategies else ()

    @abstractmethod
    def _known_usd(self, quality: Quality) -> Decimal | None:
        """What one picture costs at most, by the model that paints *quality*; None if unknown."""

    @abstractmethod
    async def _paint(self, request: PaintRequest, ratio: AspectRatio) -> Drawn:
        """Ask the service once for a picture in *ratio*, which is one of `aspect_ratios`.

        `request.source` is given where the picture is made of it, and only there. Raises as
        `generate` does.
        """

    def _charged(self, request: PaintRequest, ratio: AspectRatio) -> Decimal | None:
        """What this picture cost, where that differs from what was quoted."""
        return self.price(request.quality, request.strategy)

    def _warnings(self, quality: Quality) -> tuple[str, ...]:
        """What is usual for *quality* and is left out."""
        return (f"{self.resolve_model(quality)} takes no steps and no cfg_scale",)

    def resolve_model(self, quality: str, way: Way = Strategy.REGENERATE) -> str:
        return self._own_models.get(Quality(quality)) or self._usual_model(Quality(quality))

    def parameters(self, quality: str, way: Way = Strategy.REGENERATE) -> Parameters:
        return Parameters(warnings=self._warnings(Quality(quality)))

    def quote(self, quality: str, way: Way = Strategy.REGENERATE) -> Price | None:
        return self.price_book.price(self.resolve_model(quality), Quality(quality))

    def price(self, quality: str, way: Way = Strategy.REGENERATE) -> Decimal | None:
        quoted = self.quote(quality, way)
        return quoted.usd if quoted is not None else None

    async def poll(self, provider_ref: str, request: PaintRequest) -> Painting:
        raise ResultGone(f"{self.title} answers at once; it has accepted nothing")

    async def generate(self, request: PaintRequest) -> Painting:
        request = self._checked(request)
        wanted = AspectRatio(request.aspect_ratio)
        ratio = nearest(wanted, self.aspect_ratios)
        try:
            drawn = await self._paint(request, ratio)
        except ProviderUnusable as exc:
            log.error("provider_unusable", provider=self.name, reason=exc.reason, detail=str(exc))
            raise
        data, cut = drawn.data, self._dropped(request)
        if request.operation is None:  # a variation is as the model shapes it
            data, cut = await in_shape(
                data,
                wanted,
                ratio,
                of_picture=request.source is not None,
                processes=self._processes,
                provider=self.name,
                within=self._afterwards,
            )
        return Painting(
            pictures=(PaintedPicture(data, drawn.content_type, drawn.seed),),
            model=self.resolve_model(request.quality, request.strategy),
            cost=self._charged(request, ratio),
            warnings=(*self._warnings(Quality(request.quality)), *cut),
        )

    def _checked(self, request: PaintRequest) -> PaintRequest:
        """*request* with a source only where the picture is made of it; else refuse it, unasked."""
        if request.operation in self.operations:
            request = replace(request, strategy=Strategy.IMAGE_TO_IMAGE)
        elif request.operation is not None:
            raise ProviderRefused(
                "invalid_request", f"{self.name} does no {request.operation.value}"
            )
        if request.strategy not in self.strategies:
            raise ProviderRefused(
                "invalid_request", f"{self.name} does not make finals by {request.strategy.value}"
            )
        if request.strategy is Strategy.REGENERATE:
            return replace(request, source=None)
        if request.source is None:
            raise ProviderRefused("invalid_request", "image_to_image needs a picture")
        if len(request.source) > self.most_source_bytes:
            raise ProviderRefused(
                "invalid_request",
                f"the picture has {len(request.source)} bytes; {self.most_source_bytes} are taken",
            )
        return request

    def _dropped(self, request: PaintRequest) -> tuple[str, ...]:
        if request.operands.strength is None:
            return ()
        return (f"{self.resolve_model(request.quality)} takes no strength; it is left out",)
