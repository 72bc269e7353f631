"""The shapes of the ground, as heights over distance; without it all land is flat."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from adapters.providers.sketch.fractals import fractal, ridged
from adapters.providers.sketch.noise import Array, sample, smoothstep


@dataclass(frozen=True, slots=True)
class Site:
    """Ground coordinates of every point; *across* is -1 at the left edge and 1 at the right."""

    x: Array
    z: Array
    across: Array
    nearest: float


Shape = Callable[[Site, Array, Array], Array]


def mountains(site: Site, tile: Array, where: Array) -> Array:
    x, z = site.x, site.z
    start = max(site.nearest, 7.0)
    peak = (where[0] - 0.5) * 0.9
    second = peak + (0.8 if where[1] < 0.5 else -0.8) + (where[2] - 0.5) * 0.3
    bend = fractal(tile, z * 0.04 + 5, x * 0.04 + where[5] * 50, 2, 0.5) * 0.35
    crest = ridged(tile, z * 0.07 + where[3] * 60 + bend, x * 0.062 + where[4] * 60, 8, 0.46)
    rise = smoothstep(start * 1.05, start + 17, z) * (1 - 0.45 * smoothstep(36, 64, z))
    hero = 0.52 + 0.8 * np.exp(-(((site.across - peak) / 0.38) ** 2))
    hero = hero + 0.5 * np.exp(-(((site.across - second) / 0.3) ** 2))
    base = fractal(tile, z * 0.16 + 9, x * 0.16 + where[5] * 50, 4, 0.45)
    foot = 0.25 * base * smoothstep(1.5, 6, z)
    if site.nearest > 3:
        foot = (0.12 + 0.2 * np.clip(base + 0.6, 0, 3)) * smoothstep(start, start * 1.25, z) - 0.02
    result: Array = foot + rise * hero * (9.0 * crest**1.15 - 0.5)
    return result


def hills(site: Site, tile: Array, where: Array) -> Array:
    x, z = site.x, site.z
    start = site.nearest if site.nearest > 3 else 0.0
    roll = fractal(tile, z * 0.11 + where[0] * 60, x * 0.085 + where[1] * 60, 4, 0.34)
    far = fractal(tile, z * 0.045 + where[2] * 60, x * 0.04 + where[3] * 60, 6, 0.42)
    near = 0.5 * roll * smoothstep(1.0, 6, z)
    rise = smoothstep(5, 24, z) * (1.0 + 1.0 * roll)
    height = near + rise + 2.3 * far * smoothstep(16, 46, z) + 0.9 * smoothstep(24, 60, z)
    if start:
        height = np.clip(height + 0.15, 0.02, None) * smoothstep(start, start * 1.5, z)
    return height


def valley(site: Site, tile: Array, where: Array) -> Array:
    """Wooded slopes on both sides of a low middle."""
    middle = (where[6] - 0.5) * 0.5
    sides = np.abs(site.across - middle) ** 1.4
    start = site.nearest if site.nearest > 3 else 2.0
    rise = smoothstep(start, 20, site.z) * (0.55 + 0.45 * smoothstep(24, 60, site.z))
    ridges = fractal(tile, site.z * 0.10 + where[7] * 50, site.x * 0.12 + 3, 4, 0.45)
    result: Array = hills(site, tile, where) * 0.6 + sides * rise * (6.0 + 2.0 * ridges)
    return result


def dunes(site: Site, tile: Array, where: Array) -> Array:
    x, z = site.x, site.z
    bend = sample(tile, z * 0.05 + where[0] * 60, x * 0.035 + where[1] * 60)
    small = sample(tile, z * 0.15 + 7, x * 0.10 + where[1] * 60)
    lean = 0.5 if where[5] < 0.5 else -0.5
    phase = (x * lean + z * 0.62) * 0.155 + bend * 0.9 + small * 0.07 + where[2] * 20
    turn = phase - np.floor(phase)
    # a long windward slope and a short lee slope that meet in a sharp crest, rounder far away:
    # one sharper than the slices are apart would look like a saw
    wind, lee = turn / 0.7, (1 - turn) / 0.3
    edge = 0.004 + 0.12 * smoothstep(9, 34, z)
    crest = 0.5 * (wind + lee - np.sqrt((wind - lee) ** 2 + edge))
    crest = np.clip(crest, 0, 1) ** 1.25 * (1 - 0.8 * smoothstep(22, 48, z))
    size = 0.85 + 0.5 * sample(tile, z * 0.045 + 31, x * 0.03 + where[3] * 60)
    swell = sample(tile, z * 0.03 + where[4] * 60, x * 0.025)
    result: Array = (
        smoothstep(2.2, 11, z)
        * (3.0 * crest * np.clip(size, 0.25, 2) + (0.6 + 0.9 * smoothstep(14, 40, z)) * swell)
        - 0.1
    )
    return result


def plain(site: Site, tile: Array, where: Array) -> Array:
    low = fractal(tile, site.z * 0.08 + where[0] * 60, site.x * 0.06 + where[1] * 60, 5, 0.42)
    result: Array = 0.10 * low + smoothstep(18, 50, site.z) * np.clip(0.8 + 1.3 * low, 0, 5)
    return result


SHAPES: dict[str, Shape] = {
    "mountains": mountains,
    "hills": hills,
    "dunes": dunes,
    "forest": valley,
    "city": plain,
}
