"""Aspect ratios that the service has; it has no 4:3 and no 3:4."""

from collections.abc import Mapping

from adapters.providers import shapes
from schemas.requests import AspectRatio

# Sizes of the v1 engine; v2beta takes the same ratios by name.
V1_SIZES: Mapping[AspectRatio, tuple[int, int]] = {
    AspectRatio.R21_9: (1536, 640),
    AspectRatio.R16_9: (1344, 768),
    AspectRatio.R3_2: (1216, 832),
    AspectRatio.R5_4: (1152, 896),
    AspectRatio.R1_1: (1024, 1024),
    AspectRatio.R4_5: (896, 1152),
    AspectRatio.R2_3: (832, 1216),
    AspectRatio.R9_16: (768, 1344),
    AspectRatio.R9_21: (640, 1536),
}
RATIOS = tuple(V1_SIZES)


def nearest(ratio: AspectRatio) -> AspectRatio:
    return shapes.nearest(ratio, RATIOS)


def fitted(data: bytes, width: int, height: int) -> bytes:
    """A picture scaled and cut to exactly *width* x *height*, as a PNG. Raises `BadPicture`.

    Called in a worker process, so that no decoding holds up the event loop.
    """
    from PIL import ImageOps  # the service itself never loads Pillow

    from adapters.pictures import codec

    return shapes.encoded(ImageOps.fit(codec.plain(codec.decode(data)), (width, height)), "PNG")
