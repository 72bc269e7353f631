"""Worlds with a painter that takes no time of the machine, for tests that are not about pictures.

A server is told of one by its setting `connect`.
"""

import asyncio
import io
from decimal import Decimal

from PIL import Image

from adapters.local.connect import LocalWorld
from adapters.ports import PaintedPicture, Painting, PaintRequest, Processes
from adapters.providers.sketch.provider import SketchSettings
from adapters.world import Sections, World
from schemas.prices import DOCUMENT_1_3_4, Price
from schemas.requests import AspectRatio, Strategy
from tests.fakes.blobs import MemoryBlobs, OneFile

CONNECT = f"{__name__}.connect"
CONNECT_GOOGLE = f"{__name__}.connect_google"
SIZE = (16, 16)


class InstantPainter:
    """Answers after *delay_seconds* with a small picture in the seed's colour."""

    name = "sketch"
    repeatable = True
    styles: frozenset[str] = frozenset()
    strategies = (Strategy.REGENERATE,)
    aspect_ratios = tuple(AspectRatio)
    price_book = DOCUMENT_1_3_4
    limits = None

    def __init__(self, delay_seconds: float = 0) -> None:
        self._delay_seconds = delay_seconds

    def resolve_model(self, quality: str, strategy: Strategy = Strategy.REGENERATE) -> str:
        return "instant-1"

    def quote(self, quality: str, strategy: Strategy = Strategy.REGENERATE) -> Price | None:
        return Price(Decimal(0))

    def price(self, quality: str, strategy: Strategy = Strategy.REGENERATE) -> Decimal | None:
        return Decimal(0)

    async def generate(self, request: PaintRequest) -> Painting:
        if self._delay_seconds:
            await asyncio.sleep(self._delay_seconds)
        picture = io.BytesIO()
        Image.new("RGB", SIZE, f"#{request.seed & 0xFFFFFF:06x}").save(picture, "PNG")
        painted = PaintedPicture(picture.getvalue(), "image/png", request.seed)
        return Painting((painted,), "instant-1", Decimal(0))


class InstantWorld(LocalWorld):
    async def open_blobs(self) -> MemoryBlobs:
        return MemoryBlobs(OneFile(self._home / "pictures"))

    def open_painter(self, processes: Processes, settings: SketchSettings) -> InstantPainter:
        return InstantPainter(settings.delay_seconds)


def connect(settings: Sections) -> InstantWorld:
    return InstantWorld(settings.home, settings.local)


def connect_google(settings: Sections) -> World:
    # The other users of this file need nothing of Google.
    from adapters.gcp.connect import GoogleWorld

    class InstantGoogleWorld(GoogleWorld):
        def open_painter(self, processes: Processes, settings: SketchSettings) -> InstantPainter:
            return InstantPainter(settings.delay_seconds)

    return InstantGoogleWorld(settings.gcp)
