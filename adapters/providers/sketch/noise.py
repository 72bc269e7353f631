"""Randomness that looks the same at every size; without it a draft and its final would differ.

Every stream is named, so taking one element out of a picture leaves the others where they were.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

# float32 throughout; NumPy's types widen it beside a Python float, though its arrays do not
Array = npt.NDArray[np.floating[Any]]

CELLS = 64  # lattice points along a side; the lattice is periodic
_TEXELS = 8  # texture samples between two lattice points
_MOST_PRODUCTS = 2**18  # OpenBLAS: SMP_THRESHOLD_MIN * GEMM_MULTITHREAD_THRESHOLD
_SPLINE_DEVIATION = 0.479  # of a cubic B-spline over white noise, in two dimensions


def stream(key: str, label: str) -> np.random.Generator:
    """One reproducible generator for each (picture, purpose)."""
    digest = hashlib.sha256(f"{key}\x1f{label}".encode()).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest[:16], "big")))


def product(first: Array, *others: Array) -> Array:
    """The matrix product, in blocks so small that OpenBLAS starts no threads for them.

    On a busy machine its threads wait for each other far longer than they work.
    """
    result = first
    for other in others:
        left, (inner, columns) = result, other.shape
        rows = max(1, _MOST_PRODUCTS // (inner * columns))
        result = np.empty((left.shape[0], columns), np.float32)
        for start in range(0, left.shape[0], rows):
            np.matmul(left[start : start + rows], other, out=result[start : start + rows])
    return result


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
        total += np.float32(amplitude) * product(down, lattice, across.T)
        power += amplitude**2
        amplitude *= gain
    result: Array = total / np.float32(_SPLINE_DEVIATION * power**0.5)
    return result


def line(rng: np.random.Generator, x: Array, frequency: float, octaves: int, gain: float) -> Array:
    """Fractal noise along one axis, of deviation about 1."""
    result: Array = field(rng, np.zeros(1, np.float32), x, (0.0, frequency), octaves, gain)[0]
    return result


@lru_cache(maxsize=4)
def _tile_weights(cells: int) -> Array:
    side = CELLS * _TEXELS
    return _spline(np.arange(side, dtype=np.float32) * np.float32(cells / side), cells)


def texture(rng: np.random.Generator) -> Array:
    """A periodic square of smooth noise, for ``sample`` to read at bent coordinates."""
    lattice = rng.standard_normal((CELLS, CELLS), dtype=np.float32)
    weights = _tile_weights(CELLS)
    result: Array = product(weights, lattice, weights.T) / np.float32(_SPLINE_DEVIATION)
    return result


def rough_texture(rng: np.random.Generator, gain: float) -> Array:
    """A periodic square of fractal noise, 16 base cells wide: one ``sample`` reads five octaves.

    Coordinates are those of ``texture``: a base cell is four units wide. A cubic spline over one
    lattice is also one over a lattice twice as fine, so the octaves are summed as lattices.
    """
    total = np.zeros((8, 8), np.float32)
    power = 0.0
    for octave in range(5):
        cells = 16 * 2**octave
        lattice = rng.standard_normal((cells, cells), dtype=np.float32)
        total = _refine(_refine(total).T).T + np.float32(gain**octave) * lattice
        power += gain ** (2 * octave)
    total = _halve(_halve(total).T).T
    result: Array = total / np.float32(_SPLINE_DEVIATION * power**0.5)
    return np.ascontiguousarray(result)


def _between(rows: Array, odd: Array) -> Array:
    result = np.empty((rows.shape[0] * 2, rows.shape[1]), np.float32)
    result[::2], result[1::2] = rows, odd
    return result


def _refine(lattice: Array) -> Array:
    """The same spline down the rows over twice as many points; point i becomes 2 i - 1."""
    before, after = np.roll(lattice, 1, 0), np.roll(lattice, -1, 0)
    points = before * np.float32(0.125) + lattice * np.float32(0.75) + after * np.float32(0.125)
    return np.roll(_between(points, (lattice + after) * np.float32(0.5)), -1, 0)


def _halve(lattice: Array) -> Array:
    """The spline's values down the rows, at each point and halfway to the next."""
    one, two, three = (np.roll(lattice, -step, 0) for step in (1, 2, 3))
    at = (lattice + one * 4 + two) / np.float32(6)
    return _between(at, (lattice + three + (one + two) * 23) / np.float32(48))


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


def glance(tile: Array, y: Array, x: Array) -> Array:
    """Like ``sample`` at the nearest texel: for points so far apart that the rest is not seen."""
    size = tile.shape[0]
    above_zero = np.float32(size * 128 + 0.5)  # a cast to int cuts towards zero
    row = (y * np.float32(_TEXELS) + above_zero).astype(np.int32)
    row &= size - 1
    row *= size
    column = (x * np.float32(_TEXELS) + above_zero).astype(np.int32)
    column &= size - 1
    row += column
    result: Array = tile.reshape(-1).take(row)
    return result
