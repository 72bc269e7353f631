"""A painter over HTTP whose every picture is an operation that the service accepts and runs.

It asks the double of Stability AI for creative upscales of a small picture, through the adapter's
own forms and polls. A server is told of it by its setting `connect`, and of the double by
`LIMNER_STABILITY__…`.
"""

import os
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

from adapters.local.connect import LocalWorld
from adapters.ports import Accepted, Painting, PaintRequest, Processes
from adapters.providers.sketch.provider import SketchSettings
from adapters.providers.stability import creative
from adapters.providers.stability.provider import StabilityProvider
from adapters.providers.stability.settings import StabilitySettings
from adapters.world import Sections
from schemas.operations import Way
from schemas.prices import UPSCALE_CREATIVE, Price
from schemas.requests import Strategy
from tests.fakes.stability import painted

CONNECT = f"{__name__}.connect"
SOURCE = painted((64, 64), (9, 9, 9))
PRICE = Price(Decimal("0.6"), Decimal(60))
# The double is not as easily offended as the service, which wants to be left alone for 10 seconds.
SOON = timedelta(seconds=1)


class Upscaler(StabilityProvider):
    name = "sketch"
    strategies = (Strategy.REGENERATE,)  # type: ignore[assignment]  # fewer than the adapter has

    def resolve_model(self, quality: str, way: Way = Strategy.REGENERATE) -> str:
        return UPSCALE_CREATIVE

    def quote(self, quality: str, way: Way = Strategy.REGENERATE) -> Price | None:
        return PRICE

    async def generate(self, request: PaintRequest) -> Accepted:  # type: ignore[override]  # never at once
        asked = creative.starting(request, SOURCE)
        reply = await self._service.ask(
            "POST", asked.path, within=self._within, max_bytes=2**20, **asked.content
        )
        return replace(creative.accepted(reply), ask_again_after=SOON)

    async def poll(self, provider_ref: str, request: PaintRequest) -> Painting | Accepted:
        answer = await super().poll(provider_ref, request)
        return replace(answer, ask_again_after=SOON) if isinstance(answer, Accepted) else answer


class UpscalingWorld(LocalWorld):
    def open_painter(self, processes: Processes, settings: SketchSettings) -> Upscaler:
        key, address = (os.environ[f"LIMNER_STABILITY__{name}"] for name in ("API_KEY", "BASE_URL"))
        chosen = StabilitySettings(api_key=key, base_url=address)
        return Upscaler(chosen, processes, timedelta(seconds=20))


def connect(settings: Sections) -> UpscalingWorld:
    return UpscalingWorld(settings.home, settings.local)
