"""A place ends the same whatever comes when; what a person decided about it stays decided."""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from adapters.store import picture_reads
from pipeline.addresses import BaseUrl
from pipeline.arrange import roll_back, rollback_step, unlink, unlink_step, update, update_step
from pipeline.blogs import blog_image
from pipeline.delete import delete_blog, delete_image
from pipeline.errors import BlogGone, ImageInUse, NoSuchCandidate, NoSuchSlot
from pipeline.slots import Moment, Slot
from pipeline.subscribers.blog_linking import link_step
from schemas.events import CloudEvent, cloud_event
from schemas.replies import SlotResponse
from schemas.requests import FocalPoint, SlotUpdate
from schemas.step import Look, Lost, RowKey, Step, Writes
from schemas.tables import (
    BlogSlotRow,
    EventRow,
    ImageRow,
    InboxRow,
    Row,
    SlotCandidateRow,
    SlotChangeRow,
)
from tests.fakes.clock import START, FakeClock
from tests.handled import link
from tests.jobs import NOW
from tests.world import TENANT, World, world_on

HERO = Slot(TENANT, "post", "hero", 1)


# --- every order, without a database: the very steps over a dictionary of rows


@dataclass
class Rows:
    """Rows by key, changed by one step after another as the store would."""

    found: dict[RowKey, Row] = field(default_factory=dict)
    events: list[EventRow] = field(default_factory=list)

    def do(self, step: Step[Any]) -> None:
        writes = Writes()
        try:
            step.decide(Look(self.found, (*step.keys, *step.shared)), writes)
        except Lost:
            return
        for key, row in (*writes.inserts, *writes.updates):
            if isinstance(row, EventRow):
                self.events.append(row)
            else:
                self.found[key] = row

    def forget_what_was_handled(self) -> None:
        """As retention does: whatever is replayed now is stopped by its effect alone."""
        self.found = {key: row for key, row in self.found.items() if key.row is not InboxRow}

    def of(self, kind: type[Row]) -> list[Any]:
        return [row for key, row in self.found.items() if key.row is kind]

    def state(self) -> tuple[Any, ...]:
        """All that a reader sees of the slot, but when and in which order it came about."""
        (slot,) = self.of(BlogSlotRow)
        unordered = {"updated_at", "version"}
        candidates = {(one.image_id, one.rank, one.alt_text) for one in self.of(SlotCandidateRow)}
        shown = tuple((k, str(v)) for k, v in slot.__dict__.items() if k not in unordered)
        return shown, frozenset(candidates)


def moment() -> Moment:
    return Moment(NOW, uuid4())


def finished(number: int, *, is_draft: bool) -> tuple[CloudEvent, ImageRow]:
    """The completed event of the job with the id *number*, and its picture."""
    job_id, image_id = UUID(int=number), UUID(int=1000 + number)
    event = CloudEvent(
        id=uuid4(), type="image.job.completed", subject=str(job_id), time=NOW, dataschema="",
        sequence="0000000004", tenant=TENANT,
        data={
            "job_id": str(job_id), "blog_id": "post", "role": "hero", "position": 1,
            "is_draft": is_draft, "alt_text": f"as job {number} said", "caption": None,
            "images": [{"image_id": str(image_id)}],
        },
    )  # fmt: skip
    image = ImageRow(
        id=image_id, tenant=TENANT, job_id=job_id, index=0, key="k", content_type="image/png",
        width=1, height=1, size_bytes=1, sha256="", created_at=NOW,
    )  # fmt: skip
    return event, image


class Story:
    """A draft, its final and a later draft; between them a person decides."""

    def __init__(self) -> None:
        self.jobs = {
            "draft": finished(1, is_draft=True),
            "final": finished(2, is_draft=False),
            "second draft": finished(3, is_draft=True),
            # Requested after every decision of a person.
            "later final": finished(90, is_draft=False),
        }
        self.rows = Rows({RowKey(ImageRow, (i.id,)): i for _, i in self.jobs.values()})

    def tell(self, name: str) -> None:
        event, _ = self.jobs[name]
        self.rows.do(link_step(event, moment()))

    def roll_back(self, name: str, decision: int = 50) -> None:
        key = RowKey(SlotCandidateRow, (self.jobs[name][1].id,))
        candidate = self.rows.found.get(key)
        assert isinstance(candidate, SlotCandidateRow)
        self.rows.do(rollback_step(candidate, moment(), UUID(int=decision)))

    def unlink(self, decision: int = 50) -> None:
        self.rows.do(unlink_step(HERO, moment(), UUID(int=decision)))

    def replay(self) -> None:
        self.rows.forget_what_was_handled()
        for name in self.jobs:
            if RowKey(SlotCandidateRow, (self.jobs[name][1].id,)) in self.rows.found:
                self.tell(name)


def orders(*names: str, copies: int) -> Iterator[tuple[str, ...]]:
    """Every distinct order of *copies* deliveries of each event."""
    return iter(set(itertools.permutations(names * copies)))


def test_every_order_and_duplication_of_a_pairs_events_ends_in_the_same_slot() -> None:
    states = set()
    for order in orders("draft", "final", copies=3):
        story = Story()
        for name in order:
            story.tell(name)
        story.replay()
        states.add(story.rows.state())
        assert [row.seq for row in story.rows.events] == [1, 2]
    assert len(states) == 1
    assert dict(states.pop()[0])["image_id"] == str(UUID(int=1002))


def test_every_order_of_two_drafts_and_two_finals_ends_in_the_same_slot() -> None:
    names = ("draft", "final", "second draft", "later final")
    states = set()
    for order in orders(*names, copies=2):
        story = Story()
        for name in order:
            story.tell(name)
        states.add(story.rows.state())
    assert len(states) == 1


@pytest.mark.parametrize("decision", ["roll back to draft", "roll back to final", "unlink"])
def test_a_persons_decision_ends_the_same_wherever_it_falls_between_the_events(
    decision: str,
) -> None:
    """Each position at which the decision can be made, in each order of the events."""
    states = set()
    needed = decision.removeprefix("roll back to ") if decision != "unlink" else None
    for order in orders("draft", "final", "second draft", copies=2):
        for place in range(1, len(order) + 1):
            if needed is not None and needed not in order[:place]:
                continue  # nobody rolls back to what was never offered
            story = Story()
            for name in order[:place]:
                story.tell(name)
            story.unlink() if needed is None else story.roll_back(needed)
            for name in order[place:]:
                story.tell(name)
            story.replay()
            states.add(story.rows.state())
    assert len(states) == 1
    stands = dict(states.pop()[0])["image_id"]
    chosen = {"draft": 1001, "final": 1002}.get(needed or "")
    assert stands == (str(UUID(int=chosen)) if chosen else "None")


@pytest.mark.parametrize("decision", ["roll back", "unlink"])
def test_only_what_is_requested_after_a_decision_takes_the_place_again(decision: str) -> None:
    story = Story()
    story.tell("draft")
    story.tell("final")
    story.roll_back("draft") if decision == "roll back" else story.unlink()
    story.replay()
    story.tell("second draft")
    assert dict(story.rows.state()[0])["image_id"] != str(UUID(int=1002))
    story.tell("later final")
    assert dict(story.rows.state()[0])["image_id"] == str(UUID(int=1090))


def test_a_second_decision_on_what_is_decided_is_silent_and_raises_the_floor() -> None:
    story = Story()
    story.tell("final")
    story.unlink(decision=50)
    told = len(story.rows.events)
    story.unlink(decision=95)
    story.tell("later final")
    (slot,) = story.rows.of(BlogSlotRow)
    assert (slot.image_id, slot.floor_job_id) == (None, UUID(int=95))
    assert [row.type for row in story.rows.events[told:]] == ["blog.image.candidate_added"]


def test_editing_says_something_only_when_something_changes() -> None:
    story = Story()
    story.tell("final")
    for _ in range(2):
        story.rows.do(update_step(HERO, SlotUpdate(alt_text="Edited"), moment()))
    assert [row.type for row in story.rows.events] == ["blog.image.linked", "blog.image.updated"]


def test_what_stood_there_is_told_version_by_version() -> None:
    story = Story()
    story.tell("draft")
    story.tell("final")
    story.unlink()
    story.roll_back("draft", decision=51)
    story.tell("later final")
    changes = [(one.version, one.change, one.reason) for one in story.rows.of(SlotChangeRow)]
    assert changes == [
        (2, "blog.image.linked", None),
        (3, "blog.image.unlinked", None),
        (4, "blog.image.linked", "rollback"),
        (5, "blog.image.replaced", None),
    ]
    assert [row.seq for row in story.rows.events] == [1, 2, 3, 4, 5]


# --- the same on real databases, where it matters that they lock and store


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    async with world_on(database_url) as opened:
        yield opened


async def completed(world: World, **fields: Any) -> tuple[UUID, CloudEvent]:
    """A completed job of the hero and its event, not yet delivered to anybody."""
    job_id = await world.submit(**{"blog_id": "post", "role": "hero"} | fields)
    await world.deliver(job_id)
    found = await world.history("job", str(job_id))
    return job_id, cloud_event(next(one for one in found if one.type == "image.job.completed"))


async def linked(world: World, **fields: Any) -> UUID:
    job_id, event = await completed(world, **fields)
    await link(event, world.journal, world.worker.ids)
    return job_id


async def hero(world: World) -> SlotResponse:
    return await blog_image(HERO, journal=world.journal, base_url=BaseUrl("http://x"))


async def back_to(world: World, **named: UUID | None) -> None:
    named = {"image_id": None, "job_id": None} | named
    await roll_back(HERO, **named, journal=world.journal, ids=world.worker.ids)


async def empty(world: World) -> None:
    await unlink(HERO, journal=world.journal, ids=world.worker.ids)


async def edit(world: World, **changes: Any) -> None:
    await update(HERO, SlotUpdate(**changes), journal=world.journal, ids=world.worker.ids)


async def remove(world: World, image_id: UUID | None) -> None:
    assert image_id is not None
    await delete_image(image_id, tenant=TENANT, journal=world.journal, blobs=world.blobs)


async def kinds(world: World) -> list[str]:
    return [one.type.removeprefix("blog.image.") for one in await world.history("slot", str(HERO))]


async def test_a_draft_is_shown_as_preview_until_its_final_takes_the_place(world: World) -> None:
    draft = await linked(world, quality="draft", alt_text="A tower")
    found = await hero(world)
    assert (found.image_id, found.url, found.srcset, found.alt_text) == (
        None, None, None, "A tower",
    )  # fmt: skip
    assert found.preview is not None
    assert found.preview.job_id == draft
    final = await linked(world, quality="high", draft_job_id=str(draft), blog_id=None, role=None)
    found = await hero(world)
    assert (found.job_id, found.preview, found.is_draft) == (final, None, False)
    assert [(one.job_id, one.is_current) for one in found.candidates] == [
        (final, True),
        (draft, False),
    ]
    next_draft = await linked(world, quality="draft", position=1)
    found = await hero(world)
    assert found.job_id == final
    assert found.preview is not None
    assert found.preview.job_id == next_draft
    assert await kinds(world) == ["candidate_added", "linked", "candidate_added"]


async def test_a_drafts_event_that_comes_after_its_finals_changes_nothing_that_is_seen(
    world: World,
) -> None:
    draft, late = await completed(world, quality="draft")
    final = await linked(world, quality="high", draft_job_id=str(draft), blog_id=None, role=None)
    before = await hero(world)
    await link(late, world.journal, world.worker.ids)
    after = await hero(world)
    assert (after.job_id, after.preview, after.image_id) == (final, None, before.image_id)
    assert [one.job_id for one in after.candidates] == [final, draft]


async def test_a_source_set_names_three_webp_widths_and_the_original_once_each(
    world: World,
) -> None:
    await linked(world)
    found = await hero(world)
    assert found.srcset == ", ".join(
        f"{found.url}/w{width} {width}w" for width in (320, 640, 1280)
    )  # these pictures are 1280 wide: a second source of that width would never be taken
    assert (found.width, found.height) == (1280, 640)


async def test_a_swap_keeps_texts_and_a_persons_words_stand_above_the_requests(
    world: World,
) -> None:
    await linked(world, alt_text="First", caption="By request")
    await linked(world, position=1)
    found = await hero(world)
    assert (found.alt_text, found.caption) == ("First", "By request")
    await linked(world, position=1, alt_text="Second")
    assert (await hero(world)).alt_text == "Second"
    await edit(world, alt_text="", focal_point=FocalPoint(x=0.25, y=1))
    await linked(world, position=1, alt_text="Third", caption="Newer")
    found = await hero(world)
    assert (found.alt_text, found.caption) == ("", "Newer")
    assert found.focal_point == FocalPoint(x=0.25, y=1)
    await edit(world, alt_text=None, focal_point=None)
    found = await hero(world)
    assert (found.alt_text, found.focal_point) == ("Third", None)
    told = (await world.history("slot", "post/hero/1"))[3]
    assert (told.type, json.loads(told.data)["focal_point"]) == (
        "blog.image.updated",
        {"x": 0.25, "y": 1.0},
    )


async def test_a_rollback_brings_picture_and_text_back_and_outlives_a_replay(
    world: World,
) -> None:
    first, one = await completed(world, alt_text="First")
    second, two = await completed(world, alt_text="Second", position=1)
    for event in (one, two):
        await link(event, world.journal, world.worker.ids)
    await back_to(world, job_id=first)
    found = await hero(world)
    assert (found.job_id, found.alt_text, found.version) == (first, "First", 3)
    for event in (two, one, two):
        await link(event, world.journal, world.worker.ids)
    again = await hero(world)
    assert again == found
    assert [(e.version, e.reason, e.job_id) for e in again.history] == [
        (3, "rollback", first),
        (2, None, second),
        (1, None, first),
    ]
    third = await linked(world, position=1)
    assert (await hero(world)).job_id == third
    assert await kinds(world) == ["linked", "replaced", "replaced", "replaced"]


async def test_a_final_that_was_requested_before_a_rollback_stays_a_candidate(
    world: World,
) -> None:
    first = await linked(world)
    _, late = await completed(world, position=1)
    await back_to(world, job_id=first)
    await link(late, world.journal, world.worker.ids)
    found = await hero(world)
    assert found.job_id == first
    assert len(found.candidates) == 2
    assert await kinds(world) == ["linked", "candidate_added"]


async def test_an_unlinked_place_stays_empty_whatever_is_replayed(world: World) -> None:
    first, event = await completed(world)
    await link(event, world.journal, world.worker.ids)
    await empty(world)
    await link(event, world.journal, world.worker.ids)
    await empty(world)
    found = await hero(world)
    assert (found.image_id, found.url, found.preview, found.version) == (None, None, None, 2)
    assert [one.job_id for one in found.candidates] == [first]


async def test_a_draft_from_before_an_unlinking_is_no_preview_any_more(world: World) -> None:
    await linked(world, quality="draft")
    await empty(world)
    assert (await hero(world)).preview is None
    later = await linked(world, quality="draft", position=1)
    preview = (await hero(world)).preview
    assert preview is not None
    assert preview.job_id == later


async def test_an_unlinked_place_is_filled_by_a_later_request(world: World) -> None:
    await linked(world)
    await empty(world)
    await linked(world, position=1)
    assert await kinds(world) == ["linked", "unlinked", "linked"]


async def test_what_was_never_offered_to_a_place_cannot_be_rolled_back_to(world: World) -> None:
    with pytest.raises(NoSuchSlot):
        await back_to(world, job_id=uuid4())
    await linked(world)
    other = await linked(world, role="og")
    for named in ({"job_id": uuid4()}, {"image_id": uuid4()}, {"job_id": other}):
        with pytest.raises(NoSuchCandidate):
            await back_to(world, **named)
    with pytest.raises(NoSuchSlot):
        await unlink(HERO._replace(tenant="another"), journal=world.journal, ids=world.worker.ids)
    assert (await hero(world)).version == 1


async def test_a_candidate_may_be_deleted_and_is_not_offered_or_rolled_back_to_again(
    world: World,
) -> None:
    draft, event = await completed(world, quality="draft")
    await link(event, world.journal, world.worker.ids)
    first = await linked(world, position=1)
    await linked(world, position=1)
    found = await hero(world)
    with pytest.raises(ImageInUse):
        await remove(world, found.image_id)
    for candidate in found.candidates[1:]:
        await remove(world, candidate.image_id)
    after = await hero(world)
    assert [one.is_current for one in after.candidates] == [True]
    assert [(one.job_id, one.url is None) for one in after.history] == [
        (found.job_id, False),
        (first, True),
    ]
    with pytest.raises(NoSuchCandidate):
        await back_to(world, job_id=draft)


async def test_a_picture_that_was_deleted_before_its_event_came_is_offered_to_nobody(
    world: World,
) -> None:
    job_id, event = await completed(world)
    (image,) = await world.store.read(picture_reads.images_of_jobs, TENANT, [job_id])
    await remove(world, image.id)
    await link(event, world.journal, world.worker.ids)
    assert not await world.store.read(picture_reads.slots, TENANT, "post")


async def test_a_picture_that_is_linked_and_deleted_at_once_does_not_stand_there_deleted(
    postgres_url: str,
) -> None:
    """Two processes; the one that deletes looked for the place before the other had made it."""
    later = FakeClock(START + timedelta(hours=1))  # ids follow from it, and differ
    async with (
        world_on(postgres_url) as one,
        world_on(postgres_url, clock=later, blobs=one.blobs) as two,
    ):
        job_id, event = await completed(one)
        (image,) = await one.store.read(picture_reads.images_of_jobs, TENANT, [job_id])
        watcher = await asyncpg.connect(postgres_url)
        holder = await asyncpg.connect(postgres_url)
        try:
            async with holder.transaction(), asyncio.timeout(20):
                await holder.execute("SELECT 1 FROM blogs FOR UPDATE")
                racers: list[asyncio.Task[None]] = []
                for racer in (link(event, one.journal, one.worker.ids), remove(two, image.id)):
                    racers.append(asyncio.create_task(racer))
                    while await watcher.fetchval(WAITING) < len(racers):
                        pass
            async with asyncio.timeout(20):  # its key is refused, and it looks again
                answers = await asyncio.gather(*racers, return_exceptions=True)
        finally:
            await watcher.close()
            await holder.close()
        assert [type(answer) for answer in answers] == [type(None), ImageInUse]
        assert (await hero(one)).url is not None


WAITING = (
    "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
    " AND datname = current_database()"
)


async def test_a_deleted_blog_takes_no_picture_and_no_persons_word(world: World) -> None:
    first = await linked(world)
    _, late = await completed(world, quality="draft", position=1)
    await delete_blog("post", tenant=TENANT, journal=world.journal, ids=world.worker.ids)
    await link(late, world.journal, world.worker.ids)
    assert len(await world.store.read(picture_reads.slot_candidates, TENANT, "post")) == 1
    for refused in (back_to(world, job_id=first), empty(world), edit(world, alt_text="x")):
        with pytest.raises(BlogGone):
            await refused
    assert await kinds(world) == ["linked"]
    (image,) = await world.store.read(picture_reads.images_of_jobs, TENANT, [first])
    await remove(world, image.id)


async def test_decisions_and_events_that_come_at_once_leave_one_story(world: World) -> None:
    """Twenty at a time: each version has one event, and the last decision holds."""
    first = await linked(world)
    events = [(await completed(world, position=1))[1] for _ in range(6)]
    await asyncio.gather(
        *(link(event, world.journal, world.worker.ids) for event in events * 2),
        *(back_to(world, job_id=first) for _ in range(4)),
        *(empty(world) for _ in range(4)),
    )
    found = await hero(world)
    history = await world.history("slot", "post/hero/1")
    assert [event.seq for event in history] == list(range(1, found.version + 1))
    assert len(found.candidates) == 7
    await back_to(world, job_id=first)
    for event in events:
        await link(event, world.journal, world.worker.ids)
    assert (await hero(world)).job_id == first


async def test_a_later_request_of_another_process_whose_clock_is_ahead_does_not_undo_a_rollback(
    world: World,
) -> None:
    """Ids sort by the clocks that made them: the floor is above what stands there as well."""
    first = await linked(world)
    ahead = world.journal.now() + timedelta(hours=1)
    job_id = UUID(int=int(ahead.timestamp() * 1000) << 80 | 0x7 << 76 | 0b10 << 62)
    event, image = finished(1, is_draft=False)
    facts = event.data | {
        "job_id": str(job_id), "images": [{"image_id": str(image.id)}],
    }  # fmt: skip
    event = event.model_copy(update={"data": facts})
    key = RowKey(ImageRow, (image.id,))

    def put(_: Look, writes: Writes) -> None:
        writes.insert(image, image.id)

    await world.journal.record(Step("put", put, (key,)))
    await link(event, world.journal, world.worker.ids)
    assert (await hero(world)).job_id == job_id
    await back_to(world, job_id=first)
    await link(event.model_copy(update={"id": uuid4()}), world.journal, world.worker.ids)
    assert (await hero(world)).job_id == first
