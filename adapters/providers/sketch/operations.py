"""What sketch does to pictures that exist: by rules alone, since it recognises nothing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageStat

from adapters.errors import BadPicture
from adapters.pictures import codec
from adapters.providers.sketch import finish, guided, style
from adapters.providers.sketch.frame import Frame
from adapters.providers.sketch.noise import Array
from adapters.providers.sketch.request import Sketch

# A scene is painted at most so large, and then scaled.
_MOST_PAINTED = 1536 * 864
# How many times as long as the other a side of it may be.
_NARROWEST = 3
# How softly what is new ends, in shares of the picture's smaller side.
_FEATHER = 0.01
# What is as near to the border's colour (of 0..1) is background; what is farther than the second
# is not.
_BACKGROUND, _SUBJECT = 0.06, 0.16
_ROWS_AT_ONCE = 256


def done(sketch: Sketch) -> Image.Image:
    """The picture of an operation, at the size that was asked for. Raises `BadPicture`."""
    assert sketch.source is not None
    source = codec.plain(codec.decode(sketch.source))
    size = (sketch.width, sketch.height)
    match sketch.operation:
        case "upscale-fast" | "upscale-conservative" | "upscale-creative":
            return source.resize(size, Image.Resampling.LANCZOS)
        case "remove-background":
            return _without_background(source)
        case "outpaint":
            return _outpainted(source, sketch)
        case "erase" | "inpaint":
            return _edited(source, _mask(sketch, source.size), sketch)
        case "search-and-replace" | "search-and-recolor":
            return _edited(source, _oval(source.size), sketch)
        case "control-style":
            return _in_tone_of(_scene(sketch), source.convert("RGB"))
        case "control-sketch" | "control-structure":
            return _scene(sketch, source.convert("RGB"))
        case "variation":
            share = 1.0 if sketch.strength is None else sketch.strength
            return Image.blend(source.convert("RGB"), _scene(sketch), share)
    raise AssertionError(f"sketch does no {sketch.operation}")


def _edited(source: Image.Image, mask: Image.Image, sketch: Sketch) -> Image.Image:
    """*source* changed where *mask* is white; what is transparent elsewhere stays so."""
    picture = source.convert("RGB")
    match sketch.operation:
        case "erase":
            edited = _filled(picture, mask)
        case "search-and-recolor":
            return _with_alpha_of(
                source, _composed(_in_tone_of(picture, _scene(sketch)), picture, mask)
            )
        case _:
            edited = _composed(_scene(sketch), picture, mask)
    return _with_alpha_of(source, edited, mask)


def _with_alpha_of(
    source: Image.Image, edited: Image.Image, painted: Image.Image | None = None
) -> Image.Image:
    """*edited* as transparent as *source*, but where it was *painted* over."""
    if source.mode == "RGBA":
        alpha = source.getchannel("A")
        edited.putalpha(ImageChops.lighter(alpha, painted) if painted is not None else alpha)
    return edited


def _scene(sketch: Sketch, kept: Image.Image | None = None) -> Image.Image:
    """A scene by the words and the seed, at the picture's size, led by *kept* where it is given."""
    from adapters.providers.sketch.paint import scene

    size = (sketch.width, sketch.height)
    # Of a picture that is narrower than any scene the middle of a scene is painted.
    wide, high = max(size[0], size[1] / _NARROWEST), max(size[1], size[0] / _NARROWEST)
    shrink = min(1.0, (_MOST_PAINTED / (wide * high)) ** 0.5)
    width, height = (max(16, round(side * shrink)) for side in (wide, high))
    box = _middle((width, height), (size[0] * shrink, size[1] * shrink))
    frame = Frame(width, height)
    display = style.apply(scene(replace(sketch, width=width, height=height), frame), frame,
                          sketch.style)  # fmt: skip
    if kept is not None:
        led = kept.resize((width, height), Image.Resampling.LANCZOS)
        led.paste(kept.resize((box[2] - box[0], box[3] - box[1])), box)
        display = guided.guide(display, led, frame)
    painted = Image.fromarray(finish.to_bytes(display))
    return painted.resize(size, Image.Resampling.LANCZOS, box)


def _middle(whole: tuple[int, int], part: tuple[float, float]) -> tuple[int, int, int, int]:
    """Where a *part* of this size lies, at most all of it, in the middle of the *whole*."""
    sides = [min(most, max(1, round(side))) for most, side in zip(whole, part, strict=True)]
    left, top = ((most - side) // 2 for most, side in zip(whole, sides, strict=True))
    return left, top, left + sides[0], top + sides[1]


def _mask(sketch: Sketch, size: tuple[int, int]) -> Image.Image:
    if sketch.mask is None:
        raise BadPicture("no_mask", "there is no mask")
    mask = codec.plain(codec.decode(sketch.mask)).convert("L")
    if mask.size != size:
        raise BadPicture("mask_size", f"the mask is {mask.size}, the picture {size}")
    return mask


def _oval(size: tuple[int, int]) -> Image.Image:
    """The middle: where most pictures have what they are of."""
    mask = Image.new("L", size, 0)
    width, height = size
    box = (width * 0.25, height * 0.25, width * 0.75, height * 0.75)
    ImageDraw.Draw(mask).ellipse(box, fill=255)
    return mask


def _composed(new: Image.Image, old: Image.Image, mask: Image.Image) -> Image.Image:
    """*new* where the mask is white; what is black keeps its very pixels."""
    soft = mask.filter(ImageFilter.GaussianBlur(max(1.0, min(mask.size) * _FEATHER)))
    inside = Image.fromarray(np.minimum(np.asarray(soft), np.asarray(mask)))
    return Image.composite(new, old, inside)


def _filled(picture: Image.Image, mask: Image.Image) -> Image.Image:
    """What is masked is filled with the colours around it, from coarse to fine."""
    # So softly that a small picture of it is enough; the largest would take gigabytes.
    shrink = min(1.0, (_MOST_PAINTED / (picture.width * picture.height)) ** 0.5)
    size = tuple(max(1, round(side * shrink)) for side in picture.size)
    small = picture.resize(size, Image.Resampling.BOX)
    hole = mask.resize(size, Image.Resampling.BOX)
    if shrink < 1:  # what is masked in part holds colours that are to go
        hole = hole.point([0] + [255] * 255)
    keep = 1 - np.asarray(hole, np.float32)[..., None] / 255
    filled = np.round(_pulled(np.asarray(small, np.float32) * keep, keep)).astype(np.uint8)
    filling = Image.fromarray(filled).resize(picture.size, Image.Resampling.BILINEAR)
    return Image.composite(filling, picture, mask)


def _pulled(weighted: Array, weight: Array) -> Array:
    """Colours of which *weight* is known; elsewhere those of a picture of half the size."""
    height, width = weight.shape[:2]
    known = np.maximum(weight, 1e-6)
    if min(height, width) <= 1 or float(weight.min()) >= 1:
        mean = weighted.sum(axis=(0, 1)) / max(float(weight.sum()), 1e-6)
        return np.where(weight > 0, weighted / known, mean).astype(np.float32)
    padding = ((0, height % 2), (0, width % 2), (0, 0))
    halves = []
    for plane in (weighted, weight):
        even = np.pad(plane, padding)
        halves.append(even[::2, ::2] + even[1::2, ::2] + even[::2, 1::2] + even[1::2, 1::2])
    # No pixel counts for more than one, or far colours would outweigh near ones.
    share = np.minimum(1, halves[1]) / np.maximum(halves[1], 1e-6)
    coarse = _pulled(halves[0] * share, np.minimum(1, halves[1]))
    below = np.stack(
        [
            np.asarray(
                Image.fromarray(coarse[..., channel]).resize(
                    (coarse.shape[1] * 2, coarse.shape[0] * 2), Image.Resampling.BILINEAR
                )
            )[:height, :width]
            for channel in range(coarse.shape[2])
        ],
        axis=-1,
    )
    filled: Array = weighted + (1 - weight) * below
    return filled


def _outpainted(picture: Image.Image, sketch: Sketch) -> Image.Image:
    """The picture where it was; beyond its edges it is mirrored, the farther the softer."""
    left, right, up, down = sketch.added
    pixels = np.pad(np.asarray(picture), ((up, down), (left, right), (0, 0)), mode="symmetric")
    mirrored = Image.fromarray(pixels)
    soft = mirrored.filter(ImageFilter.GaussianBlur(max(2.0, min(mirrored.size) * 0.02)))
    soft.paste(picture, (left, up))
    return soft


def _in_tone_of(picture: Image.Image, model: Image.Image) -> Image.Image:
    """*picture* with the means and spreads of the colours of *model*."""
    own, other = ImageStat.Stat(picture), ImageStat.Stat(model)
    table: list[int] = []
    for mean, spread, wanted, wide in zip(
        own.mean, own.stddev, other.mean, other.stddev, strict=True
    ):
        toned = (np.arange(256) - mean) * (wide / max(spread, 1)) + wanted
        table += np.clip(np.round(toned), 0, 255).astype(int).tolist()
    return picture.point(table)


def _without_background(picture: Image.Image) -> Image.Image:
    """What has the colour of the nearest border goes; what was transparent stays so."""
    pixels = np.asarray(picture.convert("RGB"))
    top, bottom = (np.median(row, axis=0).astype(np.float32) / 255 for row in pixels[[0, -1]])
    alpha = np.empty(pixels.shape[:2], np.uint8)
    for first in range(0, len(pixels), _ROWS_AT_ONCE):
        rows = slice(first, first + _ROWS_AT_ONCE)
        band = pixels[rows].astype(np.float32) / 255
        away = np.minimum(np.abs(band - top).max(axis=2), np.abs(band - bottom).max(axis=2))
        shown = np.clip((away - _BACKGROUND) / (_SUBJECT - _BACKGROUND), 0, 1) * 255
        alpha[rows] = np.round(shown).astype(np.uint8)
    cut = picture.convert("RGBA")
    cut.putalpha(ImageChops.darker(cut.getchannel("A"), Image.fromarray(alpha)))
    return cut
