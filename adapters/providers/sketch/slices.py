"""Turns upright slices of a landscape into pixels with smooth edges; all land is painted by it.

A slice is one height per column. Nearer slices hide farther ones. Each visible step is written
as a change of colour at a fractional row and summed downwards, so coverage is exact and the cost
does not depend on how many slices overlap.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from adapters.providers.sketch.frame import Frame
from adapters.providers.sketch.noise import Array


@dataclass(frozen=True, slots=True)
class Slices:
    """Slices, nearest first: *tops* (in v) and *solid* are slices x columns, *colours* x 3."""

    tops: Array
    colours: Array
    solid: Array | None = None  # 0 where nothing is to be painted


def widen(values: Array, columns: int) -> Array:
    """Stretch the column axis (slices x columns [x channels]) to *columns* columns."""
    source = values.shape[1]
    if source == columns:
        return values
    position = (np.arange(columns, dtype=np.float32) + 0.5) * (source / columns) - 0.5
    position = np.clip(position, 0, source - 1)
    left = np.minimum(position.astype(np.int64), source - 2)
    part = (position - left).astype(np.float32)
    if values.ndim == 3:
        part = part[:, None]
    first = values[:, left]
    result: Array = first + (values[:, left + 1] - first) * part
    return result


def lay(canvas: Array, frame: Frame, slices: Slices) -> None:
    """Paint slices over the canvas. Columns may be a whole multiple of the frame's width."""
    columns = slices.tops.shape[1]
    knots = np.minimum.accumulate(np.clip(slices.tops, 0, 1), axis=0) * np.float32(frame.height)
    first = min(max(int(np.floor(knots.min())), 0), frame.height - 1)
    height = frame.height - first
    knots = np.clip(knots - first, 0, height)
    whole = np.floor(knots)
    part = (knots - whole).reshape(-1)
    index = (whole.astype(np.int32) * columns + np.arange(columns, dtype=np.int32)).reshape(-1)
    size = (height + 2) * columns
    over = columns // frame.width

    def plane(steps: Array) -> Array:
        flat = steps.reshape(-1)
        sums = np.bincount(index, flat * (1 - part), minlength=size)
        sums += np.bincount(index + columns, flat * part, minlength=size)
        image = sums.astype(np.float32).reshape(height + 2, frame.width, over)[:height]
        image = image.mean(axis=2) if over > 1 else image[..., 0]
        result: Array = np.cumsum(image, axis=0, dtype=np.float32)
        return result

    solid = np.ones_like(knots) if slices.solid is None else slices.solid
    cover = np.clip(plane(_steps(solid)), 0, 1)
    target = canvas[first:]
    for channel in range(3):
        colour = slices.colours[..., channel]
        if slices.solid is not None:
            colour = colour * solid
        target[..., channel] *= 1 - cover
        target[..., channel] += plane(_steps(colour))


def _steps(values: Array) -> Array:
    """The change met at each top when coming from above: the farthest slice is met whole."""
    steps = values.copy()
    steps[:-1] -= values[1:]
    return steps
