"""An event that stands aside is delivered again or given up, and never done twice or lost."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from uuid import UUID, uuid4

import pytest

from adapters.errors import StoreUnavailable
from adapters.ports import Ids
from adapters.store import event_reads, picture_reads
from pipeline.dead_letters import drop, find, redrive
from pipeline.errors import NoSuchDeadLetter, NoSuchSubscriber, RedriveFailed
from pipeline.journal import Journal
from pipeline.providers import Providers
from pipeline.quarantine import quarantine
from pipeline.subscribers import Subscriber, blog_linking
from schemas.cursors import LetterCursor
from schemas.events import CloudEvent, cloud_event
from schemas.tables import DeadLetter
from tests.world import TENANT, World, world_on

LINKER = blog_linking.NAME


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    async with world_on(database_url) as opened:
        yield opened


async def put_aside(world: World, subscriber: str = LINKER, **fields: object) -> CloudEvent:
    """A completed job whose event stands aside, though nothing is wrong with it any more."""
    job_id = await world.submit(**({"blog_id": "post"} | fields))
    await world.deliver(job_id)
    event = cloud_event((await world.history("job", str(job_id)))[-1])
    await quarantine(subscriber, event, 5, "KeyError: 'images'", journal=world.journal)
    return event


async def letters(world: World, tenant: str = TENANT) -> list[DeadLetter]:
    return list(await world.store.read(event_reads.dead_letters, tenant))


async def once_more(world: World, event_id: UUID, subscriber: str = LINKER) -> None:
    await redrive(
        subscriber,
        event_id,
        tenant=TENANT,
        journal=world.journal,
        ids=world.worker.ids,
        providers=world.worker.providers,
    )


async def linked(world: World) -> int:
    slots = await world.store.read(picture_reads.slots, TENANT, "post")
    return sum(slot.image_id is not None for slot in slots)


async def test_a_redriven_event_has_its_effect_and_leaves_in_the_same_commit(world: World) -> None:
    event = await put_aside(world)
    before = world.store.commits
    await once_more(world, event.id)
    assert (await linked(world), await letters(world)) == (1, [])
    assert world.store.commits == before + 1


async def test_two_redrives_at_once_do_it_once(world: World) -> None:
    event = await put_aside(world)
    done = await asyncio.gather(
        *(once_more(world, event.id) for _ in range(5)), return_exceptions=True
    )
    assert all(one is None or isinstance(one, NoSuchDeadLetter) for one in done)
    history = await world.history("slot", "post/inline/1")
    assert [one.type for one in history] == ["blog.image.linked"]
    assert await letters(world) == []


async def test_an_event_that_fails_again_stays_aside_with_the_new_error(world: World) -> None:
    event = await put_aside(world)
    poisoned = event.model_copy(update={"id": uuid4(), "data": {"blog_id": "post"}})
    await quarantine(LINKER, poisoned, 5, "an older error", journal=world.journal)
    with pytest.raises(RedriveFailed, match="the 6th time: KeyError"):
        await once_more(world, poisoned.id)
    letter = await find(LINKER, poisoned.id, tenant=TENANT, journal=world.journal)
    assert (letter.failures, "KeyError" in letter.error) == (6, True)
    assert await linked(world) == 0
    with pytest.raises(RedriveFailed, match="the 7th time"):
        await once_more(world, poisoned.id)


async def test_an_event_about_which_there_is_nothing_to_do_leaves_too(world: World) -> None:
    event = await put_aside(world, blog_id=None)
    await once_more(world, event.id)
    assert await letters(world) == []


async def test_an_unreachable_database_is_no_failure_of_the_subscriber(world: World) -> None:
    async def react(
        events: Sequence[CloudEvent], journal: Journal, ids: Ids, _: Providers
    ) -> list[Exception | None]:
        raise StoreUnavailable("away")

    event = await put_aside(world, "moody")
    moody = Subscriber("moody", frozenset({event.type}), react)
    with pytest.raises(StoreUnavailable):
        await redrive(
            "moody", event.id, tenant=TENANT, journal=world.journal, ids=world.worker.ids,
            providers=world.worker.providers,
            subscribers=[moody],
        )  # fmt: skip
    (letter,) = await letters(world)
    assert (letter.failures, letter.error) == (5, "KeyError: 'images'")


async def test_a_subscriber_that_is_no_more_can_only_be_dropped(world: World) -> None:
    event = await put_aside(world, "gone")
    with pytest.raises(NoSuchSubscriber, match="blog-linking, draft-promotion"):
        await once_more(world, event.id, "gone")
    await drop("gone", event.id, tenant=TENANT, journal=world.journal)
    assert await letters(world) == []


async def test_a_dropped_event_has_no_effect_and_can_be_put_aside_again(world: World) -> None:
    event = await put_aside(world)
    await drop(LINKER, event.id, tenant=TENANT, journal=world.journal)
    assert (await linked(world), await letters(world)) == (0, [])
    await quarantine(LINKER, event, 5, "again", journal=world.journal)
    assert [one.error for one in await letters(world)] == ["again"]


async def test_what_does_not_stand_aside_is_named(world: World) -> None:
    event = await put_aside(world)
    for subscriber, event_id in ((LINKER, uuid4()), ("draft-promotion", event.id)):
        with pytest.raises(NoSuchDeadLetter, match=str(event_id)):
            await once_more(world, event_id, subscriber)
        with pytest.raises(NoSuchDeadLetter):
            await drop(subscriber, event_id, tenant=TENANT, journal=world.journal)
    assert len(await letters(world)) == 1


async def test_another_tenants_letters_are_as_absent(world: World) -> None:
    event = await put_aside(world)
    assert await letters(world, "other") == []
    for call in (drop, find):
        with pytest.raises(NoSuchDeadLetter):
            await call(LINKER, event.id, tenant="other", journal=world.journal)
    with pytest.raises(NoSuchDeadLetter):
        await redrive(
            LINKER,
            event.id,
            tenant="other",
            journal=world.journal,
            ids=world.worker.ids,
            providers=world.worker.providers,
        )
    assert len(await letters(world)) == 1


async def test_pages_of_letters_miss_none_and_repeat_none(world: World) -> None:
    event = await put_aside(world)
    ids = {event.id}
    for number in range(6):
        other = event.model_copy(update={"id": uuid4()})
        ids.add(other.id)
        await quarantine("other" if number % 2 else LINKER, other, 5, "x", journal=world.journal)
    seen: list[UUID] = []
    after = None
    while page := await world.store.read(event_reads.dead_letters, TENANT, after=after, limit=2):
        seen += [one.event_id for one in page]
        last = page[-1]
        told = str(LetterCursor(last.quarantined_at, last.event_id, last.subscriber))
        after = LetterCursor.parse(told)
    assert (set(seen), len(seen)) == (ids, 7)
    assert await world.store.read(event_reads.dead_letter_count, TENANT, "other") == 3
