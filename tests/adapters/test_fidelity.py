"""How alike two pictures are: the same ones, changed ones, and others."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable, Iterator

import pytest
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageOps

from adapters.errors import BadPicture
from adapters.local.processes import InlineProcesses, WorkerProcesses
from adapters.pictures.worker import PillowPictures
from adapters.ports import Pictures
from schemas.fidelity import Fidelity, Verdict

SIZE = (512, 288)


@pytest.fixture(params=["inline", "workers"], scope="module")
def pictures(request: pytest.FixtureRequest) -> Iterator[Pictures]:
    processes = InlineProcesses() if request.param == "inline" else WorkerProcesses(1)
    yield PillowPictures(processes)
    asyncio.run(processes.close())


def landscape(size: tuple[int, int] = SIZE) -> Image.Image:
    """A sun over uneven hills, drawn at any size."""
    width, height = size
    image = Image.linear_gradient("L").rotate(180).resize(size).convert("RGB")
    draw = ImageDraw.Draw(image)
    for left, top, ink in ((0.1, 0.5, 90), (0.45, 0.62, 60), (-0.2, 0.72, 30)):
        box = (left * width, top * height, (left + 0.8) * width, (top + 0.9) * height)
        draw.ellipse(box, fill=(ink, ink + 20, ink))
    draw.ellipse((0.7 * width, 0.1 * height, 0.8 * width, 0.28 * height), fill=(250, 240, 200))
    return image


def saved(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


DRAFT = saved(landscape())


async def test_a_picture_is_wholly_like_itself(pictures: Pictures) -> None:
    assert await pictures.compare(DRAFT, DRAFT) == Fidelity(
        ssim=1.0, hash_distance=0, verdict=Verdict.SAME_COMPOSITION
    )


ALIKE: dict[str, Callable[[], bytes]] = {
    "drawn larger": lambda: saved(landscape((1344, 768))),
    "a few pixels off the ratio": lambda: saved(landscape((1344, 752))),
    "jpeg": lambda: saved(landscape((1344, 768)), "JPEG", quality=60),
    "webp with alpha": lambda: saved(landscape().convert("RGBA"), "WEBP"),
    "in grey": lambda: saved(landscape().convert("L")),
    "smoothed": lambda: saved(landscape().filter(ImageFilter.GaussianBlur(3))),
    "darker": lambda: saved(ImageEnhance.Brightness(landscape()).enhance(0.85)),
}


@pytest.mark.parametrize("name", ALIKE)
async def test_another_rendering_of_the_draft_is_the_same_composition(
    pictures: Pictures, name: str
) -> None:
    found = await pictures.compare(DRAFT, ALIKE[name]())
    assert found.verdict is Verdict.SAME_COMPOSITION
    assert found.hash_distance <= 4
    assert found.ssim > 0.8


OTHER: dict[str, Callable[[], bytes]] = {
    "mirrored": lambda: saved(ImageOps.mirror(landscape())),
    "upside down": lambda: saved(ImageOps.flip(landscape())),
    "its lower corner": lambda: saved(landscape((1344, 768)).crop((0, 384, 672, 768))),
    "negative": lambda: saved(ImageOps.invert(landscape())),
    "of one colour": lambda: saved(Image.new("RGB", SIZE, "grey")),
    "noise": lambda: saved(Image.effect_noise(SIZE, 90)),
}


@pytest.mark.parametrize("name", OTHER)
async def test_a_final_that_became_another_picture_is_seen(pictures: Pictures, name: str) -> None:
    found = await pictures.compare(DRAFT, OTHER[name]())
    assert found.verdict is Verdict.DIFFERS
    assert found.hash_distance > 20


async def test_noise_in_the_light_of_the_draft_is_not_its_composition(pictures: Pictures) -> None:
    """Where the coarse light agrees the hash does too; SSIM sees that nothing else does."""
    noisy = Image.blend(landscape(), Image.effect_noise(SIZE, 250).convert("RGB"), 0.5)
    found = await pictures.compare(DRAFT, saved(noisy))
    assert found.hash_distance <= 10
    assert found.verdict is Verdict.DIFFERS


async def test_plain_colours_are_alike_however_they_are_rounded(pictures: Pictures) -> None:
    one, other = (saved(Image.new("RGB", SIZE, (shade,) * 3)) for shade in (127, 128))
    found = await pictures.compare(one, other)
    assert (found.hash_distance, found.verdict) == (0, Verdict.SAME_COMPOSITION)


@pytest.mark.parametrize("size", [(1, 1), (2000, 1), (1, 2000), (3000, 40)])
async def test_pictures_of_any_size_can_be_compared(
    pictures: Pictures, size: tuple[int, int]
) -> None:
    picture = saved(landscape().resize(size))
    assert (await pictures.compare(picture, picture)).ssim == 1.0
    assert await pictures.compare(picture, DRAFT) is not None
    assert await pictures.compare(DRAFT, picture) is not None


async def test_what_is_transparent_is_compared_as_it_looks_on_a_page(pictures: Pictures) -> None:
    hidden = landscape().convert("RGBA")
    hidden.putalpha(0)
    white = saved(Image.new("RGB", SIZE, "white"))
    assert (await pictures.compare(white, saved(hidden))).ssim == 1.0


@pytest.mark.parametrize("bad", [b"", b"<svg/>", DRAFT[:2000]])
async def test_what_is_no_picture_is_refused(pictures: Pictures, bad: bytes) -> None:
    for pair in ((bad, DRAFT), (DRAFT, bad)):
        with pytest.raises(BadPicture):
            await pictures.compare(*pair)


@pytest.mark.parametrize(
    ("ssim", "distance", "verdict"),
    [
        (1.0, 10, Verdict.SAME_COMPOSITION),
        (1.0, 11, Verdict.DIFFERS),
        (0.35, 0, Verdict.SAME_COMPOSITION),
        (0.34, 0, Verdict.DIFFERS),
    ],
)
def test_both_figures_must_allow_the_verdict(ssim: float, distance: int, verdict: Verdict) -> None:
    assert Fidelity.judged(ssim, distance).verdict is verdict
