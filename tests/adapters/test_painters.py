"""Gemini and OpenAI against their doubles: what is asked, what it costs, what answers become."""

import io
import os
import re
import subprocess
import sys
import traceback
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from pydantic import ValidationError

from adapters.errors import OutcomeUnknown, ProviderBusy, ProviderError, ProviderRefused
from adapters.errors import ProviderUnusable as Unusable
from adapters.local.processes import InlineProcesses
from adapters.ports import Painting
from adapters.providers.gemini.provider import GeminiProvider
from adapters.providers.gemini.settings import GeminiSettings
from adapters.providers.openai.provider import OpenAIProvider
from adapters.providers.openai.settings import OpenAISettings
from adapters.providers.painter import HttpPainter
from pipeline.settings import Settings
from schemas.operations import Operands, Operation
from schemas.requests import Strategy
from tests.adapters.test_image_provider_contract import LOCAL, request
from tests.fakes.painters import (
    KEY,
    UNCHARGED,
    ExampleDouble,
    GeminiDouble,
    OpenAIDouble,
    PainterDouble,
    Trouble,
)
from tests.fakes.stability import painted

T = Trouble
GEMINI, OPENAI = "gemini", "openai"
DOUBLES: dict[str, Callable[[], PainterDouble]] = {GEMINI: GeminiDouble, OPENAI: OpenAIDouble}
SOURCE = painted((640, 360), (9, 9, 9))


@asynccontextmanager
async def provider_of(double: PainterDouble, **settings: Any) -> AsyncIterator[HttpPainter]:
    """Whoever asks *double*, which is entered already."""
    within = timedelta(seconds=20)
    chosen: dict[str, Any] = {"max_reply_bytes": 2**20, **settings}
    found: HttpPainter
    if isinstance(double, OpenAIDouble):
        url = chosen.pop("base_url", double.base_url)
        of_openai = OpenAISettings(base_url=url, **{"api_key": double.key} | chosen)
        found = OpenAIProvider(of_openai, InlineProcesses(), within)
    else:
        of_google = GeminiSettings(base_url=double.url, **{"api_key": KEY} | chosen)
        found = GeminiProvider(of_google, InlineProcesses(), within)
    async with found:
        yield found


async def paint(double: PainterDouble, settings: Any = None, **asked: Any) -> Painting:
    async with provider_of(double, **settings or {}) as provider:
        return await provider.generate(request(**asked))


# --- errors and money


EXPECTED: dict[Trouble, tuple[type[ProviderError], str]] = {
    T.RATE_LIMITED: (ProviderBusy, ""),
    T.UNAUTHORIZED: (Unusable, "unauthorized"),
    T.NOT_ALLOWED: (Unusable, "permission_denied"),
    T.OUT_OF_CREDIT: (Unusable, "out_of_credit"),
    T.MODERATED: (ProviderRefused, "moderated"),
    T.RETIRED: (ProviderRefused, "model_retired"),
    T.INVALID: (ProviderRefused, "invalid_request"),
    T.BROKEN: (OutcomeUnknown, ""),
    T.BROKEN_BEFORE: (OutcomeUnknown, ""),
    T.RESET_AFTER: (OutcomeUnknown, ""),
    T.CUT_BODY: (OutcomeUnknown, ""),
    T.MALFORMED: (OutcomeUnknown, ""),
    T.LIST: (OutcomeUnknown, ""),
    T.EMPTY: (OutcomeUnknown, ""),
    T.GARBAGE: (OutcomeUnknown, ""),
    T.WRONG_TYPE: (OutcomeUnknown, ""),
    T.GIANT: (OutcomeUnknown, ""),
    T.REDIRECTED: (OutcomeUnknown, ""),
    T.ADDRESS: (OutcomeUnknown, ""),
    # Of Gemini alone: OpenAI's answers never say that a picture is withheld.
    T.WITHHELD: (ProviderRefused, "moderated"),
}


def test_every_trouble_has_its_error() -> None:
    assert {*EXPECTED, T.SLOW} == set(Trouble)  # the contract has the slow one


@pytest.mark.parametrize(
    ("name", "told"),
    [(name, told) for name in DOUBLES for told in EXPECTED if (name, told) != (OPENAI, T.WITHHELD)],
    ids=lambda one: one if isinstance(one, str) else one.name.lower(),
)
async def test_a_trouble_gives_the_error_that_agrees_with_what_was_charged(
    name: str, told: Trouble
) -> None:
    with DOUBLES[name]() as double:
        double.script.append(told)
        with pytest.raises(ProviderError) as raised:
            await paint(double)
        error = raised.value
        expected, code = EXPECTED[told]
        assert type(error) is expected
        assert getattr(error, "reason", getattr(error, "code", "")) == code
        assert len(double.asked) == 1, "a paid call is never repeated"
        assert bool(double.paid) is (told not in UNCHARGED)
        uncharged = isinstance(error, ProviderBusy | ProviderRefused)
        if uncharged and not getattr(error, "may_be_charged", False):
            assert not double.paid
        shown = "".join(traceback.format_exception(error))
        assert KEY not in shown


async def test_gemini_is_asked_again_when_its_details_say() -> None:
    with GeminiDouble() as double:
        double.script.append(T.RATE_LIMITED)
        with pytest.raises(ProviderBusy) as raised:
            await paint(double)
        assert raised.value.retry_after == timedelta(seconds=7)
        assert raised.value.of_key


@pytest.mark.parametrize("name", DOUBLES)
async def test_a_key_that_the_service_does_not_know_is_not_charged_and_named_as_such(
    name: str,
) -> None:
    with DOUBLES[name]() as double:
        async with provider_of(double, api_key="another-key") as provider:
            with pytest.raises(Unusable) as raised:
                await provider.generate(request())
        assert raised.value.reason == "unauthorized"
        assert not double.asked


@pytest.mark.parametrize("name", DOUBLES)
async def test_no_paid_call_goes_over_a_connection_that_could_be_closing(name: str) -> None:
    with DOUBLES[name]() as double:
        async with provider_of(double) as provider:
            for _ in range(2):
                await provider.generate(request())
        assert len({call.port for call in double.paid}) == 2


# --- what is asked


@pytest.mark.parametrize(
    ("quality", "model", "size", "usd"),
    [
        ("draft", "gemini-3.1-flash-image", "512", "0.045"),
        ("standard", "gemini-3.1-flash-image", "1K", "0.067"),
        ("high", "gemini-3.1-flash-image", "2K", "0.101"),
        ("ultra", "gemini-3-pro-image", "2K", "0.134"),
    ],
)
async def test_gemini_paints_a_quality_by_its_model_in_its_size(
    quality: str, model: str, size: str, usd: str
) -> None:
    asked = {
        "quality": quality,
        "aspect_ratio": "16:9",
        "style": "cinematic",
        "seed": 4_294_967_294,
    }
    with GeminiDouble() as double:
        painting = await paint(double, **asked)
        (call,) = double.paid
    assert call.path.endswith(f"/{model}:generateContent")
    assert call.fields["imageConfig"] == {"aspectRatio": "16:9", "imageSize": size}
    assert call.fields["seed"] == 4_294_967_294 % 2**31
    words = call.fields["prompt"]
    assert words == "a lighthouse\n\nStyle: cinematic.\n\nLeave out of the picture: people."
    assert painting.cost == Decimal(usd)
    assert painting.pictures[0].seed == 4_294_967_294
    # Not the sketch of a thought, which comes first.
    assert Image.open(io.BytesIO(painting.pictures[0].data)).size == call.size


async def test_gemini_makes_a_final_of_its_drafts_picture() -> None:
    asked = {"strategy": Strategy.IMAGE_TO_IMAGE, "source": SOURCE, "aspect_ratio": "16:9"}
    with GeminiDouble() as double:
        await paint(double, quality="high", **asked)
        await paint(double, quality="high", **asked | {"strategy": Strategy.REGENERATE})
        of_picture, of_words = double.paid
    assert of_picture.source == (640, 360)
    assert "Keep the composition" in of_picture.fields["prompt"]
    assert of_words.source is None
    assert "Keep the composition" not in of_words.fields["prompt"]


async def test_the_price_of_a_model_or_size_that_the_book_does_not_know_is_unknown() -> None:
    with GeminiDouble() as double:
        settings = {"models": {"draft": "gemini-9-image", "high": "gemini-2.5-flash-image"},
                    "sizes": {"ultra": "1K"}, "usd": {"standard": "0.06"}}  # fmt: skip
        async with provider_of(double, **settings) as provider:
            assert provider.price("draft") is None
            assert provider.price("standard") == Decimal("0.06")
            assert provider.price("high") == Decimal("0.039")
            assert provider.price("ultra") == Decimal("0.134")
            assert provider.price_book.version == "gemini-2026-11+standard=0.06"
            assert (await provider.generate(request())).cost is None


async def test_openai_is_asked_in_its_own_words() -> None:
    with OpenAIDouble() as double:
        painting = await paint(double, quality="standard", aspect_ratio="16:9", style="anime")
        (call,) = double.paid
    assert call.path == "/v1/images/generations"
    assert call.fields == {
        "model": "gpt-image-1.5", "n": 1, "size": "1536x1024", "quality": "medium",
        "output_format": "png",
        "prompt": "a lighthouse\n\nStyle: anime.\n\nLeave out of the picture: people.",
    }  # fmt: skip
    assert "painted in 3:2 and cropped to 16:9" in painting.warnings
    assert any("takes no seed" in warning for warning in painting.warnings)
    # What another server than OpenAI's takes for it is not known.
    assert painting.cost is None


async def test_openai_makes_a_final_of_its_drafts_picture_by_a_form() -> None:
    with OpenAIDouble() as double:
        asked = {"strategy": Strategy.IMAGE_TO_IMAGE, "source": SOURCE}
        painting = await paint(double, quality="high", aspect_ratio="1:1", **asked)
        (call,) = double.paid
    assert call.path == "/v1/images/edits"
    assert call.source == (640, 360)
    assert call.fields["quality"] == "high"
    image = Image.open(io.BytesIO(painting.pictures[0].data))
    assert image.width == image.height


async def test_a_variation_is_made_of_the_picture_and_stays_as_the_model_shapes_it() -> None:
    asked: dict[str, Any] = {
        "operation": Operation.VARIATION, "source": SOURCE, "quality": "high",
        "aspect_ratio": "16:9", "operands": Operands(width=640, height=360, strength=0.4),
    }  # fmt: skip
    with OpenAIDouble() as double:
        painting = await paint(double, **asked)
        (call,) = double.paid
    assert call.path == "/v1/images/edits"
    assert call.source == (640, 360)
    assert "Keep the composition" in call.fields["prompt"]
    image = Image.open(io.BytesIO(painting.pictures[0].data))
    assert (image.width, image.height) == (1536, 1024)
    assert any("takes no strength" in warning for warning in painting.warnings)
    with OpenAIDouble() as double:
        async with provider_of(double, edits=False) as provider:
            assert provider.operations == ()
            with pytest.raises(ProviderRefused, match="does no variation"):
                await provider.generate(request(**asked))
        assert not double.asked


def test_openais_own_prices_depend_on_the_size_and_are_quoted_at_the_dearest() -> None:
    provider = OpenAIProvider(OpenAISettings(api_key=KEY), InlineProcesses(), timedelta(seconds=1))
    assert provider.price("draft") == Decimal("0.013")
    assert provider._charged(request(), provider.aspect_ratios[0]) == Decimal("0.009")
    assert provider._charged(request(), provider.aspect_ratios[1]) == Decimal("0.013")
    other = OpenAISettings(api_key=KEY, models={"draft": "gpt-image-9"}, sizes={"1:1": "2048x2048"})
    unknown = OpenAIProvider(other, InlineProcesses(), timedelta(seconds=1))
    assert [unknown.price(quality) for quality in ("draft", "high")] == [None, None]


async def test_a_server_of_ones_own_gets_the_fields_that_it_takes_and_no_key() -> None:
    with OpenAIDouble(key=None) as double:
        painting = await paint(double, LOCAL, aspect_ratio="16:9", seed=99)
        (call,) = double.paid
    assert call.fields == {
        "model": "dreamshaper", "n": 1, "size": "768x432", "response_format": "b64_json",
        "seed": 99, "negative_prompt": "people", "step": 20, "prompt": "a lighthouse",
    }  # fmt: skip
    assert painting.cost == Decimal("0.001")
    assert not any("seed" in warning for warning in painting.warnings)


async def test_a_server_without_edits_regenerates_its_finals() -> None:
    with OpenAIDouble() as double:
        async with provider_of(double, edits=False) as provider:
            assert provider.strategies == (Strategy.REGENERATE,)
            with pytest.raises(ProviderRefused):
                await provider.generate(request(strategy=Strategy.IMAGE_TO_IMAGE, source=SOURCE))
        assert not double.asked


# --- settings


@pytest.mark.parametrize(
    "wrong",
    [
        {"api_key": "sk with a space"}, {"api_key": ""}, {"base_url": "http://localai:8080/v1"},
        {"base_url": "https://user:secret@example.org"}, {"models": {"best": "x"}},
        {"models": {"draft": "no model"}}, {"usd": {"draft": -1}}, {"sizes": {}},
        {"sizes": {"1:1": "big"}}, {"fields": ["mood"]}, {"extra": {"prompt": "x"}},
        {"extra": {"seed": 1}}, {"rate_requests": 0},
    ],
)  # fmt: skip
def test_a_wrong_setting_is_refused_without_repeating_it(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as refused:
        OpenAISettings(**wrong)
    assert "sk " not in str(refused.value)
    assert "secret" not in str(refused.value)


def test_plain_http_to_another_machine_must_be_allowed() -> None:
    found = OpenAISettings(base_url="http://localai:8080/v1/", allow_http=True)
    assert found.base_url == "http://localai:8080/v1"
    assert found.configured


def test_keys_and_addresses_are_read_under_the_names_of_the_services(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert not Settings().gemini.configured
    assert not Settings().openai.configured
    monkeypatch.setenv("GEMINI_API_KEY", "key-1")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:8081/v1/")
    monkeypatch.setenv("LIMNER_OPENAI__USD", '{"draft": "0"}')
    found = Settings()
    assert found.gemini.secret == "key-1"
    assert found.openai.configured
    assert found.openai.base_url == "http://127.0.0.1:8081/v1"
    provider = OpenAIProvider(found.openai, InlineProcesses(), timedelta(seconds=1))
    assert (provider.price("draft"), provider.price("high")) == (0, None)


WITHOUT_GOOGLE = """
import sys

class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "google":
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Hidden())
from pipeline.settings import Settings
print(Settings().gemini.configured)
"""


def test_a_key_without_the_sdk_is_refused_by_what_to_install_and_no_key_needs_none() -> None:
    def run(**variables: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", WITHOUT_GOOGLE]
        return subprocess.run(
            command, env=os.environ | variables, capture_output=True, text=True, check=False
        )

    assert run().stdout == "False\n"
    refused = run(GEMINI_API_KEY="key-1")
    assert refused.returncode == 1
    assert "pip install 'limner[google]'" in refused.stderr
    assert "key-1" not in refused.stderr


# --- the page


async def test_the_page_on_adding_a_provider_adds_one() -> None:
    page = Path(__file__).parents[2] / "docs" / "how-to" / "add-a-provider.md"
    (source,) = re.findall(r"```python\n(\"\"\".*?)```", page.read_text(), re.DOTALL)
    module: dict[str, Any] = {"__name__": "example"}
    exec(compile(source, "example.py", "exec"), module)
    with ExampleDouble() as double:
        settings = module["ExampleSettings"](api_key=KEY, base_url=double.url)
        provider = module["ExampleProvider"](settings, InlineProcesses(), timedelta(seconds=20))
        async with provider:
            painting = await provider.generate(request(aspect_ratio="16:9"))
            assert Image.open(io.BytesIO(painting.pictures[0].data)).size == (160, 90)
            assert painting.cost == provider.price("draft") == Decimal("0.02")
            for told, error in {T.MODERATED: ProviderRefused, T.RATE_LIMITED: ProviderBusy,
                                T.WRONG_TYPE: OutcomeUnknown}.items():  # fmt: skip
                double.script.append(told)
                with pytest.raises(error):
                    await provider.generate(request())
    assert len(double.paid) == 2
