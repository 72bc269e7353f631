"""The operation that the service runs by itself: started and paid once, polled until it is done."""

from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from decimal import Decimal

import pytest

from adapters.errors import (
    OutcomeUnknown,
    ProviderBusy,
    ProviderError,
    ProviderRefused,
    ProviderUnusable,
    ResultGone,
)
from adapters.local.processes import InlineProcesses
from adapters.ports import Accepted, Painting
from adapters.providers.stability.settings import StabilitySettings
from tests.adapters.test_image_provider_contract import request
from tests.fakes.stability import CREATIVE, KEY, Misbehaviour, StabilityDouble
from tests.fakes.upscaler import SOON, SOURCE, Upscaler

M = Misbehaviour


@pytest.fixture
def double() -> Iterator[StabilityDouble]:
    with StabilityDouble() as running:
        yield running


@pytest.fixture
async def upscaler(double: StabilityDouble) -> AsyncIterator[Upscaler]:
    settings = StabilitySettings(api_key=KEY, base_url=double.url, max_reply_bytes=2**20)
    async with Upscaler(settings, InlineProcesses(), timedelta(seconds=20)) as opened:
        yield opened


async def test_it_is_started_in_its_form_and_polled_until_it_is_done(
    double: StabilityDouble, upscaler: Upscaler
) -> None:
    double.polls_in_vain = 1
    asked = request(prompt="a lighthouse", seed=7)
    accepted = await upscaler.generate(asked)
    (call,) = double.paid
    assert (call.path, call.fields["prompt"], call.fields["seed"]) == (
        CREATIVE, "a lighthouse", "7",
    )  # fmt: skip
    assert call.fields["image"] == SOURCE
    assert accepted == Accepted(next(iter(double.started)), SOON)

    again = await upscaler.poll(accepted.provider_ref, asked)
    assert again == accepted
    painting = await upscaler.poll(accepted.provider_ref, asked)
    assert isinstance(painting, Painting)
    (picture,) = painting.pictures
    assert (picture.content_type, picture.seed) == ("image/png", 7)
    assert (painting.model, painting.cost) == ("upscale-creative", Decimal("0.6"))
    assert painting.cost == double.spent / 100
    assert len(double.paid) == 1


async def test_an_acceptance_without_an_id_is_a_lost_answer(
    double: StabilityDouble, upscaler: Upscaler
) -> None:
    double.tells_id = False
    with pytest.raises(OutcomeUnknown):
        await upscaler.generate(request())
    assert len(double.paid) == 1


@pytest.mark.parametrize("told", [M.RESET_AFTER, M.CUT_BODY, M.BROKEN])
async def test_a_lost_acceptance_is_unknown(
    double: StabilityDouble, upscaler: Upscaler, told: Misbehaviour
) -> None:
    double.script.append(told)
    with pytest.raises(OutcomeUnknown):
        await upscaler.generate(request())
    assert len(double.paid) == 1


EXPECTED: dict[Misbehaviour, type[ProviderError]] = {
    M.RATE_LIMITED: ProviderBusy,
    M.UNAUTHORIZED: ProviderUnusable,
    M.MODERATED: ProviderRefused,
    M.FILTERED: ProviderRefused,
    M.RETIRED: ResultGone,
    M.BROKEN: OutcomeUnknown,
    M.RESET_BEFORE: OutcomeUnknown,
    M.RESET_AFTER: OutcomeUnknown,
    M.CUT_BODY: OutcomeUnknown,
    M.WRONG_TYPE: OutcomeUnknown,
    M.GIANT: OutcomeUnknown,
    M.GARBAGE: OutcomeUnknown,
    M.UNSAID: OutcomeUnknown,
}


@pytest.mark.parametrize("told", EXPECTED)
async def test_every_answer_to_a_poll_says_whether_to_ask_again(
    double: StabilityDouble, upscaler: Upscaler, told: Misbehaviour
) -> None:
    accepted = await upscaler.generate(request())
    double.poll_script.append(told)
    with pytest.raises(EXPECTED[told]) as raised:
        await upscaler.poll(accepted.provider_ref, request())
    assert type(raised.value) is EXPECTED[told]
    if isinstance(raised.value, ProviderRefused):
        assert raised.value.may_be_charged is (told is M.FILTERED)
    elif told is not M.RETIRED:
        assert isinstance(await upscaler.poll(accepted.provider_ref, request()), Painting)
    assert len(double.paid) == 1


async def test_a_result_of_another_key_or_of_the_day_before_is_gone(upscaler: Upscaler) -> None:
    with pytest.raises(ResultGone):
        await upscaler.poll("unheard-of", request())
