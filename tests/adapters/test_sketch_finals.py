"""Finals that sketch makes of a draft: by which strategy they keep what, and what is refused."""

from __future__ import annotations

import io
from functools import cache
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
from PIL import Image, ImageOps

from adapters.errors import ProviderRefused
from adapters.local.clock import SystemClock
from adapters.local.processes import InlineProcesses
from adapters.pictures import fidelity
from adapters.ports import PaintRequest
from adapters.providers.sketch.paint import paint, paint_png
from adapters.providers.sketch.provider import SketchProvider, SketchSettings, size
from adapters.providers.sketch.request import Sketch
from schemas.fidelity import Fidelity, Verdict
from schemas.requests import AspectRatio, Quality, Strategy

SMALL, LARGE = {"width": 384, "height": 216}, {"width": 768, "height": 432}
PROMPT = "snowy mountain lake at dawn"
DRAFT = paint_png(Sketch(PROMPT, seed=1, detail="draft", **SMALL))


@cache
def final(strategy: Any, prompt: str = PROMPT, seed: int = 1, **more: Any) -> Image.Image:
    sketch = Sketch(prompt, seed=seed, strategy=strategy, source=DRAFT, **(LARGE | more))
    return paint(sketch)


def png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def kept(image: Image.Image) -> Fidelity:
    return Fidelity.judged(*fidelity.compare(DRAFT, png(image)))


def sharpness(image: Image.Image) -> float:
    plane = np.asarray(image.convert("L"), np.float32)
    return float(np.abs(np.diff(plane, axis=1)).mean())


def redness(image: Image.Image) -> float:
    pixels = np.asarray(image, np.float32)
    return float((pixels[..., 0] - pixels[..., 2]).mean())


def test_every_strategy_keeps_the_composition_of_the_draft() -> None:
    for strategy, least in (("image_to_image", 0.93), ("upscale", 0.99), ("regenerate", 0.91)):
        found = kept(final(strategy))
        assert found.verdict is Verdict.SAME_COMPOSITION
        assert found.ssim >= least, strategy


def test_image_to_image_is_as_sharp_as_a_picture_painted_anew_and_an_upscaled_one_is_not() -> None:
    anew = sharpness(final("regenerate"))
    assert sharpness(final("image_to_image")) > 0.95 * anew
    assert sharpness(final("upscale")) < 0.85 * anew


def test_image_to_image_keeps_the_draft_where_another_seed_would_paint_another_picture() -> None:
    assert kept(final("regenerate", seed=2)).verdict is Verdict.DIFFERS
    found = kept(final("image_to_image", seed=2))
    assert found.verdict is Verdict.SAME_COMPOSITION
    assert found.ssim > 0.8  # the outlines of the other picture do not shine through


def test_another_prompt_changes_the_mood_and_keeps_the_composition() -> None:
    sunset = final("image_to_image", prompt="snowy mountain lake at sunset")
    assert kept(sunset).verdict is Verdict.SAME_COMPOSITION
    assert redness(sunset) > redness(final("image_to_image")) + 25


def test_upscale_keeps_the_very_picture_whatever_the_prompt() -> None:
    expected = Image.open(io.BytesIO(DRAFT)).resize((768, 432), Image.Resampling.LANCZOS)
    assert final("upscale").tobytes() == expected.tobytes()
    assert final("upscale", prompt="neon city", seed=9).tobytes() == expected.tobytes()


@pytest.mark.parametrize("strategy", ["image_to_image", "upscale"])
def test_a_final_of_another_shape_shows_the_middle_of_its_draft(strategy: str) -> None:
    square = final(strategy, width=432, height=432)
    assert square.size == (432, 432)
    middle = ImageOps.fit(Image.open(io.BytesIO(DRAFT)), (216, 216))
    found = Fidelity.judged(*fidelity.compare(png(middle), png(square)))
    assert found.verdict is Verdict.SAME_COMPOSITION


def test_the_same_source_gives_the_same_bytes() -> None:
    sketch = Sketch(PROMPT, seed=1, strategy="image_to_image", source=DRAFT, **LARGE)
    assert paint(sketch).tobytes() == final("image_to_image").tobytes()


def provider() -> SketchProvider:
    return SketchProvider(InlineProcesses(), SystemClock(), SketchSettings())


def request(strategy: Strategy, source: bytes | None) -> PaintRequest:
    return PaintRequest(
        job_id=uuid4(), attempt=1, prompt=PROMPT, negative_prompt="", quality="standard",
        style=None, aspect_ratio="16:9", seed=1, strategy=strategy, source=source,
    )  # fmt: skip


async def test_the_provider_makes_finals_by_every_strategy_the_best_first() -> None:
    assert provider().strategies[0] is Strategy.IMAGE_TO_IMAGE
    assert set(provider().strategies) == set(Strategy)
    made = {}
    for strategy in provider().strategies:
        (picture,) = (await provider().generate(request(strategy, DRAFT))).pictures
        image = Image.open(io.BytesIO(picture.data))
        assert image.size == size(AspectRatio.R16_9, Quality.STANDARD)
        made[strategy] = image.tobytes()
    assert len(set(made.values())) == 3


@pytest.mark.parametrize("source", [None, b"no picture", DRAFT[:5000]])
@pytest.mark.parametrize("strategy", [Strategy.IMAGE_TO_IMAGE, Strategy.UPSCALE])
async def test_without_a_readable_draft_such_a_final_is_refused(
    strategy: Strategy, source: bytes | None
) -> None:
    with pytest.raises(ProviderRefused) as refused:
        await provider().generate(request(strategy, source))
    assert refused.value.code == "invalid_request"
    assert "picture" in str(refused.value)
