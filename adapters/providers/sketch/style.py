"""Treatments of a finished picture, one for each style name; without it all styles look alike.

A treatment takes and gives display values in 0..1. What it adds (grain, dots, facets) is sized in
shares of the picture, so a draft shows the final's look.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from adapters.providers.sketch import facets, ink
from adapters.providers.sketch.finish import soften
from adapters.providers.sketch.frame import Frame, resize
from adapters.providers.sketch.noise import Array, smoothstep, stream

Treatment = Callable[[Array, Frame], Array]


def apply(display: Array, frame: Frame, style: str | None) -> Array:
    """The picture in the named style; no name, or one not known, leaves it as painted."""
    treatment = TREATMENTS.get(style or "photographic", _as_painted)
    if treatment is _as_painted:
        return display
    return np.clip(treatment(np.ascontiguousarray(display), frame), 0, 1)


def luminance(display: Array) -> Array:
    result: Array = display @ np.array([0.30, 0.59, 0.11], np.float32)
    return result


def _as_painted(display: Array, frame: Frame) -> Array:
    return display


def _saturate(display: Array, amount: float) -> Array:
    grey = luminance(display)[..., None]
    result: Array = grey + (display - grey) * np.float32(amount)
    return result


def _contrast(display: Array, amount: float) -> Array:
    curved = display * display * (3 - 2 * display)
    result: Array = display + (curved - display) * np.float32(amount)
    return result


def _clarity(display: Array, frame: Frame, amount: float) -> Array:
    """Local contrast: what differs from its surroundings differs more."""
    result: Array = display + (display - soften(display, frame, 0.03)) * np.float32(amount)
    return result


def _enhance(display: Array, frame: Frame) -> Array:
    return _saturate(_contrast(_clarity(display, frame, 0.35), 0.3), 1.12)


def _digital(display: Array, frame: Frame) -> Array:
    return _saturate(_contrast(_clarity(display, frame, 0.5), 0.45), 1.35)


def _cinematic(display: Array, frame: Frame) -> Array:
    """Teal shadows, orange lights, darker edges."""
    level = luminance(display)[..., None]
    shade, glow = (
        np.array([0.0, 0.05, 0.085], np.float32),
        np.array([0.09, 0.025, -0.06], np.float32),
    )
    graded = _contrast(_saturate(display, 0.88), 0.55) + shade * (1 - level) + glow * level
    far = (frame.u[None, :] / np.float32(frame.half)) ** 2 * 0.6 + ((frame.v * 2 - 1) ** 2)[:, None]
    result: Array = graded * (1 - 0.26 * smoothstep(0.35, 1.6, far.astype(np.float32)))[..., None]
    return result


def _film(display: Array, frame: Frame) -> Array:
    """Faded blacks, warm lights, halation and grain."""
    faded = 0.075 + _saturate(display, 0.74) * np.array([0.91, 0.87, 0.79], np.float32)
    bright = smoothstep(0.72, 1.0, luminance(display))[..., None]
    faded = faded + soften(bright, frame, 0.02) * np.array([0.16, 0.06, 0.01], np.float32)
    rows = 540
    rng = stream("film", "grain")
    grain = rng.standard_normal((rows, round(rows * frame.aspect)), dtype=np.float32)
    speck = resize(grain, frame)
    result: Array = faded + speck[..., None] * np.float32(0.018)
    return result


def _anime(display: Array, frame: Frame) -> Array:
    """Clear bright colours in soft steps."""
    bright = _saturate(display**0.86, 1.3)
    steps = bright * 7
    whole = np.floor(steps)
    edge = smoothstep(0.3, 0.7, steps - whole)
    flat = (whole + edge) / 7
    glow = np.clip(soften(bright, frame, 0.025) - 0.55, 0, 1) * 0.4
    result: Array = flat * 0.75 + bright * 0.25 + glow
    return result


def _fantasy(display: Array, frame: Frame) -> Array:
    dream = soften(display, frame, 0.022)
    screen = 1 - (1 - display) * (1 - dream * 0.42)
    level = luminance(display)[..., None]
    tint = np.array([0.05, -0.02, 0.10], np.float32) * (1 - level)
    tint = tint + np.array([0.05, 0.02, -0.04], np.float32) * level
    return _saturate(_contrast(screen, 0.5) + tint, 1.28)


# dark to light
_NEON = np.array(
    [
        [0.03, 0.01, 0.13],
        [0.23, 0.04, 0.42],
        [0.80, 0.10, 0.62],
        [1.00, 0.50, 0.62],
        [0.72, 0.97, 1.00],
    ],
    np.float32,
)


def _neon(display: Array, frame: Frame) -> Array:
    """Violet and magenta, with edges that glow cyan."""
    level = luminance(display) ** 1.1
    stops = np.linspace(0, 1, len(_NEON))
    graded = np.stack([np.interp(level, stops, _NEON[:, c]) for c in range(3)], -1)
    lines = ink.edges(display, frame, 5.0)
    halo = soften(lines[..., None], frame, 0.012)
    cyan = np.array([0.20, 0.95, 1.0], np.float32)
    mixed = graded * 0.78 + display * 0.22
    result: Array = (mixed + (lines[..., None] * 0.5 + halo * 0.7) * cyan).astype(np.float32)
    return result


def _clay(display: Array, frame: Frame) -> Array:
    """Matt, rounded colour, lit like a relief from the upper left."""
    matt = soften(display, frame, 0.006)
    grid = frame.grid()
    height = luminance(soften(display, frame, 0.012))
    small = resize(height, grid)
    slope = np.gradient(small, axis=0) + np.gradient(small, axis=1)
    relief = resize(np.clip(slope * 4, -0.22, 0.22).astype(np.float32), frame)
    result: Array = 0.08 + matt * 0.88 + relief[..., None]
    return result


TREATMENTS: dict[str, Treatment] = {
    "photographic": _as_painted,
    "enhance": _enhance,
    "digital-art": _digital,
    "cinematic": _cinematic,
    "analog-film": _film,
    "anime": _anime,
    "fantasy-art": _fantasy,
    "neon-punk": _neon,
    "modeling-compound": _clay,
    "3d-model": _clay,
    "comic-book": ink.comic,
    "line-art": ink.drawing,
    "low-poly": facets.triangles,
    "origami": facets.folded,
    "isometric": facets.cubes,
    "pixel-art": facets.pixels,
    "tile-texture": facets.mosaic,
}
