"""WebP: take a file apart by its chunks and keep those that are needed to show it."""

import struct

from adapters.errors import BadPicture
from adapters.pictures.stripped import MOST_PACKET_BYTES, MOST_PROFILE_BYTES, Stripped

EXTENDED, LOSSY, LOSSLESS, ALPHA, PROFILE = b"VP8X", b"VP8 ", b"VP8L", b"ALPH", b"ICCP"
NEEDED = {EXTENDED, LOSSY, LOSSLESS, ALPHA, PROFILE}
ANIMATION = {b"ANIM", b"ANMF"}
XMP = b"XMP "
HAS_PROFILE, HAS_ALPHA, HAS_XMP = 0x20, 0x10, 0x04
HEADER_BYTES = 12
SMALLEST = {EXTENDED: 10, LOSSY: 10, LOSSLESS: 5}


def strip(data: bytes) -> Stripped:
    end = 8 + struct.unpack_from("<I", data, 4)[0]
    if end > len(data):
        raise BadPicture("truncated", "the WebP is shorter than it says")
    chunks: dict[bytes, bytes] = {}
    exif = xmp = b""
    position = HEADER_BYTES
    while position + 8 <= end:
        kind, length = struct.unpack_from("<4sI", data, position)
        body = data[position + 8 : position + 8 + length]
        position += 8 + length + length % 2
        if len(body) < length or position > end + length % 2:
            raise BadPicture("truncated", "the WebP ends within a chunk")
        if kind in ANIMATION:
            raise BadPicture("animated", "the WebP is animated")
        if kind == b"EXIF":
            exif = exif or body
        elif kind == XMP and length <= MOST_PACKET_BYTES:
            xmp = xmp or body
        elif kind in NEEDED and not (kind == PROFILE and length > MOST_PROFILE_BYTES):
            chunks.setdefault(kind, body)
    width, height = _size(chunks)
    if EXTENDED in chunks:
        chunks[EXTENDED] = _flagged(chunks)
    packed = b"".join(_packed(kind, body) for kind, body in chunks.items())
    return Stripped(_file(packed), width, height, exif, lossless=LOSSLESS in chunks, xmp=xmp)


def label(data: bytes, packet: bytes) -> bytes:
    """Put an XMP packet into a file that `strip` or an encoder has left, at its end."""
    kind, length = struct.unpack_from("<4sI", data, HEADER_BYTES)
    body = data[HEADER_BYTES + 8 : HEADER_BYTES + 8 + min(length, SMALLEST[EXTENDED])]
    if kind == EXTENDED:
        header, rest = body, data[HEADER_BYTES + 8 + length :]
    else:
        header, rest = _extended(kind, body), data[HEADER_BYTES:]
    header = bytes([header[0] | HAS_XMP]) + header[1:]
    return _file(b"".join((_packed(EXTENDED, header), rest, _packed(XMP, packet))))


def _extended(kind: bytes, body: bytes) -> bytes:
    """The extended header that a simple file goes without."""
    width, height = _sides({kind: body})
    has_alpha = kind == LOSSLESS and body[4] & 0x10
    canvas = (side.to_bytes(3, "little") for side in (width - 1, height - 1))
    return b"".join((bytes([HAS_ALPHA if has_alpha else 0, 0, 0, 0]), *canvas))


def _size(chunks: dict[bytes, bytes]) -> tuple[int, int]:
    """Return width and height, on which canvas and pixel data must agree."""
    for kind, smallest in SMALLEST.items():
        if len(chunks.get(kind, bytes(smallest))) < smallest:
            raise BadPicture("malformed", "a chunk of the WebP is too short")
    if (LOSSY in chunks) == (LOSSLESS in chunks):
        raise BadPicture("malformed", "the WebP does not hold one picture")
    width, height = _sides(chunks)
    if EXTENDED in chunks:
        canvas = chunks[EXTENDED]
        sides = (int.from_bytes(canvas[at : at + 3], "little") + 1 for at in (4, 7))
        if (width, height) != tuple(sides):
            raise BadPicture("malformed", "the WebP's canvas is not of its picture's size")
    return width, height


def _sides(chunks: dict[bytes, bytes]) -> tuple[int, int]:
    if LOSSY in chunks:
        width, height = (side & 0x3FFF for side in struct.unpack_from("<HH", chunks[LOSSY], 6))
    else:
        (bits,) = struct.unpack_from("<I", chunks[LOSSLESS], 1)
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    return width, height


def _flagged(chunks: dict[bytes, bytes]) -> bytes:
    """The extended header, naming only what is still there."""
    header = chunks[EXTENDED][: SMALLEST[EXTENDED]]
    flags = header[0] & HAS_ALPHA | (HAS_PROFILE if PROFILE in chunks else 0)
    return bytes([flags]) + header[1:]


def _file(packed: bytes) -> bytes:
    return struct.pack("<4sI4s", b"RIFF", len(packed) + 4, b"WEBP") + packed


def _packed(kind: bytes, body: bytes) -> bytes:
    return struct.pack("<4sI", kind, len(body)) + body + b"\0" * (len(body) % 2)
