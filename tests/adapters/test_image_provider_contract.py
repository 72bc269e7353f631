"""Whoever paints keeps the same promises, and never says "not charged" of a call that was."""

import io
import random
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from PIL import Image

from adapters.errors import OutcomeUnknown, ProviderBusy, ProviderError, ProviderRefused
from adapters.local.clock import SystemClock
from adapters.local.processes import InlineProcesses
from adapters.ports import MADE_OF_SOURCE, Accepted, ImageProvider, Painting, PaintRequest
from adapters.providers.gemini.provider import GeminiProvider
from adapters.providers.gemini.settings import GeminiSettings
from adapters.providers.openai.provider import OpenAIProvider
from adapters.providers.openai.settings import OpenAISettings
from adapters.providers.registry import PROVIDERS
from adapters.providers.sketch.provider import SketchProvider, SketchSettings
from adapters.providers.stability.provider import StabilityProvider
from adapters.providers.stability.settings import StabilitySettings
from schemas.operations import Operands, Operation
from schemas.requests import AspectRatio, Quality, Strategy
from tests.fakes import painters
from tests.fakes.painters import GeminiDouble, OpenAIDouble, Trouble
from tests.fakes.provider import ScriptedProvider, raises
from tests.fakes.stability import KEY, Misbehaviour, StabilityDouble, painted

SOURCE = painted((512, 512), (9, 9, 9))
# Of a service: what may become of a call, and what is to be told of it.
FAULTS: dict[str, type[ProviderError]] = {
    "429": ProviderBusy,
    "500": OutcomeUnknown,
    "timeout": OutcomeUnknown,
    "malformed": OutcomeUnknown,
    "empty": OutcomeUnknown,
    "moderated": ProviderRefused,
    "wrong type": OutcomeUnknown,
    "giant": OutcomeUnknown,
}


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
    # Let the next call meet with one of FAULTS; a painter on this machine has no such service.
    meet: Mapping[str, Callable[[], None]] = field(default_factory=dict)


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
async def stability(profile: str, seconds: float = 20) -> AsyncIterator[Subject]:
    async with AsyncExitStack() as stack:
        double = stack.enter_context(StabilityDouble())
        settings = StabilitySettings(
            api_key=KEY, base_url=double.url, profile=profile, max_reply_bytes=2**20
        )
        provider = await stack.enter_async_context(
            StabilityProvider(settings, InlineProcesses(), timedelta(seconds=seconds))
        )

        def told(what: Misbehaviour) -> Callable[[], None]:
            return lambda: double.script.append(what)

        yield Subject(
            provider,
            lambda: len(double.paid),
            told(Misbehaviour.RATE_LIMITED),
            told(Misbehaviour.MODERATED),
            told(Misbehaviour.RESET_AFTER),
            {
                "429": told(Misbehaviour.RATE_LIMITED),
                "500": told(Misbehaviour.BROKEN),
                "timeout": told(Misbehaviour.SLOW),
                "malformed": told(Misbehaviour.GARBAGE),
                "empty": told(Misbehaviour.EMPTY),
                "moderated": told(Misbehaviour.MODERATED),
                "wrong type": told(Misbehaviour.WRONG_TYPE),
                "giant": told(Misbehaviour.GIANT),
            },
        )


@asynccontextmanager
async def painter_of(
    double: painters.PainterDouble, seconds: float, **settings: Any
) -> AsyncIterator[Subject]:
    """Gemini or OpenAI against its double; *settings* change OpenAI's."""
    async with AsyncExitStack() as stack:
        stack.enter_context(double)
        within, cap = timedelta(seconds=seconds), 2**20
        provider: GeminiProvider | OpenAIProvider
        if isinstance(double, OpenAIDouble):
            chosen = OpenAISettings(
                api_key=double.key, base_url=double.base_url, max_reply_bytes=cap, **settings
            )
            provider = OpenAIProvider(chosen, InlineProcesses(), within)
        else:
            of_google = GeminiSettings(
                api_key=painters.KEY, base_url=double.url, max_reply_bytes=cap, **settings
            )
            provider = GeminiProvider(of_google, InlineProcesses(), within)
        await stack.enter_async_context(provider)

        def told(what: Trouble) -> Callable[[], None]:
            return lambda: double.script.append(what)

        yield Subject(
            provider,
            lambda: len(double.paid),
            told(Trouble.RATE_LIMITED),
            told(Trouble.MODERATED),
            told(Trouble.RESET_AFTER),
            {
                "429": told(Trouble.RATE_LIMITED),
                "500": told(Trouble.BROKEN),
                "timeout": told(Trouble.SLOW),
                "malformed": told(Trouble.MALFORMED),
                "empty": told(Trouble.EMPTY),
                "moderated": told(Trouble.MODERATED),
                "wrong type": told(Trouble.WRONG_TYPE),
                "giant": told(Trouble.GIANT),
            },
        )


# A server of one's own: no key, prices as its owner says, sizes and fields as it takes them.
LOCAL: dict[str, Any] = {
    "usd": dict.fromkeys(Quality, "0.001"),
    "fields": ["response_format", "seed", "negative_prompt"],
    "sizes": {"1:1": "512x512", "16:9": "768x432"},
    "models": dict.fromkeys(Quality, "dreamshaper"),
    "extra": {"step": 20},
}
OF_OPENAI: dict[str, Any] = {"usd": dict.fromkeys(Quality, "0.04")}

SUBJECTS: dict[str, Callable[..., Any]] = {
    "sketch": sketch,
    "scripted": scripted,
    "stability": lambda seconds=20: stability("v2beta", seconds),
    "stability-v1": lambda seconds=20: stability("legacy-v1", seconds),
    "gemini": lambda seconds=20: painter_of(GeminiDouble(), seconds),
    "openai": lambda seconds=20: painter_of(OpenAIDouble(), seconds, **OF_OPENAI),
    "openai-own-server": lambda seconds=20: painter_of(OpenAIDouble(key=None), seconds, **LOCAL),
}
# Who asks a service.
SERVED = [name for name in SUBJECTS if name not in {"sketch", "scripted"}]


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


async def test_it_does_each_of_its_operations_at_the_price_and_by_the_model_that_it_named(
    subject: Subject,
) -> None:
    for operation in subject.provider.operations:
        left = 32 if operation is Operation.OUTPAINT else 0
        operands = Operands(width=512 + left, height=512, left=left, search="a boat")
        asked = request(
            job_id=uuid4(), quality="standard", operation=operation, source=SOURCE, mask=SOURCE,
            operands=operands,
        )  # fmt: skip
        painting = await subject.provider.generate(asked)
        if isinstance(painting, Accepted):
            painting = await subject.provider.poll(painting.provider_ref, asked)
        assert isinstance(painting, Painting)
        assert painting.pictures[0].data
        assert painting.model == subject.provider.resolve_model("standard", operation)
        assert painting.cost == subject.provider.price("standard", operation)
        quoted = subject.provider.quote("standard", operation)
        assert quoted is not None
        assert quoted.usd == painting.cost
        assert painting.cost


async def test_an_operation_that_it_does_not_do_or_without_a_picture_is_refused_unpaid(
    painter: Subject,
) -> None:
    for operation in Operation:
        source = None if operation in painter.provider.operations else SOURCE
        with pytest.raises(ProviderRefused) as refused:
            await painter.provider.generate(
                request(quality="standard", operation=operation, source=source, mask=SOURCE)
            )
        assert refused.value.code == "invalid_request"
    if painter.paid is not None:
        assert painter.paid() == 0


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


def test_every_provider_that_charges_keeps_this_contract() -> None:
    assert {name.partition("-")[0] for name in SERVED} == set(PROVIDERS)


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name", SERVED)
async def test_a_fault_of_the_service_is_told_as_what_it_means_and_never_asked_again(
    name: str, fault: str
) -> None:
    async with SUBJECTS[name](seconds=0.5 if fault == "timeout" else 20) as found:
        found.meet[fault]()
        with pytest.raises(ProviderError) as raised:
            await found.provider.generate(request())
        assert type(raised.value) is FAULTS[fault]
        # By its length, not by the time that it takes.
        assert ("cut off" in str(raised.value)) is (fault == "giant")
        assert found.paid() == (1 if FAULTS[fault] is OutcomeUnknown else 0)
        # The next one is painted, and nothing was asked in between.
        if fault != "timeout":
            await found.provider.generate(request(attempt=2))
            assert found.paid() == (2 if FAULTS[fault] is OutcomeUnknown else 1)
