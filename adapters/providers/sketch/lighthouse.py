"""A lighthouse on its cape; without it prompts that name one show an empty sea."""

from __future__ import annotations

import numpy as np

from adapters.providers.sketch.fractals import fractal
from adapters.providers.sketch.frame import Draw, Pen, resize, stencil, tint
from adapters.providers.sketch.ground import EYE, project
from adapters.providers.sketch.landmarks import lamps_on, shaded, shine
from adapters.providers.sketch.noise import Array, smoothstep, stream, texture
from adapters.providers.sketch.palette import light
from adapters.providers.sketch.slices import lay, look
from adapters.providers.sketch.subjects import Scene


def paint_lighthouse(canvas: Array, scene: Scene) -> None:
    """A rocky cape with a tower on it; the beam shows when it is dim."""
    side = scene.away
    foot_u, foot_z, top = _cape(canvas, scene, side)
    unit = 1.12 / foot_z
    v = scene.horizon + scene.frame.scale * (EYE - top) / foot_z + 0.008
    box = (-0.4 * unit, -0.05 * unit, 0.4 * unit, 2.2 * unit)
    half, tall = 0.17, 1.45

    def width(y: float) -> float:
        return half * (1 - 0.36 * y / tall)

    def wall(low: float, high: float) -> Draw:
        def draw(pen: Pen) -> None:
            pen.polygon(
                (-width(low) * unit, low * unit), (-width(high) * unit, high * unit),
                (width(high) * unit, high * unit), (width(low) * unit, low * unit),
            )  # fmt: skip

        return draw

    def gallery(pen: Pen) -> None:
        pen.polygon(
            (-0.165 * unit, 1.43 * unit),
            (0.165 * unit, 1.43 * unit),
            (0.14 * unit, 1.48 * unit),
            (-0.14 * unit, 1.48 * unit),
        )
        pen.polygon(
            (-0.1 * unit, 1.70 * unit),
            (0.1 * unit, 1.70 * unit),
            (0.07 * unit, 1.78 * unit),
            (0, 1.86 * unit),
            (-0.07 * unit, 1.78 * unit),
        )
        pen.line((0, 1.84 * unit), (0, 1.96 * unit), width=0.016 * unit)
        for x in (-0.155, -0.08, 0, 0.08, 0.155):
            pen.line((x * unit, 1.48 * unit), (x * unit, 1.545 * unit), width=0.01 * unit)
        pen.line((-0.155 * unit, 1.54 * unit), (0.155 * unit, 1.54 * unit), width=0.01 * unit)
        for x in (-0.088, -0.03, 0.03, 0.088):
            pen.line((x * unit, 1.48 * unit), (x * unit, 1.7 * unit), width=0.012 * unit)

    def lantern(pen: Pen) -> None:
        pen.polygon(
            (-0.088 * unit, 1.48 * unit),
            (-0.088 * unit, 1.7 * unit),
            (0.088 * unit, 1.7 * unit),
            (0.088 * unit, 1.48 * unit),
        )

    def house(pen: Pen) -> None:
        pen.polygon(
            (0.14 * unit * side, -0.03 * unit),
            (0.14 * unit * side, 0.2 * unit),
            (0.52 * unit * side, 0.2 * unit),
            (0.52 * unit * side, -0.03 * unit),
        )

    def roof(pen: Pen) -> None:
        pen.polygon(
            (0.11 * unit * side, 0.19 * unit),
            (0.2 * unit * side, 0.33 * unit),
            (0.47 * unit * side, 0.33 * unit),
            (0.56 * unit * side, 0.19 * unit),
        )

    frame = scene.frame
    wide = (-0.6 * unit, -0.05 * unit, 0.6 * unit, 0.4 * unit)
    stencil(frame, foot_u, v, wide, house).lay(
        canvas, light("efe6d8") * (scene.lit * 0.55 + scene.shade * 0.5)
    )
    stencil(frame, foot_u, v, wide, roof).lay(
        canvas, light("8f3a34") * (scene.lit * 0.7 + scene.shade * 0.4)
    )
    bands = (
        ("f6efe4", -0.03, 0.33),
        ("b8352f", 0.33, 0.66),
        ("f6efe4", 0.66, 0.99),
        ("b8352f", 0.99, 1.22),
        ("f6efe4", 1.22, 1.44),
    )
    for code, low, high in bands:
        shape = stencil(frame, foot_u, v, box, wall(low, high))
        shape.lay(canvas, shaded(scene, shape, foot_u, half * unit, light(code)))
    on = lamps_on(scene)
    glass = light("fff0b8") * 1.3 if on else scene.palette.upper * 0.8
    stencil(frame, foot_u, v, box, lantern).lay(canvas, glass)
    stencil(frame, foot_u, v, box, gallery).lay(
        canvas, light("5a3a38") * (scene.lit * 0.5 + scene.shade * 0.5)
    )
    if on:
        lamp_v = v - 1.59 * unit * frame.scale
        _beam(canvas, scene, foot_u, lamp_v)
        shine(canvas, scene, foot_u, lamp_v, 0.1 * unit + 0.03, light("ffe9a8"), 0.9)


def _beam(canvas: Array, scene: Scene, u: float, v: float) -> None:
    frame = scene.frame
    grid = frame.grid()
    dx = (grid.u - np.float32(u))[None, :]
    dy = (grid.v - np.float32(v))[:, None] / np.float32(grid.scale)
    for way, power in ((-scene.away, 0.42), (scene.away, 0.2)):
        along = dx * np.float32(way)
        tilt = dy + along * np.float32(0.06 * way * scene.away)
        width = np.clip(along, 0, None) * np.float32(0.085) + np.float32(0.006)
        ray = np.exp(-((tilt / width) ** 2)) * np.exp(-along / np.float32(0.7)) * (along > 0)
        canvas += tint(resize((ray * power).astype(np.float32), frame), light("ffe9b0"))


def _cape(canvas: Array, scene: Scene, side: float) -> tuple[float, float, float]:
    """Rocks that rise from the sea at one side: where the highest ground is (u, z, height)."""
    rng = stream(scene.key, "cape")
    tile = texture(rng)
    where = rng.random(4, dtype=np.float32)
    frame = scene.frame
    columns = frame.width * (2 if frame.slices > 300 else 1)
    u = ((np.arange(columns, dtype=np.float32) + 0.5) / columns - 0.5) * np.float32(2 * frame.half)
    distance = np.geomspace(2.1, 9.0, 60 + frame.slices // 5).astype(np.float32)
    z = distance[:, None]
    x = u[None, :] * z
    foot_u = side * min(0.5 * frame.half, 0.48)
    foot_z = 4.4
    inland = (u[None, :] * side - (abs(foot_u) - 0.16)) / 0.42
    rock = fractal(tile, z * 0.9 + where[0] * 50, x * 0.9 + where[1] * 50, 6, 0.55)
    depth = np.exp(-(((z - 4.6) / 1.5) ** 2))
    height = (
        0.95 * smoothstep(-0.55, 0.42, inland.astype(np.float32)) * depth - 0.16
    ) + 0.13 * rock * depth
    height = height.astype(np.float32)
    cliff = np.round(height * 7 + 0.3 * rock) / 7  # ledges
    height = height * 0.45 + cliff.astype(np.float32) * 0.55
    slope_x = np.gradient(height, axis=1) / (z * (u[1] - u[0]))
    slope_z = np.gradient(height, axis=0) / np.gradient(distance)[:, None]
    sunny = -1.0 if scene.sun.u < 0 else 1.0
    facing = np.clip(
        (-slope_x * sunny * 0.8 + 0.5 + slope_z * 0.25) / np.sqrt(1 + slope_x**2 + slope_z**2), 0, 1
    )
    solid = np.clip((height + 0.03) / 0.02, 0, 1)
    tops = project(np.maximum(height, 0), z, scene.horizon, frame)
    seen = look(tops, frame)
    points = (seen.slice, seen.column)
    steep = np.hypot(slope_x, slope_z)[points]
    spots = (height[points], rock[points], steep, facing[points], distance[seen.slice])
    lay(canvas, frame, seen, _rocks(scene, *spots), solid[points])
    row = int(np.argmin(np.abs(distance - foot_z)))
    column = int(np.argmin(np.abs(u - foot_u)))
    return float(foot_u), foot_z, float(height[row, column])


def _rocks(
    scene: Scene, height: Array, rock: Array, steep: Array, facing: Array, z: Array
) -> Array:
    """Colours of points on the cape: channels x points."""
    palette = scene.palette
    stone, grass = light("6a625e"), light("5f7142")
    top = smoothstep(0.45, 0.75, height + 0.1 * rock) * (1 - smoothstep(0.5, 1.3, steep))
    foam = np.exp(-((np.abs(height) / 0.035) ** 2)) * np.clip(0.6 + 0.5 * rock, 0, 1) * 0.75
    spray = palette.horizon * 0.5 + palette.ambient * 0.5
    air = 1 - np.exp(-z * 0.022)
    rough = 1 + 0.2 * np.clip(rock, -2, 2)
    colours = tint(rough.astype(np.float32), stone)
    colours += (grass[:, None] - colours) * top
    if scene.brief.has("snow"):
        colours += (light("f4f6fa")[:, None] - colours) * np.clip(top * 1.3, 0, 1)
    colours *= np.multiply.outer(palette.sun, facing * 0.75) + palette.ambient[:, None] * 0.6
    colours += (spray[:, None] - colours) * foam
    colours += (palette.haze[:, None] - colours) * air
    return colours
