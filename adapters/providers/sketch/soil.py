"""What the ground is made of and how it is lit; without it all land is one colour.

Everything here is worked out for the points that are seen: values are one a point, colours
channels x points.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from adapters.providers.sketch.brief import Brief
from adapters.providers.sketch.noise import Array, sample, smoothstep
from adapters.providers.sketch.palette import Palette, light


@dataclass(frozen=True, slots=True)
class Spots:
    """Points on the ground: where they are, and how the ground falls there."""

    z: Array
    x: Array
    height: Array
    slope_x: Array
    slope_z: Array


def colour(
    brief: Brief, palette: Palette, spots: Spots, sun_side: float, fine: Array, tile: Array
) -> Array:
    z, x = spots.z, spots.x
    steep = np.hypot(spots.slope_x, spots.slope_z)
    facing = _facing(brief, spots, sun_side)
    # turned a little, so that the lattice does not run with the slices
    grain = sample(fine, z * 8.6 + x * 3.1, x * 8.6 - z * 3.1)
    broad = sample(fine, z * 0.93 - x * 0.4 + 9, x * 0.93 + z * 0.4)
    albedo = _albedo(brief, spots.height, steep, grain, broad)
    if brief.land == "hills":
        albedo = _fields(brief, z, x, albedo, sample(tile, z * 0.16, x * 0.16))
    elif brief.land == "dunes":
        ripple = np.sin((z * 5.2 + x * 1.6 + broad * 1.4 + grain * 0.12) * 3.2)
        albedo *= (1 + 0.15 * ripple * np.exp(-z / 7)) * (0.86 + 0.1 * np.clip(spots.height, 0, 3))
    if brief.time == "night":  # colours fade before shapes do
        moonlit = np.array([0.5, 0.55, 0.64], np.float32)
        grey = albedo[0] * 0.30 + albedo[1] * 0.59 + albedo[2] * 0.11
        albedo = albedo * np.float32(0.45) + np.multiply.outer(moonlit, grey)
    veil = air(brief, z, spots.height)
    albedo *= np.multiply.outer(palette.sun * power(brief), facing) + palette.ambient[:, None] * 0.6
    _mix(albedo, palette.haze[:, None], veil)
    return albedo


def power(brief: Brief) -> np.float32:
    """How strong direct light is against the light of the sky."""
    if brief.has("overcast") or brief.has("storm") or brief.has("rain"):
        return np.float32(0.4)
    if brief.has("fog"):
        return np.float32(0.7)
    strength = {"night": 0.8, "dusk": 0.55, "neon": 0.6, "dawn": 0.9}.get(brief.time, 1.1)
    return np.float32(strength * (1.25 if brief.land == "dunes" else 1.0))


def air(brief: Brief, z: Array, height: Array) -> Array:
    """How much of the colour of distance covers things, 0..1."""
    fog = brief.has("fog")
    thin = 0.05 if fog else {"mountains": 0.014, "dunes": 0.016}.get(brief.land, 0.022)
    veil = 1 - np.exp(-z * thin)
    low = np.exp(-np.maximum(height, 0) / (1.1 if fog else 1.5)) * smoothstep(5, 24, z)
    result: Array = np.clip(veil + low * (0.5 if fog else 0.25), 0, 0.94)
    return result


def _facing(brief: Brief, spots: Spots, sun_side: float) -> Array:
    """How far each point is turned to the sun."""
    high = brief.time in ("day", "night", "dusk")
    across, up, back = sun_side * 0.74, 0.62 if high else 0.42, -0.35 if high else -0.22
    if brief.land == "dunes":
        across, up, back = sun_side * 0.9, 0.26, 0.12
    norm = np.sqrt(1 + spots.slope_x**2 + spots.slope_z**2)
    turned = (spots.slope_x * -across + up - spots.slope_z * back) / norm
    result: Array = np.clip(turned, 0, 1.2)
    return result


def _mix(colours: Array, other: Array, share: Array | float) -> None:
    """Bring *colours* towards others."""
    colours += (other - colours) * share


def _albedo(brief: Brief, height: Array, steep: Array, grain: Array, broad: Array) -> Array:
    """Bare ground by default, then grass and snow where they hold."""
    turned = brief.has("autumn") and brief.land in ("hills", "forest")
    bare, cover = MATERIALS["autumn" if turned else brief.land]
    dunes = brief.land == "dunes"
    hold = smoothstep(-1.5, 1.5, broad) if dunes else smoothstep(-0.9, 0.9, broad * 0.7 + grain / 2)
    first, second = light(bare), light(cover)
    colours: Array = first[:, None] + np.multiply.outer(second - first, hold)
    rough = np.clip(grain, -2, 2)
    colours *= 1 + np.float32(0.015 if dunes else 0.16) * rough
    if brief.land == "mountains":
        low = (1 - smoothstep(0.8, 2.8, height + 0.6 * grain + 0.8 * steep)) * np.float32(0.85)
        meadow = light("8f7238" if brief.has("autumn") else "55703f")
        _mix(colours, np.multiply.outer(meadow, 1 + np.float32(0.2) * rough), low)
    if brief.has("snow") or brief.land == "mountains":
        start = -2.0 if brief.has("snow") else 3.6
        high = smoothstep(start, start + 2.2, height + 0.9 * grain)
        steepest = 1.5 if brief.has("snow") else 0.9
        flat = 1 - smoothstep(steepest, steepest + 1.1, steep + 0.3 * grain)
        _mix(colours, light("f6f8fc")[:, None] * np.float32(1.1), high * (0.08 + 0.92 * flat))
    return colours


_CROPS = ("7f9a48", "97ad54", "b9b45c", "5f8440", "a8964e", "6f9149")
_STUBBLE = ("c79a45", "b5823a", "9c6a34", "d3b060", "8a8a44", "b0743a")


def _fields(brief: Brief, z: Array, x: Array, albedo: Array, bend: Array) -> Array:
    """Patches of crops with furrows and hedges, laid over the meadow."""
    along = (x * 0.92 + z * 0.38) * 0.16 + bend * 0.12
    aside = (z * 0.92 - x * 0.38) * 0.20 + bend * 0.10
    # any spread of numbers that does not repeat in view will do
    pick = np.abs(np.sin(np.floor(along) * 12.9898 + np.floor(aside) * 78.233) * 43758.5453) % 1
    lines = np.sin(np.where(pick > 0.5, along * 1.5, along * 0.5 + aside) * (2 * np.pi * 26))
    furrows = lines * np.exp(-z / 9)
    edge = np.minimum(np.abs(along - np.round(along)), np.abs(aside - np.round(aside)))
    hedge = np.exp(-((edge / 0.022) ** 2)) * 0.6
    if brief.has("snow"):
        albedo *= (1 + 0.05 * furrows) * (1 - 0.45 * hedge)
        return albedo
    crops = np.stack([light(code) for code in (_STUBBLE if brief.has("autumn") else _CROPS)])
    kind = (pick * len(crops)).astype(np.int32)
    _mix(albedo, crops.T[:, kind] * (1 + 0.13 * furrows), 0.72)
    _mix(albedo, light("41582f")[:, None], hedge)
    return albedo


# what shows through, and what covers it
MATERIALS = {
    "mountains": ("5f5d66", "7d7776"), "hills": ("5a7a3e", "97a552"), "dunes": ("cf955a", "e8bd82"),
    "forest": ("26382a", "34482f"), "city": ("4f5b56", "66705f"), "autumn": ("a5652e", "c79a45"),
    "none": ("6f7f5a", "8a9a68"),
}  # fmt: skip
