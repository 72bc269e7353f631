"""A subscriber of somebody else: a handler is called once for an event, in one commit with it."""

import asyncio
import json
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from adapters.kit import Event, Subscriber, Verdict, metadata
from adapters.kit.conformance.stories import story, unknown_members
from schemas.contract import example
from schemas.event_data import JobCompleted, JobData
from schemas.events import EventType
from tests.contract.test_events import RECORDED

COMPLETED = "image.job.completed"
tables = sa.MetaData()
effects = sa.Table(
    "effects",
    tables,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("event_id", sa.Uuid),
    sa.Column("subject", sa.Text),
    sa.Column("told", sa.Text),
)


@dataclass
class Home:
    """A stranger's database."""

    engine: sa.Engine | AsyncEngine

    async def run(self, work: Callable[[sa.Connection], Any]) -> Any:
        if isinstance(self.engine, AsyncEngine):
            async with self.engine.begin() as opened:
                return await opened.run_sync(work)
        with self.engine.begin() as connection:
            return work(connection)

    async def told(self) -> list[str]:
        """What the handlers wrote, in the order in which they did."""
        query = sa.select(effects.c.told).order_by(effects.c.id)
        found: list[str] = await self.run(lambda one: list(one.execute(query).scalars()))
        return found


@pytest.fixture
async def home(database_url: str) -> AsyncIterator[Home]:
    url = make_url(database_url)
    engine: sa.Engine | AsyncEngine
    if url.get_backend_name() == "sqlite":
        engine = sa.create_engine(url)
    else:
        engine = create_async_engine(url.set(drivername="postgresql+asyncpg"))
    opened = Home(engine)
    await opened.run(metadata.create_all)
    await opened.run(tables.create_all)
    yield opened
    if isinstance(engine, AsyncEngine):
        await engine.dispose()
    else:
        engine.dispose()


def note(event: Event[Any], connection: sa.Connection, told: str) -> None:
    row = {"event_id": event.id, "subject": event.subject, "told": told}
    connection.execute(effects.insert().values(row))


def counting(home: Home) -> Subscriber:
    subscriber = Subscriber("counter", home.engine)

    @subscriber.on(COMPLETED)
    def count(event: Event[JobCompleted], connection: sa.Connection) -> None:
        note(event, connection, event.data.images[0].key)

    return subscriber


def completed(**changes: Any) -> str:
    return json.dumps(example(EventType.JOB_COMPLETED) | {"id": str(uuid4())} | changes)


async def test_an_event_has_its_effect_once_with_its_data_typed(home: Home) -> None:
    subscriber, event = counting(home), completed()
    for _ in range(5):
        assert await subscriber.take(event) is Verdict.DONE
    (told,) = await home.told()
    assert told == json.loads(event)["data"]["images"][0]["key"]


async def test_an_event_that_comes_many_times_at_once_has_its_effect_once(home: Home) -> None:
    subscriber, event = counting(home), completed()
    verdicts = await asyncio.gather(*(subscriber.take(event) for _ in range(12)))
    # Whoever could not wait for the first is to come again, and nobody else.
    while Verdict.AGAIN in verdicts:
        verdicts = [await subscriber.take(event)]
    assert set(verdicts) == {Verdict.DONE}
    assert len(await home.told()) == 1


async def test_an_effect_that_failed_is_undone_and_had_when_the_event_comes_again(
    home: Home,
) -> None:
    subscriber = Subscriber("moody", home.engine)
    errors = [RuntimeError("not now"), ValueError("nor now")]

    @subscriber.on(COMPLETED)
    def fail(event: Event[JobCompleted], connection: sa.Connection) -> None:
        note(event, connection, "done")
        if errors:
            raise errors.pop(0)

    event = completed()
    assert await subscriber.take(event) is Verdict.AGAIN
    assert await home.told() == []
    assert await subscriber.take(event) is Verdict.AGAIN
    assert [await subscriber.take(event) for _ in range(2)] == [Verdict.DONE] * 2
    assert await home.told() == ["done"]


async def test_all_handlers_of_an_event_share_its_commit(home: Home) -> None:
    subscriber = Subscriber("two", home.engine)
    broken = [True]

    @subscriber.on(COMPLETED)
    def first(event: Event[JobCompleted], connection: sa.Connection) -> None:
        note(event, connection, "first")

    @subscriber.on(COMPLETED, "image.job.failed")
    def second(event: Event[JobData], connection: sa.Connection) -> None:
        if broken.pop() if broken else False:
            raise RuntimeError("not now")
        note(event, connection, "second")

    event = completed()
    assert await subscriber.take(event) is Verdict.AGAIN
    assert await home.told() == []
    assert await subscriber.take(event) is Verdict.DONE
    assert await home.told() == ["first", "second"]


async def test_only_the_newest_of_a_subject_is_handled_where_that_is_asked_for(home: Home) -> None:
    subscriber = Subscriber("states", home.engine)
    seen: list[tuple[str, int]] = []

    @subscriber.on("image.job.queued", COMPLETED, newest_only=True)
    def show(event: Event[JobData], connection: sa.Connection) -> None:
        seen.append(("show", event.sequence))

    # Its memory is its own: it is not behind because another handler is ahead.
    @subscriber.on("image.job.started", newest_only=True)
    def start(event: Event[JobData], connection: sa.Connection) -> None:
        seen.append(("start", event.sequence))

    @subscriber.on("image.job.queued")
    def count(event: Event[JobData], connection: sa.Connection) -> None:
        seen.append(("count", event.sequence))

    for event in reversed(story("a job").events):
        assert await subscriber.take(json.dumps(event)) is Verdict.DONE
    assert seen == [("show", 4), ("start", 2), ("count", 1)]
    seen.clear()
    for event in story("a job").events:  # another subject
        await subscriber.take(json.dumps(event))
    assert seen == [("show", 1), ("count", 1), ("start", 2), ("show", 4)]


async def test_subjects_of_two_tenants_are_two(home: Home) -> None:
    subscriber = Subscriber("states", home.engine)
    seen: list[tuple[str, int]] = []

    @subscriber.on("blog.image.linked", "blog.image.unlinked", newest_only=True)
    def show(event: Event[Any], connection: sa.Connection) -> None:
        seen.append((event.tenant, event.sequence))

    for tenant, sequence in (("one", 5), ("two", 2), ("one", 2), ("two", 1)):
        event = example(EventType.SLOT_LINKED)
        event |= {"id": str(uuid4()), "tenant": tenant, "sequence": f"{sequence:010}"}
        await subscriber.take(json.dumps(event))
    assert seen == [("one", 5), ("two", 2)]


async def test_two_subscribers_on_one_database_each_have_the_effect(home: Home) -> None:
    one, other, event = counting(home), counting(home), completed()
    other.name = "another"
    for subscriber in (one, other, one, other):
        assert await subscriber.take(event) is Verdict.DONE
    assert len(await home.told()) == 2


async def test_shuffled_duplicates_leave_one_effect_each(home: Home) -> None:
    subscriber = counting(home)
    events = [completed() for _ in range(40)]
    deliveries = [event for event in events for _ in range(5)]
    random.Random(1).shuffle(deliveries)
    limit = asyncio.Semaphore(8)

    async def deliver(event: str) -> None:
        async with limit:
            while await subscriber.take(event) is not Verdict.DONE:
                pass

    await asyncio.gather(*map(deliver, deliveries))
    found = await home.run(lambda one: one.execute(sa.select(effects.c.event_id)).scalars().all())
    assert Counter(found) == {UUID(json.loads(event)["id"]): 1 for event in events}


@pytest.fixture
def quiet(tmp_path: Path) -> Subscriber:
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'quiet.sqlite'}")
    return Subscriber("quiet", engine)


def test_what_it_did_not_ask_for_is_passed_over_without_a_database(quiet: Subscriber) -> None:
    later = json.loads(completed()) | {"type": "image.job.later", "data": {"x": 1}}
    assert quiet.take_now(completed()) is Verdict.DONE
    assert quiet.take_now(json.dumps(later)) is Verdict.DONE
    assert quiet.types == frozenset()


@pytest.mark.parametrize(
    "changes",
    [
        {"id": "x"}, {"specversion": "0.3"}, {"sequence": "1"}, {"sequence": "-000000001"},
        {"sequence": "٠٠٠٠٠٠٠٠٠١"}, {"time": "now"}, {"subject": "a\0b"}, {"data": {}},
        {"data": []}, {"data": None}, {"time": "2026-01-01T00:00:00"},
    ],
)  # fmt: skip
def test_garbage_is_refused_before_anything_is_touched(
    quiet: Subscriber, changes: dict[str, Any]
) -> None:
    @quiet.on(COMPLETED)
    def never(event: Event[JobCompleted], connection: sa.Connection) -> None:
        raise AssertionError

    assert quiet.take_now(completed(**changes)) is Verdict.REFUSED
    assert quiet.take_now(b"\xff") is Verdict.REFUSED
    assert quiet.take_now("[" * 20_000) is Verdict.REFUSED


def test_an_event_that_there_is_not_is_named_where_the_handler_is_written(
    quiet: Subscriber,
) -> None:
    with pytest.raises(ValueError, match=r"'image\.job\.completed' is near"):
        quiet.on("image.job.complete")
    with pytest.raises(ValueError, match=r"known: image\.job\.queued"):
        quiet.on("everything")


async def test_an_async_engine_is_not_used_without_its_loop() -> None:
    engine = create_async_engine("postgresql+asyncpg://nobody@127.0.0.1:9/none")
    with pytest.raises(TypeError, match="call take"):
        Subscriber("x", engine).take_now(completed())
    await engine.dispose()


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: f"{path.parts[-3]}-{path.stem}")
def test_events_of_every_release_are_handled_and_of_later_ones(path: Path, tmp_path: Path) -> None:
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'stranger.sqlite'}")
    metadata.create_all(engine)
    subscriber = Subscriber("reader", engine)
    seen: list[str] = []

    @subscriber.on(*EventType)
    def read(event: Event[Any], connection: sa.Connection) -> None:
        seen.append(type(event.data).__name__)

    recorded = json.loads(path.read_text("utf-8"))
    assert subscriber.take_now(json.dumps(recorded)) is Verdict.DONE
    later = unknown_members(recorded) | {"id": str(uuid4())}
    assert subscriber.take_now(json.dumps(later)) is Verdict.DONE
    assert len(seen) == 2
    engine.dispose()
