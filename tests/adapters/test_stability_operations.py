"""What Stability AI is asked for upscales, edits and controls, and what is made of its answers."""

import asyncio
import io
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from PIL import Image, ImageCms

from adapters.errors import OutcomeUnknown, ProviderBusy, ProviderError, ProviderRefused
from adapters.local.processes import InlineProcesses
from adapters.ports import Accepted, Painting, PaintRequest
from adapters.providers.stability.operations import Size, brought_to
from adapters.providers.stability.provider import StabilityProvider
from adapters.providers.stability.settings import StabilitySettings
from schemas.operations import UPSCALES, Operands, Operation
from schemas.prices import DOCUMENT_1_3_4
from tests.adapters.test_image_provider_contract import request
from tests.fakes.stability import KEY, Misbehaviour, StabilityDouble, painted

M = Misbehaviour
SOURCE, MASK = painted((512, 288), (9, 9, 9)), painted((512, 288), (255, 255, 255))


@pytest.fixture
def double() -> Iterator[StabilityDouble]:
    with StabilityDouble() as running:
        yield running


async def opened(double: StabilityDouble, **settings: Any) -> StabilityProvider:
    chosen = StabilitySettings(api_key=KEY, base_url=double.url, **settings)
    return StabilityProvider(chosen, InlineProcesses(), timedelta(seconds=20))


@pytest.fixture
async def provider(double: StabilityDouble) -> AsyncIterator[StabilityProvider]:
    async with await opened(double) as provider:
        yield provider


def asked(operation: Operation, source: bytes = SOURCE, **operands: Any) -> PaintRequest:
    width, height = Image.open(io.BytesIO(source)).size
    told = Operands(**({"width": width, "height": height} | operands))
    return request(
        prompt="a mill", negative_prompt="people", quality="standard", style="anime",
        aspect_ratio="16:9", operation=operation, operands=told, source=source, mask=MASK,
    )  # fmt: skip


def size(painting: Painting | Accepted) -> tuple[int, int]:
    assert isinstance(painting, Painting)
    return Image.open(io.BytesIO(painting.pictures[0].data)).size


WORDS = {"prompt": "a mill", "seed": "7", "style_preset": "anime"}
WHOLE = WORDS | {"negative_prompt": "people"}
# operation, what is told beside the words, the address, the fields, the price in credits
FORMS: list[tuple[Operation, dict[str, Any], str, dict[str, str], str]] = [
    (Operation.UPSCALE_FAST, {}, "upscale/fast", {}, "2"),
    (
        Operation.UPSCALE_CONSERVATIVE, {}, "upscale/conservative",
        {name: WHOLE[name] for name in ("prompt", "negative_prompt", "seed")}, "40",
    ),
    (Operation.UPSCALE_CREATIVE, {}, "upscale/creative", WHOLE, "60"),
    (Operation.INPAINT, {}, "edit/inpaint", WHOLE, "5"),
    (Operation.ERASE, {}, "edit/erase", {"seed": "7"}, "5"),
    (
        Operation.OUTPAINT, {"left": 64, "down": 8}, "edit/outpaint",
        WORDS | {"left": "64", "down": "8"}, "4",
    ),
    (
        Operation.SEARCH_AND_REPLACE, {"search": "a boat"}, "edit/search-and-replace",
        WHOLE | {"search_prompt": "a boat"}, "5",
    ),
    (
        Operation.SEARCH_AND_RECOLOR, {"search": "a boat"}, "edit/search-and-recolor",
        WHOLE | {"select_prompt": "a boat"}, "5",
    ),
    (Operation.REMOVE_BACKGROUND, {}, "edit/remove-background", {}, "5"),
    (
        Operation.CONTROL_SKETCH, {"strength": 0.25}, "control/sketch",
        WHOLE | {"control_strength": "0.75"}, "5",
    ),
    (Operation.CONTROL_STRUCTURE, {}, "control/structure", WHOLE, "5"),
    (
        Operation.CONTROL_STYLE, {"strength": 1.0}, "control/style",
        WHOLE | {"fidelity": "0", "aspect_ratio": "16:9"}, "5",
    ),
]  # fmt: skip


def test_every_operation_has_its_form_here() -> None:
    assert {operation for operation, *_ in FORMS} == set(Operation) - {Operation.VARIATION}


@pytest.mark.parametrize(("operation", "told", "path", "fields", "credits"), FORMS)
async def test_each_is_asked_in_its_form_and_charged_as_it_was_quoted(
    double: StabilityDouble,
    provider: StabilityProvider,
    operation: Operation,
    told: dict[str, Any],
    path: str,
    fields: dict[str, str],
    credits: str,
) -> None:
    wanted = asked(operation, **told)
    answer = await provider.generate(wanted)
    (call,) = double.paid
    assert call.path == f"/v2beta/stable-image/{path}"
    files = {"image": SOURCE}
    if operation in (Operation.INPAINT, Operation.ERASE):
        files["mask"] = MASK
    assert call.fields == fields | files | {"output_format": "png"}
    assert (call.credits, double.spent) == (Decimal(credits), Decimal(credits))
    if isinstance(answer, Accepted):
        answer = await provider.poll(answer.provider_ref, wanted)
    assert isinstance(answer, Painting)
    assert answer.cost == Decimal(credits) / 100
    lacks = {"negative_prompt", "style_preset"} - call.fields.keys()
    assert len([one for one in answer.warnings if "is left out" in one]) == len(lacks)


async def test_a_variation_is_painted_from_the_picture_as_far_as_it_is_told(
    double: StabilityDouble, provider: StabilityProvider
) -> None:
    for strength, sent in ((None, "0.35"), (0.8, "0.8"), (0.0, "0.0")):
        painting = await provider.generate(asked(Operation.VARIATION, strength=strength))
        call = double.paid[-1]
        assert (call.fields["mode"], call.fields["strength"]) == ("image-to-image", sent)
        assert call.fields["image"] == SOURCE
        assert size(painting) == (512, 288)
        assert isinstance(painting, Painting)
        assert (painting.model, painting.cost) == ("sd3.5-medium", Decimal("0.035"))


@pytest.mark.parametrize("scale", [2, 4])
async def test_a_fast_upscale_has_the_very_size_that_was_asked_for(
    provider: StabilityProvider, scale: int
) -> None:
    told = {"scale": scale, "width": 512 * scale, "height": 288 * scale}
    painting = await provider.generate(asked(Operation.UPSCALE_FAST, **told))
    assert size(painting) == (512 * scale, 288 * scale)


@pytest.mark.parametrize("operation", [Operation.UPSCALE_FAST, Operation.UPSCALE_CREATIVE])
async def test_a_picture_that_is_too_large_to_be_upscaled_is_scaled_down_first(
    double: StabilityDouble, provider: StabilityProvider, operation: Operation
) -> None:
    large = painted((1600, 900), (9, 9, 9))
    wanted = asked(operation, large, scale=2, width=3200, height=1800)
    painting = await provider.generate(wanted)
    (call,) = double.paid
    width, height = Image.open(io.BytesIO(call.fields["image"])).size
    assert 1_000_000 < width * height <= 1_048_576
    if isinstance(painting, Accepted):
        painting = await provider.poll(painting.provider_ref, wanted)
        assert size(painting) == (2048, 2048)
        assert any("no more than 2048 x 2048" in one for one in painting.warnings)
    else:
        assert size(painting) == (3200, 1800)
        assert any("scaled down" in one for one in painting.warnings)
        # As PNG it could be more than a reply may have.
        assert call.fields["output_format"] == "jpeg"
        assert painting.pictures[0].content_type == "image/jpeg"


async def test_a_result_that_is_larger_than_it_was_asked_for_is_scaled_down(
    provider: StabilityProvider,
) -> None:
    told = {"scale": 2, "width": 1024, "height": 576}
    painting = await provider.generate(asked(Operation.UPSCALE_CONSERVATIVE, **told))
    assert size(painting) == (1024, 576)


@pytest.mark.parametrize("operation", sorted(set(Operation) - {Operation.VARIATION}))
async def test_what_the_service_would_refuse_is_not_asked_and_not_charged(
    double: StabilityDouble, provider: StabilityProvider, operation: Operation
) -> None:
    least = 32 if operation is Operation.UPSCALE_FAST else 64
    small, narrow = painted((least - 1, 512), (1, 1, 1)), painted((16_000, least), (1, 1, 1))
    sources = [small, b"no picture", b""]
    if operation in UPSCALES - {Operation.UPSCALE_CONSERVATIVE}:
        sources.append(narrow)
    else:
        sources.append(painted((4000, 3000), (1, 1, 1)))
    for source in sources:
        with pytest.raises(ProviderRefused) as refused:
            await provider.generate(replace(asked(operation), source=source))
        assert refused.value.code == "invalid_request"
    assert double.asked == []


@pytest.mark.parametrize(
    ("told", "error"),
    [
        (M.RATE_LIMITED, ProviderBusy), (M.MODERATED, ProviderRefused),
        (M.FILTERED, ProviderRefused), (M.BROKEN, OutcomeUnknown),
        (M.RESET_AFTER, OutcomeUnknown), (M.EMPTY, OutcomeUnknown), (M.UNSAID, OutcomeUnknown),
    ],
)  # fmt: skip
@pytest.mark.parametrize("operation", [Operation.INPAINT, Operation.UPSCALE_FAST])
async def test_a_fault_means_for_an_operation_what_it_means_for_a_painting(
    double: StabilityDouble,
    provider: StabilityProvider,
    operation: Operation,
    told: Misbehaviour,
    error: type[ProviderError],
) -> None:
    double.script = [told]
    with pytest.raises(ProviderError) as raised:
        await provider.generate(asked(operation))
    assert type(raised.value) is error
    assert len(double.asked) == 1


async def test_prices_of_operations_may_be_corrected_and_are_unknown_to_the_documents_book(
    double: StabilityDouble,
) -> None:
    async with await opened(double, credits={"inpaint": "7.5"}) as corrected:
        assert corrected.price("standard", Operation.INPAINT) == Decimal("0.075")
        assert corrected.price("standard", Operation.ERASE) == Decimal("0.05")
    async with await opened(double, price_book=DOCUMENT_1_3_4.version) as old:
        # It tells of qualities alone; a dear operation must not look like a cheap picture.
        assert old.price("standard", Operation.UPSCALE_CREATIVE) is None
        assert old.price("standard", Operation.VARIATION) == Decimal("0.004")


class Crowded(InlineProcesses):
    """Never gets round to some kind of work."""

    def __init__(self, stuck: str) -> None:
        super().__init__()
        self._stuck = stuck

    async def run(self, function: Any, *args: Any, **kwargs: Any) -> Any:
        if function.__name__ == self._stuck:
            await asyncio.Event().wait()
        return await super().run(function, *args, **kwargs)


@pytest.mark.parametrize("stuck", ["fitted", "brought_to"])
async def test_whoever_waits_too_long_for_a_process_has_paid_for_nothing_that_is_lost(
    double: StabilityDouble, stuck: str
) -> None:
    settings = StabilitySettings(api_key=KEY, base_url=double.url)
    asked_for = asked(Operation.UPSCALE_FAST, width=1024, height=576, scale=2)
    async with StabilityProvider(settings, Crowded(stuck), timedelta(seconds=4)) as provider:
        if stuck == "fitted":  # before the call
            with pytest.raises(ProviderBusy, match="too much to do"):
                await provider.generate(asked_for)
            assert double.asked == []
            return
        painting = await provider.generate(asked_for)
    assert len(double.paid) == 1
    assert isinstance(painting, Painting)
    assert any("could not be scaled" in warning for warning in painting.warnings)
    assert size(painting) == (2048, 1152)


async def test_what_would_be_too_large_as_png_is_asked_for_as_jpeg(
    double: StabilityDouble, provider: StabilityProvider
) -> None:
    for left, told in ((100, "png"), (2000, "jpeg")):
        source = painted((3000, 2000), (9, 9, 9))
        wide = {"width": 3000 + left, "height": 2000 + left, "left": left, "up": left}
        await provider.generate(asked(Operation.OUTPAINT, source, **wide))
        assert double.asked[-1].fields["output_format"] == told


def test_what_has_its_size_already_is_delivered_as_it_came() -> None:
    data = painted((96, 64), (9, 9, 9))
    for size, exactly in ((Size(96, 64), True), (Size(192, 128), False)):
        assert brought_to(size, data, exactly) == (Size(96, 64), data)
    found, larger = brought_to(Size(192, 128), data, True)
    assert (found, Image.open(io.BytesIO(larger)).size) == (Size(96, 64), (192, 128))


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP"])
def test_a_scaled_picture_keeps_its_colours_and_not_a_profile_of_inks(format: str) -> None:
    def profile_of(mode: str) -> bytes | None:
        buffer = io.BytesIO()
        Image.new(mode, (96, 64)).save(buffer, format, icc_profile=profile)
        _, small = brought_to(Size(48, 32), buffer.getvalue(), True)
        found: bytes | None = Image.open(io.BytesIO(small)).info.get("icc_profile")
        return found

    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert profile_of("RGB") == profile
    if format == "JPEG":
        assert profile_of("CMYK") is None
