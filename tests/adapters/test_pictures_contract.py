"""What taking pictures in promises. An adapter joins by a maker in `PICTURES`."""

import asyncio
import io
import struct
import zlib
from collections.abc import Callable, Iterator

import pytest
from PIL import Image, ImageChops, ImageCms, ImageDraw, ImageStat, PngImagePlugin

from adapters.errors import BadPicture, Unavailable
from adapters.local.processes import InlineProcesses, WorkerProcesses
from adapters.pictures.worker import PillowPictures
from adapters.ports import Pictures
from tests.adapters.work import die

SECRETS = (b"GPS-52.5200", b"a prompt that nobody shall read", b"trailing tracker")
GPS, PROMPT, TRAILER = SECRETS
SIZE = (200, 150)
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


@pytest.fixture(params=["inline", "workers"], scope="module")
def pictures(request: pytest.FixtureRequest) -> Iterator[Pictures]:
    processes = InlineProcesses() if request.param == "inline" else WorkerProcesses(1)
    yield PillowPictures(processes)
    asyncio.run(processes.close())


def painting(mode: str = "RGB", size: tuple[int, int] = SIZE) -> Image.Image:
    """A picture in which every part looks different from every other."""
    across, down = Image.linear_gradient("L").rotate(90), Image.linear_gradient("L")
    bands = (across, down, Image.radial_gradient("L"))
    image = Image.merge("RGB", bands).resize(size)
    ImageDraw.Draw(image).ellipse((5, 5, 5 + size[0] // 3, 5 + size[1] // 4), fill=(250, 20, 120))
    if mode in {"RGBA", "LA"}:
        image.putalpha(down.resize(size))
    return image.convert(mode)


def exif(orientation: int = 1) -> Image.Exif:
    tags = Image.Exif()
    tags[0x0112] = orientation
    tags[0x010E] = PROMPT.decode()
    tags.get_ifd(0x8825)[0x001D] = GPS.decode()
    return tags


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png_with_everything(mode: str = "RGB") -> bytes:
    text = PngImagePlugin.PngInfo()
    text.add_text("parameters", PROMPT.decode())
    text.add_itxt("XML:com.adobe.xmp", PROMPT.decode(), zip=False)
    text.add(b"prVt", PROMPT)
    data = saved(painting(mode), "PNG", pnginfo=text, exif=exif(), icc_profile=SRGB, dpi=(72, 72))
    return data + TRAILER


def jpeg_with_everything(mode: str = "RGB", **options: object) -> bytes:
    data = saved(
        painting(mode),
        "JPEG",
        exif=exif(),
        xmp=PROMPT,
        comment=PROMPT,
        icc_profile=None if mode == "CMYK" else SRGB,
        **options,
    )
    thumbnail = b"JFIF\0\1\2\0\0\1\0\1\2\1" + GPS[:6]
    photoshop = b"Photoshop 3.0\0" + PROMPT
    segments = b"".join(
        struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body
        for marker, body in ((0xE0, thumbnail), (0xED, photoshop), (0xE2, b"FPXR\0" + GPS))
    )
    return data[:2] + segments + data[2:] + TRAILER


def webp_with_everything(mode: str = "RGB", **options: object) -> bytes:
    image = painting(mode)
    return saved(image, "WEBP", exif=exif(), xmp=PROMPT, icc_profile=SRGB, **options) + TRAILER


DELIVERED: dict[str, Callable[[], bytes]] = {
    "png": png_with_everything,
    "png with alpha": lambda: png_with_everything("RGBA"),
    "png with palette": lambda: png_with_everything("P"),
    "png grey": lambda: png_with_everything("L"),
    "jpeg": jpeg_with_everything,
    "jpeg progressive": lambda: jpeg_with_everything(progressive=True),
    "jpeg with restarts": lambda: jpeg_with_everything(restart_marker_rows=1),
    "jpeg grey": lambda: jpeg_with_everything("L"),
    "jpeg cmyk": lambda: jpeg_with_everything("CMYK"),
    "webp": webp_with_everything,
    "webp with alpha": lambda: webp_with_everything("RGBA"),
    "webp lossless": lambda: webp_with_everything("RGBA", lossless=True),
}


@pytest.fixture(params=DELIVERED)
def delivered(request: pytest.FixtureRequest) -> bytes:
    return DELIVERED[request.param]()


async def test_a_picture_is_measured_and_named_by_its_bytes(
    pictures: Pictures, delivered: bytes
) -> None:
    taken = await pictures.take_in(delivered)
    image = opened(delivered)
    assert (taken.width, taken.height) == image.size
    assert taken.content_type == Image.MIME[str(image.format)]


async def test_metadata_and_trailing_bytes_are_gone_and_every_pixel_is_as_it_was(
    pictures: Pictures, delivered: bytes
) -> None:
    assert TRAILER in delivered
    assert PROMPT in delivered
    taken = await pictures.take_in(delivered)
    assert not any(secret in taken.data for secret in SECRETS)
    before, after = opened(delivered), opened(taken.data)
    assert after.mode == before.mode
    assert after.convert("RGBA").tobytes() == before.convert("RGBA").tobytes()
    assert after.info.get("icc_profile") == before.info.get("icc_profile")
    assert set(after.info) <= {
        *("icc_profile", "dpi", "transparency", "srgb", "gamma"),
        *("jfif", "jfif_version", "jfif_unit", "jfif_density"),
        *("adobe", "adobe_transform", "progressive", "progression"),
        *("loop", "background", "timestamp", "duration"),
    }
    assert dict(after.getexif()) == {}


async def test_what_was_taken_in_is_taken_in_again_unchanged(
    pictures: Pictures, delivered: bytes
) -> None:
    taken = await pictures.take_in(delivered)
    assert await pictures.take_in(taken.data) == taken
    assert len(taken.data) < len(delivered)


async def test_the_same_bytes_give_the_same_answer(pictures: Pictures) -> None:
    delivered = png_with_everything("RGBA")
    assert await pictures.take_in(delivered) == await pictures.take_in(delivered)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((1344, 768), [(320, 183), (640, 366), (1280, 731)]),
        ((1280, 1280), [(320, 320), (640, 640), (1280, 1280)]),
        ((512, 288), [(128, 72), (256, 144), (512, 288)]),
        ((768, 1344), [(192, 336), (384, 672), (768, 1344)]),
        ((5, 1000), [(1, 200), (2, 400), (5, 1000)]),
        ((1000, 1), [(250, 1), (500, 1), (1000, 1)]),
        ((1, 1), [(1, 1)]),
    ],
)
async def test_three_variants_are_made_narrowest_first_and_none_is_enlarged(
    pictures: Pictures, size: tuple[int, int], expected: list[tuple[int, int]]
) -> None:
    taken = await pictures.take_in(saved(painting(size=size), "PNG"))
    assert [(one.width, one.height) for one in taken.variants] == expected
    for one in taken.variants:
        assert one.name == f"w{one.width}"
        assert one.content_type == "image/webp"
        image = opened(one.data)
        assert (image.format, image.size) == ("WEBP", (one.width, one.height))


async def test_variants_show_the_same_picture(pictures: Pictures, delivered: bytes) -> None:
    taken = await pictures.take_in(delivered)
    before = on_black(opened(delivered)).resize((40, 30), Image.Resampling.BOX)
    for one in taken.variants:
        after = on_black(opened(one.data)).resize((40, 30), Image.Resampling.BOX)
        assert mean_difference(before, after) < 8


async def test_grey_of_sixteen_bits_keeps_its_brightness_in_the_variants(
    pictures: Pictures,
) -> None:
    deep = Image.new("I;16", (256, 8))
    deep.putdata([column * 256 for _ in range(8) for column in range(256)])
    taken = await pictures.take_in(saved(deep, "PNG"))
    ramp = opened(taken.variants[-1].data).convert("L")
    assert [ramp.getpixel((column, 4)) for column in (20, 128, 235)] == pytest.approx(
        [20, 128, 235], abs=6
    )


@pytest.mark.parametrize("name", ["png with alpha", "webp with alpha", "webp lossless"])
async def test_variants_keep_transparency(pictures: Pictures, name: str) -> None:
    taken = await pictures.take_in(DELIVERED[name]())
    for one in taken.variants:
        alpha = opened(one.data).getchannel("A").tobytes()
        assert min(alpha) < 20
        assert max(alpha) > 235


async def test_a_transparent_colour_of_a_palette_stays_transparent(pictures: Pictures) -> None:
    image = Image.new("P", (8, 8), 1)
    image.putpalette([0, 0, 0, 200, 30, 30])
    image.putpixel((0, 0), 0)
    taken = await pictures.take_in(saved(image, "PNG", transparency=0))
    for data in (taken.data, taken.variants[-1].data):
        alpha = opened(data).convert("RGBA").getchannel("A")
        assert [alpha.getpixel(spot) for spot in ((0, 0), (7, 7))] == [0, 255]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(
    ("kind", "options"),
    [("JPEG", {"quality": 98, "subsampling": 0}), ("PNG", {}), ("WEBP", {"lossless": True})],
)
async def test_a_picture_that_lies_on_its_side_is_put_upright(
    pictures: Pictures, kind: str, options: dict[str, object], orientation: int
) -> None:
    upright = painting()
    stored = upright
    for back in LAID[orientation]:
        stored = stored.transpose(back)
    delivered = saved(stored, kind, exif=exif(orientation), icc_profile=SRGB, **options)
    taken = await pictures.take_in(delivered)
    after = opened(taken.data)
    assert (taken.width, taken.height) == after.size == SIZE
    assert mean_difference(upright, after) < (1.5 if kind == "JPEG" else 0.001)
    assert after.getexif().get(0x0112, 1) == 1
    assert after.info["icc_profile"] == SRGB
    assert (taken.variants[-1].width, taken.variants[-1].height) == SIZE
    assert mean_difference(upright, opened(taken.variants[-1].data)) < 5


# What lays an upright picture so that the orientation puts it right again.
LAID = {
    1: (),
    2: (Image.Transpose.FLIP_LEFT_RIGHT,),
    3: (Image.Transpose.ROTATE_180,),
    4: (Image.Transpose.FLIP_TOP_BOTTOM,),
    5: (Image.Transpose.ROTATE_270, Image.Transpose.FLIP_LEFT_RIGHT),
    6: (Image.Transpose.ROTATE_90,),
    7: (Image.Transpose.ROTATE_90, Image.Transpose.FLIP_LEFT_RIGHT),
    8: (Image.Transpose.ROTATE_270,),
}


async def test_of_a_file_with_several_pictures_the_first_is_taken(pictures: Pictures) -> None:
    first, second = painting(), Image.new("RGB", SIZE, "red")
    album = saved(first, "MPO", save_all=True, append_images=[second])
    assert opened(album).format == "MPO"
    taken = await pictures.take_in(album)
    assert opened(taken.data).format == "JPEG"
    assert opened(taken.data).tobytes() == opened(album).tobytes()


async def test_metadata_that_nobody_can_read_is_dropped_all_the_same(pictures: Pictures) -> None:
    clean = saved(painting(), "JPEG")
    body = b"Exif\0\0MM\0*\xff\xff\xff\xff" + PROMPT
    broken = clean[:2] + struct.pack(">BBH", 0xFF, 0xE1, len(body) + 2) + body + clean[2:]
    assert (await pictures.take_in(broken)).data == clean


async def test_a_colour_profile_that_is_no_profile_but_luggage_is_dropped(
    pictures: Pictures,
) -> None:
    plain = saved(painting(), "PNG")
    bomb = b"icc\0\0" + zlib.compress(bytes(20 << 20))
    half = b"icc\0\0" + zlib.compress(SRGB)[:-20]
    header = plain[:33]
    for body in (bomb, half, b"no zlib"):
        assert (await pictures.take_in(header + chunk(b"iCCP", body) + plain[33:])).data == plain
    luggage = header + chunk(b"tRNS", bytes(6) + PROMPT * 20) + plain[33:]
    assert (await pictures.take_in(luggage)).data == plain
    jpeg = saved(painting(), "JPEG", icc_profile=bytes(2 << 20))
    assert (await pictures.take_in(jpeg)).data == saved(painting(), "JPEG")
    webp = saved(painting(), "WEBP", icc_profile=bytes(2 << 20))
    assert "icc_profile" not in opened((await pictures.take_in(webp)).data).info


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


def with_scans(number: int) -> bytes:
    data = saved(painting(), "JPEG", progressive=True)
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


ROW = b"\0" + bytes(30)
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
}


@pytest.mark.parametrize("name", REFUSED)
async def test_what_is_no_sound_picture_is_refused_with_its_reason(
    pictures: Pictures, name: str
) -> None:
    reason, make = REFUSED[name]
    with pytest.raises(BadPicture) as caught:
        await pictures.take_in(make())
    assert caught.value.reason == reason
    assert str(caught.value)


async def test_bytes_cut_anywhere_are_refused_or_whole(pictures: Pictures) -> None:
    """Whatever the cut: never another exception, and never a picture that misses pixels."""
    for kind in ("PNG", "JPEG", "WEBP"):
        data = saved(painting(size=(40, 30)), kind)
        whole = await pictures.take_in(data)
        for end in range(0, len(data), max(1, len(data) // 60)):
            with pytest.raises(BadPicture):
                await pictures.take_in(data[:end])
        assert await pictures.take_in(data + b"\0") == whole


async def test_any_single_spoiled_byte_is_refused_or_survived(pictures: Pictures) -> None:
    for kind in ("PNG", "JPEG", "WEBP"):
        data = saved(painting(size=(40, 30)), kind, exif=exif(), icc_profile=SRGB)
        for step in range(60):
            try:
                taken = await pictures.take_in(spoiled(data, step / 60))
            except BadPicture:
                continue
            assert opened(taken.data).size == (taken.width, taken.height)


async def test_a_picture_whose_worker_dies_may_be_tried_again() -> None:
    processes = WorkerProcesses(1)
    pictures = PillowPictures(processes)
    data = saved(painting(), "PNG")
    calls = (processes.run(die), pictures.take_in(data))
    answers = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(answer) for answer in answers] == [Unavailable, Unavailable]
    assert (await pictures.take_in(data)).data == data
    await processes.close()


def opened(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


def on_black(image: Image.Image) -> Image.Image:
    """What is seen: colours below full transparency mean nothing."""
    return Image.alpha_composite(Image.new("RGBA", image.size, "black"), image.convert("RGBA"))


def mean_difference(one: Image.Image, other: Image.Image) -> float:
    difference = ImageChops.difference(one.convert("RGB"), other.convert("RGB"))
    return max(ImageStat.Stat(difference).mean)
