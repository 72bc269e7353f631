"""Pictures that are none, or that are there to do harm; all made here.

`REFUSED` with the reason that each is refused for; of `DEFUSED` only the picture may be left.
"""

import gzip
import io
import struct
import zipfile
import zlib
from collections.abc import Callable

from tests.pictures import SIZE, SRGB, painting, saved


def chunk(kind: bytes, body: bytes) -> bytes:
    checksum = zlib.crc32(kind + body)
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", checksum)


def png(width: int, height: int, pixels: bytes = b"", *before: bytes) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    image = chunk(b"IDAT", zlib.compress(pixels))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(before) + image + chunk(b"IEND", b"")


def jpeg_that_claims(width: int, height: int) -> bytes:
    data = bytearray(saved(painting(), "JPEG"))
    struct.pack_into(">HH", data, data.index(b"\xff\xc0") + 5, height, width)
    return bytes(data)


def webp_that_claims(width: int, height: int) -> bytes:
    data = bytearray(saved(painting(), "WEBP"))
    struct.pack_into("<HH", data, data.index(b"\x9d\x01\x2a") + 3, width, height)
    return bytes(data)


def canvas_that_lies() -> bytes:
    data = bytearray(saved(painting(), "WEBP", icc_profile=SRGB))
    data[24:27] = (SIZE[0] - 2).to_bytes(3, "little")
    return bytes(data)


def with_scans(number: int, size: tuple[int, int] = SIZE) -> bytes:
    data = saved(painting(size=size), "JPEG", progressive=True)
    start = data.rindex(b"\xff\xda")
    return data[:start] + data[start:-2] * number + data[-2:]


def animated(kind: str) -> bytes:
    frames = [painting("L").point(lambda value, add=add: value // 2 + add) for add in (0, 60, 120)]
    return saved(frames[0], kind, save_all=True, append_images=frames[1:], duration=100)


def cut(kind: str, share: float, **options: object) -> bytes:
    data = saved(painting(), kind, **options)
    return data[: int(len(data) * share)]


def spoiled(data: bytes, share: float = 0.5) -> bytes:
    middle = int(len(data) * share)
    return data[:middle] + bytes([data[middle] ^ 0x55]) + data[middle + 1 :]


def spoiled_webp() -> bytes:
    data = saved(painting(), "WEBP", lossless=True)
    return data[:40] + bytes(len(data) - 40)


PNG = b"\x89PNG\r\n\x1a\n"
ROW = b"\0" + bytes(30)


def zipped(name: str, content: bytes = b"") -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(name, content)
    return buffer.getvalue()


def odd_png(*, depth: int = 8, colour: int = 2) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 10, 10, depth, colour, 0, 0, 0))
    return PNG + header + chunk(b"IDAT", zlib.compress(ROW * 10)) + chunk(b"IEND", b"")


def breaks_off(width: int, height: int, *, alpha: bool = False) -> bytes:
    """A PNG of nothing that ends a row too early: all of its memory is taken before that shows."""
    row = bytes(1 + width * (4 if alpha else 3))
    folding = zlib.compressobj(1)
    pixels = b"".join(folding.compress(row) for _ in range(height - 1))
    header = struct.pack(">IIBBBBB", width, height, 8, 6 if alpha else 2, 0, 0, 0)
    image = pixels + folding.flush(zlib.Z_SYNC_FLUSH)
    return b"".join((PNG, chunk(b"IHDR", header), chunk(b"IDAT", image), chunk(b"IEND", b"")))


def twice_headed() -> bytes:
    data = png(10, 10, ROW * 10)
    larger = chunk(b"IHDR", struct.pack(">IIBBBBB", 8_000, 5_000, 8, 2, 0, 0, 0))
    return data[:33] + larger + data[33:]


def nested_jpeg() -> bytes:
    data = saved(painting(), "JPEG")
    return data[:2] + data + data[2:]


def two_frames() -> bytes:
    data = saved(painting(), "JPEG")
    at = data.index(b"\xff\xc0")
    frame = bytearray(data[at : at + 19])
    struct.pack_into(">HH", frame, 5, 6_000, 6_000)
    return data[:at] + data[at : at + 19] + bytes(frame) + data[at + 19 :]


def two_webps() -> bytes:
    one, other = saved(painting(), "WEBP"), saved(painting(), "WEBP", lossless=True)
    packed = one[12:] + other[12:]
    return struct.pack("<4sI4s", b"RIFF", len(packed) + 4, b"WEBP") + packed


def webp_canvas(side: int) -> bytes:
    data = bytearray(saved(painting(), "WEBP", icc_profile=SRGB))
    data[24:30] = (side - 1).to_bytes(3, "little") * 2
    return bytes(data)


def one_frame() -> bytes:
    frames = [painting("L"), painting("L").point(lambda value: value // 2)]
    return saved(frames[0], "WEBP", save_all=True, append_images=frames[1:], duration=1)


def with_chunk(kind: bytes, body: bytes) -> bytes:
    data = saved(painting(), "PNG")
    return data[:33] + chunk(kind, body) + data[33:]


def jpeg_with(marker: int, body: bytes) -> bytes:
    data = saved(painting(), "JPEG")
    return data[:2] + struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body + data[2:]


SVG = b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>"
CUT_STREAM = zlib.compress(b"".join(b"\0" + bytes(range(n, n + 30)) for n in range(10)))[:-20]

REFUSED: dict[str, tuple[str, Callable[[], bytes]]] = {
    "nothing": ("format", lambda: b""),
    "svg": ("format", lambda: SVG),
    "pdf": ("format", lambda: saved(painting(), "PDF")),
    "html": ("format", lambda: b"<!doctype html><h1>502 Bad Gateway</h1>"),
    "gif": ("format", lambda: saved(painting("P"), "GIF")),
    "tiff": ("format", lambda: saved(painting(), "TIFF")),
    "bmp": ("format", lambda: saved(painting(), "BMP")),
    "avif": ("format", lambda: saved(painting(), "AVIF")),
    "animated png": ("animated", lambda: animated("PNG")),
    "animated webp": ("animated", lambda: animated("WEBP")),
    "more bytes than allowed": ("too_large", lambda: saved(painting(), "PNG") + bytes(32 << 20)),
    "png bomb": ("dimensions", lambda: png(10_000, 4_001, bytes(1000))),
    "jpeg bomb": ("dimensions", lambda: jpeg_that_claims(16_000, 16_000)),
    "webp bomb": ("dimensions", lambda: webp_that_claims(16_000, 16_000)),
    "png without width": ("dimensions", lambda: png(0, 10, ROW)),
    "jpeg without height": ("dimensions", lambda: jpeg_that_claims(400, 0)),
    "a side too long for webp": ("dimensions", lambda: png(1, 16_384, bytes(4 * 16_384))),
    "jpeg of a thousand scans": ("malformed", lambda: with_scans(1000)),
    "png cut": ("truncated", lambda: cut("PNG", 0.5)),
    "png without its end": ("truncated", lambda: saved(painting(), "PNG")[:-12]),
    "png with a cut stream": (
        "undecodable",
        lambda: png(10, 10).replace(chunk(b"IDAT", zlib.compress(b"")), chunk(b"IDAT", CUT_STREAM)),
    ),
    "png without pixels": (
        "undecodable",
        lambda: png(10, 10).replace(chunk(b"IDAT", zlib.compress(b"")), b""),
    ),
    "png with a wrong checksum": ("malformed", lambda: spoiled(saved(painting(), "PNG"))),
    "png with an unknown critical chunk": (
        "malformed",
        lambda: png(10, 10, ROW * 10, chunk(b"EVIL", b"")),
    ),
    "png without a header": ("malformed", lambda: b"\x89PNG\r\n\x1a\n" + chunk(b"IEND", b"")),
    "jpeg cut": ("truncated", lambda: cut("JPEG", 0.5)),
    "jpeg cut in its header": ("truncated", lambda: cut("JPEG", 0.02)),
    "jpeg progressive, cut": ("truncated", lambda: cut("JPEG", 0.9, progressive=True)),
    "jpeg without pixels": ("dimensions", lambda: b"\xff\xd8\xff\xd9"),
    "webp cut": ("truncated", lambda: cut("WEBP", 0.5)),
    "webp header alone": ("truncated", lambda: b"RIFF\x00\x01\x00\x00WEBP"),
    "webp of nothing": ("malformed", lambda: b"RIFF\x04\x00\x00\x00WEBP"),
    "webp of junk": ("undecodable", spoiled_webp),
    "webp whose canvas lies": ("malformed", canvas_that_lies),
    # Other files, whatever name or type they came under.
    "zip": ("format", lambda: zipped("index.html")),
    "svg in gzip": ("format", lambda: gzip.compress(SVG)),
    "a program": ("format", lambda: b"\x7fELF\x02\x01\x01" + bytes(64)),
    "postscript": ("format", lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n(file) run"),
    "icon": ("format", lambda: saved(painting(size=(32, 32)), "ICO")),
    "jpeg 2000": ("format", lambda: b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(64)),
    "heic": ("format", lambda: b"\0\0\0\x18ftypheic" + bytes(64)),
    "photoshop": ("format", lambda: b"8BPS\0\1" + bytes(64)),
    "sound": ("format", lambda: b"RIFF\x24\0\0\0WAVEfmt " + bytes(64)),
    "entity bomb": ("format", lambda: b"<!DOCTYPE x [<!ENTITY a 'a'>]><svg>&a;</svg>"),
    "picture behind a space": ("format", lambda: b" " + saved(painting(), "PNG")),
    "page before a picture": ("format", lambda: b"<script>x</script>" + saved(painting(), "JPEG")),
    "picture of another byte order": ("format", lambda: saved(painting(), "WEBP")[::-1]),
    # Polyglots that begin as something else, or as a picture that is none.
    "pdf that holds a jpeg": ("format", lambda: b"%PDF-1.7\n" + saved(painting(), "JPEG")),
    "gif that is a zip": ("format", lambda: saved(painting("P"), "GIF") + zipped("x.class")),
    "script that begins as a png": ("malformed", lambda: PNG + chunk(b"tEXt", b"<?php x();?>")),
    "page that begins as a jpeg": ("truncated", lambda: b"\xff\xd8\xff/*<script>x()</script>*/"),
    "page that begins as a webp": ("truncated", lambda: b"RIFF=1/*WEBPVP8 */<script>"),
    # Sizes that nobody can mean.
    "png of 2147483647 x 2147483647": ("dimensions", lambda: png(2**31 - 1, 2**31 - 1)),
    "png of 4294967295 x 1": ("dimensions", lambda: png(2**32 - 1, 1)),
    "png a pixel too large": ("dimensions", lambda: png(6_325, 6_325, bytes(9))),
    "jpeg of 65535 x 65535": ("dimensions", lambda: jpeg_that_claims(65_535, 65_535)),
    "webp canvas of 16777216": ("malformed", lambda: webp_canvas(1 << 24)),
    # What unfolds: the header is sound, and the pixels never come.
    "png of 40 megapixels that breaks off": ("undecodable", lambda: breaks_off(8_000, 5_000)),
    "png with alpha of 40 megapixels that breaks off": (
        "undecodable",
        lambda: breaks_off(8_000, 5_000, alpha=True),
    ),
    "webp of 40 megapixels of junk": ("undecodable", lambda: webp_that_claims(8_000, 5_000)),
    "png whose chunk has 4 GB": ("truncated", lambda: png(9, 9)[:33] + b"\xff" * 4 + b"IDATx"),
    "png whose header says 99 bits": ("undecodable", lambda: odd_png(depth=99)),
    "png whose header says colour 5": ("undecodable", lambda: odd_png(colour=5)),
    "png with a spoiled header": ("malformed", lambda: spoiled(png(9, 9), 0.3)),
    "png with its header twice": ("malformed", twice_headed),
    "jpeg within a jpeg": ("truncated", nested_jpeg),
    "jpeg with two frames": ("malformed", two_frames),
    "jpeg with a segment of no length": ("malformed", lambda: b"\xff\xd8\xff\xe1\0\0\xff\xd9"),
    "jpeg with a segment that never ends": ("truncated", lambda: b"\xff\xd8\xff\xe1\xff\xffxx"),
    "webp with two pictures": ("malformed", two_webps),
    "webp that claims 4 GB": ("truncated", lambda: b"RIFF\xff\xff\xff\xffWEBPVP8 " + bytes(20)),
    "webp of one animated frame": ("animated", one_frame),
}

# The picture is sound, and luggage comes with it. `LUGGAGE` is in all of them.
LUGGAGE = b"<script>alert('luggage')</script>"
DEFUSED: dict[str, Callable[[], bytes]] = {
    "png and a zip": lambda: saved(painting(), "PNG") + zipped("x", LUGGAGE),
    "png and a page": lambda: saved(painting(), "PNG") + LUGGAGE,
    "png with a script in its text": lambda: with_chunk(b"tEXt", b"Comment\0" + LUGGAGE),
    "png with a script in a private chunk": lambda: with_chunk(b"prVt", LUGGAGE),
    "jpeg and a pdf": lambda: saved(painting(), "JPEG") + b"%PDF-1.7\n" + LUGGAGE,
    "jpeg with a script in its comment": lambda: saved(painting(), "JPEG", comment=LUGGAGE),
    "jpeg with a script before its frame": lambda: jpeg_with(0xEC, LUGGAGE),
    "jpeg with a script in its JFIF": lambda: jpeg_with(0xE0, b"JFIF\0" + bytes(9) + LUGGAGE),
    "webp and a zip": lambda: saved(painting(), "WEBP") + zipped("x", LUGGAGE),
    "webp with a script for its XMP": lambda: saved(painting(), "WEBP", xmp=LUGGAGE),
    "webp with a script in its EXIF": lambda: saved(painting(), "WEBP", exif=b"Exif\0\0" + LUGGAGE),
}
