"""Stability AI against a double of the service: what is asked, what becomes of every answer."""

import asyncio
import io
import socket
import traceback
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from PIL import Image
from pydantic import ValidationError

from adapters.errors import (
    OutcomeUnknown,
    ProviderBusy,
    ProviderError,
    ProviderRefused,
    ProviderUnusable,
    Unavailable,
)
from adapters.http import retry_after
from adapters.local.processes import InlineProcesses
from adapters.ports import Painting, Processes
from adapters.providers.stability.provider import StabilityProvider
from adapters.providers.stability.settings import StabilitySettings
from pipeline.settings import Settings
from schemas.requests import Strategy
from tests.adapters.test_image_provider_contract import request
from tests.fakes.stability import KEY, SIZES, Misbehaviour, StabilityDouble, painted

M = Misbehaviour
UNCHARGED = (ProviderBusy, ProviderRefused)


@pytest.fixture
def double() -> Iterator[StabilityDouble]:
    with StabilityDouble() as running:
        yield running


@asynccontextmanager
async def provider_of(
    url: str, *, seconds: float = 20, processes: Processes | None = None, **settings: Any
) -> AsyncIterator[StabilityProvider]:
    chosen = StabilitySettings(**{"api_key": KEY, "base_url": url} | settings)
    processes = processes or InlineProcesses()
    async with StabilityProvider(chosen, processes, timedelta(seconds=seconds)) as provider:
        yield provider


async def paint(double: StabilityDouble, settings: Any = None, **asked: Any) -> Painting:
    async with provider_of(double.url, **settings or {}) as provider:
        return await provider.generate(request(**asked))


async def error_of(double: StabilityDouble, told: Misbehaviour, **asked: Any) -> ProviderError:
    double.script.append(told)
    with pytest.raises(ProviderError) as raised:
        await paint(double, {"max_reply_bytes": 2**20, "profile": "legacy-v1"}, **asked)
    return raised.value


# --- errors and money


EXPECTED: dict[Misbehaviour, tuple[type[ProviderError], str]] = {
    M.RATE_LIMITED: (ProviderBusy, ""),
    M.RATE_LIMITED_SILENTLY: (ProviderBusy, ""),
    M.NO_BALANCE_V1: (ProviderUnusable, "out_of_credit"),
    M.UNAUTHORIZED: (ProviderUnusable, "unauthorized"),
    M.OUT_OF_CREDIT: (ProviderUnusable, "out_of_credit"),
    M.NO_PERMISSION: (ProviderUnusable, "permission_denied"),
    M.ERROR_CUT: (ProviderUnusable, "unauthorized"),
    M.MODERATED: (ProviderRefused, "moderated"),
    M.RETIRED: (ProviderRefused, "model_retired"),
    M.TOO_LARGE: (ProviderRefused, "invalid_request"),
    M.FILTERED: (ProviderRefused, "moderated"),
    M.BROKEN: (OutcomeUnknown, ""),
    M.BROKEN_BEFORE: (OutcomeUnknown, ""),
    M.BROKEN_AND_LYING: (OutcomeUnknown, ""),
    M.REDIRECTED: (OutcomeUnknown, ""),
    M.CUT_BODY: (OutcomeUnknown, ""),
    M.RESET_BEFORE: (OutcomeUnknown, ""),
    M.RESET_AFTER: (OutcomeUnknown, ""),
    M.WRONG_TYPE: (OutcomeUnknown, ""),
    M.GIANT: (OutcomeUnknown, ""),
    M.GARBAGE: (OutcomeUnknown, ""),
    M.EMPTY: (OutcomeUnknown, ""),
    M.UNSAID: (OutcomeUnknown, ""),
}


def test_every_misbehaviour_has_its_error() -> None:
    assert {*EXPECTED, M.SLOW} == set(Misbehaviour)


@pytest.mark.parametrize("quality", ["draft", "standard"], ids=["v2beta", "v1"])
@pytest.mark.parametrize("told", EXPECTED, ids=lambda told: told.name.lower())
async def test_a_misbehaviour_gives_the_error_that_agrees_with_what_was_charged(
    double: StabilityDouble, told: Misbehaviour, quality: str
) -> None:
    error = await error_of(double, told, quality=quality)
    expected, code = EXPECTED[told]
    assert type(error) is expected
    assert getattr(error, "reason", getattr(error, "code", "")) == code
    assert len(double.asked) == 1, "a paid call is never repeated"
    said_uncharged = isinstance(error, UNCHARGED) and not getattr(error, "may_be_charged", False)
    assert not (said_uncharged and double.paid)


async def test_a_call_that_is_never_answered_is_unknown(double: StabilityDouble) -> None:
    double.script.append(M.SLOW)
    async with provider_of(double.url, seconds=0.5) as provider:
        with pytest.raises(OutcomeUnknown):
            await provider.generate(request())
    assert len(double.paid) == 1


async def test_a_service_that_is_not_there_was_not_asked() -> None:
    with socket.socket() as taken:  # bound and not listening: nobody else gets the port
        taken.bind(("127.0.0.1", 0))
        async with provider_of(f"http://127.0.0.1:{taken.getsockname()[1]}") as provider:
            with pytest.raises(ProviderBusy) as raised:
                await provider.generate(request())
    assert type(raised.value) is ProviderBusy
    assert raised.value.retry_after > timedelta(0)


async def test_a_connection_that_never_comes_about_is_not_charged() -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        address = full.getsockname()
        waiting = [socket.socket() for _ in range(3)]  # the queue of connections is full
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(address)
        async with provider_of(f"http://127.0.0.1:{address[1]}", seconds=0.5) as provider:
            with pytest.raises(ProviderBusy):
                await provider.generate(request())
        for one in waiting:
            one.close()


async def test_no_paid_call_goes_over_a_connection_that_could_be_closing(
    double: StabilityDouble,
) -> None:
    async with provider_of(double.url) as provider:
        for _ in range(3):
            await provider.generate(request())
    assert len({call.port for call in double.paid}) == 3


async def test_a_cancelled_call_stays_cancelled(double: StabilityDouble) -> None:
    double.script.append(M.SLOW)
    async with provider_of(double.url) as provider:
        call = asyncio.create_task(provider.generate(request()))
        assert await asyncio.to_thread(double.slow_came.wait, 10)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call


async def test_a_rate_limit_says_how_long_to_wait(double: StabilityDouble) -> None:
    told = await error_of(double, M.RATE_LIMITED)
    silent = await error_of(double, M.RATE_LIMITED_SILENTLY)
    assert isinstance(told, ProviderBusy)
    assert isinstance(silent, ProviderBusy)
    assert (told.retry_after, silent.retry_after) == (timedelta(seconds=17), timedelta(seconds=10))


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        ("5", 5), ("0", 0), ("999999", 3600), ("Thu, 01 Jan 2026 00:00:30 GMT", 30),
        ("Wed, 31 Dec 2025 00:00:00 GMT", 0), ("-1", None), ("1e3", None), ("soon", None),
        ("", None), ("9" * 400, None),
    ],
)  # fmt: skip
def test_retry_after_is_read_as_seconds_or_as_a_time_and_never_trusted_too_far(
    given: str, seconds: int | None
) -> None:
    headers = {"retry-after": given, "date": "Thu, 01 Jan 2026 00:00:00 GMT"}
    expected = timedelta(seconds=seconds) if seconds is not None else None
    assert retry_after(headers) == expected


@pytest.mark.parametrize("quality", ["draft", "standard"])
async def test_a_filtered_picture_is_moderated_and_may_have_been_charged(
    double: StabilityDouble, quality: str
) -> None:
    error = await error_of(double, M.FILTERED, quality=quality)
    assert isinstance(error, ProviderRefused)
    assert (error.code, error.may_be_charged, len(double.paid)) == ("moderated", True, 1)


async def test_the_key_is_in_no_error_and_in_no_representation(
    double: StabilityDouble, capsys: pytest.CaptureFixture[str]
) -> None:
    key = "sk-canary-0123456789"
    with pytest.raises(ProviderUnusable) as raised:  # the double repeats the key it was given
        await paint(double, {"api_key": key})
    shown = "".join(traceback.format_exception(raised.value)) + repr(vars(raised.value))
    assert "Bearer ***" in str(raised.value)
    printed = capsys.readouterr()
    assert key not in shown + printed.out + printed.err
    async with provider_of(double.url, api_key=key) as provider:
        assert key not in repr(vars(provider))
    assert key not in repr(StabilitySettings(api_key=key, base_url=double.url))


async def test_the_balance_is_told_in_credits(double: StabilityDouble) -> None:
    async with provider_of(double.url) as provider:
        assert await provider.balance() == 1000
        await provider.generate(request())
        assert await provider.balance() == Decimal("997.5")


# --- what is asked, and what it costs


ALIASES = [
    ("v2beta", "draft", "sd3.5-flash", "0.025"),
    ("v2beta", "standard", "core", "0.03"),
    ("v2beta", "high", "sd3.5-large-turbo", "0.04"),
    ("v2beta", "ultra", "sd3.5-large", "0.065"),
    ("legacy-v1", "draft", "sd3.5-flash", "0.025"),
    ("legacy-v1", "standard", "stable-diffusion-xl-1024-v1-0", "0.009"),
    ("legacy-v1", "high", "stable-diffusion-xl-1024-v1-0", "0.015"),
    ("legacy-v1", "ultra", "sd3.5-large", "0.065"),
]


@pytest.mark.parametrize(("profile", "quality", "model", "usd"), ALIASES)
async def test_each_alias_paints_by_its_model_at_the_price_that_the_service_counts(
    double: StabilityDouble, profile: str, quality: str, model: str, usd: str
) -> None:
    painting = await paint(double, {"profile": profile}, quality=quality)
    assert (painting.model, painting.cost) == (model, Decimal(usd))
    assert painting.cost == double.spent / 100


async def test_every_other_model_can_be_chosen_for_a_quality(double: StabilityDouble) -> None:
    chosen = {"models": {"draft": "sd3.5-medium", "ultra": "ultra"}}
    painting = await paint(double, chosen, quality="ultra")
    assert (painting.model, painting.cost) == ("ultra", Decimal("0.08"))
    source = painted((1344, 768), (5, 5, 5))
    await paint(
        double, chosen, quality="ultra", strategy=Strategy.IMAGE_TO_IMAGE, source=source,
        aspect_ratio="16:9",
    )  # fmt: skip
    assert double.paid[-1].fields["image"] == source
    assert double.paid[-1].fields["aspect_ratio"] == "16:9"
    assert (await paint(double, chosen)).model == "sd3.5-medium"


async def test_a_draft_is_asked_for_with_all_that_its_model_takes(double: StabilityDouble) -> None:
    painting = await paint(double, aspect_ratio="16:9", style="anime", seed=99)
    (call,) = double.paid
    assert call.path == "/v2beta/stable-image/generate/sd3"
    assert call.fields == {
        "prompt": "a lighthouse", "negative_prompt": "people", "seed": "99",
        "style_preset": "anime", "output_format": "png", "cfg_scale": "5",
        "model": "sd3.5-flash", "mode": "text-to-image", "aspect_ratio": "16:9",
    }  # fmt: skip
    assert painting.pictures[0].seed == 99
    assert painting.warnings == ("sd3.5-flash takes no steps (20 for draft)",)


async def test_what_a_model_does_not_take_is_left_out_and_named(double: StabilityDouble) -> None:
    painting = await paint(double, quality="standard")
    assert double.paid[0].path == "/v2beta/stable-image/generate/core"
    assert not {"cfg_scale", "steps", "model", "mode"} & double.paid[0].fields.keys()
    assert painting.warnings == (
        "core takes no steps (30 for standard)",
        "core takes no cfg_scale (7)",
    )


async def test_v1_takes_steps_and_sizes_and_the_negative_prompt_as_a_weight(
    double: StabilityDouble,
) -> None:
    legacy = {"profile": "legacy-v1"}
    painting = await paint(double, legacy, quality="high", aspect_ratio="16:9", style="anime")
    assert double.paid[0].fields == {
        "text_prompts": [
            {"text": "a lighthouse", "weight": 1.0},
            {"text": "people", "weight": -1.0},
        ],
        "width": 1344, "height": 768, "cfg_scale": 7.0, "samples": 1, "steps": 50, "seed": 7,
        "style_preset": "anime",
    }  # fmt: skip
    assert painting.warnings == ()


async def test_more_steps_than_v1_has_are_cut_and_the_price_follows(
    double: StabilityDouble,
) -> None:
    sdxl = "stable-diffusion-xl-1024-v1-0"
    painting = await paint(double, {"models": {"ultra": sdxl}}, quality="ultra")
    assert double.paid[0].fields["steps"] == 50
    assert painting.cost == Decimal("0.015") == double.spent / 100
    assert painting.warnings == (f"{sdxl} takes at most 50 steps, not 60",)


# --- from the draft's picture


@pytest.mark.parametrize("quality", ["high", "ultra"])
async def test_a_final_is_made_of_its_drafts_picture(double: StabilityDouble, quality: str) -> None:
    source = painted((1344, 768), (5, 5, 5))
    asked = {"quality": quality, "strategy": Strategy.IMAGE_TO_IMAGE, "aspect_ratio": "16:9"}
    painting = await paint(double, {"strength": "0.2"}, source=source, **asked)
    (call,) = double.paid
    assert call.fields["mode"] == "image-to-image"
    assert call.fields["image"] == source
    assert call.fields["strength"] == "0.2"
    assert "aspect_ratio" not in call.fields
    assert not any("cropped" in warning for warning in painting.warnings)


async def test_core_leaves_finals_of_a_picture_to_a_model_that_makes_them(
    double: StabilityDouble,
) -> None:
    source = painted((1024, 1024), (5, 5, 5))
    asked = {"quality": "standard", "strategy": Strategy.IMAGE_TO_IMAGE, "source": source}
    painting = await paint(double, **asked)
    assert (painting.model, painting.cost) == ("sd3.5-medium", Decimal("0.035"))
    assert painting.cost == double.spent / 100
    assert "core does not paint from a picture" in painting.warnings[0]


async def test_v1_is_given_the_draft_in_one_of_its_sizes(double: StabilityDouble) -> None:
    source = painted((512, 288), (5, 5, 5))
    asked = {"quality": "high", "strategy": Strategy.IMAGE_TO_IMAGE, "aspect_ratio": "16:9"}
    await paint(double, {"profile": "legacy-v1"}, source=source, **asked)
    (call,) = double.paid
    assert call.path.endswith("/image-to-image")
    assert Image.open(io.BytesIO(call.fields["init_image"])).size == (1344, 768)
    assert call.fields["image_strength"] == "0.65"  # it counts what is kept
    assert call.fields["text_prompts[1][weight]"] == "-1"


@pytest.mark.parametrize("source", [b"no picture", b"\x89PNG\r\n\x1a\n" + bytes(11 * 2**20)])
async def test_a_draft_that_cannot_be_sent_is_refused_before_anything_is_paid(
    double: StabilityDouble, source: bytes
) -> None:
    asked = {"quality": "high", "strategy": Strategy.IMAGE_TO_IMAGE, "source": source}
    with pytest.raises(ProviderRefused) as refused:
        await paint(double, {"profile": "legacy-v1"} if len(source) < 100 else None, **asked)
    assert refused.value.code == "invalid_request"
    assert double.asked == []


async def test_a_final_of_another_shape_than_its_draft_is_cropped(double: StabilityDouble) -> None:
    source = painted((1344, 768), (5, 5, 5))
    asked = {"quality": "high", "strategy": Strategy.IMAGE_TO_IMAGE, "aspect_ratio": "1:1"}
    painting = await paint(double, source=source, **asked)
    assert Image.open(io.BytesIO(painting.pictures[0].data)).size == (768, 768)
    assert painting.warnings[-1] == "painted in the shape of its draft and cropped to 1:1"


# --- shapes


async def test_a_ratio_that_the_service_lacks_is_cropped_of_the_nearest(
    double: StabilityDouble,
) -> None:
    for ratio, nearest, size in [("4:3", "5:4", (1152, 864)), ("3:4", "4:5", (864, 1152))]:
        painting = await paint(double, aspect_ratio=ratio)
        assert double.paid[-1].fields["aspect_ratio"] == nearest
        assert Image.open(io.BytesIO(painting.pictures[0].data)).size == size
        assert painting.warnings[-1] == f"painted in {nearest} and cropped to {ratio}"


async def test_a_ratio_that_the_service_has_is_delivered_byte_for_byte(
    double: StabilityDouble,
) -> None:
    for ratio, size in SIZES.items():
        painting = await paint(double, aspect_ratio=ratio)
        assert painting.pictures[0].data == painted(size, (7, 120, 40))


class DeadProcesses(InlineProcesses):
    async def run(self, *_: Any, **__: Any) -> Any:
        raise Unavailable("the process died")


async def test_a_paid_picture_that_cannot_be_cropped_is_delivered_as_it_came(
    double: StabilityDouble,
) -> None:
    async with provider_of(double.url, processes=DeadProcesses()) as provider:
        painting = await provider.generate(request(aspect_ratio="4:3"))
    assert painting.pictures[0].data == painted(SIZES["5:4"], (7, 120, 40))
    assert painting.warnings[-1] == "the picture could not be cropped to 4:3"


# --- settings


@pytest.mark.parametrize(
    "wrong",
    [
        {"api_key": "sk with a space"}, {"api_key": "sk-ü"}, {"api_key": ""},
        {"base_url": "http://api.stability.ai"}, {"base_url": "https://user:secret@example.org"},
        {"models": {"draft": "sd9"}}, {"models": {"best": "core"}}, {"price_book": "1999"},
        {"credits": {"sd9": 1}}, {"credits": {"core": -1}}, {"strength": 2},
        {"price_book": "document-1.3.4", "credits": {"core": 1}},
    ],
)  # fmt: skip
def test_a_wrong_setting_is_refused_without_repeating_it(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as refused:
        StabilitySettings(**wrong)
    assert "sk " not in str(refused.value)
    assert "secret" not in str(refused.value)


def test_key_and_address_are_read_under_the_names_of_the_service(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("API_KEY", "somebody else's")
    assert StabilitySettings().api_key is None
    monkeypatch.setenv("STABILITY_AI_API_KEY", "sk-1")
    monkeypatch.setenv("STABILITY_AI_BASE_URL", "https://proxy.example.org/")
    monkeypatch.setenv("LIMNER_STABILITY__PROFILE", "legacy-v1")
    found = Settings().stability
    assert found.api_key is not None
    assert found.api_key.get_secret_value() == "sk-1"
    assert (found.base_url, found.profile) == ("https://proxy.example.org", "legacy-v1")
    monkeypatch.setenv("STABILITY_AI_API_KEY", "sk 1")
    with pytest.raises(ValidationError) as refused:
        Settings()
    assert "sk 1" not in str(refused.value)


async def test_a_price_of_ones_own_is_taken_and_the_book_says_so(double: StabilityDouble) -> None:
    own = {"credits": {"core": "7.5"}, "profile": "v2beta"}
    async with provider_of(double.url, **own) as provider:
        assert provider.price("standard") == Decimal("0.075")
        assert provider.price("draft") == Decimal("0.025")
        assert provider.price_book.version == "stability-2026-11+core=7.5"
    async with provider_of(double.url, price_book="document-1.3.4") as provider:
        assert provider.price("ultra") == Decimal("0.008")
