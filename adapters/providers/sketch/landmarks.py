"""Cabin and windmill, and how walls and lamps are lit; without it land stays empty."""

from __future__ import annotations

import numpy as np

from adapters.providers.sketch.frame import Draw, Pen, Point, Stencil, stencil, tint
from adapters.providers.sketch.ground import Ground
from adapters.providers.sketch.noise import Array, smoothstep, stream
from adapters.providers.sketch.palette import light
from adapters.providers.sketch.subjects import Scene

_LAMP_TIMES = ("night", "dusk", "sunset", "neon")


def shaded(scene: Scene, shape: Stencil, u: float, width: float, colour: Array) -> Array:
    """A round wall: bright on the sun's side, dark on the other."""
    columns = np.arange(shape.mask.shape[1], dtype=np.float32) + shape.left + 0.5
    across = np.clip((columns - scene.frame.px(u)) / np.float32(scene.frame.unit * width), -1, 1)
    turn = np.clip(0.58 - 0.46 * across * np.float32(scene.away), 0.1, 1)
    lit = scene.shade + (scene.lit - scene.shade) * turn[:, None]
    result: Array = (colour * lit * 1.15).T[:, None, :]
    return result


def lamps_on(scene: Scene) -> bool:
    return scene.brief.time in _LAMP_TIMES or scene.brief.has("storm") or scene.brief.has("fog")


def shine(
    canvas: Array, scene: Scene, u: float, v: float, radius: float, colour: Array, power: float
) -> None:
    """A soft round light."""
    frame = scene.frame
    x, y, reach = frame.px(u), frame.py(v), radius * 3 * frame.unit
    left, right = int(np.clip(x - reach, 0, frame.width)), int(np.clip(x + reach, 0, frame.width))
    top, bottom = int(np.clip(y - reach, 0, frame.height)), int(np.clip(y + reach, 0, frame.height))
    dx = (np.arange(left, right, dtype=np.float32) + 0.5 - x) / np.float32(radius * frame.unit)
    dy = (np.arange(top, bottom, dtype=np.float32) + 0.5 - y) / np.float32(radius * frame.unit)
    distance = dx[None, :] ** 2 + dy[:, None] ** 2
    spot = np.exp(-distance * 6) + 0.35 * np.exp(-distance * 0.9) * smoothstep(9, 4, distance)
    canvas[:, top:bottom, left:right] += tint(spot * np.float32(power), colour)


def paint_cabin(canvas: Array, scene: Scene, ground: Ground) -> None:
    z = max(float(ground.distance[0]) * 1.03, 4.6)
    u = scene.thirds(0.34)
    v, near = ground.stand(u, z)
    unit = max(0.62 * near, 0.06)
    v += 0.01
    frame = scene.frame
    box = (-1.3 * unit, -0.1 * unit, 1.3 * unit, 1.6 * unit)
    s = scene.away

    def poly(*points: Point) -> Draw:
        return lambda pen: pen.polygon(*((x * unit * s, y * unit) for x, y in points))

    def chimney(pen: Pen) -> None:
        pen.polygon(
            *(
                (x * unit * s, y * unit)
                for x, y in ((0.3, 0.9), (0.3, 1.22), (0.44, 1.22), (0.44, 0.9))
            )
        )

    wall = light("8a5a38")
    roof = light("f4f7fb") if scene.brief.has("snow") else light("5b3a34")
    lit, shade = scene.lit, scene.shade
    parts: tuple[tuple[Draw, Array], ...] = (
        (chimney, light("7a6a64") * (lit * 0.5 + shade * 0.5)),
        (
            poly((-0.75, 0), (-0.75, 0.5), (-0.4, 0.98), (-0.05, 0.5), (-0.05, 0)),
            wall * (lit * 0.85 + shade * 0.3),
        ),
        (poly((-0.05, 0), (-0.05, 0.5), (0.85, 0.5), (0.85, 0)), wall * (lit * 0.42 + shade * 0.5)),
        (
            poly((-0.4, 1.03), (-0.02, 0.47), (0.95, 0.47), (0.6, 1.03)),
            roof * (lit * 0.6 + shade * 0.5),
        ),
        (
            poly((-0.4, 1.05), (-0.36, 0.97), (-0.79, 0.41), (-0.85, 0.46)),
            roof * (lit * 0.8 + shade * 0.4),
        ),
    )
    for draw, colour in parts:
        stencil(frame, u, v, box, draw).lay(canvas, colour)
    glow = light("ffc862") * 1.25 if scene.brief.time != "day" else scene.palette.upper * 0.6

    def windows(pen: Pen) -> None:
        for left, right, low, high in (
            (-0.5, -0.3, 0.32, 0.55),
            (0.12, 0.3, 0.18, 0.36),
            (0.52, 0.7, 0.18, 0.36),
        ):
            middle = (left + right) / 2
            for a, b in ((left, middle - 0.01), (middle + 0.01, right)):
                pen.polygon(
                    *(
                        (x * unit * s, y * unit)
                        for x, y in ((a, low), (a, high), (b, high), (b, low))
                    )
                )

    stencil(frame, u, v, box, windows).lay(canvas, glow)
    if scene.brief.time != "day":
        for x, y in ((-0.4, 0.43), (0.21, 0.27), (0.61, 0.27)):
            shine(
                canvas,
                scene,
                u + x * unit * s,
                v - y * unit * frame.scale,
                unit * 0.4,
                light("ffb860"),
                0.32,
            )


def paint_windmill(canvas: Array, scene: Scene, ground: Ground) -> None:
    """A tower mill on the nearest rise."""
    rng = stream(scene.key, "windmill")
    turn = float(rng.random()) * np.pi / 2
    u = scene.thirds(0.42)
    v, near = ground.stand(u, 6.0)
    unit = 1.55 * near
    v += 0.008
    frame = scene.frame
    box = (-0.9 * unit, -0.1 * unit, 0.9 * unit, 1.9 * unit)
    hub = (0.0, 0.98 * unit)

    def tower(pen: Pen) -> None:
        pen.polygon(
            (-0.25 * unit, -0.03 * unit),
            (-0.145 * unit, 0.92 * unit),
            (0.145 * unit, 0.92 * unit),
            (0.25 * unit, -0.03 * unit),
        )

    def cap(pen: Pen) -> None:
        pen.polygon(
            (-0.19 * unit, 0.9 * unit),
            (-0.15 * unit, 1.03 * unit),
            (-0.06 * unit, 1.13 * unit),
            (0.06 * unit, 1.13 * unit),
            (0.15 * unit, 1.03 * unit),
            (0.19 * unit, 0.9 * unit),
        )

    def details(pen: Pen) -> None:
        pen.polygon(
            (-0.05 * unit, 0),
            (-0.05 * unit, 0.17 * unit),
            (0.05 * unit, 0.17 * unit),
            (0.05 * unit, 0),
        )
        for y in (0.36, 0.62):
            pen.polygon(
                (-0.03 * unit, y * unit),
                (-0.03 * unit, (y + 0.09) * unit),
                (0.03 * unit, (y + 0.09) * unit),
                (0.03 * unit, y * unit),
            )

    def arm(angle: float, along: float, aside: float) -> Point:
        c, s = float(np.cos(angle)), float(np.sin(angle))
        return hub[0] + (along * c - aside * s) * unit, hub[1] + (along * s + aside * c) * unit

    def cloth(pen: Pen) -> None:
        for k in range(4):
            a = turn + k * np.pi / 2
            pen.polygon(
                arm(a, 0.2, 0.01), arm(a, 0.76, 0.01), arm(a, 0.76, 0.15), arm(a, 0.2, 0.13)
            )

    def spars(pen: Pen) -> None:
        for k in range(4):
            a = turn + k * np.pi / 2
            pen.line(arm(a, 0, 0), arm(a, 0.78, 0), width=0.024 * unit)
            pen.line(arm(a, 0.2, 0.13), arm(a, 0.76, 0.15), width=0.01 * unit)
            for step in np.linspace(0.2, 0.76, 8):
                pen.line(arm(a, float(step), -0.01), arm(a, float(step), 0.15), width=0.009 * unit)
        pen.disc(*hub, 0.035 * unit)

    shape = stencil(frame, u, v, box, tower)
    shape.lay(canvas, shaded(scene, shape, u, 0.25 * unit, light("f2e8d6")))
    shape = stencil(frame, u, v, box, cap)
    shape.lay(canvas, shaded(scene, shape, u, 0.19 * unit, light("6a4636")))
    stencil(frame, u, v, box, details).lay(canvas, light("4a3a34") * scene.lit * 0.6)
    stencil(frame, u, v, box, cloth).lay(canvas, light("fff4e0") * scene.lit, 0.55)
    stencil(frame, u, v, box, spars).lay(
        canvas, light("4a382e") * (scene.lit * 0.45 + scene.shade * 0.4)
    )
