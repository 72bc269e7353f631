"""Boats, balloons and birds, and what every subject must know; without it scenes are empty."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from adapters.providers.sketch.brief import Brief
from adapters.providers.sketch.frame import Draw, Frame, Pen, Stencil, blend, stencil
from adapters.providers.sketch.noise import Array, stream
from adapters.providers.sketch.palette import Palette, light
from adapters.providers.sketch.sky import Light


@dataclass(frozen=True, slots=True)
class Scene:
    """What every subject needs to know."""

    brief: Brief
    palette: Palette
    frame: Frame
    horizon: float
    sun: Light
    key: str

    @property
    def lit(self) -> Array:
        """Light on a white wall that faces the sun."""
        power = 0.5 if self.brief.is_dark else 0.8
        result: Array = self.palette.sun * power + self.palette.ambient * 0.45
        return result

    @property
    def shade(self) -> Array:
        result: Array = self.palette.ambient * 0.5
        return result

    @property
    def away(self) -> float:
        """The side of the picture that the sun leaves free: -1 left, 1 right."""
        return 1.0 if self.sun.u < 0 else -1.0

    def thirds(self, share: float) -> float:
        """u on the free side, at *share* of the half width."""
        return self.away * share * self.frame.half


def paint_birds(canvas: Array, scene: Scene) -> None:
    rng = stream(scene.key, "birds")
    draws = rng.random((16, 5))
    centre_u = scene.thirds(0.1 + 0.4 * float(draws[0, 0]))
    centre_v = scene.horizon * (0.3 + 0.3 * float(draws[0, 1]))
    ink = scene.palette.ambient * 0.25
    for index in range(5 + int(float(draws[1, 0]) * 8)):
        a, b, c, d, e = (float(x) for x in draws[index])
        size = 0.007 + 0.008 * c
        u = centre_u + (a - 0.5) * 0.42
        v = centre_v + (b - 0.5) * 0.14 + (a - 0.5) * 0.07
        mark = stencil(scene.frame, u, v, (-0.03, -0.03, 0.03, 0.03), _bird(size, 0.3 + 0.7 * d, e))
        mark.lay(canvas, ink, 0.85)


def _bird(size: float, lift: float, lean: float) -> Draw:
    def draw(pen: Pen) -> None:
        for side in (-1, 1):
            bank = (lean - 0.5) * 0.5 * side
            elbow = (side * size * 0.55, size * (lift * 0.8 + bank * 0.5))
            tip = (side * size * 1.5, size * (lift * 0.55 + bank))
            pen.polygon(
                (0, size * 0.1), elbow, tip, (elbow[0], elbow[1] - size * 0.2), (0, -size * 0.16)
            )

    return draw


_CLOTHS = (
    ("d8483e", "f3e3c3"), ("e8a33a", "7c2f4f"), ("2f7f9f", "f4ead0"), ("5f4b9a", "f2b84f"),
    ("3f8f6a", "f5e6c0"), ("c9425f", "f7c873"),
)  # fmt: skip


def paint_balloons(canvas: Array, scene: Scene) -> None:
    """A few hot-air balloons, one of them near."""
    rng = stream(scene.key, "balloons")
    draws = rng.random((6, 5))
    first = int(float(rng.random()) * len(_CLOTHS))
    sizes = (0.118, 0.062, 0.044, 0.031, 0.024, 0.019)
    spots = ((0.42, 0.46), (-0.12, 0.30), (0.08, 0.68), (-0.50, 0.52), (0.70, 0.24), (-0.30, 0.78))
    for index in reversed(range(6)):
        a, b, c, _, _ = (float(x) for x in draws[index])
        share, height = spots[index]
        u = scene.thirds(share + (a - 0.5) * 0.16)
        v = scene.horizon * (height + (b - 0.5) * 0.14)
        far = min(0.62, index * 0.13)
        _balloon(
            canvas, scene, u, v, sizes[index] * (0.9 + 0.25 * c), far, _CLOTHS[(first + index) % 6]
        )


def _balloon(
    canvas: Array, scene: Scene, u: float, v: float, r: float, far: float, cloth: tuple[str, str]
) -> None:
    box = (-1.1 * r, -1.9 * r, 1.1 * r, 1.1 * r)

    def skin(k: float) -> Draw:
        def draw(pen: Pen) -> None:
            angles = np.linspace(0, np.pi, 40)
            # round above, drawn in to a mouth below
            side = [
                (float(np.sin(t)) * (1 - 0.10 * (1 - np.cos(t))), float(np.cos(t))) for t in angles
            ]
            low = [
                (x * k * r * (1 - 0.25 * max(0.0, -y)), y * r * (1.0 if y > 0 else 1.28))
                for x, y in side
            ]
            low[-1] = (0.16 * k * r, low[-1][1])
            pen.polygon(*low, *[(-x, y) for x, y in reversed(low)])

        return draw

    def basket(pen: Pen) -> None:
        pen.polygon(
            (-0.13 * r, -1.6 * r),
            (0.13 * r, -1.6 * r),
            (0.11 * r, -1.82 * r),
            (-0.11 * r, -1.82 * r),
        )
        for x in (-0.13, 0.13):
            pen.line((x * r, -1.6 * r), (x * 1.5 * r, -1.2 * r), width=0.018 * r)

    haze = scene.palette.haze
    air = np.float32(far)

    def seen(code: str) -> Array:
        own = light(code) * (scene.lit * 1.05 + scene.palette.ambient * 0.2)
        result: Array = own + (haze - own) * air
        return result

    whole = stencil(scene.frame, u, v, box, skin(1.0))
    if not whole.mask.size:
        return
    body = np.empty((3, *whole.mask.shape), np.float32)
    body[:] = seen(cloth[0])[:, None, None]
    for k, code in ((0.86, cloth[1]), (0.58, cloth[0]), (0.22, cloth[1])):
        gore = stencil(scene.frame, u, v, box, skin(k))
        blend(body, gore.mask, seen(code))
    rows = (
        (np.arange(whole.mask.shape[0]) + whole.top + 0.5 - scene.frame.py(v))
        / scene.frame.unit
        / r
    )
    columns = (
        (np.arange(whole.mask.shape[1]) + whole.left + 0.5 - scene.frame.px(u))
        / scene.frame.unit
        / r
    )
    turn = np.clip(0.62 - 0.42 * columns[None, :] * scene.away - 0.22 * rows[:, None], 0.22, 1.15)
    body *= turn.astype(np.float32)
    body += (haze * 0.35 * air)[:, None, None]
    whole.lay(canvas, body)
    dark = light("5a4030") * (scene.lit * 0.6)
    stencil(scene.frame, u, v, box, basket).lay(canvas, dark + (haze - dark) * air)


def paint_boats(canvas: Array, scene: Scene, shore: float) -> None:
    """Sailing boats at several distances, with what the water shows of them."""
    rng = stream(scene.key, "boats")
    draws = rng.random((7, 4))
    spots = (
        (0.36, 0.135),
        (-0.22, 0.062),
        (0.02, 0.03),
        (0.68, 0.046),
        (-0.62, 0.022),
        (-0.42, 0.014),
        (0.22, 0.012),
    )
    for index in reversed(range(len(spots))):
        a, b, c, d = (float(x) for x in draws[index])
        share, below = spots[index]
        below *= 0.85 + 0.35 * b
        u = scene.thirds(share + (a - 0.5) * 0.14)
        size = 0.036 + below * 1.25
        far = float(np.exp(-below / 0.035)) * 0.6
        _boat(canvas, scene, u, shore + below * scene.frame.scale, size * (0.9 + 0.25 * c), far, d)


def _boat(
    canvas: Array, scene: Scene, u: float, v: float, size: float, far: float, kind: float
) -> None:
    way = 1.0 if kind < 0.5 else -1.0
    heel = 0.05 * way

    def sail(flip: float) -> Draw:
        def draw(pen: Pen) -> None:
            mast = np.linspace(0, 1, 9)
            belly = [
                (
                    way * size * (-0.03 - 0.44 * (1 - float(t)) ** 0.8),
                    flip * size * (0.2 + 1.15 * float(t)),
                )
                for t in mast
            ]
            top = (way * -0.02 * size + heel * size, flip * size * 1.36)
            pen.polygon((way * -0.02 * size, flip * size * 0.17), *belly, top)
            pen.polygon(
                (way * 0.03 * size, flip * 0.2 * size), (way * 0.5 * size, flip * 0.17 * size),
                (way * 0.24 * size, flip * 0.62 * size), (heel * size, flip * 1.16 * size),
            )  # fmt: skip

        return draw

    def hull(flip: float) -> Draw:
        def draw(pen: Pen) -> None:
            pen.polygon(
                (way * -0.52 * size, flip * 0.13 * size), (way * -0.46 * size, -0.01 * size * flip),
                (way * 0.4 * size, -0.01 * size * flip), (way * 0.62 * size, flip * 0.16 * size),
            )  # fmt: skip
            pen.line((0, flip * 0.1 * size), (heel * size, flip * 1.42 * size), width=0.018 * size)

        return draw

    haze = scene.palette.haze
    cloth = light("fff6e6") * scene.lit * 1.1
    wood = light(("7a2f2a", "24384f", "4a3426", "f0e6d8")[int(kind * 4) % 4]) * (scene.lit * 0.7)
    air = np.float32(far)
    cloth, wood = cloth + (haze - cloth) * air, wood + (haze - wood) * air
    box = (-0.7 * size, -0.05 * size, 0.7 * size, 1.5 * size)
    below = (-0.7 * size, -1.5 * size, 0.7 * size, 0.05 * size)
    for draw, colour, strength in ((sail, cloth, 0.42), (hull, wood, 0.6)):
        _rippled(stencil(scene.frame, u, v, below, draw(-0.82))).lay(
            canvas, colour * 0.85, strength
        )
    stencil(scene.frame, u, v, box, hull(1)).lay(canvas, wood)
    stencil(scene.frame, u, v, box, sail(1)).lay(canvas, cloth)


def _rippled(shape: Stencil) -> Stencil:
    """A reflection: it thins out downwards."""
    rows = np.linspace(1, 0.15, shape.mask.shape[0], dtype=np.float32) if shape.mask.size else None
    return shape if rows is None else Stencil(shape.mask * rows[:, None], shape.top, shape.left)
