"""What is done to delivered bytes, in a worker process: check, strip, decode, scale.

Without it a provider could hand us a bomb, a tracker or somebody's position on earth.
"""

import io
from collections.abc import Callable
from typing import Any, NamedTuple

from PIL import Image

from adapters.errors import BadPicture
from adapters.pictures import jpeg, png, webp
from adapters.pictures.magic import format_of
from adapters.pictures.remote import Rendition
from adapters.pictures.stripped import UPRIGHT, Stripped
from schemas.pictures import LONGEST_SIDE, MOST_PIXELS

MOST_BYTES = 32 << 20
WIDEST_VARIANT = 1280
QUALITY_OF_VARIANTS = 82
EFFORT_OF_VARIANTS = 2  # 3 and more double the time for 4 % of the bytes
QUALITY_TURNED = 92

ORIENTATION_TAG = 0x0112
# EXIF's orientation, and what puts the picture upright.
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class Format(NamedTuple):
    pillow_name: str
    content_type: str
    strip: Callable[[bytes], Stripped]
    # Puts an XMP packet into a stripped file.
    label: Callable[[bytes, bytes], bytes]


PNG = Format("PNG", "image/png", png.strip, png.label)
JPEG = Format("JPEG", "image/jpeg", jpeg.strip, jpeg.label)
WEBP = Format("WEBP", "image/webp", webp.strip, webp.label)
FORMATS = {one.pillow_name: one for one in (PNG, JPEG, WEBP)}


def take_in(data: bytes, packet: bytes = b"") -> tuple[Rendition, tuple[Rendition, ...]]:
    """Return the picture, stripped, and its variants, narrowest first; or raise `BadPicture`.

    *packet* is the XMP that is put into each of them.
    """
    found, stripped = _checked(data)
    image = _decode(found, stripped)
    kept = stripped.data
    turn = TURNS.get(_orientation(stripped.exif))
    if turn is not None:
        image = image.transpose(turn)
        kept = _encode_again(found, image, stripped.lossless)
    if packet:
        kept = found.label(kept, packet)
    return Rendition(kept, found.content_type, *image.size), variants(image, packet)


def packet_of(data: bytes) -> bytes:
    """The XMP packet of a picture, empty where it has none; or raise `BadPicture`.

    Pixels are not looked at.
    """
    return _checked(data)[1].xmp


def decode(data: bytes) -> Image.Image:
    """Open a picture under the same limits, as its bytes have it; or raise `BadPicture`."""
    return _decode(*_checked(data))


def sniff(data: bytes) -> Format:
    """Tell the format by its first bytes, never by what anybody claims."""
    found = format_of(data)
    if found is None:
        raise BadPicture("format", "these bytes are neither PNG nor JPEG nor WebP")
    return FORMATS[found]


def variants(image: Image.Image, packet: bytes = b"") -> tuple[Rendition, ...]:
    """Make WebP renditions of a quarter, a half and the whole of the widest useful width.

    That is 1280 pixels or, where it is narrower, the picture's own width: 320, 640, 1280 for most,
    128, 256, 512 for a picture of 512. Below 4 pixels widths coincide, and each is made once.
    """
    widest = min(WIDEST_VARIANT, image.width)
    widths = sorted({max(1, widest // 4), max(1, widest // 2), widest}, reverse=True)
    profile = image.info.get("icc_profile") if image.mode in {"RGB", "RGBA", "P"} else None
    smaller = plain(image)
    made = []
    for width in widths:
        size = (width, max(1, round(image.height * width / image.width)))
        if size != smaller.size:
            # From the one before: half the time of scaling from the original.
            smaller = smaller.resize(size, Image.Resampling.BICUBIC)
        data = _webp(smaller, profile)
        if packet:
            data = webp.label(data, packet)
        made.append(Rendition(data, WEBP.content_type, *size))
    return tuple(reversed(made))


def plain(image: Image.Image) -> Image.Image:
    """The picture as 8 bits of red, green, blue and, where it has one, alpha."""
    if image.mode == "I;16":
        # Pillow would cut off at 255 instead of scaling: take the high bytes.
        image = Image.frombytes("L", image.size, image.tobytes()[1::2])
    mode = "RGBA" if image.has_transparency_data else "RGB"
    # `convert` would copy a picture that is of this mode already: 160 MB of the largest.
    if image.mode == mode:
        return image
    converted = image.convert(mode)
    if image.mode == "CMYK":  # its profile is of inks
        converted.info.pop("icc_profile", None)
    return converted


def _checked(data: bytes) -> tuple[Format, Stripped]:
    """Only stripped bytes are ever decoded: what is refused or dropped never meets a decoder."""
    if len(data) > MOST_BYTES:
        raise BadPicture("too_large", f"the picture has more than {MOST_BYTES} bytes")
    found = sniff(data)
    stripped = found.strip(data)
    _check_size(stripped.width, stripped.height)
    return found, stripped


def _check_size(width: int, height: int) -> None:
    if not (1 <= width <= LONGEST_SIDE and 1 <= height <= LONGEST_SIDE):
        raise BadPicture("dimensions", f"a side of {width} x {height} pixels is not allowed")
    if width * height > MOST_PIXELS:
        raise BadPicture("dimensions", f"{width} x {height} pixels are more than {MOST_PIXELS}")


def _decode(found: Format, stripped: Stripped) -> Image.Image:
    try:
        image = Image.open(io.BytesIO(stripped.data), formats=[found.pillow_name])
        if image.size != (stripped.width, stripped.height):
            raise BadPicture("malformed", "the picture's headers contradict each other")
        image.load()
    except (BadPicture, MemoryError):
        raise
    except Exception as error:  # Pillow's decoders raise nearly anything on bad bytes
        raise BadPicture("undecodable", f"the picture cannot be decoded: {error}") from error
    return image


def _orientation(exif: bytes) -> int:
    if not exif:
        return UPRIGHT
    tags = Image.Exif()
    try:
        tags.load(exif)
        orientation = tags.get(ORIENTATION_TAG)
    except Exception:  # nobody could show the picture turned by metadata that cannot be read
        return UPRIGHT
    return orientation if isinstance(orientation, int) else UPRIGHT


def _encode_again(found: Format, image: Image.Image, lossless: bool) -> bytes:
    options: dict[Format, dict[str, Any]] = {
        PNG: {},
        JPEG: {"quality": QUALITY_TURNED, "subsampling": 0},
        WEBP: {"quality": QUALITY_TURNED, "lossless": lossless},
    }
    profile = image.info.get("icc_profile")
    return _encoded(image, found, icc_profile=profile, **options[found])


def _webp(image: Image.Image, profile: bytes | None) -> bytes:
    return _encoded(
        image, WEBP, quality=QUALITY_OF_VARIANTS, method=EFFORT_OF_VARIANTS, icc_profile=profile
    )


def _encoded(image: Image.Image, target: Format, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, target.pillow_name, **options)
    return buffer.getvalue()
