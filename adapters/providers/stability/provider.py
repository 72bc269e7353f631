"""The port's side of Stability AI: one paid call a job, no look-up afterwards, no second try."""

import hashlib
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from decimal import Decimal
from typing import Self

import structlog

from adapters.errors import (
    BadPicture,
    ProviderBusy,
    ProviderRefused,
    ProviderUnusable,
    ResultGone,
    Unavailable,
)
from adapters.http import ChargingService, open_client
from adapters.ports import (
    Accepted,
    KeyLimits,
    PaintedPicture,
    Painting,
    PaintRequest,
    Parameters,
    Processes,
)
from adapters.providers.shapes import in_shape
from adapters.providers.stability import creative, shapes
from adapters.providers.stability.models import Resolved, Wire, resolve
from adapters.providers.stability.settings import StabilitySettings
from adapters.providers.stability.shapes import RATIOS, V1_SIZES
from adapters.providers.stability.wire import (
    MOST_SOURCE_BYTES,
    NAMES,
    STYLES,
    answer,
    asking,
    credits_of,
)
from schemas.operations import Operation, Way
from schemas.prices import PRICE_BOOKS, UPSCALE_CREATIVE, Price
from schemas.requests import AspectRatio, Quality, Strategy

log = structlog.get_logger(__name__)

NAME = "stability_ai"
# So much of the time for a painting is the service's; the rest is for what is done to its picture.
SHARE_OF_SERVICE = 0.9
MOST_BALANCE_BYTES = 64 * 1024


class StabilityProvider(AbstractAsyncContextManager["StabilityProvider"]):
    """Use it as a context, which holds the connections."""

    name = NAME
    repeatable = False
    styles = STYLES
    strategies = (Strategy.IMAGE_TO_IMAGE, Strategy.REGENERATE)
    operations: tuple[Operation, ...] = ()
    aspect_ratios = RATIOS

    def __init__(
        self, settings: StabilitySettings, processes: Processes, within: timedelta
    ) -> None:
        """*within* is the time that a painting may take in all."""
        assert settings.api_key is not None
        key = settings.api_key.get_secret_value()
        self._settings = settings
        self._processes = processes
        self._within = within * SHARE_OF_SERVICE
        self._client = open_client(settings.base_url, {"authorization": f"Bearer {key}"})
        self._service = ChargingService("Stability AI", self._client, key, NAMES)
        self.limits = KeyLimits(
            fingerprint=hashlib.sha256(f"limner/{NAME}/{key}".encode()).hexdigest()[:8],
            requests=settings.rate_requests,
            window=timedelta(seconds=settings.rate_window_seconds),
        )
        self.price_book = PRICE_BOOKS[settings.price_book].corrected(settings.credits)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()

    def resolve_model(self, quality: str, way: Way = Strategy.REGENERATE) -> str:
        return self._resolved(quality, way).model.name

    def parameters(self, quality: str, way: Way = Strategy.REGENERATE) -> Parameters:
        resolved = self._resolved(quality, way)
        return Parameters(resolved.steps, resolved.cfg_scale, resolved.warnings)

    def quote(self, quality: str, way: Way = Strategy.REGENERATE) -> Price | None:
        resolved = self._resolved(quality, way)
        return self.price_book.price(resolved.model.name, Quality(quality), steps=resolved.steps)

    def price(self, quality: str, way: Way = Strategy.REGENERATE) -> Decimal | None:
        quoted = self.quote(quality, way)
        return quoted.usd if quoted is not None else None

    async def balance(self) -> Decimal:
        """Credits that are left. Free; raises as `generate` does."""
        reply = await self._service.ask(
            "GET", "/v1/user/balance", within=self._within, max_bytes=MOST_BALANCE_BYTES
        )
        return credits_of(reply)

    async def generate(self, request: PaintRequest) -> Painting:
        if request.operation is not None:
            raise ProviderRefused("invalid_request", f"{NAME} does no {request.operation.value}")
        resolved = self._resolved(request.quality, request.strategy)
        wanted = AspectRatio(request.aspect_ratio)
        ratio = shapes.nearest(wanted)
        source = await self._source(request, resolved, ratio)
        asked = asking(request, source, resolved, ratio, self._settings.strength)
        try:
            reply = await self._service.ask(
                "POST",
                asked.path,
                within=self._within,
                max_bytes=self._settings.max_reply_bytes,
                **asked.content,
            )
        except ProviderUnusable as exc:
            log.error("provider_unusable", provider=NAME, reason=exc.reason, detail=str(exc))
            raise
        drawn = answer(reply, resolved.model.wire, request.seed)
        data, cut = await in_shape(
            drawn.data,
            wanted,
            ratio,
            of_picture=source is not None,
            processes=self._processes,
            provider=NAME,
        )
        return Painting(
            pictures=(PaintedPicture(data, drawn.content_type, drawn.seed),),
            model=resolved.model.name,
            cost=self.price(request.quality, request.strategy),
            warnings=(*resolved.warnings, *cut),
        )

    async def poll(self, provider_ref: str, request: PaintRequest) -> Painting | Accepted:
        asked = creative.asking_about(provider_ref)
        try:
            reply = await self._service.ask(
                "GET",
                asked.path,
                within=self._within,
                max_bytes=self._settings.max_reply_bytes,
                taken=creative.TAKEN,
                **asked.content,
            )
            drawn = creative.finished(reply, request.seed)
        except ProviderRefused as exc:
            if exc.code == "moderated":
                raise
            # 404 above all: kept for a day, and only for the key that started it.
            raise ResultGone(str(exc)) from exc
        if drawn is None:
            return Accepted(provider_ref, creative.ASK_AGAIN_AFTER)
        price = self.price_book.price(UPSCALE_CREATIVE, Quality(request.quality))
        return Painting(
            pictures=(PaintedPicture(drawn.data, drawn.content_type, drawn.seed),),
            model=UPSCALE_CREATIVE,
            cost=price.usd if price is not None else None,
        )

    def _resolved(self, quality: str, way: Way) -> Resolved:
        assert isinstance(way, Strategy)
        return resolve(Quality(quality), way, self._settings.profile, self._settings.models)

    async def _source(
        self, request: PaintRequest, resolved: Resolved, ratio: AspectRatio
    ) -> bytes | None:
        """The draft's picture as the model takes it; None where it paints from words alone."""
        if request.strategy not in self.strategies:
            raise ProviderRefused(
                "invalid_request", f"{NAME} does not make finals by {request.strategy.value}"
            )
        if request.strategy is Strategy.REGENERATE:
            return None
        source = request.source
        if source is None:
            raise ProviderRefused("invalid_request", "image_to_image needs the draft's picture")
        if resolved.model.wire is Wire.V1:  # it takes its own sizes only
            try:
                source = await self._processes.run(shapes.fitted, source, *V1_SIZES[ratio])
            except BadPicture as exc:
                reason = f"the draft's picture cannot be read: {exc}"
                raise ProviderRefused("invalid_request", reason) from exc
            except Unavailable as exc:
                reason = f"the process that scales the draft's picture ended: {exc}"
                raise ProviderBusy(reason, timedelta(seconds=1)) from exc
        if len(source) > MOST_SOURCE_BYTES:
            raise ProviderRefused(
                "invalid_request",
                f"the draft's picture has {len(source)} bytes; {MOST_SOURCE_BYTES} are taken",
            )
        return source
