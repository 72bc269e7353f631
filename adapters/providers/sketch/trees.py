"""The shapes of trees that stand in rows; without it forests and fields are bare."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from adapters.providers.sketch.fractals import fractal
from adapters.providers.sketch.noise import Array
from adapters.providers.sketch.palette import light

_CELLS = 512
_LOBES = 4  # bumps in one crown
_DETAILED = 15.0  # beyond this distance a crown is one tier, and so is a fir
_CROWN = (0.56, 0.8, 1.0)  # heights of a crown's front, middle and back
# skirts of branches of a near fir, front to back: tip, edge, half width, light
_SKIRTS = (
    (0.38, 0.03, 1.00, -0.14), (0.53, 0.15, 0.88, -0.09), (0.67, 0.29, 0.74, -0.03),
    (0.80, 0.44, 0.58, 0.03), (0.91, 0.60, 0.42, 0.09), (1.00, 0.74, 0.26, 0.14),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Wood:
    """How trees grow: *spacing* and *tall* in ground units, *share* of places that are taken."""

    conifer: bool
    spacing: float
    tall: float
    share: float
    leaves: tuple[str, ...]


def rows(
    wood: Wood, rng: np.random.Generator, tile: Array, u: Array, distances: Array, toward: float
) -> Iterator[list[tuple[Array, Array]]]:
    """Rows of trees: for each tier of one, nearest first, the height at each u and the colour
    (channels x columns) before light and air.
    """
    draws = rng.random((distances.size, 5, _CELLS), dtype=np.float32)
    table = np.stack([light(code) for code in wood.leaves]).T
    most = int(np.ceil(distances[-1] * np.abs(u).max() / wood.spacing)) + 2
    cells = np.arange(-most, most)
    slots = cells % _CELLS
    along = (cells + 0.15 + 0.7 * draws[:, 0, slots]).astype(np.float32)
    centres = along * np.float32(wood.spacing)
    far = distances[:, None].astype(np.float32) * np.float32(0.35)
    grove = fractal(tile, far, centres * np.float32(0.35), 3, 0.5)
    taken = grove * np.float32(0.28) + draws[:, 4, slots] < np.float32(wood.share)
    sizes = np.float32(wood.tall) * (0.5 + 0.65 * draws[:, 1, slots]) * taken
    for row, z in enumerate(distances):
        x = u * np.float32(z)
        cell = np.floor(x / np.float32(wood.spacing)).astype(np.int32)
        place = cell[None, :] + np.array([[-1], [0], [1]], np.int32)  # a tree and its neighbours
        slot = place % _CELLS
        place += most
        offset, size = x - centres[row, place], sizes[row, place]
        wide, hue = draws[row, 2, slot], draws[row, 3, slot]
        if wood.conifer:
            tiers = _fir(offset, size, wide, hue, toward, near=z < _DETAILED)
        else:
            lobes = rng.random((_CELLS, 3, _LOBES, 3), dtype=np.float32)
            tiers = _leafy(offset, size, wide, lobes, slot, toward, near=z < _DETAILED)
        result = []
        for height, shade, own in tiers:
            kind = (_at(own, hue) * len(wood.leaves)).astype(np.int32)
            result.append((height, table[:, kind] * (0.40 + 1.0 * shade)))
        yield result


Which = npt.NDArray[np.integer[Any]]
Tier = tuple[Array, Array, Which]  # height, light 0..1, and which of the neighbours is highest


def _at(which: Which, values: Array) -> Array:
    result: Array = np.take_along_axis(values, which, axis=0)[0]
    return result


def _fir(
    offset: Array, size: Array, wide: Array, hue: Array, toward: float, near: bool
) -> Iterator[Tier]:
    """A fir: far off straight sides with tiers of branches, near by skirts one over the other."""
    offset = offset / np.maximum(size * (0.15 + 0.06 * wide), 1e-6)
    reach = np.abs(offset)
    lit = np.clip(0.45 + 0.5 * offset * np.float32(toward), 0, 1)
    if not near:
        tier = reach * np.float32(9.5)
        drop = (tier - np.floor(tier)) * np.float32(0.105)
        spire = np.clip(1 - np.floor(tier) / np.float32(9.5) - drop * 1.75, 0, 1) * (reach < 1)
        height = size * spire
        which = height.argmax(axis=0)[None]
        yield _at(which, height), _at(which, lit), which
        return
    for number, (tip, edge, half, bright) in enumerate(_SKIRTS):
        share = reach / np.float32(half)
        # twigs: a ragged edge, another on every side of every skirt
        ragged = offset * np.float32(23) + hue * np.float32(17 + 5 * number)
        twigs = np.abs(ragged - np.floor(ragged) - 0.5)
        rise = tip + (edge - tip) * share**0.7 - 0.09 * twigs * np.minimum(share * 2, 1)
        height = size * np.clip(rise, 0, 1) * (share < 0.9 + 0.2 * twigs)
        which = height.argmax(axis=0)[None]
        shade = np.clip(lit + bright + 0.22 * (twigs - 0.25) + 0.5 * (share - 0.45), 0, 1)
        yield _at(which, height), _at(which, shade), which


def _leafy(
    offset: Array, size: Array, wide: Array, lobes: Array, slot: Array, toward: float, near: bool
) -> Iterator[Tier]:
    """A crown of bumps; its front tiers are lower."""
    offset = offset / np.maximum(size * (0.42 + 0.16 * wide), 1e-6)
    edge = np.sqrt(np.clip(1 - (offset / 1.1) ** 2, 0, 1)) * size  # round down to the ground
    for tier in (0, 1, 2) if near else (2,):
        # one row for each neighbour and bump
        a, b, c = lobes[slot, tier].transpose(3, 0, 2, 1)
        at = (a - 0.5) * np.float32(1.5 - 0.25 * tier)
        radius = 0.27 + 0.17 * b
        reach = (offset[:, None] - at) / radius
        dome = np.sqrt(np.clip(1 - reach * reach, 0, 1))
        crown = _CROWN[tier] * np.sqrt(np.clip(1 - 0.8 * at * at, 0.05, 1)) - 0.34 * radius
        height = (crown - 0.12 * c + 0.55 * radius * dome) * edge[:, None] * (dome > 0.02)
        lit = (offset[:, None] + reach) * np.float32(0.2 * toward) + 0.10 * (c - 0.5)
        height, lit = (plane.reshape(-1, offset.shape[1]) for plane in (height, lit))
        which = height.argmax(axis=0)[None]
        shade = np.clip(_at(which, lit) + np.float32(0.50 - 0.10 * tier), 0, 1)
        yield _at(which, height), shade, which // _LOBES
