"""Aspect ratios: which the service has, and how another one is had of them.

The service has no 4:3 and no 3:4, and from a picture it paints in that picture's shape.
"""

import io
from collections.abc import Mapping

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
# A size in whole 64 pixels misses its ratio by up to 4 %; what is nearer than this is meant.
TOLERANCE = 0.045
# What is cropped anyway is cropped to the pixel.
EXACT = 0.005


def nearest(ratio: AspectRatio) -> AspectRatio:
    """*ratio*, or the one that the service has of which the least is cropped."""
    if ratio in RATIOS:
        return ratio
    return min(RATIOS, key=lambda one: _lost(_value(ratio), _value(one)))


def _value(ratio: AspectRatio) -> float:
    across, down = ratio.sides
    return across / down


def _lost(wanted: float, found: float) -> float:
    return 1 - min(wanted, found) / max(wanted, found)


def cropped(data: bytes, across: int, down: int, tolerance: float) -> bytes | None:
    """The middle of a picture, cut to across:down; None where it is that already.

    Raises `BadPicture`. Called in a worker process, so that no decoding holds up the event loop.
    """
    from adapters.pictures import codec  # the service itself never loads Pillow

    image = codec.decode(data)
    wanted, found = across / down, image.width / image.height
    if _lost(wanted, found) <= tolerance:
        return None
    width = min(image.width, round(image.height * wanted))
    height = min(image.height, round(image.width / wanted))
    left, top = (image.width - width) // 2, (image.height - height) // 2
    cut = image.crop((left, top, left + width, top + height))
    return _encoded(cut, codec.sniff(data).pillow_name)


def fitted(data: bytes, width: int, height: int) -> bytes:
    """A picture scaled and cut to exactly *width* x *height*, as a PNG. Raises `BadPicture`."""
    from PIL import ImageOps  # as above

    from adapters.pictures import codec

    return _encoded(ImageOps.fit(codec.plain(codec.decode(data)), (width, height)), "PNG")


def _encoded(image: object, pillow_name: str) -> bytes:
    from PIL import Image  # as above

    assert isinstance(image, Image.Image)
    buffer = io.BytesIO()
    image.save(buffer, pillow_name, **({} if pillow_name == "PNG" else {"quality": 95}))
    return buffer.getvalue()
