"""The port's side of Stability AI: one paid call a job, no look-up afterwards, no second try."""

import asyncio
import hashlib
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import ParamSpec, Self, TypeVar

import structlog

from adapters.errors import (
    BadPicture,
    ProviderBusy,
    ProviderRefused,
    ProviderUnusable,
    ResultGone,
    Unavailable,
)
from adapters.http import ChargingService, Reply, open_client
from adapters.ports import (
    Accepted,
    KeyLimits,
    PaintedPicture,
    Painting,
    PaintRequest,
    Parameters,
    Processes,
)
from adapters.providers.replies import Drawn
from adapters.providers.shapes import in_shape
from adapters.providers.stability import creative, operations, shapes
from adapters.providers.stability.models import Resolved, Wire, resolve
from adapters.providers.stability.settings import StabilitySettings
from adapters.providers.stability.shapes import RATIOS, V1_SIZES
from adapters.providers.stability.wire import (
    MOST_SOURCE_BYTES,
    NAMES,
    STYLES,
    Asking,
    answer,
    asking,
    credits_of,
)
from schemas.operations import MASKED, UPSCALES, Operation, Way
from schemas.prices import PRICE_BOOKS, Price
from schemas.requests import AspectRatio, Quality, Strategy

log = structlog.get_logger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

NAME = "stability_ai"
# So much of the time for a painting is the service's; the rest is for what is done to its picture.
SHARE_OF_SERVICE = 0.9
# Once before and once after the call; whoever waits longer for a process does without. All three
# together stay below the whole, or its end would cut off what is paid for.
SHARE_OF_SCALING = 0.045
MOST_BALANCE_BYTES = 64 * 1024


class StabilityProvider(AbstractAsyncContextManager["StabilityProvider"]):
    """Use it as a context, which holds the connections."""

    name = NAME
    repeatable = False
    styles = STYLES
    strategies = (Strategy.IMAGE_TO_IMAGE, Strategy.REGENERATE)
    operations = tuple(Operation)
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
        self._beforehand = self._afterwards = within * SHARE_OF_SCALING
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
        if way in operations.MODELS:
            return way.value
        return self._resolved(quality, way).model.name

    def parameters(self, quality: str, way: Way = Strategy.REGENERATE) -> Parameters:
        if way in operations.MODELS:
            return Parameters()
        resolved = self._resolved(quality, way)
        return Parameters(resolved.steps, resolved.cfg_scale, resolved.warnings)

    def quote(self, quality: str, way: Way = Strategy.REGENERATE) -> Price | None:
        if way in operations.MODELS:
            return self.price_book.price_of(way.value)
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

    async def generate(self, request: PaintRequest) -> Painting | Accepted:
        if request.operation is Operation.VARIATION:
            return await self._vary(request)
        if request.operation is not None:
            return await self._operate(request)
        resolved = self._resolved(request.quality, request.strategy)
        wanted = AspectRatio(request.aspect_ratio)
        ratio = shapes.nearest(wanted)
        source = await self._source(request, resolved, ratio)
        drawn = await self._drawn(request, source, resolved, ratio, self._settings.strength)
        data, cut = await in_shape(
            drawn.data,
            wanted,
            ratio,
            of_picture=source is not None,
            processes=self._processes,
            provider=NAME,
            within=self._afterwards,
        )
        return Painting(
            pictures=(PaintedPicture(data, drawn.content_type, drawn.seed),),
            model=resolved.model.name,
            cost=self.price(request.quality, request.strategy),
            warnings=(*resolved.warnings, *cut),
        )

    async def _vary(self, request: PaintRequest) -> Painting:
        """Paint from the picture, and leave the result as the model shapes it."""
        request = replace(request, strategy=Strategy.IMAGE_TO_IMAGE)
        resolved = self._resolved(request.quality, request.strategy)
        ratio = shapes.nearest(AspectRatio(request.aspect_ratio))
        source = await self._source(request, resolved, ratio)
        told = request.operands.strength
        strength = self._settings.strength if told is None else Decimal(str(told))
        drawn = await self._drawn(request, source, resolved, ratio, strength)
        return Painting(
            pictures=(PaintedPicture(drawn.data, drawn.content_type, drawn.seed),),
            model=resolved.model.name,
            cost=self.price(request.quality, Operation.VARIATION),
            warnings=resolved.warnings,
        )

    async def _drawn(
        self,
        request: PaintRequest,
        source: bytes | None,
        resolved: Resolved,
        ratio: AspectRatio,
        strength: Decimal,
    ) -> Drawn:
        reply = await self._paid(asking(request, source, resolved, ratio, strength))
        return answer(reply, resolved.model.wire, request.seed)

    async def _operate(self, request: PaintRequest) -> Painting | Accepted:
        operation = request.operation
        assert operation is not None
        if request.source is None or (request.mask is None and operation in MASKED):
            raise ProviderRefused("invalid_request", f"{operation.value} needs a picture")
        came, source = await self._on_source(operations.fitted, operation, request.source)
        size = operations.checked(operation, came)
        notes = operations.dropped(request)
        if size != came:
            notes = (*notes, f"the picture was scaled down to {size} pixels first")
        if len(source) + len(request.mask or b"") > MOST_SOURCE_BYTES:
            raise ProviderRefused(
                "invalid_request",
                f"the picture and its mask have more than {MOST_SOURCE_BYTES} bytes",
            )
        mask = request.mask if operation in MASKED else None
        asked = operations.asking(replace(request, mask=mask), source, size)
        reply = await self._paid(asked)
        if operation is Operation.UPSCALE_CREATIVE:
            return creative.accepted(reply)
        return await self._done(answer(reply, Wire.CORE, request.seed), request, notes)

    async def _done(
        self, drawn: Drawn, request: PaintRequest, notes: tuple[str, ...] = ()
    ) -> Painting:
        """What came of an operation, which is paid for by now, in the size that was asked for."""
        way = request.operation or Operation.UPSCALE_CREATIVE
        data = drawn.data
        wanted = operations.Size(request.operands.width, request.operands.height)
        is_fast = way is Operation.UPSCALE_FAST
        if way in UPSCALES and wanted.width:
            try:
                async with asyncio.timeout(self._afterwards.total_seconds()):
                    found, data = await self._processes.run(
                        operations.brought_to, wanted, data, is_fast
                    )
                if found.width < wanted.width and not is_fast:
                    notes = (*notes, f"{way.value} makes no more than {found} pixels of it")
            except (BadPicture, Unavailable, TimeoutError) as exc:
                log.warning("picture_not_scaled", provider=NAME, error=str(exc))
                notes = (*notes, "the picture could not be scaled to the size that was asked for")
        return Painting(
            pictures=(PaintedPicture(data, drawn.content_type, drawn.seed),),
            model=way.value,
            cost=self.price(request.quality, way),
            warnings=notes,
        )

    async def _paid(self, asked: Asking) -> Reply:
        """The reply to a call that is charged."""
        try:
            return await self._service.ask(
                "POST",
                asked.path,
                within=self._within,
                max_bytes=self._settings.max_reply_bytes,
                **asked.content,
            )
        except ProviderUnusable as exc:
            log.error("provider_unusable", provider=NAME, reason=exc.reason, detail=str(exc))
            raise

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
        return await self._done(drawn, request)

    def _resolved(self, quality: str, way: Way) -> Resolved:
        strategy = way if isinstance(way, Strategy) else Strategy.IMAGE_TO_IMAGE
        return resolve(Quality(quality), strategy, self._settings.profile, self._settings.models)

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
            source = await self._on_source(shapes.fitted, source, *V1_SIZES[ratio])
        if len(source) > MOST_SOURCE_BYTES:
            raise ProviderRefused(
                "invalid_request",
                f"the draft's picture has {len(source)} bytes; {MOST_SOURCE_BYTES} are taken",
            )
        return source

    async def _on_source(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Work on the picture that the call is made of: nothing is charged yet."""
        try:
            async with asyncio.timeout(self._beforehand.total_seconds()):
                return await self._processes.run(function, *args, **kwargs)
        except BadPicture as exc:
            reason = f"the picture cannot be read: {exc}"
            raise ProviderRefused("invalid_request", reason) from exc
        except TimeoutError as exc:
            reason = "the processes that scale pictures have too much to do"
            raise ProviderBusy(reason, timedelta(seconds=5)) from exc
        except Unavailable as exc:
            reason = f"the process that scales the picture ended: {exc}"
            raise ProviderBusy(reason, timedelta(seconds=1)) from exc
