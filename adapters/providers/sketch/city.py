"""A skyline in layers, with windows; without it no city."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from adapters.providers.sketch.brief import Brief
from adapters.providers.sketch.frame import Frame, blend, tint
from adapters.providers.sketch.noise import Array, product, stream
from adapters.providers.sketch.palette import Palette, light
from adapters.providers.sketch.sky import Light

_LAYERS = 4
_PER_LAYER = 58
_DRAWS = 12
_ROWS, _COLUMNS = 64, 18  # most windows a building can have

# how many windows are lit, by time of day
LIT = {
    "dawn": 0.12,
    "day": 0.0,
    "golden": 0.1,
    "sunset": 0.26,
    "dusk": 0.5,
    "night": 0.5,
    "neon": 0.56,
}


@dataclass(frozen=True, slots=True)
class Tower:
    left: float
    right: float
    top: float  # v of the roof
    foot: float  # v of the foot


def paint_city(
    canvas: Array,
    brief: Brief,
    palette: Palette,
    frame: Frame,
    horizon: float,
    shore: float | None,
    sun: Light,
    key: str,
) -> None:
    """Paint layers of buildings that stand at *shore*, or down to the picture's foot."""
    rng = stream(key, "city")
    centre = (float(rng.random()) - 0.5) * 0.7
    foot = shore if shore is not None else 1.0
    for layer in range(_LAYERS):
        near = layer / (_LAYERS - 1)
        draws = rng.random((_PER_LAYER, _DRAWS))
        panes = rng.random((_PER_LAYER, _ROWS, _COLUMNS), dtype=np.float32)
        base = horizon + 0.012
        if shore is None:
            base = horizon + 0.015 + 0.25 * near**1.5
        left = -1.42
        for index in range(_PER_LAYER):
            d = draws[index]
            width = (0.026 + 0.05 * float(d[0])) * (0.72 + 0.55 * near)
            u = left + width / 2
            crowd = np.exp(-(((u / frame.half - centre) / 0.55) ** 2))
            tall = 0.045 + (0.05 + 0.40 * crowd * (1 - 0.32 * near)) * float(d[1]) ** 1.7
            if shore is None and layer == _LAYERS - 1:
                tall = 0.03 + 0.11 * float(d[1])
            tower = Tower(left, left + width, base - tall * frame.scale, foot)
            _tower(canvas, brief, palette, frame, tower, near, sun, d, panes[index])
            left += width * (0.92 + 0.16 * float(d[2]))


def _cover(low: Array, high: Array, count: int, first: int) -> Array:
    """How far each of *count* pixels from *first* lies in each span, as spans x pixels."""
    edges = np.arange(first, first + count, dtype=np.float32)[None, :]
    inside = np.minimum(edges + 1, high[:, None]) - np.maximum(edges, low[:, None])
    result: Array = np.maximum(np.minimum(inside, 1), 0)
    return result


def _span(low: float, high: float, count: int, first: int) -> Array:
    """The same for one span that begins in the first pixel and ends in the last, or beyond."""
    inside = np.ones(count, np.float32)
    inside[0] = min(first + 1, high) - max(first, low)
    if count > 1:
        inside[-1] = min(first + count, high) - (first + count - 1)
    return inside


def _tower(
    canvas: Array,
    brief: Brief,
    palette: Palette,
    frame: Frame,
    tower: Tower,
    near: float,
    sun: Light,
    d: Array,
    panes: Array,
) -> None:
    x0, x1 = frame.px(tower.left), frame.px(tower.right)
    y0, y1 = frame.py(tower.top), frame.py(tower.foot)
    if x1 <= 0 or x0 >= frame.width or y1 <= 0:
        return
    width, height = x1 - x0, y1 - y0
    unit = frame.unit
    wall = _wall(palette, near, float(d[3]), brief)
    toward = 1 if sun.u > (tower.left + tower.right) / 2 else -1
    # a roof storey set back, and a mast, on some
    if d[4] < 0.45:
        inset = width * (0.12 + 0.2 * float(d[5]))
        rise = unit * (0.012 + 0.03 * float(d[6]))
        _box(canvas, frame, (x0 + inset, x1 - inset, y0 - rise, y0 + 1), wall * 0.94)
        if d[7] < 0.5:
            mast = unit * (0.02 + 0.06 * float(d[8]))
            middle, thin = (x0 + x1) / 2, max(unit * 0.0016, 0.4)
            _box(
                canvas,
                frame,
                (middle - thin, middle + thin, y0 - rise - mast, y0 - rise),
                wall * 0.8,
            )
            if brief.is_dark or brief.time in ("dusk", "sunset"):
                _lamp(canvas, frame, middle, y0 - rise - mast, light("ff5a50"))
    _box(canvas, frame, (x0, x1, y0, y1), wall, fade=(palette, near))
    lit_edge = wall + (palette.sun - wall) * np.float32(0.30 if not brief.is_dark else 0.12)
    side = width * (0.28 + 0.2 * float(d[9]))
    edge = (x1 - side, x1) if toward > 0 else (x0, x0 + side)
    _box(canvas, frame, (*edge, y0, y1), lit_edge, strength=0.55, fade=(palette, near))
    _windows(canvas, brief, palette, frame, (x0, x1, y0, y1), near, d, panes)
    if brief.time == "neon" and near > 0.2 and d[10] < 0.3:
        hue = (light("ff4fd0"), light("5af2ff"), light("ffe25a"))[int(d[11] * 3)]
        strip = max(unit * 0.003, 0.5)
        at = x0 + width * (0.12 + 0.7 * float(d[8]))
        _box(
            canvas,
            frame,
            (at, at + strip, y0 + height * 0.06, y0 + unit * (0.05 + 0.12 * float(d[6]))),
            hue * 1.6,
        )


def _wall(palette: Palette, near: float, tone: float, brief: Brief) -> Array:
    own = light(("59607a", "6b6470", "4e5d6e", "75695f")[int(tone * 4)])
    lit = palette.ambient * 0.55 + palette.sun * (0.03 if brief.is_dark else 0.16)
    own = own * lit * 1.5
    veil = np.float32(0.72 * (1 - near) ** 1.3 + 0.06)
    result: Array = own + (palette.haze - own) * veil
    return result


def _box(
    canvas: Array,
    frame: Frame,
    edges: tuple[float, float, float, float],
    colour: Array,
    strength: float = 1.0,
    fade: tuple[Palette, float] | None = None,
) -> None:
    x0, x1, y0, y1 = edges
    left, right = max(0, int(np.floor(x0))), min(frame.width, int(np.ceil(x1)))
    top, bottom = max(0, int(np.floor(y0))), min(frame.height, int(np.ceil(y1)))
    if right <= left or bottom <= top:
        return
    down = _span(y0, y1, bottom - top, top) * np.float32(strength)
    across = _span(x0, x1, right - left, left)
    mask = down[:, None] * across[None, :]
    if fade is None:
        blend(canvas, mask, colour, top, left)
        return
    # the air thickens towards the ground
    palette, near = fade
    rows = (np.arange(top, bottom, dtype=np.float32) - y0) / np.float32(0.34 * frame.unit)
    air = np.clip(rows, 0, 1) * np.float32(0.34 * (1 - 0.6 * near))
    ramp = colour[:, None] + np.multiply.outer(palette.haze - colour, air)
    blend(canvas, mask, ramp[..., None], top, left)


def _windows(
    canvas: Array,
    brief: Brief,
    palette: Palette,
    frame: Frame,
    box: tuple[float, float, float, float],
    near: float,
    d: Array,
    panes: Array,
) -> None:
    x0, x1, y0, y1 = box
    pitch = frame.unit * (0.0072 + 0.0052 * near) * (0.85 + 0.4 * float(d[5]))
    across = min(_COLUMNS, max(2, round((x1 - x0) / pitch)))
    down = min(_ROWS, max(2, int((y1 - y0) / (pitch * 1.35)) - 1))
    step = (x1 - x0) / (across + 0.6)
    left, right = max(0, int(x0)), min(frame.width, int(np.ceil(x1)))
    top, bottom = max(0, int(y0)), min(frame.height, int(np.ceil(y1)))
    if right <= left or bottom <= top:
        return
    wide, tall = (0.62, 0.5) if d[9] < 0.7 else (0.9, 0.42)
    storey = pitch * 1.35
    starts = x0 + step * (np.arange(across, dtype=np.float32) + np.float32(0.8 - wide / 2))
    columns = _cover(starts, starts + step * wide, right - left, left)
    starts = y0 + storey * (np.arange(down, dtype=np.float32) + np.float32(0.6))
    rows = _cover(starts, starts + storey * tall, bottom - top, top)
    choice = panes[:down, :across]
    share = LIT[brief.time] * (0.45 + 1.0 * float(d[7]))
    lit = np.where(choice < share, 0.45 + 0.55 * (choice / max(share, 0.01)), 0).astype(np.float32)
    glass = (choice >= share).astype(np.float32)
    air = 0.14 + 0.86 * near**0.9
    shine = palette.upper * 0.5 + palette.zenith * 0.3
    dull = product(rows.T, glass, columns)
    blend(canvas, dull * np.float32(0.22 * air), shine, top, left)
    lamp = palette.lamp
    if brief.time == "neon":
        lamp = (palette.lamp, light("ffd9a0"), light("ff7ad8"))[int(float(d[11]) * 3)]
    glow = product(rows.T, lit, columns)
    blend(canvas, np.clip(glow * np.float32(air), 0, 1), lamp * np.float32(1.05), top, left)


def _lamp(canvas: Array, frame: Frame, x: float, y: float, colour: Array) -> None:
    radius = max(frame.unit * 0.0035, 0.8)
    left, right = int(max(0, x - 4 * radius)), int(min(frame.width, x + 4 * radius + 1))
    top, bottom = int(max(0, y - 4 * radius)), int(min(frame.height, y + 4 * radius + 1))
    if right <= left or bottom <= top:
        return
    dx = np.arange(left, right, dtype=np.float32) + 0.5 - x
    dy = np.arange(top, bottom, dtype=np.float32) + 0.5 - y
    spot = np.exp(-(dx[None, :] ** 2 + dy[:, None] ** 2) / radius**2)
    canvas[:, top:bottom, left:right] += tint(spot.astype(np.float32), colour)
