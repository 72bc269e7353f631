"""Mountains, hills and dunes as a lit height field seen in perspective; without it, no ground."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from adapters.providers.sketch import relief
from adapters.providers.sketch.brief import Brief
from adapters.providers.sketch.frame import Frame
from adapters.providers.sketch.noise import (
    Array,
    rough_texture,
    sample,
    smoothstep,
    stream,
    texture,
)
from adapters.providers.sketch.palette import Palette, light
from adapters.providers.sketch.sky import Light
from adapters.providers.sketch.slices import Slices, lay, widen
from adapters.providers.sketch.trees import Wood, row

EYE = 0.9  # height of the viewer above the water or the lowest ground


@dataclass(frozen=True, slots=True)
class Ground:
    """Heights over slices x columns; *tops* is where they show, in v."""

    u: Array
    distance: Array
    height: Array
    tops: Array

    def stand(self, u: float, z: float) -> tuple[float, float]:
        """Where something at distance *z* meets the seen ground: its v and its unit of size."""
        index = int(np.argmin(np.abs(self.distance - z)))
        column = int(np.argmin(np.abs(self.u - u)))
        v = float(self.tops[: index + 1, column].min())
        return v, 1 / float(self.distance[index])


def paint_land(
    canvas: Array,
    brief: Brief,
    palette: Palette,
    frame: Frame,
    horizon: float,
    sun: Light,
    nearest: float,
    key: str,
) -> Ground:
    """Paint the ground over the sky, from *nearest* ground units away to the far hills."""
    rng = stream(key, "land")
    tile, fine = texture(rng), rough_texture(rng, 0.66)
    where = rng.random(8, dtype=np.float32)
    columns = max(24, round(frame.columns * 2 * frame.half))
    u = ((np.arange(columns, dtype=np.float32) + 0.5) / columns - 0.5) * np.float32(2 * frame.half)
    distance = np.geomspace(nearest, max(64.0, nearest * 3), frame.slices).astype(np.float32)
    z = distance[:, None]
    x = u[None, :] * z
    site = relief.Site(x, np.broadcast_to(z, x.shape), u[None, :] / frame.half, nearest)
    height = relief.SHAPES[brief.land](site, tile, where).astype(np.float32)
    ground = Ground(u, distance, height, _project(height, z, horizon, frame))
    colour = _colour(brief, palette, ground, sun, fine, tile)
    wood = _wood(brief)
    slices = _planted(brief, palette, frame, horizon, sun, ground, colour, wood, tile, key)
    lay(canvas, frame, slices)
    return ground


def _project(height: Array, z: Array | float, horizon: float, frame: Frame) -> Array:
    tops = np.float32(horizon) + np.float32(frame.scale) * (np.float32(EYE) - height) / z
    return tops.astype(np.float32)


def _colour(
    brief: Brief, palette: Palette, ground: Ground, sun: Light, fine: Array, tile: Array
) -> Array:
    z = ground.distance[:, None]
    x = ground.u[None, :] * z
    slope_x = np.gradient(ground.height, axis=1) / (z * (ground.u[1] - ground.u[0]))
    slope_z = np.gradient(ground.height, axis=0) / np.gradient(ground.distance)[:, None]
    steep = np.hypot(slope_x, slope_z)
    side = -1.0 if sun.u < 0 else 1.0
    high = brief.time in ("day", "night", "dusk")
    across, up, back = side * 0.74, 0.62 if high else 0.42, -0.35 if high else -0.22
    if brief.land == "dunes":
        across, up, back = side * 0.9, 0.26, 0.12
    norm = np.sqrt(1 + slope_x**2 + slope_z**2)
    facing = np.clip((slope_x * -across + up - slope_z * back) / norm, 0, 1.2)
    # turned a little, so that the lattice does not run with the slices
    grain = sample(fine, z * 8.6 + x * 3.1, x * 8.6 - z * 3.1)
    broad = sample(fine, z * 0.93 - x * 0.4 + 9, x * 0.93 + z * 0.4)
    albedo = _albedo(brief, ground, steep, grain, broad)
    if brief.land == "hills":
        bend = sample(tile, z * 0.16, x * 0.16)
        albedo = _fields(brief, z, x, albedo, bend)
    elif brief.land == "dunes":
        ripple = np.sin((z * 5.2 + x * 1.6 + broad * 1.4 + grain * 0.12) * 3.2)
        albedo = (
            albedo
            * ((1 + 0.15 * ripple * np.exp(-z / 7)) * (0.86 + 0.1 * np.clip(ground.height, 0, 3)))[
                ..., None
            ]
        )
    if brief.time == "night":  # colours fade before shapes do
        grey = (albedo @ np.array([0.3, 0.59, 0.11], np.float32))[..., None]
        albedo = albedo * 0.45 + grey * np.array([0.5, 0.55, 0.64], np.float32)
    shine = facing[..., None] * palette.sun * _power(brief) + palette.ambient * np.float32(0.6)
    colour = albedo * shine
    air = _air(brief, z, ground.height)[..., None]
    result: Array = (colour + (palette.haze - colour) * air).astype(np.float32)
    return result


def _power(brief: Brief) -> np.float32:
    """How strong direct light is against the light of the sky."""
    if brief.has("overcast") or brief.has("storm") or brief.has("rain"):
        return np.float32(0.4)
    power = {"night": 0.8, "dusk": 0.55, "neon": 0.6, "dawn": 0.9}.get(brief.time, 1.1)
    return np.float32(power * (1.25 if brief.land == "dunes" else 1.0))


def _air(brief: Brief, z: Array, height: Array) -> Array:
    """How much of the colour of distance covers things, 0..1."""
    fog = brief.has("fog")
    thin = 0.05 if fog else {"mountains": 0.014, "dunes": 0.016}.get(brief.land, 0.022)
    veil = 1 - np.exp(-z * thin)
    low = np.exp(-np.clip(height, 0, None) / (1.1 if fog else 1.5)) * smoothstep(5, 24, z)
    result: Array = np.clip(veil + low * (0.5 if fog else 0.25), 0, 0.94)
    return result


def _albedo(brief: Brief, ground: Ground, steep: Array, grain: Array, broad: Array) -> Array:
    """What the ground is made of: bare ground by default, then grass and snow where they hold."""
    turned = brief.has("autumn") and brief.land in ("hills", "forest")
    bare, cover = MATERIALS["autumn" if turned else brief.land]
    first, second = light(bare), light(cover)
    hold = smoothstep(-0.9, 0.9, broad * 0.7 + grain * 0.5)[..., None]
    if brief.land == "dunes":
        hold = smoothstep(-1.5, 1.5, broad)[..., None]
    colour = first + (second - first) * hold
    colour *= (1 + (0.015 if brief.land == "dunes" else 0.16) * np.clip(grain, -2, 2))[..., None]
    if brief.land == "mountains":
        low = (1 - smoothstep(0.8, 2.8, ground.height + 0.6 * grain + 0.8 * steep))[..., None]
        meadow = light("8f7238" if brief.has("autumn") else "55703f")
        colour += (meadow * (1 + 0.2 * np.clip(grain, -2, 2)[..., None]) - colour) * low * 0.85
    if brief.has("snow") or brief.land == "mountains":
        start = -2.0 if brief.has("snow") else 3.6
        high = smoothstep(start, start + 2.2, ground.height + 0.9 * grain)
        steepest = 1.5 if brief.has("snow") else 0.9
        flat = 1 - smoothstep(steepest, steepest + 1.1, steep + 0.3 * grain)
        white = light("f6f8fc") * 1.1
        colour += (white - colour) * (high * (0.08 + 0.92 * flat))[..., None]
    return colour


_CROPS = ("7f9a48", "97ad54", "b9b45c", "5f8440", "a8964e", "6f9149")
_STUBBLE = ("c79a45", "b5823a", "9c6a34", "d3b060", "8a8a44", "b0743a")


def _fields(brief: Brief, z: Array, x: Array, albedo: Array, bend: Array) -> Array:
    """Patches of crops with furrows and hedges, laid over the meadow."""
    along = (x * 0.92 + z * 0.38) * 0.16 + bend * 0.12
    aside = (z * 0.92 - x * 0.38) * 0.20 + bend * 0.10
    row, column = np.floor(along), np.floor(aside)
    # any spread of numbers that does not repeat in view will do
    pick = np.abs(np.sin(row * 12.9898 + column * 78.233) * 43758.5453) % 1
    crops = _STUBBLE if brief.has("autumn") else _CROPS
    table = np.stack([light(code) for code in crops])
    own = table[(pick * len(crops)).astype(np.int64)].astype(np.float32)
    lines = np.sin((along * (0.5 + (pick > 0.5)) + aside * (pick <= 0.5)) * 2 * np.pi * 26)
    own *= (1 + 0.13 * lines * np.exp(-z / 9))[..., None]
    edge = np.minimum(np.abs(along - np.round(along)), np.abs(aside - np.round(aside)))
    hedge = np.exp(-((edge / 0.022) ** 2))[..., None] * 0.6
    if brief.has("snow"):
        mixed = albedo * (1 + 0.05 * lines * np.exp(-z / 9))[..., None] * (1 - 0.45 * hedge)
    else:
        mixed = albedo + (own - albedo) * 0.72
        mixed += (light("41582f") - mixed) * hedge
    result: Array = mixed.astype(np.float32)
    return result


# what shows through, and what covers it
MATERIALS = {
    "mountains": ("5f5d66", "7d7776"), "hills": ("5a7a3e", "97a552"), "dunes": ("cf955a", "e8bd82"),
    "forest": ("26382a", "34482f"), "city": ("4f5b56", "66705f"), "autumn": ("a5652e", "c79a45"),
    "none": ("6f7f5a", "8a9a68"),
}  # fmt: skip

_GREEN = ("2f4a30", "36543a", "2a4534", "3d5a38")
_LEAFY = ("4c6b34", "5b7a3a", "3f6038", "6c8440")
_TURNED = ("b5622a", "c98a2e", "a2482a", "7d6a34", "d29d3c")
_FROSTED = ("4a5f62", "6d8186", "8b9ba3", "c3ced8")


def _wood(brief: Brief) -> Wood | None:
    leaves = _TURNED if brief.has("autumn") else _FROSTED if brief.has("snow") else None
    if brief.land == "forest":
        turned = brief.has("autumn")
        return Wood(not turned, 0.2, 0.66, 0.9, leaves or _GREEN)
    if brief.land == "mountains":
        return Wood(True, 0.2, 0.62, 0.52, (_GREEN if brief.has("autumn") else leaves) or _GREEN)
    if brief.land == "hills":
        return Wood(brief.has("snow"), 0.34, 0.42, 0.27, leaves or _LEAFY)
    return None


def _planted(
    brief: Brief,
    palette: Palette,
    frame: Frame,
    horizon: float,
    sun: Light,
    ground: Ground,
    colour: Array,
    wood: Wood | None,
    tile: Array,
    key: str,
) -> Slices:
    """The ground's slices with rows of trees set between them."""
    columns = frame.width * (2 if wood and frame.slices > 300 else 1)
    tops, colour = widen(ground.tops, columns), widen(colour, columns)
    if wood is None:
        return Slices(tops, colour)
    rng = stream(key, "trees")
    u = ((np.arange(columns, dtype=np.float32) + 0.5) / columns - 0.5) * np.float32(2 * frame.half)
    near = 2.6 if brief.land == "forest" else 5.0
    count = 34 if brief.land == "forest" else 22
    rows = np.geomspace(max(near, ground.distance[0] * 1.02), 46, count)
    places, extra_tops, extra_colours = [], [], []
    lit = palette.sun * _power(brief) * 0.5 + palette.ambient * np.float32(0.5)
    if brief.land == "forest":
        lit = lit * np.float32(0.42)
    limit = {"mountains": 1.9}.get(brief.land, 9.0)
    for z in rows:
        index = int(np.searchsorted(ground.distance, z))
        if index >= ground.distance.size:
            break
        base = widen(ground.height[index : index + 1], columns)[0]
        side = 1.0 if sun.u > 0 else -1.0
        for reach, leaves in row(wood, rng, tile, u * np.float32(z), float(z), side):
            tall = reach * np.clip((np.float32(limit) - base) * 1.5, 0, 1)
            grows = tall > np.float32(0.02)
            air = _air(brief, np.full_like(base, z), base + tall * 0.6)[:, None]
            own = leaves * lit
            own += (palette.haze - own) * air
            top = _project(base + tall * grows, float(ground.distance[index]), horizon, frame)
            places.append(index)
            extra_tops.append(top)
            extra_colours.append(np.where(grows[:, None], own, colour[index]))
    at = np.array(places) + 1
    return Slices(
        np.insert(tops, at, np.stack(extra_tops), axis=0),
        np.insert(colour, at, np.stack(extra_colours), axis=0).astype(np.float32),
    )
