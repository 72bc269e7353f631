"""What becomes of an operation's job when something dies, is lost, or takes its time."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from adapters.errors import (
    BlobStoreUnavailable,
    OutcomeUnknown,
    ProviderRefused,
    StoreRejected,
    StoreUnavailable,
)
from adapters.guard.fetch import NoFetcher
from adapters.ports import Fetcher, Painting, PaintRequest
from pipeline.addresses import BaseUrl
from pipeline.cancel import cancel
from pipeline.journal import JournalClosed, JournalFull
from pipeline.legal_hold import hold_blog
from pipeline.operate import Operating, Sent, operate
from pipeline.operation_errors import SourceNotUsable
from pipeline.retention import Retention
from pipeline.retry import retry
from pipeline.sources import Sources
from pipeline.staging import sent_keys
from schemas.operations import EditRequest, Operation, UpscaleRequest
from schemas.prices import DOCUMENT_SECONDS
from schemas.requests import Quality
from schemas.retention import Kind, RetentionSettings
from schemas.tables import CallState
from states.table import State
from tests.fakes.clock import FakeClock
from tests.fakes.provider import accepts, paints, raises
from tests.world import TENANT, World, world_on

PICTURE, MASK = b"a picture", b"a mask"
OURS = "https://limner.example/below"
ERASE = EditRequest(operation="erase")


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    async with world_on(database_url) as opened:
        yield opened


class Fetching:
    """Has one picture behind every address, and notes which were fetched."""

    def __init__(self) -> None:
        self.fetched: list[str] = []

    async def fetch(self, url: str) -> bytes:
        self.fetched.append(url)
        return PICTURE


async def asked(
    world: World, request: Any, sent: Sent = Sent(), fetcher: Fetcher = NoFetcher()
) -> UUID:
    sources = Sources(TENANT, world.journal, world.pictures, fetcher, BaseUrl(OURS))
    operating = Operating(
        sources,
        world.blobs,
        world.worker.ids,
        world.worker.providers,
        world.estimates.total_seconds,
    )
    accepted = await operate(request, sent, idempotency_key=None, operating=operating)
    return accepted.reply.job_id


async def drafted(world: World) -> UUID:
    job_id = await world.submit(quality="draft")
    await world.deliver(job_id)
    return job_id


async def advance(world: World, wait: timedelta) -> None:
    assert isinstance(world.clock, FakeClock)
    await world.clock.advance(wait.total_seconds())


async def test_the_provider_is_given_the_picture_the_mask_and_what_to_do(world: World) -> None:
    given: list[PaintRequest] = []

    async def notes(request: PaintRequest) -> Painting:
        given.append(request)
        return await paints(request)

    source = await drafted(world)
    world.provider.script = [notes, notes]
    await world.deliver(await asked(world, UpscaleRequest(job_id=source, scale=4)))
    await world.deliver(await asked(world, ERASE, Sent(PICTURE, MASK)))
    upscale, erase = given
    assert upscale.operation is Operation.UPSCALE_FAST
    operands = upscale.operands
    assert (operands.width, operands.height, operands.scale) == (5120, 2560, 4)
    assert upscale.mask is None
    assert upscale.source is not None
    assert upscale.source.startswith(str(source).encode())
    assert (erase.operation, erase.source, erase.mask) == (Operation.ERASE, PICTURE, MASK)


async def test_what_was_sent_is_there_for_another_attempt(world: World) -> None:
    job_id = await asked(world, ERASE, Sent(PICTURE, MASK))
    world.provider.script = [raises(OutcomeUnknown("lost"))]
    await world.deliver(job_id)
    failed = await world.job(job_id)
    assert failed.state is State.FAILED
    assert failed.error is not None
    assert failed.error["code"] == "outcome_unknown"
    await retry(
        job_id,
        tenant=TENANT,
        journal=world.journal,
        ids=world.worker.ids,
        blobs=world.blobs,
        providers=world.worker.providers,
    )
    await world.deliver(job_id, attempt=2)
    assert (await world.job(job_id)).state is State.COMPLETED
    assert world.provider.calls.total() == 2


@pytest.mark.parametrize(
    ("refusal", "stays"),
    [
        (JournalFull(), 0),
        (StoreUnavailable("away"), 0),
        (StoreRejected("no"), 0),
        # The job may be there, and will ask for them.
        (JournalClosed(), 2),
    ],
)
async def test_what_was_sent_stays_only_where_a_job_may_have_been_stored(
    world: World, monkeypatch: pytest.MonkeyPatch, refusal: Exception, stays: int
) -> None:
    before = dict(world.blobs.objects)

    async def refuses(_: Any) -> None:
        assert len(world.blobs.objects) == len(before) + 2
        raise refusal

    monkeypatch.setattr(type(world.journal), "record", lambda _, step: refuses(step))
    with pytest.raises(type(refusal)):
        await asked(world, ERASE, Sent(PICTURE, MASK))
    assert before.items() <= world.blobs.objects.items()
    assert len(world.blobs.objects) == len(before) + stays


async def test_a_picture_does_not_stay_where_its_mask_could_not_be_kept(world: World) -> None:
    put, before = world.blobs.put, dict(world.blobs.objects)

    async def fails_for_masks(key: str, data: bytes, **told: Any) -> Any:
        if "/mask-" in key:
            raise BlobStoreUnavailable("full")
        return await put(key, data, **told)

    world.blobs.put = fails_for_masks  # type: ignore[method-assign]
    with pytest.raises(BlobStoreUnavailable):
        await asked(world, ERASE, Sent(PICTURE, MASK))
    assert world.blobs.objects == before


async def test_without_its_mask_an_edit_is_not_begun(world: World) -> None:
    job_id = await asked(world, ERASE, Sent(PICTURE, MASK))
    _, mask = sent_keys(await world.job(job_id))
    await world.blobs.delete(mask)
    await world.deliver(job_id)
    failed = await world.job(job_id)
    assert failed.error is not None
    assert failed.error["code"] == "source_gone"
    assert world.provider.calls.total() == 0
    assert await world.call(job_id) is None


async def test_what_takes_minutes_is_accepted_and_polled_until_it_is_there(world: World) -> None:
    job_id = await asked(
        world, UpscaleRequest(job_id=await drafted(world), mode="creative", prompt="a mill")
    )
    world.provider.script = [accepts]
    world.provider.poll_script = [accepts]
    await world.deliver(job_id)
    for state in (CallState.ACCEPTED, CallState.ANSWERED):
        await advance(world, timedelta(seconds=10))
        await world.deliver(job_id)
        call = await world.call(job_id)
        assert call is not None
        assert call.state is state
    assert (await world.job(job_id)).state is State.COMPLETED
    assert world.provider.polls.total() == 2
    assert world.provider.calls[job_id, 1] == 1


async def test_what_was_sent_goes_with_the_raw_bytes_of_its_job(world: World) -> None:
    job_id = await asked(world, ERASE, Sent(PICTURE, MASK))
    await world.deliver(job_id)
    keys = sent_keys(await world.job(job_id))
    assert [await world.blobs.get(key) for key in keys] == [PICTURE, MASK]
    keep = RetentionSettings()
    retention = Retention(world.journal, world.blobs, world.clock, keep)
    await retention.once()
    assert await world.blobs.exists(keys[0])
    await advance(world, timedelta(days=keep.staged_days + 1))
    await retention.once()
    assert [await world.blobs.exists(key) for key in keys] == [False, False]


@pytest.mark.parametrize("end", ["failed", "cancelled"])
async def test_what_was_sent_for_nothing_goes_too_and_a_later_retry_costs_nothing(
    world: World, end: str
) -> None:
    held = await asked(world, ERASE.model_copy(update={"blog_id": "held"}), Sent(PICTURE, MASK))
    job_id = await asked(world, ERASE, Sent(PICTURE, MASK))
    for one in (held, job_id):
        if end == "failed":
            world.provider.script = [raises(ProviderRefused("moderated", "no"))]
            await world.deliver(one)
        else:
            await cancel(one, tenant=TENANT, journal=world.journal, ids=world.worker.ids)
        assert (await world.job(one)).state == end
    await hold_blog("held", held=True, tenant=TENANT, journal=world.journal)
    retention = Retention(world.journal, world.blobs, world.clock, RetentionSettings())

    async def gone(*, dry_run: bool = False) -> int:
        found = await retention.once(dry_run=dry_run)
        return sum(one.number for one in found if one.kind is Kind.SENT)

    assert await gone() == 0
    await advance(world, timedelta(days=7, seconds=1))
    assert (await gone(dry_run=True), await gone(), await gone()) == (2, 2, 0)
    keys = sent_keys(await world.job(job_id)), sent_keys(await world.job(held))
    assert [[await world.blobs.exists(key) for key in some] for some in keys] == [
        [False, False],
        [True, True],
    ]
    calls = world.provider.calls.total()
    await retry(
        job_id,
        tenant=TENANT,
        journal=world.journal,
        ids=world.worker.ids,
        blobs=world.blobs,
        providers=world.worker.providers,
    )
    await world.deliver(job_id, attempt=2)
    failed = await world.job(job_id)
    assert failed.error is not None
    assert failed.error["code"] == "source_gone"
    assert world.provider.calls.total() == calls


async def test_a_foreign_address_is_fetched_once_and_ours_never(world: World) -> None:
    fetcher = Fetching()
    foreign = "https://other.example/api/v1/images/1/content"
    job_id = await asked(world, UpscaleRequest(image_url=foreign), fetcher=fetcher)
    (key,) = sent_keys(await world.job(job_id))
    assert await world.blobs.get(key) == PICTURE
    await world.deliver(job_id)
    assert (await world.job(job_id)).state is State.COMPLETED
    assert fetcher.fetched == [foreign]
    done = (await world.job(await drafted(world))).result
    assert done is not None
    for address in (
        f"{OURS}/api/v1/images/{done['image_ids'][0]}/content",
        f"{OURS}/api/v1/images/{done['image_ids'][0]}/content/w640?expires=1&signature=old",
        f"https://other.example/api/v1/images/{done['image_ids'][0]}/content",
    ):
        job = await world.job(
            await asked(world, UpscaleRequest(image_url=address), fetcher=fetcher)
        )
        assert job.request["source_image_id"] == done["image_ids"][0]
    for address in (f"{OURS}/api/v1/images/{job_id}/content", f"{OURS}/anything", OURS):
        with pytest.raises(SourceNotUsable):
            await asked(world, UpscaleRequest(image_url=address), fetcher=fetcher)
    assert fetcher.fetched == [foreign]


async def test_how_long_operations_take_says_nothing_of_paintings(world: World) -> None:
    for _ in range(20):
        await world.deliver(await asked(world, ERASE, Sent(PICTURE, MASK)))
    await world.estimates.refresh()
    assert world.estimates.seconds(Quality.STANDARD) == DOCUMENT_SECONDS[Quality.STANDARD]
