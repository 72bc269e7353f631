"""Lakes and the sea: they repeat what stands above them; without it no reflection."""

from __future__ import annotations

import numpy as np

from adapters.providers.sketch.brief import Brief
from adapters.providers.sketch.fractals import fractal
from adapters.providers.sketch.frame import Frame, blend, tint
from adapters.providers.sketch.noise import Array, smoothstep, stream, texture
from adapters.providers.sketch.palette import Palette
from adapters.providers.sketch.sky import Light


def paint_water(
    canvas: Array, brief: Brief, palette: Palette, frame: Frame, shore: float, sun: Light, key: str
) -> None:
    """Fill everything below *shore* with water that mirrors what lies above."""
    start = round(shore * frame.height)
    count = frame.height - start
    if count < 2:
        return
    rng = stream(key, "water")
    tile = texture(rng)
    sea = brief.water == "sea"
    rough, reach = (1.0, 0.9) if sea else (0.32, 1.0)
    if brief.has("storm"):
        rough *= 1.5
    below = ((np.arange(count, dtype=np.float32) + 0.5) / frame.height / frame.scale)[:, None]
    depth = 0.16 / (below + np.float32(0.012))
    x = frame.u[None, :] * depth
    swell = fractal(tile, np.broadcast_to(depth * 9, x.shape), x * 2.4, 4, 0.62)
    calm = np.clip(below / 0.02, 0, 1)
    lift = swell * below * np.float32(0.16 * rough) * calm
    source = start - 1 - (below * np.float32(reach) + lift) * frame.unit
    rows = np.clip(source, 0, start - 1)
    shift = swell * np.float32(0.012 * rough) * calm * frame.unit
    columns = np.clip(np.arange(frame.width, dtype=np.float32)[None, :] + shift, 0, frame.width - 1)
    mirror = _read(canvas[:, :start], rows, columns)
    if brief.has("sun") or brief.has("moon"):
        _hide_disc(mirror, frame, (shore - sun.v) / frame.scale / reach, sun)
    # looking down, water shows more of itself and less of the sky
    body = palette.zenith * 0.42 + palette.ambient * (0.22 if sea else 0.16)
    clear = np.clip(0.90 - below * (1.15 if sea else 0.75), 0.2, 0.9)
    clear = np.clip(clear - swell * np.float32(0.15 * rough), 0.1, 0.95)
    glint = np.clip(swell * np.float32(0.085 * rough) * calm, -0.06, 0.2) * np.float32(0.7)
    path = None
    if brief.has("sun") or brief.has("moon"):
        spread = 0.03 + below * 0.32
        path = np.exp(-(((frame.u[None, :] - np.float32(sun.u)) / spread) ** 2))
        path *= 0.25 + smoothstep(0.1, 1.5, swell + np.float32(0.35))
        path *= np.clip(1 - below * 0.9, 0.2, 1) * (0.75 if sea else 0.4)
        path *= np.float32(0.42 if brief.is_dark else 0.6)
    mirror += (mirror - body[:, None, None]) * (clear - 1)
    mirror += tint(glint, palette.horizon)
    if path is not None:
        mirror += tint(path, palette.sun)
    canvas[:, start:] = mirror
    _shoreline(canvas, palette, frame, start)


def _read(picture: Array, rows: Array, columns: Array) -> Array:
    """The picture's colours at fractional positions."""
    height, width = picture.shape[1:]
    upper = np.minimum(rows.astype(np.int32), height - 2)
    left = np.minimum(columns.astype(np.int32), width - 2)
    down, across = rows - upper, columns - left
    index = upper * np.int32(width) + left
    after, under = index + 1, index + np.int32(width)
    beyond = under + 1
    result = np.empty((3, *index.shape), np.float32)
    for plane, read in zip(picture, result, strict=True):
        flat = plane.reshape(-1)
        above = flat.take(index)
        above += (flat.take(after) - above) * across
        below = flat.take(under)
        below += (flat.take(beyond) - below) * across
        np.add(above, (below - above) * down, out=read)
    return result


def _hide_disc(mirror: Array, frame: Frame, below: float, sun: Light) -> None:
    """Rough water shows a path of light, not a second sun or moon: fill it from beside it."""
    away = round(sun.radius * 4 * frame.unit) * (1 if sun.u < 0 else -1)
    du = (frame.u - np.float32(sun.u))[None, :]
    rows = (np.arange(mirror.shape[1], dtype=np.float32) + 0.5) / np.float32(frame.unit)
    dv = (rows - np.float32(below))[:, None]
    mask = smoothstep(2.6, 1.5, np.hypot(du, dv) / np.float32(sun.radius))
    touched = np.flatnonzero(mask.max(axis=1))
    if not touched.size:
        return
    part = slice(int(touched[0]), int(touched[-1]) + 1)
    mirror[:, part] += (np.roll(mirror[:, part], -away, axis=2) - mirror[:, part]) * mask[part]


def _shoreline(canvas: Array, palette: Palette, frame: Frame, start: int) -> None:
    """A thin bright edge where water meets land, so that the mirror has a hinge."""
    distance = (np.arange(frame.height - start, dtype=np.float32) + 0.5) / frame.unit
    edge = np.exp(-((distance / np.float32(0.006)) ** 2))[:, None] * np.float32(0.35)
    blend(canvas, np.broadcast_to(edge, (distance.size, frame.width)), palette.haze, start)
