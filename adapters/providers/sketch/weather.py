"""Rain, falling snow and fog over the whole picture; without it the weather is always fair."""

from __future__ import annotations

import numpy as np

from adapters.providers.sketch.brief import Brief
from adapters.providers.sketch.frame import Frame, blend, resize, splat
from adapters.providers.sketch.noise import Array, field, smoothstep, stream
from adapters.providers.sketch.palette import Palette


def paint_weather(
    canvas: Array, brief: Brief, palette: Palette, frame: Frame, horizon: float, key: str
) -> None:
    if brief.has("fog"):
        _fog(canvas, palette, frame, horizon, key)
    if brief.has("rain"):
        _rain(canvas, palette, frame, key)
    if brief.has("snowfall"):
        _snow(canvas, palette, frame, brief.is_dark, key)


def _fog(canvas: Array, palette: Palette, frame: Frame, horizon: float, key: str) -> None:
    grid = frame.grid()
    rng = stream(key, "fog")
    drift = field(rng, grid.v / np.float32(grid.scale), grid.u, (7.0, 1.6), 5, 0.55)
    level = (grid.v - np.float32(horizon))[:, None] / np.float32(grid.scale)
    bank = np.exp(-(((level - 0.02) / 0.09) ** 2)) * 0.5
    second = np.exp(-(((level - 0.26) / 0.07) ** 2)) * 0.12
    density = (bank + second) * np.clip(0.72 + 0.42 * drift, 0, 1.25)
    density += np.exp(-((level / 0.3) ** 2)) * 0.12
    mask = np.clip(resize(density.astype(np.float32), frame), 0, 0.9)
    white = palette.haze * 0.8 + palette.horizon * 0.16
    blend(canvas, mask, white)


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
