"""Drawn styles: outlines, hatching and printed dots; without it no line art and no comics."""

from __future__ import annotations

import numpy as np

from adapters.providers.sketch.finish import soften
from adapters.providers.sketch.frame import Frame, resize, thumbnail
from adapters.providers.sketch.noise import Array, field, smoothstep, stream

_LINE_ROWS = 432  # outlines are found at this height, whatever the picture's size
_WEIGHTS = np.array([0.30, 0.59, 0.11], np.float32)


def edges(display: Array, frame: Frame, gain: float) -> Array:
    """How much of an outline each pixel is, 0..1."""
    small = thumbnail(display, min(_LINE_ROWS, frame.height))
    planes = np.sqrt(np.clip(small, 0, 1))
    down = np.abs(np.diff(planes, axis=0, prepend=planes[:1])).max(axis=2)
    across = np.abs(np.diff(planes, axis=1, prepend=planes[:, :1])).max(axis=2)
    strength = np.hypot(down, across)
    around = _mean(strength)
    lines = smoothstep(0.10, 0.42, (strength - around * 0.7) * np.float32(gain))
    return np.clip(resize(lines, frame), 0, 1)


def _mean(plane: Array) -> Array:
    """The mean of the 5 x 5 around each point."""
    padded = np.pad(plane, 2, mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (5, 5))
    result: Array = windows.mean(axis=(2, 3), dtype=np.float32)
    return result


def drawing(display: Array, frame: Frame) -> Array:
    """Ink on paper: outlines, and hatching where it is dark."""
    level = soften(display, frame, 0.004) @ _WEIGHTS
    low, high = np.percentile(level[::4, ::4], (2, 98))
    level = np.clip((level - low) / max(float(high - low), 0.05), 0, 1)
    x = frame.u[None, :] * np.float32(110)
    y = frame.v[:, None] / np.float32(frame.scale) * np.float32(110)
    sway = (
        field(stream("ink", "sway"), frame.v / np.float32(frame.scale), frame.u, (5, 5), 2) * 0.35
    )
    mark = np.zeros_like(level)
    for turn, reach in ((0.9, 0.50), (-0.7, 0.30), (0.1, 0.16)):
        wave = np.sin((x * np.cos(turn) + y * np.sin(turn) + sway) * 2 * np.pi)
        dark = np.clip((reach - level) / 0.42, 0, 0.9)
        mark = np.maximum(mark, smoothstep(-0.25, 0.25, wave - 1 + 2 * dark) * (dark > 0) * 0.75)
    mark = np.maximum(mark, edges(display, frame, 4.5) * 0.95)
    paper, black = (
        np.array([0.965, 0.95, 0.915], np.float32),
        np.array([0.10, 0.12, 0.19], np.float32),
    )
    wash = soften(display, frame, 0.012)
    ground = paper * (0.90 + 0.10 * wash)
    result: Array = ground + (black - ground) * mark[..., None]
    return result


def comic(display: Array, frame: Frame) -> Array:
    """Flat printed colours, dots in the shade and strong outlines."""
    grey = (display @ _WEIGHTS)[..., None]
    loud = np.clip(grey + (soften(display, frame, 0.004) - grey) * 1.45, 0, 1)
    flat = np.round(loud * 5) / 5 * 0.8 + loud * 0.2
    flat = np.clip(flat * 1.06 + 0.02, 0, 1)
    x = frame.u[None, :] * np.float32(88)
    y = frame.v[:, None] / np.float32(frame.scale) * np.float32(88)
    a, b = (x + y) * np.float32(np.pi * 0.707), (x - y) * np.float32(np.pi * 0.707)
    screen = (np.cos(a) * np.cos(b) + 1) / 2
    tone = np.clip(0.62 - grey[..., 0], 0, 0.55)
    dots = smoothstep(-0.10, 0.10, tone * 1.15 - screen + 0.22) * (tone > 0)
    printed = flat * (1 - dots[..., None] * np.array([0.42, 0.40, 0.26], np.float32))
    black = np.array([0.06, 0.05, 0.10], np.float32)
    result: Array = printed + (black - printed) * edges(display, frame, 5.0)[..., None]
    return result
