"""P5: however often an event comes, in whatever order, and whoever dies over it: one effect."""

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Iterator
from uuid import UUID, uuid4

import pytest
import structlog
from sqlmodel import Session, col, select

from pipeline.subscribers import blog_linking
from schemas.events import CloudEvent, dataschema
from schemas.step import Look, Step, Writes
from schemas.tables import BlogSlot, Event, ImageRow, Inbox, SlotCandidate
from tests.handled import link
from tests.jobs import NOW
from tests.world import TENANT, World, world_on

COMPLETED = "image.job.completed"
BLOGS = 50
AT_ONCE = 500
# The process ends so often, and another one goes on.
PROCESSES = 4
# One delivery in so many is given up by its process before it has an answer.
GIVEN_UP = 20


def completion(number: int) -> tuple[CloudEvent, ImageRow]:
    """A job's completion, and its picture, for a place of its own."""
    job_id, image_id = uuid4(), uuid4()
    data = {
        "job_id": str(job_id), "blog_id": f"post-{number % BLOGS}", "role": "inline",
        "position": 1 + number // BLOGS, "is_draft": False, "alt_text": None, "caption": None,
        "images": [{"image_id": str(image_id)}],
    }  # fmt: skip
    event = CloudEvent(
        id=uuid4(), type=COMPLETED, subject=str(job_id), time=NOW,
        dataschema=dataschema(COMPLETED), sequence="0000000004", tenant=TENANT, data=data,
    )  # fmt: skip
    image = ImageRow(
        id=image_id, tenant=TENANT, job_id=job_id, index=0, key="k", content_type="image/png",
        width=1, height=1, size_bytes=1, sha256="", created_at=NOW,
    )  # fmt: skip
    return event, image


async def painted(world: World, number: int) -> list[CloudEvent]:
    """*number* finished pictures; their events, delivered to nobody yet."""
    made = [completion(one) for one in range(number)]

    def decide(_: Look, writes: Writes) -> None:
        for _, image in made:
            writes.insert(image, image.id)

    await world.journal.record(Step("paint", decide))
    return [event for event, _ in made]


async def deliver(world: World, deliveries: list[CloudEvent], chance: random.Random) -> None:
    """Deliver all, many at once; some are given up on the way, which their events survive."""
    for start in range(0, len(deliveries), AT_ONCE):
        tasks = [
            asyncio.create_task(link(event, world.journal, world.worker.ids))
            for event in deliveries[start : start + AT_ONCE]
        ]
        await asyncio.sleep(0)
        for task in chance.sample(tasks, len(tasks) // GIVEN_UP):
            task.cancel()
        for answer in await asyncio.gather(*tasks, return_exceptions=True):
            assert answer is None or isinstance(answer, asyncio.CancelledError)


def _effects(session: Session) -> dict[str, Counter[tuple[object, ...]]]:
    queries = {
        "inbox": select(Inbox.subscriber, Inbox.event_id),
        "candidates": select(SlotCandidate.job_id, SlotCandidate.blog_id),
        "slots": select(BlogSlot.job_id, BlogSlot.version),
        "told": select(Event.stream_id, Event.type).where(col(Event.stream_kind) == "slot"),
    }
    return {
        name: Counter(tuple(row) for row in session.execute(query).all())
        for name, query in queries.items()
    }


@pytest.fixture
def quiet() -> Iterator[None]:
    """Without a line of log for each of them."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    yield
    structlog.reset_defaults()


@pytest.mark.parametrize(
    ("database", "events", "times"), [("sqlite_url", 2_000, 50), ("postgres_url", 500, 10)]
)
@pytest.mark.timeout(300)  # 20 s of one core, however many others want it
@pytest.mark.usefixtures("quiet")
def test_shuffled_duplicates_leave_one_effect_each(
    request: pytest.FixtureRequest, database: str, events: int, times: int
) -> None:
    """100,000 deliveries on SQLite, 5,000 on PostgreSQL."""
    asyncio.run(storm(request.getfixturevalue(database), events, times))


async def storm(url: str, number: int, times: int) -> None:
    chance = random.Random(1)
    async with world_on(url) as world:
        events = await painted(world, number)
    deliveries = [event for event in events for _ in range(times)]
    chance.shuffle(deliveries)
    share = len(deliveries) // PROCESSES
    for process in range(PROCESSES):
        async with world_on(url, seed=process + 2) as world:
            mine = deliveries[process * share : (process + 1) * share]
            await deliver(world, mine, chance)
            found = await world.store.read(_effects)
    jobs = [UUID(event.data["job_id"]) for event in events]
    assert found["inbox"] == {(blog_linking.NAME, event.id): 1 for event in events}
    assert found["candidates"] == {
        (job, event.data["blog_id"]): 1 for job, event in zip(jobs, events, strict=True)
    }
    assert found["slots"] == {(job, 1): 1 for job in jobs}
    assert len(found["told"]) == number
    assert set(found["told"].values()) == {1}
    assert {event_type for _, event_type in found["told"]} == {"blog.image.linked"}
