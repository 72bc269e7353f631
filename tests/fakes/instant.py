"""The local world with a painter that takes no time, for tests that need jobs by the thousand.

A server is told of it by its setting `connect`.
"""

import io
from decimal import Decimal
from pathlib import Path

from PIL import Image

from adapters.local.connect import LocalSettings, LocalWorld
from adapters.ports import PaintedPicture, Painting, PaintRequest, Processes
from adapters.providers.sketch.provider import SketchSettings
from schemas.prices import DOCUMENT_1_3_4, Price
from schemas.requests import AspectRatio, Strategy
from tests.fakes.blobs import MemoryBlobs, OneFile

CONNECT = f"{__name__}.connect"
SIZE = (16, 16)


class InstantPainter:
    """Answers at once with a small picture in the seed's colour."""

    name = "sketch"
    repeatable = True
    styles: frozenset[str] = frozenset()
    strategies = (Strategy.REGENERATE,)
    aspect_ratios = tuple(AspectRatio)
    limits = None
    price_book = DOCUMENT_1_3_4

    def resolve_model(self, quality: str, strategy: Strategy = Strategy.REGENERATE) -> str:
        return "instant-1"

    def quote(self, quality: str, strategy: Strategy = Strategy.REGENERATE) -> Price | None:
        return Price(Decimal(0))

    def price(self, quality: str, strategy: Strategy = Strategy.REGENERATE) -> Decimal | None:
        return Decimal(0)

    async def generate(self, request: PaintRequest) -> Painting:
        picture = io.BytesIO()
        Image.new("RGB", SIZE, f"#{request.seed & 0xFFFFFF:06x}").save(picture, "PNG")
        painted = PaintedPicture(picture.getvalue(), "image/png", request.seed)
        return Painting((painted,), "instant-1", Decimal(0))


class InstantWorld(LocalWorld):
    async def open_blobs(self) -> MemoryBlobs:
        return MemoryBlobs(OneFile(self._home / "pictures"))

    def open_painter(self, processes: Processes, settings: SketchSettings) -> InstantPainter:
        return InstantPainter()


def connect(home: Path, settings: LocalSettings) -> InstantWorld:
    return InstantWorld(home, settings)
