"""Which trees grow where on the ground, and how they are lit; without it all ground is open."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from adapters.providers.sketch.brief import Brief
from adapters.providers.sketch.frame import Frame
from adapters.providers.sketch.ground import Ground, project
from adapters.providers.sketch.noise import Array, stream
from adapters.providers.sketch.palette import Palette
from adapters.providers.sketch.sky import Light
from adapters.providers.sketch.slices import Stretch
from adapters.providers.sketch.soil import air, power
from adapters.providers.sketch.trees import Wood, rows

_GREEN = ("2f4a30", "36543a", "2a4534", "3d5a38")
_LEAFY = ("4c6b34", "5b7a3a", "3f6038", "6c8440")
_TURNED = ("b5622a", "c98a2e", "a2482a", "7d6a34", "d29d3c")
_FROSTED = ("4a5f62", "6d8186", "8b9ba3", "c3ced8")
_UNSEEN = np.float32(9)  # a v far below the picture


@dataclass(frozen=True, slots=True)
class Row:
    """Trees that stand behind the ground's slice *index*; *colours* is channels x columns."""

    index: int
    tops: Array
    colours: Array


def wooded(brief: Brief) -> bool:
    return _wood(brief) is not None


def plant(
    brief: Brief,
    palette: Palette,
    frame: Frame,
    horizon: float,
    sun: Light,
    ground: Ground,
    stretch: Stretch,
    tile: Array,
    key: str,
) -> list[Row]:
    """Rows of trees, nearest first."""
    wood = _wood(brief)
    if wood is None:
        return []
    columns = stretch.left.size
    u = ((np.arange(columns, dtype=np.float32) + 0.5) / columns - 0.5) * np.float32(2 * frame.half)
    near = 2.6 if brief.land == "forest" else 5.0
    count = 34 if brief.land == "forest" else 22
    distances = np.geomspace(max(near, ground.distance[0] * 1.02), 46, count)
    lit = palette.sun * power(brief) * 0.5 + palette.ambient * np.float32(0.5)
    if brief.land == "forest":
        lit = lit * np.float32(0.42)
    limit = {"mountains": 1.9}.get(brief.land, 9.0)
    side = 1.0 if sun.u > 0 else -1.0
    planted = []
    trees = rows(wood, stream(key, "trees"), tile, u, distances, side)
    for z, tiers in zip(distances, trees, strict=True):
        index = int(np.searchsorted(ground.distance, z))
        if index >= ground.distance.size:
            break
        base = stretch.all(ground.height[index])
        thins = np.clip((np.float32(limit) - base) * 1.5, 0, 1)
        for reach, leaves in tiers:
            tall = reach * thins
            veil = air(brief, np.full_like(base, z), base + tall * 0.6)
            own = leaves * lit[:, None]
            own += (palette.haze[:, None] - own) * veil
            top = project(base + tall, float(ground.distance[index]), horizon, frame)
            planted.append(Row(index, np.where(tall > np.float32(0.02), top, _UNSEEN), own))
    return planted


def _wood(brief: Brief) -> Wood | None:
    leaves = _TURNED if brief.has("autumn") else _FROSTED if brief.has("snow") else None
    if brief.land == "forest":
        return Wood(not brief.has("autumn"), 0.2, 0.66, 0.9, leaves or _GREEN)
    if brief.land == "mountains":
        return Wood(True, 0.2, 0.62, 0.52, (_GREEN if brief.has("autumn") else leaves) or _GREEN)
    if brief.land == "hills":
        return Wood(brief.has("snow"), 0.34, 0.42, 0.27, leaves or _LEAFY)
    return None
