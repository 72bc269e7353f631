"""The sky: its gradient, sun or moon, stars, aurora and clouds; the light of a picture is here."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from adapters.providers.sketch.brief import Brief
from adapters.providers.sketch.fractals import fractal
from adapters.providers.sketch.frame import Frame, blend, resize, resize_colour, splat, tint
from adapters.providers.sketch.noise import (
    Array,
    field,
    line,
    smoothstep,
    stream,
    texture,
)
from adapters.providers.sketch.palette import Palette, light


@dataclass(frozen=True, slots=True)
class Light:
    """Where the sun or moon stands, seen or not."""

    u: float
    v: float
    radius: float
    phase: float  # of the moon: 1 full, 0 half


# how far above the horizon the sun or moon stands, as a share of the sky: lowest and highest
ALTITUDE = {
    "dawn": (0.10, 0.24), "day": (0.62, 0.84), "golden": (0.14, 0.32), "sunset": (0.07, 0.2),
    "dusk": (0.5, 0.75), "night": (0.52, 0.8), "neon": (0.3, 0.5),
}  # fmt: skip


def place_light(brief: Brief, frame: Frame, horizon: float, key: str) -> Light:
    rng = stream(key, "light")
    side, offset, height, size, phase = (float(x) for x in rng.random(5))
    low, high = ALTITUDE[brief.time]
    share = (0.18 + 0.42 * offset) * (1 if side < 0.5 else -1)
    radius = 0.03 + 0.012 * size
    if brief.time in ("sunset", "neon"):
        radius *= 1.35
    v = horizon * (1 - low - (high - low) * height)
    return Light(share * frame.half, v, radius, -0.2 + 1.2 * phase)


def paint_sky(
    brief: Brief, palette: Palette, frame: Frame, horizon: float, sun: Light, key: str
) -> Array:
    """The whole frame as sky; below *horizon* it carries the horizon's colour on."""
    grid = frame.grid()
    soft = _gradient(palette, grid, horizon)
    soft += tint(_glow(brief, palette, grid, horizon, sun), palette.sun)
    if brief.has("milkyway"):
        soft += _milky_way(palette, grid, horizon, key)
    if brief.has("aurora"):
        soft += _aurora(grid, horizon, key)
    cover = np.zeros((grid.height, grid.width), np.float32)
    if brief.has("clouds"):
        top = min(int(horizon * grid.height) + 1, grid.height)
        cover[:top], lit = _clouds(brief, palette, grid, horizon, sun, key)
        blend(soft, cover[:top], lit)
    canvas = resize_colour(soft, frame)
    if brief.has("stars"):
        _stars(canvas, frame, horizon, cover, brief.time == "dusk", key)
    if brief.has("sun") or brief.has("moon"):
        _disc(canvas, brief, palette, frame, sun, resize(cover, frame), key)
    return canvas


def _gradient(palette: Palette, grid: Frame, horizon: float) -> Array:
    t = np.clip(grid.v / np.float32(horizon), 0, 1) ** np.float32(1.15)
    stops = np.array([0, 0.55, 1.0], np.float32)
    colours = np.sqrt(np.stack([palette.zenith, palette.upper, palette.horizon]))
    column = np.stack([np.interp(t, stops, colours[:, c]) for c in range(3)], -1)
    # soften the bend at the middle stop
    kernel = np.hanning(61)
    padded = np.pad(column, ((30, 30), (0, 0)), mode="edge")
    column = np.stack(
        [np.convolve(padded[:, c], kernel / kernel.sum(), "valid") for c in range(3)], -1
    )
    square = (column * column).astype(np.float32).T
    return np.broadcast_to(square[..., None], (3, grid.height, grid.width)).copy()


def _glow(brief: Brief, palette: Palette, grid: Frame, horizon: float, sun: Light) -> Array:
    du = (grid.u - np.float32(sun.u))[None, :]
    dv = ((grid.v - np.float32(sun.v)) / np.float32(grid.scale))[:, None]
    distance = np.sqrt(du * du + dv * dv)
    visible = brief.has("sun") or brief.has("moon")
    strength = (0.22 if brief.is_dark or brief.time == "dusk" else 0.4) if visible else 0.06
    halo = np.exp(-distance / np.float32(sun.radius * 1.9)) * strength
    halo += np.exp(-distance / np.float32(0.26)) * strength * 0.55
    if brief.time in ("dawn", "golden", "sunset", "neon"):
        band = np.exp(-(((grid.v - horizon) / 0.16) ** 2))[:, None] * np.exp(-((du / 0.75) ** 2))
        halo += band * 0.16
    result: Array = halo.astype(np.float32)
    return result


def _milky_way(palette: Palette, grid: Frame, horizon: float, key: str) -> Array:
    rng = stream(key, "milkyway")
    tilt, centre = 0.5 + 0.5 * rng.random(), (rng.random() - 0.5) * 0.5
    lean = tilt * (1 if rng.random() < 0.5 else -1)
    u, v = grid.u[None, :], (grid.v[:, None] - np.float32(horizon * 0.42)) / np.float32(grid.scale)
    across = (u - centre * grid.half) * np.float32(np.sin(lean)) + v * np.float32(np.cos(lean))
    cloud = field(rng, grid.v / np.float32(grid.scale), grid.u, (4.0, 4.0), 5, 0.6)
    dust = field(rng, grid.v / np.float32(grid.scale), grid.u, (5.0, 5.0), 5, 0.62)
    band = np.exp(-((across + cloud * 0.03) ** 2) / 0.022)
    lane = np.exp(-((across + 0.02 + dust * 0.045) ** 2) / 0.0016)
    glow = band * np.clip(0.55 + 0.28 * cloud, 0, 2) * (1 - 0.62 * lane)
    fade = np.clip((horizon - grid.v[:, None]) / 0.25, 0, 1)
    core = np.clip(glow * (0.5 + 0.5 * dust), 0, 1)
    warm = light("ffd9c0") * 0.34
    cool = light("8f9cff") * 0.36
    result: Array = (tint(glow * fade, cool) + tint(core * fade, warm)).astype(np.float32)
    return result


def _aurora(grid: Frame, horizon: float, key: str) -> Array:
    rng = stream(key, "aurora")
    total = np.zeros((3, grid.height, grid.width), np.float32)
    hues = (light("3dffb0"), light("4ff0d0"), light("7a6bff"))
    violet = light("b45cff")
    for index in range(3):
        base, lean, reach = (float(x) for x in rng.random(3))
        wave = line(rng, grid.u, 1.25, 3, 0.42)
        rays = line(rng, grid.u + wave * 0.05, 16.0, 4, 0.7)
        patch = line(rng, grid.u, 1.4, 2, 0.5)
        foot = horizon * (0.8 - 0.16 * index - 0.08 * base) + wave * 0.085
        foot = foot + (lean - 0.5) * 0.16 * grid.u / grid.half
        height = (foot[None, :] - grid.v[:, None]) / np.float32(grid.scale)
        length = np.clip(0.15 + 0.06 * reach + 0.035 * rays, 0.05, 0.4)[None, :]
        curtain = np.exp(-np.clip(height, 0, None) / length)
        curtain *= smoothstep(-0.035, 0.02, height)
        strength = np.clip(0.6 + 0.55 * patch, 0.0, 1.5) * np.clip(1 + 0.3 * rays, 0.25, 2)
        curtain *= strength[None, :] * (0.8, 0.34, 0.2)[index]
        upper = np.clip(height / 0.36 - 0.1, 0, 0.8) * curtain
        curtain -= upper
        total += tint(curtain, hues[index]) + tint(upper, violet * np.float32(0.6))
    return total


def _clouds(
    brief: Brief, palette: Palette, grid: Frame, horizon: float, sun: Light, key: str
) -> tuple[Array, Array]:
    """Cover in 0..1 and colour of the clouds above the horizon, lit from the sun's side."""
    rng = stream(key, "clouds")
    tile = texture(rng)
    amount, drift, stretch = (float(x) for x in rng.random(3))
    heavy = brief.has("storm") or brief.has("overcast") or brief.has("rain")
    threshold = -0.75 if heavy else 0.55 - 0.5 * amount
    v = grid.v[: min(int(horizon * grid.height) + 1, grid.height)]
    rows = np.clip((horizon - v) / grid.scale, 0, None) + np.float32(0.10)
    depth = (1 / rows)[:, None]
    x = grid.u[None, :] * depth * np.float32(0.75 + 0.35 * stretch) + np.float32(drift * 40)
    y = np.broadcast_to(depth * np.float32(1.1), x.shape)
    bend = sample_bend(tile, y, x)
    density = fractal(tile, y + bend, x, 5, 0.52)
    toward = np.float32(0.22)
    du = np.clip((np.float32(sun.u) - grid.u)[None, :] * 2, -1, 1) * toward
    dv = np.clip((np.float32(sun.v) - v)[:, None] * -3, -1, 1) * toward
    shade = density - fractal(tile, y + bend + dv, x + du, 3, 0.52)
    cover = smoothstep(threshold, threshold + (1.7 if heavy else 1.35), density)
    cover *= np.clip(rows - 0.10, 0, 0.05)[:, None] / np.float32(0.05)
    near = np.exp(-(np.hypot(grid.u - sun.u, 0)[None, :] ** 2) / 0.35)
    lit = np.clip(0.5 + 0.42 * shade - 0.18 * (density - threshold), 0, 1)
    low = palette.upper * 0.5 + palette.ambient * 0.42
    high = palette.sun * (1.0 if not brief.is_dark else 0.4) + palette.horizon * 0.12
    if brief.is_dark:
        low = palette.upper * 0.75
    if heavy:
        low, high = palette.ambient * 0.62, palette.horizon * 0.95
    warmth = lit * (0.62 + 0.38 * near)
    colour = low[:, None, None] + tint(warmth.astype(np.float32), high - low)
    return cover * np.float32(0.93 if heavy else 0.86), colour


def sample_bend(tile: Array, y: Array, x: Array) -> Array:
    """A slow warp that keeps clouds from looking like even noise."""
    result: Array = fractal(tile, y * np.float32(0.6) + 11, x * np.float32(0.6), 2, 0.5) * 0.35
    return result.astype(np.float32)


def _stars(
    canvas: Array, frame: Frame, horizon: float, cover: Array, faint: bool, key: str
) -> None:
    rng = stream(key, "stars")
    count = 1500
    u = (rng.random(count, dtype=np.float32) - np.float32(0.5)) * np.float32(2.8)
    v = rng.random(count, dtype=np.float32)
    size = rng.random(count, dtype=np.float32)
    warm = rng.random(count, dtype=np.float32)
    flux = (0.10 + 1.9 * size**9) * (0.35 if faint else 1.0)
    seen = (np.abs(u) < frame.half) & (v < horizon)
    u, v, flux, warm = u[seen], v[seen], flux[seen], warm[seen]
    rows = (v * cover.shape[0]).astype(np.int64)
    columns = ((u / (2 * frame.half) + 0.5) * cover.shape[1]).astype(np.int64)
    flux = flux * np.clip(1 - 1.6 * cover[rows, columns], 0, 1)
    flux = flux * np.clip((horizon - v) / 0.3, 0, 1) * (frame.unit / 768) ** 2 * 2.6
    x, y = (u / (2 * frame.half) + 0.5) * frame.width, v * frame.height
    reach = np.float32(frame.unit / 1500)
    for hue, part in ((light("ffe9d0"), warm), (light("c8d8ff"), 1 - warm)):
        plane = np.zeros((frame.height, frame.width), np.float32)
        for dx, dy in ((-reach, 0), (reach, 0), (0, -reach), (0, reach)):
            plane += splat(frame, x + dx, y + dy, flux * part / 4)
        top = int(horizon * frame.height) + 1
        canvas[:, :top] += tint(plane[:top], hue * np.float32(1.6))


def _disc(
    canvas: Array,
    brief: Brief,
    palette: Palette,
    frame: Frame,
    sun: Light,
    cover: Array,
    key: str,
) -> None:
    radius = sun.radius * frame.unit
    x, y = frame.px(sun.u), frame.py(sun.v)
    left, right = (int(np.clip(x + s * radius * 1.2, 0, frame.width)) for s in (-1, 1))
    top, bottom = (int(np.clip(y + s * radius * 1.2, 0, frame.height)) for s in (-1, 1))
    if right <= left or bottom <= top:
        return
    dx = (np.arange(left, right, dtype=np.float32) + 0.5 - x)[None, :]
    dy = (np.arange(top, bottom, dtype=np.float32) + 0.5 - y)[:, None]
    mask = np.clip(radius - np.hypot(dx, dy) + 0.5, 0, 1)
    mask *= 1 - cover[top:bottom, left:right] * 0.6
    if brief.has("sun"):
        blend(canvas, mask, palette.sun * 1.1 + np.float32(0.35), top, left)
        return
    rng = stream(key, "moon")
    tile = texture(rng)
    seas = fractal(tile, dy / np.float32(radius) * 1.4, dx / np.float32(radius) * 1.4, 4, 0.5)
    # the terminator is half an ellipse, leaning a little
    along = dx * np.float32(0.92) + dy * np.float32(0.39)
    cross = dy * np.float32(0.92) - dx * np.float32(0.39)
    edge = -np.sqrt(np.clip(radius**2 - cross**2, 0, None)) * np.float32(sun.phase)
    lit = smoothstep(-0.12, 0.12, (along - edge) / np.float32(radius))
    face = (1.0 - 0.22 * smoothstep(0.0, 1.0, seas)) * (0.08 + 0.95 * lit)
    colour = tint(face, palette.sun * np.float32(0.6) + np.float32(0.45))
    shown = mask * np.clip(lit + 0.25, 0, 1)
    part = canvas[:, top:bottom, left:right]
    blend(canvas, shown, np.maximum(colour, part), top, left)
