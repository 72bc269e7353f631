"""What sketch is asked for. Loads no numpy: the service hands this to a worker process."""

from dataclasses import dataclass, field
from typing import Literal

# The style presets of Stability's API, so that a post drafted offline names the same ones.
KNOWN_STYLES = (
    "enhance",
    "anime",
    "photographic",
    "digital-art",
    "comic-book",
    "fantasy-art",
    "line-art",
    "analog-film",
    "neon-punk",
    "isometric",
    "low-poly",
    "origami",
    "modeling-compound",
    "cinematic",
    "3d-model",
    "pixel-art",
    "tile-texture",
)


@dataclass(frozen=True, slots=True)
class Sketch:
    """What to paint, and how large in pixels."""

    prompt: str
    negative_prompt: str = ""
    seed: int = 0
    width: int = 1024
    height: int = 576
    style: str | None = None
    detail: Literal["draft", "final"] = "final"
    # How a final is made of *source*, its draft's picture; strings, since a worker loads no more.
    strategy: Literal["regenerate", "image_to_image", "upscale"] = "regenerate"
    source: bytes | None = field(default=None, repr=False)
    # What else is done to *source*, by the name of `schemas.operations.Operation`.
    operation: str | None = None
    mask: bytes | None = field(default=None, repr=False)
    strength: float | None = None
    # Pixels beyond the edges: left, right, up, down.
    added: tuple[int, int, int, int] = (0, 0, 0, 0)


def paint_png(sketch: Sketch) -> bytes:
    """Paint, in whichever process this is called; the picture as PNG.

    Raises `BadPicture` where the source is not a picture that we take.
    """
    from adapters.providers.sketch import operations, paint

    if sketch.operation is not None:
        from adapters.pictures.codec import MOST_BYTES

        return paint.encoded(operations.done(sketch), MOST_BYTES)
    return paint.paint_png(sketch)
