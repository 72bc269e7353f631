"""Bloom, vignette and tone: from light to bytes; without it pictures look flat and banded."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from adapters.providers.sketch.frame import Frame, resize_colour, shrink
from adapters.providers.sketch.noise import Array, product, stream

_SOFT_ROWS = 72


def _blur(rows: int, deviation: float) -> Array:
    position = np.arange(rows, dtype=np.float32)
    weights = np.exp(-(((position[:, None] - position[None, :]) / deviation) ** 2) / 2)
    result: Array = (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
    return result


def soften(display: Array, frame: Frame, reach: float) -> Array:
    """A blur of *reach* picture heights, computed on a small copy; channels come last."""
    rows = int(np.clip(2.2 / reach, 40, frame.height))
    small = shrink(np.moveaxis(display, -1, 0), rows)
    down, across = (_blur(size, rows * reach) for size in small.shape[1:])
    soft = resize_colour(np.stack([product(down, plane, across.T) for plane in small]), frame)
    return np.ascontiguousarray(np.moveaxis(soft, 0, -1))


def bloom(canvas: Array, frame: Frame, strength: float) -> None:
    """Let bright parts shine beyond their edges."""
    small = shrink(canvas, _SOFT_ROWS)
    bright = np.clip(small - np.float32(0.55), 0, 3) * np.float32(strength)
    down, across = (_blur(size, _SOFT_ROWS * 0.035) for size in small.shape[1:])
    soft = np.stack([product(down, plane, across.T) for plane in bright])
    canvas += resize_colour(soft, frame)


def tone(canvas: Array, frame: Frame, vignette: float = 0.2) -> Array:
    """From light to display values in 0..1, with highlights rolled off and corners shaded.

    From here on the channels come last.
    """
    far = (frame.u[None, :] / np.float32(frame.half)) ** 2 + ((frame.v * 2 - 1) ** 2)[:, None]
    shade = 1 - np.float32(vignette) * np.clip(far - 0.5, 0, 1.5) / 1.5
    canvas *= shade
    np.maximum(canvas, 0, out=canvas)
    np.sqrt(canvas, out=canvas)
    # straight up to the shoulder, then easing towards white
    over = np.maximum(canvas - np.float32(0.78), 0)
    canvas -= over
    over /= 1 + over / np.float32(0.23)
    canvas += over
    # a little contrast
    canvas += (canvas - np.float32(0.5)) * canvas * (1 - canvas) * np.float32(0.4)
    return np.moveaxis(canvas, 0, -1)


def to_bytes(display: Array) -> npt.NDArray[np.uint8]:
    """Quantise with a little noise against bands; the noise is less than one step."""
    rows, columns = display.shape[:2]
    tile = stream("dither", "dither").random((128, 128), dtype=np.float32)
    noise = np.tile(tile, (rows // 128 + 1, columns // 128 + 1))[:rows, :columns]
    result = np.empty(display.shape, np.uint8)
    for channel in range(display.shape[2]):
        scaled = display[..., channel] * np.float32(255)
        scaled += noise
        np.clip(scaled, 0, 255, out=scaled)
        result[..., channel] = scaled
    return result
