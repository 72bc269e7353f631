"""What sketch does to pictures: by rules, the same again each time, and no more than was asked."""

from __future__ import annotations

import io
import tracemalloc
from typing import Any
from uuid import UUID

import numpy as np
import pytest
from PIL import Image, ImageDraw

from adapters.errors import ProviderRefused
from adapters.local.clock import SystemClock
from adapters.local.processes import InlineProcesses
from adapters.pictures.codec import MOST_BYTES
from adapters.ports import Painting, PaintRequest
from adapters.providers.sketch.paint import encoded
from adapters.providers.sketch.provider import SketchProvider, SketchSettings
from adapters.providers.sketch.request import Sketch, paint_png
from schemas.operations import UPSCALES, Operands, Operation
from schemas.provenance import SourceType

WIDTH, HEIGHT = 320, 180
BOX = (100, 60, 160, 120)
SOURCE = paint_png(Sketch("a lighthouse at sunset", seed=3, width=WIDTH, height=HEIGHT))


def png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def mask(width: int = WIDTH, height: int = HEIGHT) -> Image.Image:
    drawn = Image.new("L", (width, height), 0)
    ImageDraw.Draw(drawn).rectangle(BOX, fill=255)
    return drawn


def pixels(data: bytes) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


async def done(operation: Operation, source: bytes | None = SOURCE, **more: Any) -> Painting:
    provider = SketchProvider(InlineProcesses(), SystemClock(), SketchSettings())
    operands = {"width": WIDTH, "height": HEIGHT} | more.pop("operands", {})
    asked = PaintRequest(
        **(
            {
                "job_id": UUID(int=7), "attempt": 1, "prompt": "a snowy mountain",
                "negative_prompt": "", "quality": "standard", "style": None,
                "aspect_ratio": "16:9", "seed": 9, "operation": operation, "source": source,
                "operands": Operands(**operands), "mask": png(mask()),
            }
            | more
        )
    )  # fmt: skip
    return await provider.generate(asked)


async def picture(operation: Operation, **more: Any) -> bytes:
    (painted,) = (await done(operation, **more)).pictures
    return painted.data


@pytest.mark.parametrize("operation", Operation)
async def test_it_is_the_same_again_marked_as_sketch_and_of_the_size_that_was_asked_for(
    operation: Operation,
) -> None:
    first, second = await done(operation), await done(operation)
    assert first == second
    assert first.source_type is SourceType.ALGORITHMIC
    assert (first.model, str(first.cost)) == ("sketch-1", "0.004")
    assert pixels(first.pictures[0].data).shape[:2] == (HEIGHT, WIDTH)


@pytest.mark.parametrize("operation", Operation)
async def test_without_a_picture_or_of_garbage_nothing_is_made(operation: Operation) -> None:
    for source in (None, b"no picture"):
        with pytest.raises(ProviderRefused) as refused:
            await done(operation, source=source)
        assert refused.value.code == "invalid_request"


@pytest.mark.parametrize("operation", [Operation.INPAINT, Operation.ERASE])
async def test_what_the_mask_leaves_black_keeps_its_very_pixels(operation: Operation) -> None:
    before, after = pixels(SOURCE), pixels(await picture(operation))
    black = np.asarray(mask()) == 0
    assert np.array_equal(before[black], after[black])
    changed = np.abs(before[~black].astype(int) - after[~black]).max(axis=1) > 8
    assert changed.mean() > 0.5


@pytest.mark.parametrize("operation", [Operation.INPAINT, Operation.ERASE])
async def test_a_mask_of_another_size_or_none_is_refused(operation: Operation) -> None:
    for wrong in (None, png(mask(WIDTH // 2)), b"no picture"):
        with pytest.raises(ProviderRefused):
            await done(operation, mask=wrong)


def sheer_pixels(data: bytes) -> Any:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGBA"))


async def test_what_was_transparent_stays_so_unless_it_was_painted_over() -> None:
    sheer = Image.open(io.BytesIO(SOURCE)).convert("RGBA")
    alpha = Image.new("L", sheer.size, 255)
    alpha.paste(0, (0, 0, WIDTH // 2, HEIGHT))
    sheer.putalpha(alpha)
    black = np.asarray(mask()) == 0
    for operation in (Operation.INPAINT, Operation.ERASE):
        after = sheer_pixels(await picture(operation, source=png(sheer)))
        assert np.array_equal(after[black], np.asarray(sheer)[black])
        assert (after[~black][..., 3] == 255).all()
    operands = {"left": 16, "width": WIDTH + 16, "height": HEIGHT}
    wider = sheer_pixels(await picture(Operation.OUTPAINT, source=png(sheer), operands=operands))
    assert np.array_equal(wider[:, 16:], np.asarray(sheer))
    toned = sheer_pixels(await picture(Operation.SEARCH_AND_RECOLOR, source=png(sheer)))
    assert np.array_equal(toned[..., 3], np.asarray(alpha))


@pytest.mark.parametrize(
    "operation", [Operation.ERASE, Operation.REMOVE_BACKGROUND, Operation.CONTROL_STYLE]
)
async def test_a_large_picture_takes_little_beside_its_own_pixels(operation: Operation) -> None:
    size = (4_000, 3_000)
    large, white = (Image.open(io.BytesIO(one)).resize(size) for one in (SOURCE, png(mask())))
    sketch = Sketch(
        prompt="a lighthouse", negative_prompt="", seed=9, style=None, detail="final",
        source=png(large), mask=png(white), operation=operation.value,
        width=size[0], height=size[1],
    )  # fmt: skip
    tracemalloc.start()
    try:
        paint_png(sketch)
        # What numpy takes; in floats the pixels alone would be 144 MB, and their sums as much.
        assert tracemalloc.get_traced_memory()[1] < 200 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("size", [(8_000, 2), (2, 8_000), (1, 1)])
async def test_a_picture_of_any_shape_is_painted_without_a_scene_of_that_shape(
    size: tuple[int, int],
) -> None:
    thin = png(Image.open(io.BytesIO(SOURCE)).convert("RGB").resize(size))
    white = png(Image.new("L", size, 255))
    operands = {"width": size[0], "height": size[1]}
    for operation in set(Operation) - {Operation.OUTPAINT}:
        data = await picture(operation, source=thin, mask=white, operands=operands)
        assert Image.open(io.BytesIO(data)).size == size, operation


async def test_what_is_erased_is_filled_with_the_colours_around_it() -> None:
    flat = Image.new("RGB", (WIDTH, HEIGHT), (40, 90, 160))
    spotted = flat.copy()
    ImageDraw.Draw(spotted).rectangle((110, 70, 150, 110), fill=(255, 0, 0))
    after = pixels(await picture(Operation.ERASE, source=png(spotted)))
    assert np.abs(after.astype(int) - np.asarray(flat)).max() <= 1


async def test_an_outpainted_picture_holds_the_picture_where_it_was() -> None:
    operands = {
        "left": 30, "right": 7, "up": 11, "down": 200,
        "width": WIDTH + 37, "height": HEIGHT + 211,
    }  # fmt: skip
    after = pixels(await picture(Operation.OUTPAINT, operands=operands))
    assert after.shape[:2] == (HEIGHT + 211, WIDTH + 37)
    assert np.array_equal(after[11 : 11 + HEIGHT, 30 : 30 + WIDTH], pixels(SOURCE))
    assert after[:, :30].std() > 0


@pytest.mark.parametrize("operation", sorted(UPSCALES))
async def test_an_upscaled_picture_is_the_very_picture(operation: Operation) -> None:
    operands = {"width": WIDTH * 4, "height": HEIGHT * 4, "scale": 4}
    data = await picture(operation, operands=operands)
    large = Image.open(io.BytesIO(data))
    assert large.size == (WIDTH * 4, HEIGHT * 4)
    small = np.asarray(large.resize((WIDTH, HEIGHT), Image.Resampling.BOX), int)
    assert np.abs(small - pixels(SOURCE)).mean() < 3


async def test_a_variation_leaves_its_picture_as_far_as_it_is_told() -> None:
    apart = []
    for strength in (0.0, 0.4, 1.0, None):
        after = pixels(await picture(Operation.VARIATION, operands={"strength": strength}))
        apart.append(np.abs(after.astype(int) - pixels(SOURCE)).mean())
    assert apart[0] == 0
    assert apart[0] < apart[1] < apart[2] == apart[3]
    other = pixels(await picture(Operation.VARIATION, seed=10))
    assert not np.array_equal(other, pixels(await picture(Operation.VARIATION)))


def likeness(one: Any, other: Any) -> float:
    """How alike two pictures are in light and dark, whatever their colours: 1 for the same."""
    return float(np.corrcoef(one.mean(axis=2).ravel(), other.mean(axis=2).ravel())[0, 1])


async def test_recoloured_things_keep_their_shapes_and_the_rest_its_pixels() -> None:
    before = pixels(SOURCE)
    after = pixels(await picture(Operation.SEARCH_AND_RECOLOR, prompt="the moon by night"))
    middle = (slice(HEIGHT // 3, HEIGHT * 2 // 3), slice(WIDTH // 3, WIDTH * 2 // 3))
    assert likeness(before[middle], after[middle]) > 0.95
    assert np.abs(before[middle].astype(int) - after[middle]).mean() > 8
    corner = (slice(0, HEIGHT // 4), slice(0, WIDTH // 4))
    assert np.array_equal(before[corner], after[corner])


async def test_a_style_that_is_kept_is_colour_and_the_shapes_are_those_of_the_words() -> None:
    before = pixels(SOURCE)
    after = pixels(await picture(Operation.CONTROL_STYLE, prompt="a desert at noon"))
    assert np.abs(before.mean(axis=(0, 1)) - after.mean(axis=(0, 1))).max() < 12
    assert likeness(before, after) < 0.9


async def test_what_has_no_colour_of_the_border_is_left_on_nothing() -> None:
    drawn = Image.new("RGB", (WIDTH, HEIGHT), (200, 210, 220))
    ImageDraw.Draw(drawn).rectangle(BOX, fill=(150, 20, 20))
    cut = Image.open(io.BytesIO(await picture(Operation.REMOVE_BACKGROUND, source=png(drawn))))
    assert np.array_equal(np.asarray(cut.getchannel("A")), np.asarray(mask()))


async def test_it_says_where_it_does_less_than_its_name_promises() -> None:
    silent = {
        Operation.VARIATION, Operation.UPSCALE_FAST, Operation.INPAINT, Operation.ERASE,
        Operation.CONTROL_SKETCH, Operation.CONTROL_STRUCTURE, Operation.CONTROL_STYLE,
    }  # fmt: skip
    assert {one for one in Operation if not (await done(one)).warnings} == silent


async def test_what_was_cut_out_before_stays_cut_out() -> None:
    sheer = Image.new("RGBA", (WIDTH, HEIGHT), (200, 210, 220, 255))
    ImageDraw.Draw(sheer).rectangle(BOX, fill=(150, 20, 20, 0))
    cut = sheer_pixels(await picture(Operation.REMOVE_BACKGROUND, source=png(sheer)))
    assert not cut[..., 3].any()


@pytest.mark.parametrize(("mode", "format"), [("RGB", "JPEG"), ("RGBA", "WEBP")])
def test_what_is_too_large_as_png_comes_in_less(mode: str, format: str) -> None:
    noise = np.random.default_rng(1).integers(0, 255, (300, 400, len(mode)), dtype=np.uint8)
    image = Image.fromarray(noise, mode)
    as_png = encoded(image, 10**6)
    assert Image.open(io.BytesIO(as_png)).format == "PNG"
    less = encoded(image, len(as_png) - 1)
    assert len(less) < len(as_png)
    found = Image.open(io.BytesIO(less))
    assert (found.format, found.size, found.mode) == (format, (400, 300), mode)


async def test_a_photograph_whose_png_nobody_takes_comes_as_jpeg() -> None:
    noise = np.random.default_rng(1).integers(0, 255, (2_900, 4_300, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, "JPEG", quality=60)
    size = {"width": 4_300, "height": 2_900}
    source, white = buffer.getvalue(), png(Image.new("L", (4_300, 2_900), 0))
    (told,) = (await done(Operation.ERASE, source=source, mask=white, operands=size)).pictures
    assert told.content_type == "image/jpeg"
    assert len(told.data) <= MOST_BYTES
