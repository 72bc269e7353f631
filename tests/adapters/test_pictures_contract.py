"""What taking pictures in promises. An adapter joins by a maker in `PICTURES`."""

import asyncio
import struct
import zlib
from collections.abc import Iterator

import pytest
from PIL import Image, ImageChops, ImageStat

from adapters.errors import BadPicture, Unavailable
from adapters.local.processes import InlineProcesses, WorkerProcesses
from adapters.pictures.worker import PillowPictures
from adapters.ports import Pictures
from tests.adapters.work import die
from tests.hostile import REFUSED, chunk, spoiled
from tests.pictures import (
    DELIVERED,
    PROMPT,
    SECRETS,
    SIZE,
    SRGB,
    TRAILER,
    exif,
    opened,
    painting,
    saved,
)


@pytest.fixture(params=["inline", "workers"], scope="module")
def pictures(request: pytest.FixtureRequest) -> Iterator[Pictures]:
    processes = InlineProcesses() if request.param == "inline" else WorkerProcesses(1)
    yield PillowPictures(processes)
    asyncio.run(processes.close())


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
    delivered = DELIVERED["png with alpha"]()
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


def on_black(image: Image.Image) -> Image.Image:
    """What is seen: colours below full transparency mean nothing."""
    return Image.alpha_composite(Image.new("RGBA", image.size, "black"), image.convert("RGBA"))


def mean_difference(one: Image.Image, other: Image.Image) -> float:
    difference = ImageChops.difference(one.convert("RGB"), other.convert("RGB"))
    return max(ImageStat.Stat(difference).mean)
