"""Measures how alike two pictures are; without it a final that went astray is found by readers.

SSIM as Z. Wang et al. define it (IEEE Transactions on Image Processing 13, 2004): windows of
11 x 11 pixels weighted by a Gaussian of deviation 1.5, K1 = 0.01, K2 = 0.03, of 8-bit grey. The
hash has one bit for each of the 8 x 8 lowest frequencies of a 32 x 32 copy (DCT II): whether it is
above their median. Both are blind to colour.
"""

import numpy as np
import numpy.typing as npt
from PIL import Image

from adapters.pictures import codec

Plane = npt.NDArray[np.float32]

# The draft's size, but no larger: what lies apart on 512 pixels is the composition, and it is fast.
LONGEST_SIDE = 512
WINDOW, DEVIATION = 11, 1.5
C1, C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
HASHED, KEPT = 32, 8
# Below this a frequency is rounding, as in a picture of one colour.
SILENCE = 1.0


def compare(draft: bytes, final: bytes) -> tuple[float, int]:
    """Return SSIM and the distance of the hashes; raise `BadPicture` for what is no picture.

    A final of another shape is stretched to the draft's: its composition is another.
    """
    one, other = _grey(codec.decode(draft)), _grey(codec.decode(final))
    size = _common_size(*one.size)
    # An area average: every pixel of the final counts.
    one, other = (plane.resize(size, Image.Resampling.BOX) for plane in (one, other))
    distance = int((_hash(one) != _hash(other)).sum())
    return _ssim(np.asarray(one, np.float32), np.asarray(other, np.float32)), distance


def _grey(image: Image.Image) -> Image.Image:
    image = codec.plain(image)
    if image.mode == "RGBA":
        page = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(page, image)
    return image.convert("L")


def _common_size(width: int, height: int) -> tuple[int, int]:
    """The draft's size, within the longest side; never narrower than a window."""
    share = min(1.0, LONGEST_SIDE / max(width, height))
    return max(WINDOW, round(width * share)), max(WINDOW, round(height * share))


def _hash(grey: Image.Image) -> npt.NDArray[np.bool_]:
    plane = np.asarray(grey.resize((HASHED, HASHED), Image.Resampling.BOX), np.float32)
    frequency, place = np.arange(KEPT)[:, None], np.arange(HASHED)[None, :]
    waves = np.cos(np.pi * frequency * (place + 0.5) / HASHED).astype(np.float32)
    strength = waves @ plane @ waves.T
    strength[np.abs(strength) < SILENCE] = 0
    found: npt.NDArray[np.bool_] = (strength > np.median(strength)).ravel()
    return found


def _ssim(one: Plane, other: Plane) -> float:
    mean_one, mean_other = _weighted(one), _weighted(other)
    both = mean_one * mean_other
    squares = mean_one * mean_one + mean_other * mean_other
    covariance = _weighted(one * other) - both
    variances = _weighted(one * one) + _weighted(other * other) - squares
    likeness = (2 * both + C1) * (2 * covariance + C2) / ((squares + C1) * (variances + C2))
    return float(likeness.mean(dtype=np.float64))


def _weighted(plane: Plane) -> Plane:
    """The Gaussian mean of every window that lies within the plane."""
    offsets = np.arange(WINDOW) - WINDOW // 2
    weights = np.exp(-(offsets**2) / (2 * DEVIATION**2))
    weights = (weights / weights.sum()).astype(np.float32)
    rows, columns = (side - WINDOW + 1 for side in plane.shape)
    down = np.zeros((rows, plane.shape[1]), np.float32)
    for offset, weight in enumerate(weights):
        down += weight * plane[offset : offset + rows]
    across = np.zeros((rows, columns), np.float32)
    for offset, weight in enumerate(weights):
        across += weight * down[:, offset : offset + columns]
    return across
