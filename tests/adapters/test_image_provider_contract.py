"""Whoever paints keeps the same promises, and never says "not charged" of a call that was."""

import io
import random
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from PIL import Image

from adapters.errors import OutcomeUnknown, ProviderBusy, ProviderError, ProviderRefused
from adapters.local.clock import SystemClock
from adapters.local.processes import InlineProcesses
from adapters.ports import MADE_OF_SOURCE, ImageProvider, PaintRequest
from adapters.providers.sketch.provider import SketchProvider, SketchSettings
from adapters.providers.stability.provider import StabilityProvider
from adapters.providers.stability.settings import StabilitySettings
from schemas.requests import AspectRatio, Quality, Strategy
from tests.fakes.provider import ScriptedProvider, raises
from tests.fakes.stability import KEY, Misbehaviour, StabilityDouble, painted

SOURCE = painted((512, 512), (9, 9, 9))


def request(**changes: Any) -> PaintRequest:
    asked = PaintRequest(
        job_id=UUID(int=random.Random(7).getrandbits(128)), attempt=1, prompt="a lighthouse",
        negative_prompt="people", quality="draft", style=None, aspect_ratio="1:1", seed=7,
    )  # fmt: skip
    return replace(asked, **changes)


@dataclass
class Subject:
    provider: ImageProvider
    # How many calls the other side would charge; None where nobody counts (it is free).
    paid: Callable[[], int] | None
    # Let the next call fail: nothing was taken, it will never be painted, its answer is lost.
    be_busy: Callable[[], None]
    refuse: Callable[[], None]
    lose: Callable[[], None]


@asynccontextmanager
async def sketch() -> AsyncIterator[Subject]:
    settings = SketchSettings()
    provider = SketchProvider(InlineProcesses(), SystemClock(), settings)

    def told(share: str) -> Callable[[], None]:
        return lambda: setattr(settings, share, 1.0)

    yield Subject(provider, None, told("busy_share"), told("refuse_share"), told("lost_share"))


@asynccontextmanager
async def scripted() -> AsyncIterator[Subject]:
    provider = ScriptedProvider()
    failures = 0

    def told(error: Exception, *, charged: bool = False) -> Callable[[], None]:
        def tell() -> None:
            nonlocal failures
            failures += not charged
            provider.script.append(raises(error))

        return tell

    yield Subject(
        provider,
        lambda: provider.calls.total() - failures,
        told(ProviderBusy("busy", timedelta(seconds=1))),
        told(ProviderRefused("moderated", "unsafe")),
        told(OutcomeUnknown("lost"), charged=True),
    )


@asynccontextmanager
async def stability(profile: str) -> AsyncIterator[Subject]:
    async with AsyncExitStack() as stack:
        double = stack.enter_context(StabilityDouble())
        settings = StabilitySettings(api_key=KEY, base_url=double.url, profile=profile)
        provider = await stack.enter_async_context(
            StabilityProvider(settings, InlineProcesses(), timedelta(seconds=20))
        )

        def told(what: Misbehaviour) -> Callable[[], None]:
            return lambda: double.script.append(what)

        yield Subject(
            provider,
            lambda: len(double.paid),
            told(Misbehaviour.RATE_LIMITED),
            told(Misbehaviour.MODERATED),
            told(Misbehaviour.RESET_AFTER),
        )


SUBJECTS: dict[str, Callable[[], Any]] = {
    "sketch": sketch,
    "scripted": scripted,
    "stability": lambda: stability("v2beta"),
    "stability-v1": lambda: stability("legacy-v1"),
}


@pytest.fixture(params=SUBJECTS)
async def subject(request: pytest.FixtureRequest) -> AsyncIterator[Subject]:
    async with SUBJECTS[request.param]() as found:
        yield found


@pytest.fixture(params=[name for name in SUBJECTS if name != "scripted"])
async def painter(request: pytest.FixtureRequest) -> AsyncIterator[Subject]:
    """Whoever paints real pictures."""
    async with SUBJECTS[request.param]() as found:
        yield found


@pytest.mark.parametrize("quality", Quality)
async def test_it_paints_every_quality_once_at_the_price_and_by_the_model_that_it_named(
    subject: Subject, quality: Quality
) -> None:
    painting = await subject.provider.generate(request(quality=quality))
    (picture,) = painting.pictures
    assert picture.data
    assert picture.content_type == "image/png"
    assert picture.seed == 7
    assert painting.model == subject.provider.resolve_model(quality)
    assert painting.cost == subject.provider.price(quality)
    quoted = subject.provider.quote(quality)
    assert quoted is not None
    assert quoted.usd == painting.cost
    assert painting.cost
    if subject.paid is not None:
        assert subject.paid() == 1


async def test_it_makes_finals_by_each_of_its_strategies(subject: Subject) -> None:
    assert Strategy.REGENERATE in subject.provider.strategies
    for strategy in subject.provider.strategies:
        asked = request(job_id=uuid4(), quality="standard", strategy=strategy, source=SOURCE)
        painting = await subject.provider.generate(asked)
        assert painting.pictures[0].data
        assert painting.model == subject.provider.resolve_model("standard", strategy)
        assert painting.cost == subject.provider.price("standard", strategy)


async def test_without_the_drafts_picture_nothing_is_made_of_it_and_nothing_charged(
    subject: Subject,
) -> None:
    for strategy in MADE_OF_SOURCE & set(subject.provider.strategies):
        with pytest.raises(ProviderRefused) as refused:
            await subject.provider.generate(request(strategy=strategy, source=None))
        assert refused.value.code == "invalid_request"
    if subject.paid is not None:
        assert subject.paid() == 0


async def test_every_aspect_ratio_has_its_shape_and_another_than_its_own_a_warning(
    painter: Subject,
) -> None:
    for ratio in AspectRatio:
        painting = await painter.provider.generate(request(aspect_ratio=ratio))
        image = Image.open(io.BytesIO(painting.pictures[0].data))
        across, down = ratio.sides
        assert image.width / image.height == pytest.approx(across / down, rel=0.05)
        own = ratio in painter.provider.aspect_ratios
        assert any("cropped" in warning for warning in painting.warnings) is not own


@pytest.mark.parametrize(
    ("trouble", "error"),
    [("be_busy", ProviderBusy), ("refuse", ProviderRefused), ("lose", OutcomeUnknown)],
)
async def test_what_it_raises_agrees_with_what_was_charged(
    subject: Subject, trouble: str, error: type[ProviderError]
) -> None:
    getattr(subject, trouble)()
    with pytest.raises(ProviderError) as raised:
        await subject.provider.generate(request())
    assert type(raised.value) is error
    if isinstance(raised.value, ProviderBusy):
        assert raised.value.retry_after > timedelta(0)
    if subject.paid is not None:
        assert subject.paid() == (1 if error is OutcomeUnknown else 0)
