"""The port's side of OpenAI and of servers like it: one paid call a job, no second try."""

from datetime import timedelta
from decimal import Decimal

from adapters.ports import PaintRequest, Processes
from adapters.providers.openai.settings import Extra, OpenAISettings
from adapters.providers.openai.wire import NAMES, QUALITIES, answer, asking
from adapters.providers.painter import HttpPainter
from adapters.providers.replies import Drawn
from schemas.requests import AspectRatio, Quality, Strategy

MODEL = "gpt-image-1.5"
SQUARE = "1024x1024"
# Of each model and quality of the API: a square picture, and one of the other two usual sizes. The
# tokens of the prompt come on top, about $0.0005 for a hundred words.
USD: dict[str, dict[str, tuple[str, str]]] = {
    "gpt-image-1.5": {
        "low": ("0.009", "0.013"),
        "medium": ("0.034", "0.05"),
        "high": ("0.133", "0.2"),
    },
    "gpt-image-1-mini": {
        "low": ("0.005", "0.006"),
        "medium": ("0.011", "0.015"),
        "high": ("0.036", "0.052"),
    },
}
PRICED_SIZES = {SQUARE, "1536x1024", "1024x1536"}


class OpenAIProvider(HttpPainter):
    name = "openai"
    title = "OpenAI"
    error_names = NAMES
    # What the smallest servers take; OpenAI itself takes 50 MB.
    most_source_bytes = 20 * 2**20
    prices_of = "openai-2026-11"

    def __init__(self, settings: OpenAISettings, processes: Processes, within: timedelta) -> None:
        self._settings = settings
        if not settings.of_openai:
            self.title = "the OpenAI-compatible server"
            self.prices_of = "openai-own"
        if not settings.edits:
            self.strategies = (Strategy.REGENERATE,)
        self.aspect_ratios = tuple(settings.sizes)
        headers = {"authorization": f"Bearer {settings.secret}"} if settings.secret else {}
        super().__init__(settings, processes, within, headers)

    def _usual_model(self, quality: Quality) -> str:
        return MODEL

    def _known_usd(self, quality: Quality) -> Decimal | None:
        usd = [self._usd_of(quality, ratio) for ratio in self.aspect_ratios]
        known = [one for one in usd if one is not None]
        return max(known) if len(known) == len(usd) else None

    def _charged(self, request: PaintRequest, ratio: AspectRatio) -> Decimal | None:
        quality = Quality(request.quality)
        if quality in self._settings.usd:
            return self._settings.usd[quality]
        return self._usd_of(quality, ratio)

    def _usd_of(self, quality: Quality, ratio: AspectRatio) -> Decimal | None:
        size, takes = self._settings.sizes[ratio], self._settings.fields
        usd = USD.get(self.resolve_model(quality))
        if not (self._settings.of_openai and usd and size in PRICED_SIZES):
            return None
        if Extra.QUALITY not in takes:  # the service chooses one
            return None
        square, oblong = usd[QUALITIES[quality]]
        return Decimal(square if size == SQUARE else oblong)

    def _warnings(self, quality: Quality) -> tuple[str, ...]:
        told = super()._warnings(quality)
        if Extra.SEED in self._settings.fields:
            return told
        model = self.resolve_model(quality)
        return (*told, f"{model} takes no seed: the same one paints another picture")

    async def _paint(self, request: PaintRequest, ratio: AspectRatio) -> Drawn:
        asked = asking(request, self.resolve_model(request.quality), ratio, self._settings)
        reply = await self._service.ask(
            "POST",
            asked.path,
            within=self._within,
            max_bytes=self._max_reply_bytes,
            **asked.content,
        )
        return answer(self.title, reply, request.seed)
