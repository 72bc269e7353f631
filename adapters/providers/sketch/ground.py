"""The ground as heights over slices x columns; without it nothing could be set down on it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from adapters.providers.sketch.frame import Frame
from adapters.providers.sketch.noise import Array

EYE = 0.9  # height of the viewer above the water or the lowest ground


@dataclass(frozen=True, slots=True)
class Ground:
    """Heights over slices x columns; *tops* is where they show, in v."""

    u: Array
    distance: Array
    height: Array
    tops: Array

    def stand(self, u: float, z: float) -> tuple[float, float]:
        """Where something at distance *z* meets the seen ground: its v and its unit of size."""
        index = int(np.argmin(np.abs(self.distance - z)))
        column = int(np.argmin(np.abs(self.u - u)))
        v = float(self.tops[: index + 1, column].min())
        return v, 1 / float(self.distance[index])


def project(height: Array, z: Array | float, horizon: float, frame: Frame) -> Array:
    """v of ground of some height at distance *z*."""
    tops = np.float32(horizon) + np.float32(frame.scale) * (np.float32(EYE) - height) / z
    return tops.astype(np.float32)
