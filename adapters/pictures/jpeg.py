"""JPEG: take a file apart by its segments and keep those that are needed to show it."""

import re
import struct

from adapters.errors import BadPicture
from adapters.pictures.stripped import MOST_PROFILE_BYTES, Stripped

MAGIC = b"\xff\xd8\xff"
# Within pixel data 0xFF is followed by 0, a restart marker, or another 0xFF.
MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd7\xff]")
START, END, SCAN, COMMENT = 0xD8, 0xD9, 0xDA, 0xFE
FRAMES = {0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF}
APP0, APP1, APP2, APP14, APP15 = 0xE0, 0xE1, 0xE2, 0xEE, 0xEF
JFIF, EXIF, PROFILE, ADOBE = b"JFIF\0", b"Exif\0\0", b"ICC_PROFILE\0", b"Adobe"
XMP = b"http://ns.adobe.com/xap/1.0/\0"
JFIF_BYTES, ADOBE_BYTES, FRAME_BYTES = 14, 12, 6
LENGTH_BYTES = 2  # counted by the length itself
# An ordinary progressive file has about ten; thousands of scans cost minutes of decoding.
MOST_SCANS = 100


def strip(data: bytes) -> Stripped:
    kept = [b"\xff\xd8"]
    profile: list[int] = []
    profile_bytes = scans = width = height = 0
    exif = xmp = b""
    marker, position = _next_marker(data, 2)
    while marker != END:
        body, end = _segment(data, position)
        if marker == START:
            raise BadPicture("malformed", "a JPEG begins within the JPEG")
        if marker == APP1 and body.startswith(EXIF):
            exif = exif or body
        elif marker == APP1 and body.startswith(XMP):
            xmp = xmp or body[len(XMP) :]
        elif marker == APP2 and body.startswith(PROFILE):
            profile.append(len(kept))
            profile_bytes += len(body)
            kept.append(_packed(marker, body))
        elif marker in FRAMES and len(body) >= FRAME_BYTES:
            if not width:
                height, width = struct.unpack_from(">HH", body, 1)
            kept.append(_packed(marker, body))
        elif marker == SCAN:
            scans += 1
            if scans > MOST_SCANS:
                raise BadPicture("malformed", f"the JPEG has more than {MOST_SCANS} scans")
            start, (_, after) = end, _next_marker(data, end)
            end = after - 2
            kept += (_packed(marker, body), data[start:end])
        else:
            kept.append(_packed(marker, _needed(marker, body)))
        marker, position = _next_marker(data, end)
    if profile_bytes > MOST_PROFILE_BYTES:
        for index in profile:
            kept[index] = b""
    return Stripped(b"".join((*kept, b"\xff\xd9")), width, height, exif, xmp=xmp)


def label(data: bytes, packet: bytes) -> bytes:
    """Put an XMP packet into a file that `strip` has left, behind its JFIF segment."""
    place = 2
    if data[place : place + 2] == bytes((0xFF, APP0)):
        place += 2 + struct.unpack_from(">H", data, place + 2)[0]
    return b"".join((data[:place], _packed(APP1, XMP + packet), data[place:]))


def _next_marker(data: bytes, position: int) -> tuple[int, int]:
    """Return the next marker and the position after it."""
    found = MARKER.search(data, position)
    if found is None:
        raise BadPicture("truncated", "the JPEG has no end")
    return found[0][1], found.end()


def _segment(data: bytes, position: int) -> tuple[bytes, int]:
    """Return the body of the segment whose length stands at *position*, and its end."""
    if position + LENGTH_BYTES > len(data):
        raise BadPicture("truncated", "the JPEG ends within a segment")
    (length,) = struct.unpack_from(">H", data, position)
    end = position + length
    if length < LENGTH_BYTES:
        raise BadPicture("malformed", "a segment of the JPEG has an impossible length")
    if end > len(data):
        raise BadPicture("truncated", "the JPEG ends within a segment")
    return data[position + LENGTH_BYTES : end], end


def _needed(marker: int, body: bytes) -> bytes | None:
    """Return what is kept of a segment that belongs neither to the frame nor to a scan."""
    if marker == APP0 and body.startswith(JFIF) and len(body) >= JFIF_BYTES:
        return body[: JFIF_BYTES - 2] + b"\0\0"  # without its thumbnail
    if marker == APP14 and body.startswith(ADOBE) and len(body) >= ADOBE_BYTES:
        return body[:ADOBE_BYTES]
    if marker == COMMENT or APP0 <= marker <= APP15:
        return None
    return body


def _packed(marker: int, body: bytes | None) -> bytes:
    if body is None:
        return b""
    return struct.pack(">BBH", 0xFF, marker, len(body) + LENGTH_BYTES) + body
