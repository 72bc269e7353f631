"""The port's side of Gemini: one paid call a job, by an SDK that is kept from trying twice."""

from collections.abc import Mapping
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import httpx2

from adapters.errors import OutcomeUnknown, ProviderError, ProviderRefused, ProviderUnusable
from adapters.http import BUSY, INVALID, Meaning
from adapters.ports import PaintRequest, Processes
from adapters.providers.gemini.settings import GeminiSettings
from adapters.providers.gemini.transport import ChargingTransport
from adapters.providers.painter import HttpPainter
from adapters.providers.replies import Drawn, content_type_of
from adapters.providers.words import in_words
from schemas.requests import AspectRatio, Quality

if TYPE_CHECKING:
    from google.genai import types

FLASH, PRO, OLD_FLASH = "gemini-3.1-flash-image", "gemini-3-pro-image", "gemini-2.5-flash-image"
MODELS: Mapping[Quality, str] = {
    Quality.DRAFT: FLASH,
    Quality.STANDARD: FLASH,
    Quality.HIGH: FLASH,
    Quality.ULTRA: PRO,
}
# One size only, which cannot be asked for.
SIZELESS = {OLD_FLASH}
# By model and size. The tokens of the prompt come on top, far below a cent.
USD: Mapping[str, Mapping[str, str]] = {
    FLASH: {"512": "0.045", "1K": "0.067", "2K": "0.101", "4K": "0.151"},
    PRO: {"1K": "0.134", "2K": "0.134", "4K": "0.24"},
    OLD_FLASH: {"": "0.039"},
}
UNUSABLE = {
    "API_KEY_INVALID": "unauthorized",
    "API_KEY_EXPIRED": "unauthorized",
    "UNAUTHENTICATED": "unauthorized",
    "API_KEY_SERVICE_BLOCKED": "permission_denied",
    "SERVICE_DISABLED": "permission_denied",
    "BILLING_DISABLED": "out_of_credit",
    # No billing account, or a country that is not served.
    "FAILED_PRECONDITION": "permission_denied",
    "PERMISSION_DENIED": "permission_denied",
}
# By the reason of a detail, else by the status's name; a bad key is INVALID_ARGUMENT as well.
NAMES: Mapping[str, Meaning] = {
    **{name: Meaning(ProviderUnusable, reason) for name, reason in UNUSABLE.items()},
    "RESOURCE_EXHAUSTED": BUSY,
    "INVALID_ARGUMENT": INVALID,
    "NOT_FOUND": Meaning(ProviderRefused, "model_retired"),
}
# Why a picture that was painted is withheld.
WITHHELD = {
    "SAFETY", "IMAGE_SAFETY", "PROHIBITED_CONTENT", "IMAGE_PROHIBITED_CONTENT", "BLOCKLIST", "SPII",
    "RECITATION", "IMAGE_RECITATION",
}  # fmt: skip
# The API's seeds have 31 bits.
SEEDS = 2**31


class GeminiProvider(HttpPainter):
    name = "gemini"
    title = "Gemini"
    error_names = NAMES
    # A request has at most 20 MB, its picture in base64.
    most_source_bytes = 14 * 2**20
    prices_of = "gemini-2026-11"
    aspect_ratios = tuple(one for one in AspectRatio if one is not AspectRatio.R9_21)

    def __init__(self, settings: GeminiSettings, processes: Processes, within: timedelta) -> None:
        self._sizes = settings.sizes
        super().__init__(settings, processes, within, {})
        # The SDK takes half a second to load, which only those wait for who use it.
        from google import genai
        from google.genai import types

        transport = ChargingTransport(self._service, self._within, self._max_reply_bytes)
        self._sdk_client = httpx2.AsyncClient(transport=transport, trust_env=False)
        # Without retry_options it tries once; a client of ours keeps it from opening its own.
        options = types.HttpOptions(
            base_url=settings.base_url,
            api_version=settings.api_version,
            httpx_async_client=self._sdk_client,
            retry_options=None,
        )
        self._sdk = genai.Client(
            api_key=settings.secret, enterprise=False, http_options=options
        ).aio

    async def __aexit__(self, *_: object) -> None:
        await self._sdk_client.aclose()
        await super().__aexit__(*_)

    def _usual_model(self, quality: Quality) -> str:
        return MODELS[quality]

    def _size(self, quality: Quality) -> str | None:
        return None if self.resolve_model(quality) in SIZELESS else self._sizes.get(quality)

    def _known_usd(self, quality: Quality) -> Decimal | None:
        usd = USD.get(self.resolve_model(quality), {}).get(self._size(quality) or "")
        return Decimal(usd) if usd is not None else None

    async def _paint(self, request: PaintRequest, ratio: AspectRatio) -> Drawn:
        from google.genai import types  # as above

        contents: list[Any] = [in_words(request)]
        if request.source is not None:
            kind = content_type_of(request.source) or "application/octet-stream"
            contents.append(types.Part.from_bytes(data=request.source, mime_type=kind))
        config = types.GenerateContentConfig(
            response_modalities=["IMAGE"],
            candidate_count=1,
            seed=request.seed % SEEDS,
            image_config=types.ImageConfig(
                aspect_ratio=ratio.value, image_size=self._size(Quality(request.quality))
            ),
            automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True),
        )
        try:
            reply = await self._sdk.models.generate_content(
                model=self.resolve_model(request.quality), contents=contents, config=config
            )
            return _drawn(reply, request.seed)
        except ProviderError:
            raise
        except Exception as exc:  # what a strange reply makes the SDK raise is no closed list
            raise OutcomeUnknown(
                f"Gemini's reply is not what it should be ({type(exc).__name__})"
            ) from exc


def _drawn(reply: "types.GenerateContentResponse", seed: int) -> Drawn:
    """The picture of a reply with status 200; by then it was charged, or may have been."""
    feedback = reply.prompt_feedback
    if feedback is not None and feedback.block_reason is not None:
        reason = _named(feedback.block_reason)
        raise ProviderRefused("moderated", f"Gemini refused the prompt ({reason})")
    candidate = next(iter(reply.candidates or ()), None)
    if candidate is None:
        raise OutcomeUnknown("Gemini's reply holds no picture")
    reason = _named(candidate.finish_reason)
    if reason in WITHHELD:
        raise ProviderRefused(
            "moderated", f"Gemini withheld the picture ({reason})", may_be_charged=True
        )
    parts = (candidate.content.parts if candidate.content is not None else None) or []
    # Some models show sketches of their thoughts first.
    found = (part.inline_data.data for part in parts if part.inline_data and not part.thought)
    data = next((one for one in found if one), b"")
    kind = content_type_of(data)
    # It was paid for: whatever is said of its end, a picture that is there is taken.
    if kind is None:
        raise OutcomeUnknown(f"Gemini finished with {reason[:50]!r}, without a picture")
    return Drawn(data, kind, seed)


def _named(reason: Any) -> str:
    return str(getattr(reason, "value", reason))
