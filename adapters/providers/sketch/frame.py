"""The picture's geometry; without it every shape would depend on the pixel count.

v runs from 0 (top) to 1 (bottom); u is 0 in the middle and grows to the right. Sizes are in
heights of a 16:10 picture: a narrower one steps back a little (``scale``) and shows more.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from math import ceil, floor

import numpy as np
from PIL import Image, ImageDraw

from adapters.providers.sketch.noise import Array

_RATIOS = (21 / 9, 16 / 9, 3 / 2, 4 / 3, 5 / 4, 1.0, 4 / 5, 3 / 4, 2 / 3, 9 / 16, 9 / 21)
_NEAR_ENOUGH = 0.032
GRID_ROWS = 288  # soft fields are painted this high, whatever the picture's size


@dataclass(frozen=True)
class Frame:
    width: int
    height: int
    slices: int = 520  # a landscape is cut into so many; fewer are faster and coarser
    columns: int = 430  # and into so many columns in one unit of u

    @cached_property
    def aspect(self) -> float:
        """Width over height. Sizes made for one ratio are a few pixels off it (1344 x 768 stands
        for 16:9), so a ratio close to a usual one counts as that one, and the scene is the same.
        """
        exact = self.width / self.height
        usual = min(_RATIOS, key=lambda ratio: abs(ratio / exact - 1))
        return usual if abs(usual / exact - 1) < _NEAR_ENOUGH else exact

    @cached_property
    def scale(self) -> float:
        """How many picture heights one unit of size takes."""
        return float(np.clip((self.aspect / 1.6) ** 0.5, 0.4, 1.0))

    @property
    def half(self) -> float:
        """u at the right edge."""
        return self.aspect / self.scale / 2

    @property
    def unit(self) -> float:
        """Pixels in one unit of size."""
        return self.height * self.scale

    @cached_property
    def u(self) -> Array:
        columns = (np.arange(self.width, dtype=np.float32) + 0.5) / self.width
        return ((columns - 0.5) * 2 * self.half).astype(np.float32)

    @cached_property
    def v(self) -> Array:
        return ((np.arange(self.height, dtype=np.float32) + 0.5) / self.height).astype(np.float32)

    def grid(self) -> Frame:
        """The coarse frame of the same shape on which soft fields are painted."""
        return Frame(max(8, round(GRID_ROWS * self.aspect)), GRID_ROWS)

    def px(self, u: float) -> float:
        return (u / (2 * self.half) + 0.5) * self.width

    def py(self, v: float) -> float:
        return v * self.height


def resize(plane: Array, frame: Frame) -> Array:
    """Bring one coarse plane to the frame's size."""
    if plane.shape == (frame.height, frame.width):
        return plane
    image = Image.fromarray(np.ascontiguousarray(plane, np.float32))
    return np.asarray(image.resize((frame.width, frame.height), Image.Resampling.BICUBIC))


def resize_colour(planes: Array, frame: Frame) -> Array:
    """The same for an image of several channels (channels x rows x columns)."""
    if planes.shape[1:] == (frame.height, frame.width):
        return planes.copy()
    return np.stack([resize(plane, frame) for plane in planes])


def shrink(canvas: Array, rows: int) -> Array:
    """Average a picture down to *rows* rows, for soft effects that need no detail."""
    height, width = canvas.shape[1:]
    size = max(4, round(rows * width / height)), rows
    planes = [Image.fromarray(np.ascontiguousarray(plane)) for plane in canvas]
    return np.stack([np.asarray(plane.resize(size, Image.Resampling.BOX)) for plane in planes])


def thumbnail(display: Array, rows: int) -> Array:
    """The same for a picture whose channels come last."""
    return np.ascontiguousarray(np.moveaxis(shrink(np.moveaxis(display, -1, 0), rows), 0, -1))


def tint(plane: Array, colour: Array) -> Array:
    """*colour* at the strengths of *plane*: channels x the plane's shape."""
    result: Array = np.multiply.outer(colour, plane)
    return result


def blend(canvas: Array, mask: Array, colour: Array, top: int = 0, left: int = 0) -> None:
    """Lay *colour* over a part of the canvas, as far as *mask* covers.

    The canvas is channels x rows x columns; *colour* is one for all, or has the mask's shape.
    """
    rows, columns = mask.shape
    part = canvas[:, top : top + rows, left : left + columns]
    part += ((colour if colour.ndim > 1 else colour[:, None, None]) - part) * mask


@dataclass(frozen=True)
class Stencil:
    """A smooth-edged shape and where its corner lies in the picture."""

    mask: Array
    top: int
    left: int

    def lay(self, canvas: Array, colour: Array, strength: float = 1.0) -> None:
        if self.mask.size:
            mask = self.mask if strength == 1 else self.mask * np.float32(strength)
            blend(canvas, mask, colour, self.top, self.left)


Point = tuple[float, float]
Draw = Callable[["Pen"], None]


@dataclass(frozen=True)
class Pen:
    """Draws in units around an anchor: x to the right, y upwards."""

    canvas: ImageDraw.ImageDraw
    origin: Point
    unit: float

    def at(self, x: float, y: float) -> Point:
        return self.origin[0] + x * self.unit, self.origin[1] - y * self.unit

    def polygon(self, *points: Point, ink: int = 255) -> None:
        self.canvas.polygon([self.at(x, y) for x, y in points], fill=ink)

    def line(self, *points: Point, width: float, ink: int = 255) -> None:
        pixels = max(1, round(width * self.unit))
        self.canvas.line([self.at(x, y) for x, y in points], fill=ink, width=pixels, joint="curve")

    def disc(self, x: float, y: float, rx: float, ry: float | None = None, ink: int = 255) -> None:
        ry = rx if ry is None else ry
        self.canvas.ellipse([*self.at(x - rx, y + ry), *self.at(x + rx, y - ry)], fill=ink)


def stencil(
    frame: Frame, u: float, v: float, box: tuple[float, float, float, float], draw: Draw
) -> Stencil:
    """Draw a shape around (u, v) at several times the size and average it down.

    *box* bounds the shape in units: left, bottom, right, top.
    """
    x, y, unit = frame.px(u), frame.py(v), frame.unit
    left = min(max(floor(x + box[0] * unit) - 1, 0), frame.width)
    right = min(max(ceil(x + box[2] * unit) + 1, 0), frame.width)
    top = min(max(floor(y - box[3] * unit) - 1, 0), frame.height)
    bottom = min(max(ceil(y - box[1] * unit) + 1, 0), frame.height)
    if right <= left or bottom <= top:
        return Stencil(np.zeros((0, 0), np.float32), 0, 0)
    finer = 4 if frame.height >= 480 else 6  # a small picture has thinner lines to hold
    image = Image.new("L", ((right - left) * finer, (bottom - top) * finer))
    pen = Pen(ImageDraw.Draw(image), ((x - left) * finer, (y - top) * finer), unit * finer)
    draw(pen)
    mask = np.asarray(image.reduce(finer), np.float32) / 255
    return Stencil(mask, top, left)


def splat(frame: Frame, x: Array, y: Array, flux: Array) -> Array:
    """Add points of light at pixel positions, shared among the four nearest pixels."""
    x, y = x - np.float32(0.5), y - np.float32(0.5)
    column, row = np.floor(x).astype(np.int64), np.floor(y).astype(np.int64)
    fx, fy = x - column, y - row
    plane = np.zeros(frame.width * frame.height, np.float64)
    for dy, wy in ((0, 1 - fy), (1, fy)):
        for dx, wx in ((0, 1 - fx), (1, fx)):
            i, j = row + dy, column + dx
            inside = (i >= 0) & (i < frame.height) & (j >= 0) & (j < frame.width)
            plane += np.bincount(
                (i * frame.width + j)[inside], (flux * wy * wx)[inside], minlength=plane.size
            )
    return plane.reshape(frame.height, frame.width).astype(np.float32)
