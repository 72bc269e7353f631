"""Randomness that looks the same at every size; without it a draft and its final would differ.

Every stream is named, so taking one element out of a picture leaves the others where they were.
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import numpy.typing as npt

# float32 throughout; NumPy's types widen it beside a Python float, though its arrays do not
Array = npt.NDArray[np.floating[Any]]

CELLS = 64  # lattice points along a side; the lattice is periodic
_TEXELS = 8  # texture samples between two lattice points
_SPLINE_DEVIATION = 0.479  # of a cubic B-spline over white noise, in two dimensions


def stream(key: str, label: str) -> np.random.Generator:
    """One reproducible generator for each (picture, purpose)."""
    digest = hashlib.sha256(f"{key}\x1f{label}".encode()).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest[:16], "big")))


def smoothstep(low: float, high: float, value: Array) -> Array:
    t = np.clip((value - np.float32(low)) / np.float32(high - low), 0, 1)
    result: Array = t * t * (3 - 2 * t)
    return result


def _spline(position: Array, period: int) -> Array:
    """Cubic B-spline weights of each position over a periodic row of *period* points."""
    base = np.floor(position).astype(np.int64)
    t = (position - base).astype(np.float32)
    weights = np.zeros((position.size, period), np.float32)
    rows = np.arange(position.size)
    parts = (
        (1 - t) ** 3 / 6,
        (3 * t**3 - 6 * t**2 + 4) / 6,
        (-3 * t**3 + 3 * t**2 + 3 * t + 1) / 6,
        t**3 / 6,
    )
    for step, part in enumerate(parts):
        weights[rows, (base + step) % period] += part
    return weights


def field(
    rng: np.random.Generator,
    v: Array,
    u: Array,
    frequency: tuple[float, float],
    octaves: int = 5,
    gain: float = 0.5,
) -> Array:
    """Fractal noise on the grid v x u, of mean 0 and deviation about 1.

    *frequency* is lattice cells per unit along v and u. The draws depend on *octaves* alone.
    """
    total = np.zeros((v.size, u.size), np.float32)
    amplitude, power = 1.0, 0.0
    for octave in range(octaves):
        lattice = rng.standard_normal((CELLS, CELLS), dtype=np.float32)
        shift = rng.random(2, dtype=np.float32) * CELLS
        scale = 2.03**octave
        down = _spline(v * np.float32(frequency[0] * scale) + shift[0], CELLS)
        across = _spline(u * np.float32(frequency[1] * scale) + shift[1], CELLS)
        total += np.float32(amplitude) * (down @ lattice @ across.T)
        power += amplitude**2
        amplitude *= gain
    result: Array = total / np.float32(_SPLINE_DEVIATION * power**0.5)
    return result


def line(rng: np.random.Generator, x: Array, frequency: float, octaves: int, gain: float) -> Array:
    """Fractal noise along one axis, of deviation about 1."""
    result: Array = field(rng, np.zeros(1, np.float32), x, (0.0, frequency), octaves, gain)[0]
    return result


def texture(rng: np.random.Generator) -> Array:
    """A periodic square of smooth noise, for ``sample`` to read at bent coordinates."""
    lattice = rng.standard_normal((CELLS, CELLS), dtype=np.float32)
    weights = _spline(np.arange(CELLS * _TEXELS, dtype=np.float32) / _TEXELS, CELLS)
    result: Array = (weights @ lattice @ weights.T) / np.float32(_SPLINE_DEVIATION)
    return result


def rough_texture(rng: np.random.Generator, gain: float) -> Array:
    """A periodic square of fractal noise, 16 base cells wide: one ``sample`` reads five octaves.

    Coordinates are those of ``texture``: a base cell is four units wide.
    """
    side = CELLS * _TEXELS
    total = np.zeros((side, side), np.float32)
    power = 0.0
    for octave in range(5):
        cells = 16 * 2**octave
        lattice = rng.standard_normal((cells, cells), dtype=np.float32)
        weights = _spline(np.arange(side, dtype=np.float32) * np.float32(cells / side), cells)
        total += np.float32(gain**octave) * (weights @ lattice @ weights.T)
        power += gain ** (2 * octave)
    result: Array = total / np.float32(_SPLINE_DEVIATION * power**0.5)
    return result


def sample(tile: Array, y: Array, x: Array) -> Array:
    """Read *tile* at lattice coordinates, bilinearly and periodically."""
    size = tile.shape[0]
    y = y * np.float32(_TEXELS)
    x = x * np.float32(_TEXELS)
    row_floor, column_floor = np.floor(y), np.floor(x)
    fy, fx = y - row_floor, x - column_floor
    row = row_floor.astype(np.int32) & (size - 1)
    column = column_floor.astype(np.int32) & (size - 1)
    below = ((row + 1) & (size - 1)) * size
    row *= size
    right = (column + 1) & (size - 1)
    flat = tile.reshape(-1)
    top = flat.take(row + column)
    top += (flat.take(row + right) - top) * fx
    bottom = flat.take(below + column)
    bottom += (flat.take(below + right) - bottom) * fx
    top += (bottom - top) * fy
    result: Array = top
    return result


def fractal(tile: Array, y: Array, x: Array, octaves: int = 5, gain: float = 0.5) -> Array:
    """Fractal noise at any coordinates, of deviation about 1; octaves are turned to hide axes."""
    total = np.zeros(np.broadcast(y, x).shape, np.float32)
    amplitude, power = 1.0, 0.0
    for octave in range(octaves):
        total += np.float32(amplitude) * sample(tile, y + np.float32(octave * 17.3), x)
        power += amplitude**2
        amplitude *= gain
        y, x = (
            y * np.float32(1.62) + x * np.float32(1.2),
            x * np.float32(1.62) - y * np.float32(1.2),
        )
    result: Array = total / np.float32(power**0.5)
    return result


def ridged(tile: Array, y: Array, x: Array, octaves: int, gain: float) -> Array:
    """Sharp-crested fractal noise in 0..1: the crests of one octave carry the next."""
    total = np.zeros(np.broadcast(y, x).shape, np.float32)
    carry = np.ones_like(total)
    amplitude, reach = 1.0, 0.0
    for octave in range(octaves):
        value = sample(tile, y + np.float32(octave * 23.7), x)
        # a slightly rounded edge: a true one would show the slices it is cut into
        crest = 1.06 - np.sqrt(value * value * np.float32(0.64) + np.float32(0.006))
        np.clip(crest, 0, 1, out=crest)
        crest *= crest
        total += np.float32(amplitude) * crest * carry
        carry = np.clip(crest * 1.6, 0, 1)
        reach += amplitude
        amplitude *= gain
        y, x = (
            y * np.float32(1.62) + x * np.float32(1.2),
            x * np.float32(1.62) - y * np.float32(1.2),
        )
    result: Array = total / np.float32(reach)
    return result
