"""PNG: take a file apart by its chunks and keep those that are needed to show it."""

import struct
import zlib

from adapters.errors import BadPicture
from adapters.pictures.stripped import MOST_PACKET_BYTES, MOST_PROFILE_BYTES, Stripped

MAGIC = b"\x89PNG\r\n\x1a\n"
CRITICAL = {b"IHDR", b"PLTE", b"IDAT", b"IEND"}
ANIMATION = {b"acTL", b"fcTL", b"fdAT"}
# Chunks that change how pixels are shown, and the most bytes that each can have.
RENDERING = {
    b"tRNS": 256,
    b"gAMA": 4,
    b"cHRM": 32,
    b"sRGB": 1,
    b"sBIT": 4,
    b"cICP": 4,
    b"pHYs": 9,
    b"iCCP": MOST_PROFILE_BYTES,
}
HEADER_BYTES = 13
HEADER_END = 33  # of the file's magic and its first chunk
XMP = b"XML:com.adobe.xmp\0"
FRAME_BYTES = 12  # length, type and checksum round every chunk


def strip(data: bytes) -> Stripped:
    kept = [MAGIC]
    width = height = 0
    exif = xmp = b""
    kind, position = b"", len(MAGIC)
    while kind != b"IEND":
        start = position
        kind, body, position = _chunk(data, start)
        if kind in ANIMATION:
            raise BadPicture("animated", "the PNG is animated")
        if start == len(MAGIC):
            width, height = _size(kind, body)
        if kind == b"eXIf":
            exif = bytes(body)
        if kind == b"iTXt" and not xmp:
            xmp = _packet(body)
        if kind in CRITICAL or _renders(kind, body):
            kept.append(data[start:position])
        elif kind[0:1].isupper():
            raise BadPicture("malformed", "the PNG needs a chunk that nobody knows")
    return Stripped(b"".join(kept), width, height, exif, xmp=xmp)


def label(data: bytes, packet: bytes) -> bytes:
    """Put an XMP packet into a file that `strip` has left, before its pixels."""
    # Neither compressed nor in any language.
    content = b"iTXt" + XMP + b"\0\0\0\0" + packet
    chunk = struct.pack(">I", len(content) - 4) + content
    return b"".join(
        (data[:HEADER_END], chunk, struct.pack(">I", zlib.crc32(content)), data[HEADER_END:])
    )


def _chunk(data: bytes, start: int) -> tuple[bytes, memoryview, int]:
    """Return type, body and end of the chunk at *start*, its checksum verified."""
    if start + FRAME_BYTES > len(data):
        raise BadPicture("truncated", "the PNG ends before its last chunk")
    length, kind = struct.unpack_from(">I4s", data, start)
    end = start + FRAME_BYTES + length
    if end > len(data):
        raise BadPicture("truncated", "the PNG ends within a chunk")
    (checksum,) = struct.unpack_from(">I", data, end - 4)
    view = memoryview(data)
    if zlib.crc32(view[start + 4 : end - 4]) != checksum:
        raise BadPicture("malformed", "a chunk of the PNG does not match its checksum")
    return kind, view[start + 8 : end - 4], end


def _size(kind: bytes, header: memoryview) -> tuple[int, int]:
    if kind != b"IHDR" or len(header) != HEADER_BYTES:
        raise BadPicture("malformed", "the PNG does not begin with its header")
    width, height = struct.unpack_from(">II", header)
    return width, height


def _renders(kind: bytes, body: memoryview) -> bool:
    if len(body) > RENDERING.get(kind, -1):
        return False
    return kind != b"iCCP" or _is_small_profile(bytes(body))


def _packet(body: memoryview) -> bytes:
    """The XMP packet of a text chunk; nothing where it holds none, or a compressed one."""
    if not len(XMP) < len(body) <= MOST_PACKET_BYTES or body[: len(XMP)] != XMP or body[len(XMP)]:
        return b""
    _language, _, rest = bytes(body[len(XMP) + 2 :]).partition(b"\0")
    return rest.partition(b"\0")[2]


def _is_small_profile(body: bytes) -> bool:
    """Say whether a compressed colour profile is whole and stays within its bound."""
    _name, _, packed = body.partition(b"\0")
    inflate = zlib.decompressobj()
    try:
        inflate.decompress(packed[1:], MOST_PROFILE_BYTES)
    except zlib.error:
        return False
    return inflate.eof
