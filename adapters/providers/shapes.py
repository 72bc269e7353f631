"""Aspect ratios that a provider does not have: cut of the nearest one that it has."""

import asyncio
import io
from collections.abc import Collection
from datetime import timedelta

import structlog

from adapters.errors import BadPicture, Unavailable
from adapters.ports import Processes
from schemas.requests import AspectRatio

log = structlog.get_logger(__name__)

# A size in whole 64 pixels misses its ratio by up to 4 %; what is nearer than this is meant.
TOLERANCE = 0.045
# What is cropped anyway is cropped to the pixel.
EXACT = 0.005


def nearest(ratio: AspectRatio, had: Collection[AspectRatio]) -> AspectRatio:
    """*ratio*, or the one of *had* of which the least is cropped."""
    if ratio in had:
        return ratio
    return min(had, key=lambda one: _lost(_value(ratio), _value(one)))


async def in_shape(
    data: bytes,
    wanted: AspectRatio,
    ratio: AspectRatio,
    *,
    of_picture: bool,
    processes: Processes,
    provider: str,
    within: timedelta,
) -> tuple[bytes, tuple[str, ...]]:
    """A picture that was asked for in *ratio*, in the shape *wanted*, with what to tell of that.

    It is paid for by now: where it cannot be cut *within* that time it is delivered as it came.
    """
    if ratio is wanted and not of_picture:
        return data, ()
    shape = f"{ratio.value} and cropped to {wanted.value}"
    tolerance = TOLERANCE if ratio is wanted else EXACT
    try:
        async with asyncio.timeout(within.total_seconds()):
            cut = await processes.run(cropped, data, *wanted.sides, tolerance)
    except (BadPicture, Unavailable, TimeoutError) as exc:
        log.warning("picture_not_cropped", provider=provider, error=str(exc))
        return data, (f"the picture could not be cropped to {wanted.value}",)
    if cut is None:
        return data, ()
    if of_picture:
        shape = f"the shape of its draft and cropped to {wanted.value}"
    return cut, (f"painted in {shape}",)


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
    return encoded(cut, codec.sniff(data).pillow_name)


def encoded(image: object, pillow_name: str) -> bytes:
    from PIL import Image  # as above

    assert isinstance(image, Image.Image)
    buffer = io.BytesIO()
    options = {} if pillow_name == "PNG" else {"quality": 95}
    # Without its profile a picture of many colours would be read as one of few.
    image.save(buffer, pillow_name, icc_profile=image.info.get("icc_profile"), **options)
    return buffer.getvalue()
