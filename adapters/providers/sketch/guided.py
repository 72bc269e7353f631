"""Finals that are made of their draft's picture; without it a final could only be painted anew."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageOps

from adapters.pictures import codec
from adapters.providers.sketch.finish import soften
from adapters.providers.sketch.frame import Frame
from adapters.providers.sketch.noise import Array
from adapters.providers.sketch.request import Sketch

# What is wider than this share of the picture's height is the draft's, what is finer is painted.
_REACH = 0.008
# Light that changes only over this share of it, the mood, is mostly the prompt's.
_MOOD = 0.3
_SHARE_OF_MOOD = 0.7
# Light that differs by so much (of 0..1) belongs to another thing: there the draft stands alone.
_TOLERANCE = 0.06


def fitted(source: bytes, sketch: Sketch) -> Image.Image:
    """The draft's picture at the final's size, by Lanczos; of another shape, its middle.

    Raises `BadPicture`.
    """
    image = codec.plain(codec.decode(source)).convert("RGB")
    size = (sketch.width, sketch.height)
    # Sizes made for one ratio are a few pixels off it, and show the same from edge to edge.
    if Frame(*image.size).aspect == Frame(*size).aspect:
        return image.resize(size, Image.Resampling.LANCZOS)
    return ImageOps.fit(image, size, Image.Resampling.LANCZOS)


def guide(display: Array, source: Image.Image, frame: Frame) -> Array:
    """The draft's shapes in the painting's mood, with its detail as far as the two agree.

    Painted of the draft's own prompt and seed the mood is the draft's; another prompt changes it.
    """
    draft = np.asarray(source, np.float32) / np.float32(255)
    draft += soften(display - draft, frame, _MOOD) * np.float32(_SHARE_OF_MOOD)
    base = soften(draft, frame, _REACH)
    own = soften(display, frame, _REACH)
    apart = np.abs(own - base).max(axis=2, keepdims=True)
    agreement = np.exp(-((apart / np.float32(_TOLERANCE)) ** 2))
    detail = display - own
    detail -= draft - base
    detail *= agreement
    detail += draft
    return detail
