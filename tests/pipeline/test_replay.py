"""Old events may be sent again at any time: nothing is done twice, and what was lost comes back."""

import asyncio
import hashlib
import json
import math
from collections.abc import AsyncIterator, Sequence
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import make_url
from sqlmodel import Session

from adapters.errors import BusUnavailable, StoreUnavailable, Unavailable
from adapters.store import event_reads, machine_reads, picture_reads
from pipeline.arrange import roll_back, unlink
from pipeline.delete import delete_blog
from pipeline.errors import NoSuchSubscriber, ReplayCursorUnknown, SubscriberTakesOthers
from pipeline.journal import Journal
from pipeline.providers import Providers
from pipeline.quarantine import quarantine
from pipeline.replay import Replay
from pipeline.slots import Slot
from pipeline.subscribers import SUBSCRIBERS, Subscriber
from schemas.events import CloudEvent, EventType
from schemas.redelivery import ReplayRequest, ReplayResponse
from schemas.step import Step
from schemas.tables import TABLES, EventRow, Outbox
from tests.batches import approve, ask, refuse
from tests.fakes.clock import FakeClock
from tests.world import TENANT, World, world_on

COMPLETED = EventType.JOB_COMPLETED


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    async with world_on(database_url) as opened:
        yield opened


def replay_of(world: World, **changes: Any) -> Replay:
    given: dict[str, Any] = {
        "journal": world.journal,
        "ids": world.worker.ids,
        "clock": world.clock,
        "providers": world.worker.providers,
        "send": world.relay.send_again,
        "quarantine": partial(quarantine, journal=world.journal),
        "events_per_second": math.inf,
    }
    return Replay(**given | changes)


async def replayed(
    replay: Replay, tenant: str = TENANT, **asked: Any
) -> tuple[int, list[ReplayResponse]]:
    """Ask part by part until it is done, as the command does; how many were sent, and the parts."""
    parts = [await replay.part(ReplayRequest(**asked), tenant)]
    while not parts[-1].done:
        on = {"after": parts[-1].cursor, "end": parts[-1].end}
        parts.append(await replay.part(ReplayRequest(**asked | on), tenant))
    return sum(part.events for part in parts), parts


async def painted(world: World, job_id: UUID) -> None:
    """Paint a job and let the bus deliver what is new; what that causes is left to do."""
    await world.deliver(job_id)
    await published(world)


async def published(world: World) -> None:
    """Send what has not left, and mark it as the relay does."""
    while events := await world.store.read(
        event_reads.unpublished_events, world.journal.now(), 1_000
    ):
        assert await world.bus.publish(events) == [None] * len(events)
        await world.journal.record(_mark([event.event_id for event in events]))


def _mark(event_ids: list[UUID]) -> Step[None]:
    return Step("mark", lambda _, writes: writes.published.extend(event_ids))


def _everything(session: Session) -> list[Any]:
    tables = [table.__table__ for table in (*TABLES.values(), Outbox)]  # type: ignore[attr-defined]
    return [
        (table.name, sorted(repr(tuple(row)) for row in session.execute(sa.select(table))))
        for table in tables
    ]


async def state(world: World) -> str:
    """A hash of all that the database holds: jobs, money, events, places, inboxes, letters."""
    found = await world.store.read(_everything)
    assert sum(len(rows) for _, rows in found) > 50
    return hashlib.sha256(json.dumps(found).encode()).hexdigest()


async def a_whole_life(world: World) -> None:
    """Drafts and finals, a batch that buys by itself, places rolled back, emptied and deleted."""
    ids, journal = world.worker.ids, world.journal
    batch = await ask(world, {"quality": "draft", "role": "hero"}, {"quality": "draft"},
                      blog_id="post", workflow="draft_then_final")  # fmt: skip
    for draft in batch.job_ids:
        await painted(world, draft)
        final = (await world.job(draft)).final_job_id
        assert final is not None
        await painted(world, final)
    first = await world.submit(blog_id="post", role="hero", position=1)
    second = await world.submit(blog_id="post", role="hero", position=1)
    await painted(world, second)
    await painted(world, first)  # overtaken: it stays a candidate
    hero = Slot(TENANT, "post", "hero", 1)
    await roll_back(hero, image_id=None, job_id=first, journal=journal, ids=ids)
    alone = await world.submit(blog_id="other", quality="draft")
    await painted(world, alone)
    await painted(world, (await approve(world, alone)).final.id)
    await unlink(Slot(TENANT, "other", "inline", 1), journal=journal, ids=ids)
    rejected = await world.submit(blog_id="other", quality="draft")
    await painted(world, rejected)
    await refuse(world, rejected)
    late = await world.submit(blog_id="gone", quality="draft")
    await world.deliver(late)
    await delete_blog("gone", tenant=TENANT, journal=journal, ids=ids)
    await published(world)


async def test_a_full_replay_changes_nothing_at_all(world: World) -> None:
    await a_whole_life(world)
    before = await state(world)
    for _ in range(2):
        sent, _ = await replayed(replay_of(world))
        assert sent == len(await all_events(world))
        assert await state(world) == before


@pytest.mark.parametrize("subscriber", [one.name for one in SUBSCRIBERS])
async def test_what_is_reapplied_changes_nothing_where_nothing_was_lost(
    world: World, subscriber: str
) -> None:
    await a_whole_life(world)
    before = await state(world)
    for _ in range(2):
        sent, _ = await replayed(replay_of(world), subscriber=subscriber, reapply=True)
        assert sent == 10
        assert await state(world) == before


async def test_an_effect_that_was_lost_comes_back_only_when_it_is_reapplied(
    world: World, database_url: str
) -> None:
    """As after a part of the database was put back: inboxes remember what places have lost."""
    job_id = await world.submit(blog_id="post", role="hero")
    await painted(world, job_id)
    tables = ("slot_candidates", "slot_changes", "blog_slots")
    await by_hand(database_url, *(f"DELETE FROM {table}" for table in tables),
                  "DELETE FROM events WHERE stream_kind = 'slot'")  # fmt: skip
    replay = replay_of(world)
    assert (await replayed(replay, subscriber="blog-linking"))[0] == 1
    assert await world.store.read(picture_reads.slots, TENANT, "post") == []
    assert (await replayed(replay, subscriber="blog-linking", reapply=True))[0] == 1
    (slot,) = await world.store.read(picture_reads.slots, TENANT, "post")
    assert slot.job_id == job_id


async def by_hand(url: str, *statements: str) -> None:
    """Change the database past the program."""
    plain = make_url(url)
    driver = "sqlite" if plain.get_backend_name() == "sqlite" else "postgresql+asyncpg"

    def run(connection: sa.Connection) -> None:
        for statement in statements:
            connection.execute(sa.text(statement))

    if driver == "sqlite":
        engine = sa.create_engine(plain)
        with engine.begin() as connection:
            run(connection)
        engine.dispose()
        return
    from sqlalchemy.ext.asyncio import create_async_engine

    asynchronous = create_async_engine(plain.set(drivername=driver))
    async with asynchronous.begin() as opened:
        await opened.run_sync(run)
    await asynchronous.dispose()


async def all_events(world: World) -> Sequence[EventRow]:
    tail = await world.store.read(event_reads.tail)
    events, _ = await world.store.read(
        event_reads.events_after, type(tail).beginning(tail.lineage), 10_000
    )
    return events


class Notes:
    """A bus that notes what it is given."""

    def __init__(self) -> None:
        self.events: list[EventRow] = []
        self.answers: dict[UUID, Exception] = {}
        self.away = False

    async def __call__(self, events: Sequence[EventRow]) -> list[Exception | None]:
        if self.away:
            return [BusUnavailable("away")] * len(events)
        self.events += events
        return [self.answers.get(event.event_id) for event in events]

    @property
    def ids(self) -> list[UUID]:
        return [event.event_id for event in self.events]


async def test_a_replay_goes_part_by_part_and_sends_each_event_once_in_order(world: World) -> None:
    await a_whole_life(world)
    bus = Notes()
    sent, parts = await replayed(replay_of(world, send=bus, most_in_a_part=7))
    expected = [event.event_id for event in await all_events(world)]
    assert (bus.ids, sent) == (expected, len(expected))
    assert len(parts) == len(expected) // 7 + 1
    assert sum(sum(part.by_type.values()) for part in parts) == sent


async def test_an_interrupted_replay_goes_on_where_it_stood(world: World) -> None:
    await a_whole_life(world)
    bus = Notes()
    replay = replay_of(world, send=bus, most_in_a_part=7)
    first = await replay.part(ReplayRequest(), TENANT)
    bus.away = True
    with pytest.raises(Unavailable):
        await replay.part(ReplayRequest(after=first.cursor), TENANT)
    bus.away = False
    await replayed(replay_of(world, send=bus), after=first.cursor)  # another process, later
    assert bus.ids == [event.event_id for event in await all_events(world)]


async def test_what_a_replay_causes_is_not_replayed(world: World) -> None:
    """Each completion has a place filled, which is another event: an end has to be set."""
    for _ in range(3):
        await world.deliver(await world.submit(blog_id="post"))
    sent, _ = await replayed(replay_of(world))
    assert sent == 12
    assert len(await all_events(world)) == 15


async def test_only_what_is_asked_for_is_sent(world: World) -> None:
    await a_whole_life(world)
    clock = world.clock
    assert isinstance(clock, FakeClock)
    await clock.advance(3600)
    moment = world.journal.now()
    await clock.advance(3600)
    await painted(world, await world.submit(blog_id="late"))
    bus = Notes()
    replay = replay_of(world, send=bus)
    await replayed(replay, since=moment, type=[COMPLETED])
    assert [event.type for event in bus.events] == ["image.job.completed"]
    bus.events.clear()
    await replayed(replay, until=moment, type=["image.batch.created", "image.draft.rejected"])
    assert sorted(event.type for event in bus.events) == [
        "image.batch.created", "image.draft.rejected",
    ]  # fmt: skip
    bus.events.clear()
    assert (await replayed(replay, "another-tenant"))[0] == 0
    assert bus.events == []


async def test_a_dry_run_tells_the_numbers_and_sends_nothing(world: World) -> None:
    await a_whole_life(world)
    bus = Notes()
    replay = replay_of(world, send=bus)
    told = await replay.part(ReplayRequest(dry_run=True), TENANT)
    assert (bus.events, told.done) == ([], True)
    _, parts = await replayed(replay)
    assert (told.events, told.by_type) == (len(bus.events), parts[0].by_type)
    linking = await replay.part(ReplayRequest(dry_run=True, subscriber="blog-linking"), TENANT)
    assert linking.by_type == {"image.job.completed": 10}


async def test_a_replay_keeps_to_its_pace(sqlite_url: str) -> None:
    async with world_on(sqlite_url) as world:
        for _ in range(10):
            await world.submit()
        clock = world.clock
        assert isinstance(clock, FakeClock)
        bus = Notes()
        replay = replay_of(world, send=bus, events_per_second=2)
        begun = clock.monotonic()
        going = [asyncio.create_task(replayed(replay)) for _ in range(2)]
        while left := sum(not one.done() for one in going):
            if clock.sleepers == left:  # nobody reads: time passes for all of them alike
                await clock.advance(0.1)
            else:
                await world.journal.read(machine_reads.alive)
        # Twenty events at two a second; the last is due half a second before the end.
        assert len(bus.events) == 20
        assert 9.5 <= clock.monotonic() - begun < 10.2


async def test_an_event_that_a_subscriber_cannot_digest_is_put_aside(world: World) -> None:
    for _ in range(3):
        await world.deliver(await world.submit(blog_id="post"))
    poisoned = (await all_events(world))[-1].event_id
    tried: list[UUID] = []

    async def react(
        events: Sequence[CloudEvent], journal: Journal, ids: object, _: Providers
    ) -> list[Exception | None]:
        tried.extend(event.id for event in events)
        return [KeyError("images") if event.id == poisoned else None for event in events]

    moody = Subscriber("moody", frozenset({COMPLETED.value}), react)
    replay = replay_of(world, subscribers=[moody])
    sent, parts = await replayed(replay, subscriber="moody")
    assert (sent, parts[0].failed, tried.count(poisoned)) == (2, 1, 5)
    (letter,) = await world.store.read(event_reads.dead_letters, TENANT)
    assert (letter.subscriber, letter.event_id, letter.failures) == ("moody", poisoned, 5)


async def test_an_unreachable_database_ends_the_part_and_puts_nothing_aside(world: World) -> None:
    await world.deliver(await world.submit(blog_id="post"))

    async def react(
        events: Sequence[CloudEvent], journal: Journal, ids: object, _: Providers
    ) -> list[Exception | None]:
        raise StoreUnavailable("away")

    moody = Subscriber("moody", frozenset({COMPLETED.value}), react)
    with pytest.raises(StoreUnavailable):
        await replayed(replay_of(world, subscribers=[moody]), subscriber="moody")
    assert await world.store.read(event_reads.dead_letters, TENANT) == []


async def test_an_event_that_no_bus_takes_holds_up_no_other(world: World) -> None:
    for _ in range(3):
        await world.submit()
    bus = Notes()
    bus.answers[(await all_events(world))[1].event_id] = ValueError("it cannot travel")
    sent, parts = await replayed(replay_of(world, send=bus))
    assert (sent, parts[0].failed, len(bus.events)) == (2, 1, 3)


async def test_what_makes_no_sense_is_refused_before_anything_is_sent(world: World) -> None:
    await world.submit()
    bus = Notes()
    replay = replay_of(world, send=bus)
    with pytest.raises(NoSuchSubscriber, match="draft-promotion"):
        await replayed(replay, subscriber="blog-linkin")
    with pytest.raises(SubscriberTakesOthers, match=r"only image\.job\.completed"):
        await replayed(replay, subscriber="blog-linking", type=["image.job.queued"])
    tail = await world.store.read(event_reads.tail)
    for foreign in (tail._replace(lineage=uuid4()), tail._replace(event_id=uuid4())):
        with pytest.raises(ReplayCursorUnknown):
            await replayed(replay, after=str(foreign))
    assert bus.events == []
