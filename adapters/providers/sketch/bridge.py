"""A suspension bridge that runs away into the picture; without it prompts that name one miss it."""

from __future__ import annotations

import numpy as np

from adapters.providers.sketch.frame import Draw, Pen, Point, stencil
from adapters.providers.sketch.ground import EYE
from adapters.providers.sketch.noise import Array
from adapters.providers.sketch.palette import light
from adapters.providers.sketch.subjects import Scene

_DECK, _TOWER = 1.25, 4.4  # heights over the water
_TOWERS = (0.16, 0.5, 0.84)  # where the towers stand along the bridge
_PIECES = 16
_ROPES = 64  # hanging from the cable


def paint_bridge(canvas: Array, scene: Scene) -> None:
    """Piece by piece from the far end, so that the air lies between them."""
    for flip, strength, pieces in ((-1.0, 0.28, _PIECES // 2), (1.0, 1.0, _PIECES)):
        for piece in reversed(range(pieces)):
            _piece(canvas, scene, piece / pieces, (piece + 1) / pieces, flip, strength)


def _place(scene: Scene, s: float, aside: float) -> tuple[float, float]:
    """Ground position of a point along the bridge: x and z."""
    t = max(s, 0.0) ** 1.25
    return scene.away * (5.2 - 21.2 * t) + aside, 3.6 + 42.4 * t


def _piece(
    canvas: Array, scene: Scene, start: float, end: float, flip: float, strength: float
) -> None:
    frame = scene.frame

    def at(s: float, aside: float, height: float) -> Point:
        x, z = _place(scene, s, aside)
        return x / z, -(EYE - flip * height) / z

    def sag(s: float) -> float:
        """Height of the main cable: it hangs between towers."""
        gaps = [abs(s - t) for t in _TOWERS]
        near = min(gaps) / 0.17
        result: float = _DECK + 0.25 + (_TOWER - _DECK - 0.25) * max(0.0, 1 - near) ** 1.9
        return result

    _, z = _place(scene, (start + end) / 2, 0)
    air = 1 - np.exp(-z * (0.075 if scene.brief.has("fog") else 0.022))
    rust = light("b4482e") if scene.brief.time != "night" else light("8a5a52")
    tone = rust * (scene.lit * 0.55 + scene.shade * 0.55)
    colour = tone + (scene.palette.haze - tone) * np.float32(air)
    dark = colour * np.float32(0.55 + 0.45 * air)
    sides = (1.1, 0.0) if scene.away > 0 else (0.0, 1.1)

    def deck(pen: Pen) -> None:
        over = end + 0.004
        for aside in sides:
            pen.polygon(
                at(start, aside, _DECK - 0.16),
                at(over, aside, _DECK - 0.16),
                at(over, aside, _DECK + 0.04),
                at(start, aside, _DECK + 0.04),
            )
        pen.polygon(
            at(start, 0, _DECK - 0.1),
            at(over, 0, _DECK - 0.1),
            at(over, 1.1, _DECK - 0.1),
            at(start, 1.1, _DECK - 0.1),
        )

    def ropes(pen: Pen) -> None:
        steps = np.linspace(start, end, 1 + round((end - start) * _ROPES)).tolist()
        for aside in sides:
            cable = [at(s, aside, sag(s)) for s in steps]
            pen.line(*cable, width=0.055 / z)
            for s in steps[:-1]:
                pen.line(at(s, aside, _DECK), at(s, aside, sag(s)), width=0.018 / z)

    def tower(s: float) -> Draw:
        def draw(pen: Pen) -> None:
            w = 0.011 + 0.004 * s
            for aside in (0.0, 1.1):
                pen.polygon(
                    at(s - w, aside, -0.05),
                    at(s - w * 0.75, aside, _TOWER + 0.12),
                    at(s + w * 0.75, aside, _TOWER + 0.12),
                    at(s + w, aside, -0.05),
                )
            for height in (_DECK - 0.3, 2.3, 3.3, _TOWER - 0.1):
                pen.polygon(
                    at(s, 0, height),
                    at(s, 1.1, height),
                    at(s, 1.1, height + 0.2),
                    at(s, 0, height + 0.2),
                )

        return draw

    xs = [at(s, a, h)[0] for s in (start - 0.02, end + 0.02) for a in (0, 1.1) for h in (0,)]
    ys = [at(s, 0, h)[1] for s in (start - 0.02, end + 0.02) for h in (-0.1, _TOWER + 0.2)]
    box = (max(min(xs), -frame.half - 0.02), min(ys), min(max(xs), frame.half + 0.02), max(ys))
    if box[2] <= box[0]:
        return
    stencil(frame, 0, scene.horizon, box, deck).lay(canvas, dark, strength)
    for place in _TOWERS:
        if start <= place < end:
            stencil(frame, 0, scene.horizon, box, tower(place)).lay(canvas, colour, strength)
    stencil(frame, 0, scene.horizon, box, ropes).lay(canvas, colour, strength)
