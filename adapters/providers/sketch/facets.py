"""Styles built of pieces: pixels, triangles, cubes, tiles; without it they look painted."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from PIL import Image, ImageDraw

from adapters.providers.sketch.frame import Frame, thumbnail
from adapters.providers.sketch.noise import Array, stream

Corner = tuple[float, float]


def pixels(display: Array, frame: Frame) -> Array:
    """Large square pixels in few colours."""
    rows = min(frame.height, 120 if frame.aspect >= 1 else 160)
    small = thumbnail(display, rows)
    few = _image(np.clip((small - 0.5) * 1.12 + 0.5, 0, 1))
    few = few.quantize(40, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).convert("RGB")
    return _array(few.resize((frame.width, frame.height), Image.Resampling.NEAREST))


def triangles(display: Array, frame: Frame) -> Array:
    return _facets(display, frame, 26, 0.0)


def folded(display: Array, frame: Frame) -> Array:
    """Large folds of paper, each with its own shade."""
    return _facets(display, frame, 11, 0.085)


def _facets(display: Array, frame: Frame, rows: int, fold: float) -> Array:
    small = thumbnail(display, 144)
    rng = stream("facets", str(rows))
    most = 2 * rows * 3
    jitter = (rng.random((rows + 3, most, 2)) - 0.5) * 0.72
    shades = rng.random((rows + 3, most, 2)) - 0.5
    step = 1 / rows
    columns = int(np.ceil(frame.half / (step / frame.scale * 1.08))) + 1
    offset = most // 2

    def corner(i: int, j: int) -> Corner:
        dv, du = jitter[i, j + offset]
        lean = 0.5 if i % 2 else 0.0
        u = (j + lean + du) * step / frame.scale * 1.08
        return float(u), float((i - 1 + dv) * step)

    def shapes() -> Iterable[tuple[list[Corner], float]]:
        for i in range(rows + 2):
            for j in range(-columns - 1, columns + 1):
                a, b, c, d = corner(i, j), corner(i, j + 1), corner(i + 1, j), corner(i + 1, j + 1)
                first = ([a, b, d], [a, d, c]) if i % 2 == 0 else ([a, b, c], [b, d, c])
                for part, shape in enumerate(first):
                    yield shape, float(shades[i, j + offset, part]) * (fold * 2 + 0.05)

    return _mosaic(small, frame, shapes())


def cubes(display: Array, frame: Frame) -> Array:
    """A field of cubes seen from a corner; each takes the colour of its place."""
    small = thumbnail(display, 144)
    side = 1 / 44 / frame.scale
    wide, tall = side * 0.866, side * 0.5 * frame.scale
    columns = int(np.ceil(frame.half / wide)) + 2
    rows = int(np.ceil(1 / (3 * tall))) + 2

    def shapes() -> Iterable[tuple[list[Corner], float]]:
        for i in range(-1, rows):
            for j in range(-columns, columns + 1):
                u, v = j * wide * 2 + (wide if i % 2 else 0), i * tall * 3
                up, left, right = (u, v - 2 * tall), (u - wide, v - tall), (u + wide, v - tall)
                low_left, low_right, down = (
                    (u - wide, v + tall),
                    (u + wide, v + tall),
                    (u, v + 2 * tall),
                )
                yield [up, right, (u, v), left], 0.10
                yield [left, (u, v), down, low_left], -0.03
                yield [(u, v), right, low_right, down], -0.13

    return _mosaic(small, frame, shapes(), together=3)


def mosaic(display: Array, frame: Frame) -> Array:
    """Small glazed tiles with joints between."""
    small = thumbnail(display, 144)
    side = 1 / 42
    columns = int(np.ceil(frame.half * frame.scale / side)) + 1
    rng = stream("mosaic", "shade")
    shade = (rng.random((64, 512)) - 0.5) * 0.12

    def shapes() -> Iterable[tuple[list[Corner], float]]:
        for i in range(43):
            for j in range(-columns, columns + 1):
                gap = side * 0.06
                left, right = j * side + gap, (j + 1) * side - gap
                top, bottom = i * side + gap, (i + 1) * side - gap
                points = [(left, top), (right, top), (right, bottom), (left, bottom)]
                place = [(x / frame.scale, y) for x, y in points]
                yield place, float(shade[i, (j + 256) % 512])

    return _mosaic(small, frame, shapes())


def _mosaic(
    small: Array, frame: Frame, shapes: Iterable[tuple[list[Corner], float]], together: int = 1
) -> Array:
    """Fill each shape with the picture's colour at its middle, a shade lighter or darker.

    *together* consecutive shapes share one colour.
    """
    finer = 2 if max(frame.width, frame.height) <= 1100 else 1
    finer = max(finer, 2)
    base = Image.new("RGB", (frame.width * finer, frame.height * finer), (58, 56, 60))
    canvas = ImageDraw.Draw(base)
    height, width = small.shape[:2]
    colour = np.zeros(3, np.float32)
    for index, (corners, shade) in enumerate(shapes):
        if index % together == 0:
            u = sum(x for x, _ in corners) / len(corners)
            v = sum(y for _, y in corners) / len(corners)
            column = int(np.clip((u / (2 * frame.half) + 0.5) * width, 0, width - 1))
            row = int(np.clip(v * height, 0, height - 1))
            colour = small[row, column]
        red, green, blue = (
            int(min(max((float(c) * (1 + shade) + shade * 0.35) * 255, 0), 255)) for c in colour
        )
        points = [(frame.px(x) * finer, frame.py(y) * finer) for x, y in corners]
        canvas.polygon(points, fill=(red, green, blue))
    return _array(base.reduce(finer))


def _image(display: Array) -> Image.Image:
    return Image.fromarray((display * 255 + 0.5).astype(np.uint8))


def _array(image: Image.Image) -> Array:
    return np.asarray(image, np.float32) / 255
