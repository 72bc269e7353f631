"""Turns upright slices of a landscape into pixels with smooth edges; all land is painted by it.

A slice is one height per column. Nearer slices hide farther ones, and what is hidden costs
nothing: ``look`` finds the points that are seen, the caller colours only those, and ``lay`` writes
each as a change of colour at a fractional row and sums downwards, so coverage is exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from adapters.providers.sketch.frame import Frame
from adapters.providers.sketch.noise import Array

Indices = npt.NDArray[np.integer[Any]]


@dataclass(frozen=True, slots=True)
class Seen:
    """The points of slices x columns that are seen, column by column and nearest first."""

    slice: Indices
    column: Indices
    knot: Array  # the row at which each begins
    columns: int


def look(tops: Array, frame: Frame) -> Seen:
    """What is seen of slices, nearest first, whose *tops* (in v) are slices x columns.

    Columns may be a whole multiple of the frame's width.
    """
    count, columns = tops.shape
    knots = np.clip(tops, 0, 1) * np.float32(frame.height)
    nearer = np.full_like(knots, frame.height)
    np.minimum.accumulate(knots[:-1], axis=0, out=nearer[1:])
    shown = np.flatnonzero((knots < nearer).T)
    column, index = np.divmod(shown.astype(np.int32), np.int32(count))
    return Seen(index, column, knots[index, column], columns)


def lay(
    canvas: Array, frame: Frame, seen: Seen, colours: Array, solid: Array | None = None
) -> None:
    """Paint the seen points in *colours* (channels x points); *solid* is 0 where nothing is."""
    if not seen.knot.size:
        return
    first = min(int(seen.knot.min()), frame.height - 1)
    height = frame.height - first
    knots = seen.knot - np.float32(first)
    whole = knots.astype(np.int32)
    part = knots - whole
    over = seen.columns // frame.width
    index = whole * frame.width + seen.column // over
    size = (height + 2) * frame.width
    farthest = np.append(seen.column[1:] != seen.column[:-1], True)
    planes = np.empty((len(colours) + 1, height + 2, frame.width))

    def sums(at: Indices, part: Array, steps: Array) -> Array:
        flat: Array = np.bincount(at, steps * (1 - part), minlength=size).astype(
            np.float64, copy=False
        )
        flat += np.bincount(at + frame.width, steps * part, minlength=size)
        result: Array = flat.reshape(height + 2, frame.width)
        return result

    def changes(values: Array) -> Array:
        """From above, the farthest point is met whole and each nearer one as a difference."""
        steps = values / np.float32(over)
        steps[:-1] -= np.where(farthest[:-1], 0, steps[1:])
        return steps

    for plane, own in zip(planes, colours, strict=False):
        plane[:] = sums(index, part, changes(own if solid is None else own * solid))
    if solid is None:
        edge = np.full(int(farthest.sum()), 1 / over, np.float32)
        planes[-1] = sums(index[farthest], part[farthest], edge)
    else:
        planes[-1] = sums(index, part, changes(solid))
    for row in range(1, height):
        planes[:, row] += planes[:, row - 1]
    image = planes[:, :height].astype(np.float32)
    bare = 1 - np.clip(image[-1], 0, 1)
    canvas[:, first:] *= bare
    canvas[:, first:] += image[:-1]


@dataclass(frozen=True, slots=True)
class Stretch:
    """Brings values at few columns to many: each lies between *left* and the next."""

    left: Indices
    part: Array

    @classmethod
    def between(cls, source: int, columns: int) -> Stretch:
        position = (np.arange(columns, dtype=np.float32) + 0.5) * (source / columns) - 0.5
        position = np.clip(position, 0, source - 1)
        left = np.minimum(position.astype(np.int32), source - 2)
        return cls(left, (position - left).astype(np.float32))

    def all(self, values: Array) -> Array:
        """Every value of slices x columns."""
        if not self.part.any():
            return values
        first = values[..., self.left]
        first += (values[..., self.left + 1] - first) * self.part
        return first
