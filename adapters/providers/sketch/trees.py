"""Trees in rows that stand on the ground's slices; without it forests and fields are bare."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from adapters.providers.sketch.noise import Array, fractal
from adapters.providers.sketch.palette import light

_CELLS = 512
_LOBES = 4  # bumps in one crown
_DETAILED = 15.0  # beyond this distance a crown is one tier
_TIERS = (0.56, 0.8, 1.0)  # heights of a crown's front, middle and back


@dataclass(frozen=True, slots=True)
class Wood:
    """How trees grow: *spacing* and *tall* in ground units, *share* of places that are taken."""

    conifer: bool
    spacing: float
    tall: float
    share: float
    leaves: tuple[str, ...]

    def tiers(self, z: float) -> tuple[int, ...]:
        """Which tiers one row has at distance *z*, nearest first."""
        return (2,) if self.conifer or z > _DETAILED else (0, 1, 2)


@dataclass(slots=True)
class _Row:
    """The highest shape met so far at each column."""

    height: Array
    shade: Array  # 0 dark .. 1 lit
    hue: Array

    def raise_to(self, height: Array, shade: Array, hue: Array) -> None:
        higher = height > self.height
        self.height = np.where(higher, height, self.height)
        self.shade = np.where(higher, shade, self.shade)
        self.hue = np.where(higher, hue, self.hue)


def row(
    wood: Wood, rng: np.random.Generator, tile: Array, x: Array, z: float, toward: float
) -> list[tuple[Array, Array]]:
    """One row of trees at distance *z*: for each tier, nearest first, the height at each x and the
    colour before light and air. Always draws the same number of values.
    """
    draws = rng.random((5, _CELLS), dtype=np.float32)
    lobes = rng.random((_CELLS, 3, _LOBES, 3), dtype=np.float32)
    cell = np.floor(x / np.float32(wood.spacing)).astype(np.int64)
    first = int(cell.min()) - 1
    cells = np.arange(first, int(cell.max()) + 2)
    slots = cells % _CELLS
    centres = (cells + 0.15 + 0.7 * draws[0, slots]).astype(np.float32) * np.float32(wood.spacing)
    along = np.full_like(centres, z * 0.35)
    grove = fractal(tile, along, centres * np.float32(0.35), 3, 0.5)
    taken = grove * np.float32(0.28) + draws[4, slots] < np.float32(wood.share)
    sizes = np.float32(wood.tall) * (0.5 + 0.65 * draws[1, slots]) * taken
    rows = [_Row(*(np.zeros_like(x) for _ in range(3))) for _ in wood.tiers(z)]
    for step in (-1, 0, 1):
        place = cell + step
        slot = place % _CELLS
        centre, size = centres[place - first], sizes[place - first]
        wide, hue = draws[2, slot], draws[3, slot]
        if wood.conifer:
            offset = (x - centre) / np.maximum(size * (0.15 + 0.06 * wide), 1e-6)
            lit = np.clip(0.45 + 0.5 * offset * np.float32(toward), 0, 1)
            rows[0].raise_to(size * _spire(offset), lit, hue)
            continue
        half = np.maximum(size * (0.42 + 0.16 * wide), 1e-6)
        offset = (x - centre) / half
        for found, tier in zip(rows, wood.tiers(z), strict=True):
            below = _TIERS[tier]
            for lobe in range(_LOBES):
                a, b, c = (lobes[slot, tier, lobe, k] for k in range(3))
                at = (a - 0.5) * (1.5 - 0.25 * tier)
                radius = 0.27 + 0.17 * b
                reach = (offset - at) / radius
                dome = np.sqrt(np.clip(1 - reach * reach, 0, 1))
                crown = below * np.sqrt(np.clip(1 - 0.8 * at * at, 0.05, 1)) - 0.34 * radius
                edge = np.sqrt(np.clip(1 - (offset / 1.1) ** 2, 0, 1))  # round down to the ground
                height = size * (crown - 0.12 * c + 0.55 * radius * dome) * edge * (dome > 0.02)
                lit = 0.42 + 0.2 * (offset + reach) * np.float32(toward) + 0.10 * (c - 0.5)
                lit = lit - 0.10 * tier + 0.08
                found.raise_to(height, np.clip(lit, 0, 1), hue)
    palette = np.stack([light(code) for code in wood.leaves])
    result = []
    for found in rows:
        kind = np.minimum((found.hue * len(palette)).astype(np.int64), len(palette) - 1)
        colour = palette[kind] * (0.40 + 1.0 * found.shade)[:, None]
        result.append((found.height, colour.astype(np.float32)))
    return result


def _spire(offset: Array) -> Array:
    """A fir: straight sides with tiers of branches."""
    reach = np.abs(offset)
    tier = reach * np.float32(9.5)
    drop = (tier - np.floor(tier)) * np.float32(0.105)
    result: Array = np.clip(1 - np.floor(tier) / np.float32(9.5) - drop * 1.75, 0, 1) * (reach < 1)
    return result
