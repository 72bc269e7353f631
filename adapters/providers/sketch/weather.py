"""Rain, falling snow and fog over the whole picture; without it the weather is always fair."""

from __future__ import annotations

import numpy as np

from adapters.providers.sketch.brief import Brief
from adapters.providers.sketch.frame import Frame, blend, resize, splat, tint
from adapters.providers.sketch.noise import Array, field, line, smoothstep, stream
from adapters.providers.sketch.palette import Palette
from adapters.providers.sketch.sky import Light

# Banks of fog: how far below the horizon, how thick, and how dense they are.
_BANKS = ((0.03, 0.08, 0.48), (0.14, 0.03, 0.26), (0.23, 0.035, 0.15), (0.36, 0.05, 0.12))


def paint_weather(
    canvas: Array,
    brief: Brief,
    palette: Palette,
    frame: Frame,
    horizon: float,
    sun: Light,
    key: str,
) -> None:
    if brief.has("fog"):
        _fog(canvas, palette, frame, horizon, sun, key)
        if brief.has("sun"):
            _shafts(canvas, palette, frame, sun, key)
    if brief.has("rain"):
        _rain(canvas, palette, frame, key)
    if brief.has("snowfall"):
        _snow(canvas, palette, frame, brief.is_dark, key)


def _fog(
    canvas: Array, palette: Palette, frame: Frame, horizon: float, sun: Light, key: str
) -> None:
    """Banks that drift and tear, warm towards the sun and cool away from it."""
    grid = frame.grid()
    rng = stream(key, "fog")
    v = grid.v / np.float32(grid.scale)
    level = (grid.v - np.float32(horizon))[:, None] / np.float32(grid.scale)
    density = np.exp(-((level / 0.3) ** 2)) * np.float32(0.10)
    for index, (below, thick, dense) in enumerate(_BANKS):
        drift = field(rng, v, grid.u, (7.0 - index, 1.7 - 0.2 * index), 3 if index else 5, 0.55)
        heart = level - np.float32(below) - np.float32(0.4 * thick) * drift
        torn = smoothstep(-1.2, 1.6, drift) if index else np.clip(0.75 + 0.4 * drift, 0, 1.25)
        bank = np.exp(-((heart / np.float32(thick)) ** 2)) * torn * np.float32(dense)
        density = density + bank * (1 - density)
    mask = np.clip(resize(density.astype(np.float32), frame), 0, 0.9)
    near = np.exp(-(((frame.u - np.float32(sun.u)) / np.float32(0.55)) ** 2)) * np.float32(0.75)
    cool = palette.haze * np.float32(0.86) + palette.zenith * np.float32(0.08)
    warm = palette.sun * np.float32(0.5) + palette.horizon * np.float32(0.5)
    colour = cool[:, None] + tint(near, warm - cool)
    blend(canvas, mask, np.broadcast_to(colour[:, None, :], (3, *mask.shape)))


def _shafts(canvas: Array, palette: Palette, frame: Frame, sun: Light, key: str) -> None:
    """Light that falls between clouds and trees, drawn by the fog."""
    grid = frame.grid()
    du = (grid.u - np.float32(sun.u))[None, :]
    dv = ((grid.v - np.float32(sun.v)) / np.float32(grid.scale))[:, None]
    angle, distance = np.arctan2(du, dv), np.hypot(du, dv)  # 0 points straight down
    turns = np.linspace(-np.pi, np.pi, 720, dtype=np.float32)
    rays = np.clip(line(stream(key, "shafts"), turns, 3.6, 3, 0.6), 0, 2.5)
    light = np.interp(angle, turns, rays).astype(np.float32)
    light *= smoothstep(0.03, 0.25, distance) * np.exp(-distance / np.float32(0.34))
    light *= smoothstep(1.35, 0.5, np.abs(angle)) * np.float32(0.24)
    canvas += tint(resize(light, frame), palette.sun)


def _rain(canvas: Array, palette: Palette, frame: Frame, key: str) -> None:
    rng = stream(key, "rain")
    count = 1300
    u = (rng.random(count, dtype=np.float32) - np.float32(0.5)) * np.float32(3.0)
    v = rng.random(count, dtype=np.float32) * np.float32(1.3) - np.float32(0.15)
    near = rng.random(count, dtype=np.float32) ** 2
    lean = np.float32((rng.random() - 0.5) * 0.36)
    length = 0.025 + 0.085 * near
    steps = max(8, int(0.11 * frame.unit))
    along = (np.arange(steps, dtype=np.float32) / steps)[None, :]
    x = ((u[:, None] + lean * along * length[:, None]) / (2 * frame.half) + 0.5) * frame.width
    y = (v[:, None] + along * length[:, None] * np.float32(frame.scale)) * frame.height
    # light on a streak is spread over its area, so a small picture shows the same rain
    flux = (0.10 + 0.26 * near)[:, None] * np.sin(along * np.pi) * length[:, None] / steps
    flux = flux * frame.unit * (frame.unit / 768) * 1.6
    inside = (x > -2) & (x < frame.width + 2) & (y > -2) & (y < frame.height + 2)
    plane = splat(frame, x[inside], y[inside], np.broadcast_to(flux, x.shape)[inside])
    bright = palette.horizon * 0.6 + np.float32(0.25)
    blend(canvas, np.clip(plane, 0, 0.5), bright)
    veil = smoothstep(0.1, 0.75, frame.v)[:, None] * np.float32(0.10)
    blend(canvas, np.broadcast_to(veil, plane.shape), palette.haze)


def _snow(canvas: Array, palette: Palette, frame: Frame, dark: bool, key: str) -> None:
    rng = stream(key, "snowfall")
    count = 620
    places = rng.random((count, 2), dtype=np.float32)
    near = rng.random(count, dtype=np.float32) ** 3
    white = palette.horizon * 0.3 + np.float32(0.62)
    for (x, y), depth in zip(places, near, strict=True):
        radius = (0.0016 + 0.0075 * depth) * frame.unit
        column = ((float(x) - 0.5) * 2.8 / (2 * frame.half) + 0.5) * frame.width
        line = float(y) * frame.height
        reach = max(radius * 1.6, 1.0)
        left, right = int(max(0, column - reach)), int(min(frame.width, column + reach + 1))
        top, bottom = int(max(0, line - reach)), int(min(frame.height, line + reach + 1))
        if right <= left or bottom <= top:
            continue
        dx = np.arange(left, right, dtype=np.float32) + 0.5 - column
        dy = np.arange(top, bottom, dtype=np.float32) + 0.5 - line
        spread = max(radius, 0.55)
        flake = np.exp(-(dx[None, :] ** 2 + dy[:, None] ** 2) / spread**2)
        flake *= (0.9 - 0.5 * depth) * min(1.0, (radius / spread) ** 2) * (0.8 if dark else 1.0)
        blend(canvas, flake.astype(np.float32), white, top, left)
