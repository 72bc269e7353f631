"""The offline painter: what a caller may rely on, whatever it paints."""

from __future__ import annotations

import io
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, ImageFilter

from adapters.providers.sketch.brief import read
from adapters.providers.sketch.paint import paint, paint_png
from adapters.providers.sketch.request import KNOWN_STYLES, Sketch
from adapters.providers.sketch.words import SCENES, WORDS

Plane = npt.NDArray[np.float64]

PROMPTS = (
    "futuristic city at sunset",
    "snowy mountain lake at dawn",
    "neon cyberpunk skyline at night in rain",
    "misty forest valley",
    "desert dunes under stars",
    "ten tips for remote work",
    "lighthouse on a stormy coast",
    "aurora over a frozen lake",
    "autumn hills with a windmill",
    "harbour with sailing boats at golden hour",
    "how to choose a database",
    "fog over a bridge",
)


@lru_cache(maxsize=64)
def draft(prompt: str, **more: Any) -> Image.Image:
    arguments: dict[str, Any] = {"seed": 1, "width": 512, "height": 288, "detail": "draft"}
    return paint(Sketch(prompt, **(arguments | more)))


def luminance(image: Image.Image) -> Plane:
    return np.asarray(image.convert("L"), np.float64) / 255


def colours(image: Image.Image) -> Plane:
    return np.asarray(image, np.float64) / 255


def similarity(one: Image.Image, other: Image.Image) -> float:
    """Mean SSIM of luminance over Gaussian windows (Wang et al. 2004, deviation 1.5)."""

    def mean(plane: Plane) -> Plane:
        offsets = np.arange(-5, 6)
        weights = np.exp(-(offsets**2) / (2 * 1.5**2))
        weights /= weights.sum()
        padded = np.pad(plane, 5, mode="reflect")
        rows = sum(w * padded[i : i + plane.shape[0]] for i, w in enumerate(weights))
        columns = [w * rows[:, i : i + plane.shape[1]] for i, w in enumerate(weights)]
        return np.asarray(sum(columns), np.float64)

    a, b = luminance(one), luminance(other)
    mean_a, mean_b = mean(a), mean(b)
    variance_a = mean(a * a) - mean_a**2
    variance_b = mean(b * b) - mean_b**2
    together = mean(a * b) - mean_a * mean_b
    c1, c2 = 0.01**2, 0.03**2
    top = (2 * mean_a * mean_b + c1) * (2 * together + c2)
    return float((top / ((mean_a**2 + mean_b**2 + c1) * (variance_a + variance_b + c2))).mean())


def difference_hash(image: Image.Image) -> npt.NDArray[np.bool_]:
    """64 bits: whether each of 8 x 8 cells is brighter than its right-hand neighbour."""
    small = np.asarray(image.convert("L").resize((9, 8), Image.Resampling.BOX), np.int16)
    return (small[:, 1:] > small[:, :-1]).ravel()


def test_the_same_arguments_give_the_same_bytes() -> None:
    sketch = Sketch("harbour at dusk", seed=7, width=320, height=200)
    assert paint_png(sketch) == paint_png(sketch)


def test_another_seed_gives_another_picture() -> None:
    assert similarity(draft("quiet hills", seed=1), draft("quiet hills", seed=2)) < 0.9


def test_png_bytes_hold_the_painted_pixels() -> None:
    sketch = Sketch("a lake", seed=3, width=200, height=120)
    opened = Image.open(io.BytesIO(paint_png(sketch)))
    assert opened.format == "PNG"
    assert opened.tobytes() == paint(sketch).tobytes()


@pytest.mark.parametrize(
    ("width", "height"),
    [
        (672, 288), (512, 288), (384, 256), (320, 240), (320, 256), (256, 256),
        (256, 320), (240, 320), (256, 384), (288, 512), (288, 672), (64, 64), (64, 333), (997, 64),
    ],
)  # fmt: skip
def test_a_picture_has_exactly_the_asked_size(width: int, height: int) -> None:
    image = paint(Sketch("a lighthouse by the sea", width=width, height=height, detail="draft"))
    assert (image.mode, image.size) == ("RGB", (width, height))


@pytest.mark.parametrize(
    ("prompt", "small", "large"),
    [
        *((prompt, (384, 216), (1008, 576)) for prompt in PROMPTS),
        (PROMPTS[2], (512, 288), (1344, 768)),  # the sizes of use, where thin rain differs most
    ],
)
def test_a_draft_shows_the_composition_of_its_final(
    prompt: str, small: tuple[int, int], large: tuple[int, int]
) -> None:
    final = paint(Sketch(prompt, seed=1, width=large[0], height=large[1], detail="final"))
    shrunk = final.resize(small, Image.Resampling.BOX)
    assert similarity(draft(prompt, width=small[0], height=small[1]), shrunk) >= 0.9


def test_no_two_prompts_look_alike() -> None:
    # Of 64 bits, unrelated pictures differ in about 32 and copies of one picture (another size,
    # another encoding) in at most 4. Skies brighten the same way in all, so 6 is the bound.
    hashes = [difference_hash(draft(prompt)) for prompt in PROMPTS]
    for index, one in enumerate(hashes):
        for other in hashes[:index]:
            assert int((one ^ other).sum()) >= 6


@pytest.mark.parametrize("prompt", [*PROMPTS, "midnight", "blizzard", "beach at noon"])
def test_a_picture_is_neither_dark_nor_blank_nor_flat(prompt: str) -> None:
    plane = luminance(draft(prompt))
    assert 0.16 < plane.mean() < 0.86
    assert plane.std() > 0.06
    assert (plane < 0.02).mean() < 0.05
    assert (plane > 0.995).mean() < 0.12


def test_night_is_darker_than_day() -> None:
    day, night = draft("mountains by day"), draft("mountains by night")
    assert luminance(night).mean() < luminance(day).mean() - 0.15


def test_sunset_is_warmer_than_day() -> None:
    def warmth(image: Image.Image) -> float:
        return float((colours(image)[..., 0] - colours(image)[..., 2]).mean())

    assert warmth(draft("sea at sunset")) > warmth(draft("sea by day")) + 0.1


def test_snow_whitens_the_ground() -> None:
    def ground(image: Image.Image) -> float:
        return float(colours(image)[190:].min(axis=2).mean())

    assert ground(draft("snowy hills by day")) > ground(draft("hills by day")) + 0.15


def test_a_city_at_night_has_lit_windows() -> None:
    def lights(image: Image.Image) -> int:
        pixels = colours(image)
        return int(((pixels[..., 0] > 0.6) & (pixels[..., 0] > pixels[..., 2] + 0.15)).sum())

    assert lights(draft("city at night")) > 400 + 3 * lights(draft("hills at night"))


def test_a_lake_mirrors_what_stands_above_it() -> None:
    def mirrored(image: Image.Image) -> float:
        plane = luminance(image)
        best = -1.0
        for hinge in range(130, 200):
            above, below = plane[hinge - 60 : hinge][::-1], plane[hinge : hinge + 60]
            best = max(best, float(np.corrcoef(above.ravel(), below.ravel())[0, 1]))
        return best

    assert mirrored(draft("mountain lake by day")) > 0.6


@pytest.mark.parametrize(
    ("prompt", "negative"),
    [
        ("lighthouse by the sea", "lighthouse"),
        ("hills with hot air balloons", "balloons"),
        ("boats on the sea at noon", "boats"),
        ("windmill in the hills", "windmill"),
        ("aurora over mountains", "aurora"),
        ("city skyline in rain", "rain"),
        ("cloudy hills by day", "clouds"),
        ("birds over the sea", "birds"),
    ],
)
def test_a_negative_prompt_removes_one_thing_and_leaves_the_rest(
    prompt: str, negative: str
) -> None:
    before = read(prompt, "", "key")
    after = read(prompt, negative, "key")
    gone = before.elements - after.elements
    assert gone
    assert gone <= {negative, negative.removesuffix("s"), "storm", "overcast"}
    assert (before.land, before.water, before.time) == (after.land, after.water, after.time)
    size = {"width": 320, "height": 180}
    one, other = draft(prompt, **size), draft(prompt, negative_prompt=negative, **size)
    assert one.tobytes() != other.tobytes()


def test_removing_the_balloons_leaves_the_land_untouched() -> None:
    one = colours(draft("hills with hot air balloons"))
    other = colours(draft("hills with hot air balloons", negative_prompt="balloons"))
    assert np.abs(one[250:] - other[250:]).mean() < 0.01


def test_an_unknown_word_in_the_negative_prompt_changes_nothing() -> None:
    one, other = draft("mountain lake"), draft("mountain lake", negative_prompt="text, watermark")
    assert one.tobytes() == other.tobytes()


def test_about_a_hundred_words_steer_the_picture() -> None:
    assert len(WORDS) >= 100
    for word in WORDS:
        assert read(word, "", "key") is not None
    for scene in SCENES:
        brief = read(scene, "", "key")
        assert (brief.land, brief.water) != ("none", "none")


@pytest.mark.parametrize("style", KNOWN_STYLES)
def test_every_known_style_paints_and_has_its_own_look(style: str) -> None:
    plain = colours(draft("mountain lake with balloons", width=320, height=180))
    styled = draft("mountain lake with balloons", width=320, height=180, style=style)
    assert styled.size == (320, 180)
    assert 0.12 < luminance(styled).mean() < 0.92
    if style != "photographic":
        assert np.abs(colours(styled) - plain).mean() > 0.015


def test_an_unknown_style_is_painted_as_a_photograph() -> None:
    plain, odd = draft("a lake"), draft("a lake", style="no-such-style")
    assert plain.tobytes() == odd.tobytes()


def test_a_styled_draft_shows_the_look_of_its_final() -> None:
    for style in ("low-poly", "analog-film"):
        small = draft(PROMPTS[1], style=style)
        final = paint(Sketch(PROMPTS[1], seed=1, width=896, height=504, style=style))
        soft = [
            image.resize((256, 144), Image.Resampling.BOX).filter(ImageFilter.GaussianBlur(1))
            for image in (small, final)
        ]
        assert similarity(*soft) >= 0.85


def test_smooth_skies_have_no_bands() -> None:
    sky = np.asarray(draft("desert by day", negative_prompt="clouds, birds, sun"), np.int16)[
        :90, 20:-20
    ]
    # a band is a run of rows that hold one value from edge to edge
    flat = (sky.max(axis=1) == sky.min(axis=1)).all(axis=1)
    assert flat.mean() < 0.1
