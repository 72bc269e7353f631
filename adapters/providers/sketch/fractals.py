"""Fractal noise over bent coordinates; without it ground, clouds and waves would be smooth.

An octave that changes little from one point to the next is read at few points and carried to the
others by cubic interpolation, which costs a fraction of reading it everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from adapters.providers.sketch.noise import Array, glance, product, sample

_TURN = 1.62 + 1.2j  # octaves are about twice as fine and turned, to hide the lattice's axes
_STEP = 0.34  # lattice cells between the points read; finer steps are not seen to differ
_WIDEST = 24  # grid points between two points read
_BANDS = 4  # rows are taken in so many bands: far ground changes faster than near ground
_SMALL = 4096  # fewer points than this are not worth the trouble


@dataclass(frozen=True, slots=True)
class _Band:
    """Some rows of the coordinates, and how far these move from one point to the next."""

    rows: slice
    y: Array
    x: Array
    steps: tuple[float, float]  # down and across


def fractal(tile: Array, y: Array, x: Array, octaves: int = 5, gain: float = 0.5) -> Array:
    """Fractal noise of deviation about 1 at lattice coordinates y, x of any shape."""
    y, x = np.broadcast_arrays(y, x)
    total = np.zeros(y.shape, np.float32)
    bands = _bands(y, x)
    power = 0.0
    for octave in range(octaves):
        amplitude = gain**octave
        for band in bands:
            total[band.rows] += _octave(tile, band, octave, 17.3) * np.float32(amplitude)
        power += amplitude**2
    total /= np.float32(power**0.5)
    return total


def ridged(tile: Array, y: Array, x: Array, octaves: int, gain: float) -> Array:
    """Sharp-crested fractal noise in 0..1: the crests of one octave carry the next."""
    y, x = np.broadcast_arrays(y, x)
    total = np.zeros(y.shape, np.float32)
    carry = np.ones_like(total)
    bands = _bands(y, x)
    reach = 0.0
    for octave in range(octaves):
        amplitude = gain**octave
        for band in bands:
            value = _octave(tile, band, octave, 23.7)
            # a slightly rounded edge: a true one would show the slices it is cut into
            crest = np.float32(1.06) - np.sqrt(value * value * np.float32(0.64) + np.float32(0.006))
            np.clip(crest, 0, 1, out=crest)
            crest *= crest
            total[band.rows] += crest * carry[band.rows] * np.float32(amplitude)
            np.minimum(crest * np.float32(1.6), 1, out=carry[band.rows])
        reach += amplitude
    total /= np.float32(reach)
    return total


def _bands(y: Array, x: Array) -> list[_Band]:
    if y.ndim < 2 or y.size < _SMALL or min(y.shape) < 8 * _BANDS:
        return [_Band(slice(None), y, x, (np.inf, np.inf))]
    ends = [y.shape[0] * band // _BANDS for band in range(_BANDS + 1)]
    bands = [slice(*pair) for pair in pairwise(ends)]
    return [_Band(rows, y[rows], x[rows], _steps(y[rows], x[rows])) for rows in bands]


def _steps(y: Array, x: Array) -> tuple[float, float]:
    rows, columns = max(1, y.shape[0] // 4), max(1, y.shape[1] // 16)
    down = np.hypot(np.diff(y[:, ::columns], axis=0), np.diff(x[:, ::columns], axis=0))
    across = np.hypot(np.diff(y[::rows], axis=1), np.diff(x[::rows], axis=1))
    return float(down.max()), float(across.max())


def _octave(tile: Array, band: _Band, octave: int, apart: float) -> Array:
    """Read one octave at as few points as do and carry that to the rest."""
    turn = _TURN**octave
    y, x = band.y, band.x
    strides = [
        int(np.clip(_STEP / (step * abs(turn) + 1e-6), 1, min(_WIDEST, count // 4)))
        for step, count in zip(band.steps, y.shape, strict=False)
    ]
    before = after = None
    if strides[0] > 1:
        points, before = _interpolation(y.shape[0], strides[0])
        y, x = y[points], x[points]
    if strides[-1] > 1:
        points, after = _interpolation(y.shape[1], strides[-1])
        y, x = y[:, points], x[:, points]
    read = sample if before is not None or after is not None else glance
    if band.steps[0] == np.inf:
        read = sample
    down, across = np.float32(turn.real), np.float32(turn.imag)
    value = read(tile, y * down + x * across + np.float32(octave * apart), x * down - y * across)
    if after is not None:
        value = product(value, after)
    if before is not None:
        value = product(before.T, value)
    return value


@lru_cache(maxsize=256)
def _interpolation(count: int, stride: int) -> tuple[npt.NDArray[np.int64], Array]:
    """Every *stride*-th of *count* points and the last, and their weights (points x count) in a
    cubic through the four nearest.
    """
    points = np.append(np.arange(0, count - 1, stride), count - 1)
    places = np.arange(count)
    first = np.clip(np.searchsorted(points, places, "right") - 2, 0, points.size - 4)
    near = points[first[:, None] + np.arange(4)].astype(np.float64)
    weights = np.zeros((points.size, count), np.float32)
    for own in range(4):
        share = np.ones(count)
        for other in range(4):
            if other != own:
                share *= (places - near[:, other]) / (near[:, own] - near[:, other])
        weights[first + own, places] = share
    return points, weights
