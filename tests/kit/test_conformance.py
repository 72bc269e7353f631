"""The conformance kit lets the right subscriber pass, and names what each wrong one does wrong."""

import asyncio
import json
from collections import deque
from datetime import UTC, datetime
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI, Request, Response

from adapters.kit.conformance import HttpTarget, Report, Unreachable, examine, http_effects
from adapters.kit.conformance.checks import CHECKS
from adapters.kit.conformance.stories import STORIES, garbage, story
from adapters.kit.signature import Unsigned, verify
from schemas.event_data import data_of
from schemas.events import CloudEvent, read_event

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


class Right:
    """A subscriber without the kit: counts pictures, and shows where each job stands."""

    def __init__(self) -> None:
        self.handled: Any = set()
        self.pictures: dict[str, int] = {}
        self.newest: dict[str, tuple[int, str]] = {}

    async def deliver(self, body: bytes, event_id: str) -> int:
        try:
            event = self.read(body)
        except ValueError:
            return 400
        await self.handle(event)
        return 204

    def read(self, body: bytes) -> CloudEvent:
        event = read_event(body)
        if event.type.startswith("image.job.") and "later" not in event.type:
            data_of(event)
        return event

    async def handle(self, event: CloudEvent) -> None:
        if event.id in self.handled:
            return
        self.handled.add(event.id)
        self.act(event)

    def act(self, event: CloudEvent) -> None:
        if event.type == "image.job.completed":
            self.pictures[event.subject] = self.pictures.get(event.subject, 0) + 1
        if event.type.startswith("image.job.") and "state" in event.data:
            self.show(event.subject, event.seq, event.data["state"])

    def show(self, subject: str, sequence: int, state: str) -> None:
        if sequence > self.newest.get(subject, (0, ""))[0]:
            self.newest[subject] = (sequence, state)

    async def effects(self, subject: str) -> Any:
        state = self.newest.get(subject, (0, None))[1]
        return {"pictures": self.pictures.get(subject, 0), "state": state, "of": subject}


class WithoutMemory(Right):
    async def handle(self, event: CloudEvent) -> None:
        self.act(event)


class LooksFirst(Right):
    """Looks whether it knows the event, then acts, then remembers."""

    async def handle(self, event: CloudEvent) -> None:
        if event.id not in self.handled:
            await asyncio.sleep(0)
            self.act(event)
            self.handled.add(event.id)


class GoesByArrival(Right):
    def show(self, subject: str, sequence: int, state: str) -> None:
        self.newest[subject] = (sequence, state)


class Forgets(Right):
    def __init__(self) -> None:
        super().__init__()
        self.kept: deque[Any] = deque(maxlen=5)

    async def handle(self, event: CloudEvent) -> None:
        if event.id not in self.kept:
            self.kept.append(event.id)
            self.act(event)


class IsStrict(Right):
    def read(self, body: bytes) -> CloudEvent:
        event = super().read(body)
        if "added_later" in event.data:
            raise ValueError("unknown member")
        return event


class Trusts(Right):
    """Acts on whatever looks like an event, and falls over what does not."""

    async def deliver(self, body: bytes, event_id: str) -> int:
        try:
            return await super().deliver(body, event_id)
        except Exception:
            return 500

    def read(self, body: bytes) -> CloudEvent:
        event: dict[str, Any] = json.loads(body)
        return CloudEvent.model_construct(
            id=event["id"], type=event["type"], subject=event["subject"],
            sequence=event["sequence"], data=event["data"],
        )  # fmt: skip


class IsCareless(Trusts):
    """The same, and says that all is well whatever came."""

    async def deliver(self, body: bytes, event_id: str) -> int:
        await super().deliver(body, event_id)
        return 204


class WantsItsTypesOnly(Right):
    def read(self, body: bytes) -> CloudEvent:
        event = super().read(body)
        if not event.type.startswith("image.job."):
            raise ValueError("not for me")
        return event


class DoesNothing(Right):
    def act(self, event: CloudEvent) -> None:
        pass


class BreaksDown(Right):
    """Once it has been given garbage it does nothing any more."""

    async def deliver(self, body: bytes, event_id: str) -> int:
        if body == b"null":
            self.act = lambda event: None  # type: ignore[method-assign]  # it is broken now
        return await super().deliver(body, event_id)


class IsBusy(Right):
    """Answers 503 where it is asked twice at once, and takes the event when it comes again."""

    def __init__(self) -> None:
        super().__init__()
        self.working = False

    async def deliver(self, body: bytes, event_id: str) -> int:
        if self.working:
            return 503
        self.working = True
        try:
            await asyncio.sleep(0)
            return await super().deliver(body, event_id)
        finally:
            self.working = False


async def at_once(seconds: float) -> None:
    await asyncio.sleep(0)


def failed(report: Report) -> dict[str, str]:
    return {one.check: one.detail for one in report.findings if one.passed is False}


@pytest.mark.parametrize("kind", [Right, IsBusy])
async def test_the_right_subscriber_passes(kind: type[Right]) -> None:
    right = kind()
    report = await examine(right, right.effects, sleep=at_once)
    assert (report.passed, failed(report)) == (True, {})
    assert [one.check for one in report.findings] == list(CHECKS)
    assert [one.check for one in report.findings if one.passed is None] == ["forgery"]


WRONG: list[tuple[type[Right], str, str]] = [
    (WithoutMemory, "duplicates", "Keep the ids of the events that you have handled"),
    (WithoutMemory, "replays", "for as long as events may be replayed"),
    (LooksFirst, "duplicates at the same moment", "let a unique key on the event's id decide"),
    (GoesByArrival, "reordering", "Go by `sequence` within a `subject`"),
    (GoesByArrival, "old sequences", "pass over what is older"),
    (Forgets, "replays", "changed what was there"),
    (IsStrict, "later additions", "image.job.queued was answered HTTP 400"),
    (Trusts, "garbage", "was answered HTTP 500"),
    (IsCareless, "garbage", "Check an event before you act on it"),
    (WantsItsTypesOnly, "every type is taken", "that mean nothing to you"),
    (DoesNothing, "effects are seen", "Nothing that happened had an effect"),
    (BreaksDown, "afterwards", "no longer have the effect"),
]


@pytest.mark.parametrize(("kind", "check", "words"), WRONG)
async def test_a_wrong_subscriber_is_told_what_it_does_wrong(
    kind: type[Right], check: str, words: str
) -> None:
    wrong = kind()
    report = await examine(wrong, wrong.effects, sleep=at_once)
    assert not report.passed
    assert words in failed(report)[check]


async def test_a_wrong_subscriber_fails_nothing_that_it_does_right() -> None:
    wrong = LooksFirst()
    found = failed(await examine(wrong, wrong.effects, sleep=at_once))
    assert list(found) == ["duplicates at the same moment"]


async def test_without_its_effects_only_answers_are_judged() -> None:
    report = await examine(WithoutMemory(), sleep=at_once)
    unmade = {one.check: one.detail for one in report.findings if one.passed is None}
    assert report.passed
    assert "only its answers are judged" in unmade["effects are seen"]
    assert "garbage" in failed(await examine(Trusts(), sleep=at_once))


def app(subscriber: Right, *, verifies: bool) -> FastAPI:
    """*subscriber* behind a webhook's address."""
    served = FastAPI()

    @served.post("/hook")
    async def take(request: Request) -> Response:
        body = await request.body()
        if verifies:
            try:
                verify([SECRET], dict(request.headers), body, datetime.now(UTC))
            except Unsigned:
                return Response(status_code=401)
        return Response(status_code=await subscriber.deliver(body, ""))

    @served.get("/effects")
    async def effects(subject: str) -> Any:
        return await subscriber.effects(subject)

    return served


def client(served: FastAPI) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(transport=httpx2.ASGITransport(app=served), base_url="http://it")


@pytest.mark.parametrize("verifies", [True, False])
async def test_who_believes_anybody_is_found_out(verifies: bool) -> None:
    async with client(app(Right(), verifies=verifies)) as http:
        target = HttpTarget(http, "/hook", secret=SECRET)
        effects = http_effects(http, "/effects?subject={subject}")
        report = await examine(target, effects, sleep=at_once)
    assert report.passed is verifies
    if not verifies:
        assert list(failed(report)) == ["forgery"]
        assert "anybody can send you events" in failed(report)["forgery"]


async def test_who_refuses_good_signatures_is_told_of_the_answer() -> None:
    async with client(app(Right(), verifies=True)) as http:
        report = await examine(HttpTarget(http, "/hook"), sleep=at_once)
    assert "answered HTTP 401" in failed(report)["every type is taken"]


async def test_nobody_at_the_address_is_no_finding() -> None:
    async with httpx2.AsyncClient(trust_env=False) as http:
        with pytest.raises(Unreachable, match="nobody answers"):
            await examine(HttpTarget(http, "http://127.0.0.1:9/"), sleep=at_once)
    async with client(app(Right(), verifies=False)) as http:
        effects = http_effects(http, "/nowhere?subject={subject}")
        with pytest.raises(Unreachable, match="does not tell the effects"):
            await examine(HttpTarget(http, "/hook"), effects, sleep=at_once)


@pytest.mark.parametrize("name", STORIES)
def test_a_story_is_told_of_one_subject_in_events_of_the_contract(name: str) -> None:
    one, other = story(name), story(name)
    for told in (one, other):
        for number, event in enumerate(told.events, 1):
            read = read_event(json.dumps(event))
            data_of(read)
            assert (read.subject, read.seq) == (told.subject, number)
    ids = [event["id"] for event in (*one.events, *other.events)]
    assert len(set(ids)) == len(ids)
    # The same story of two subjects differs in ids alone.
    assert one.told([event["data"] for event in one.events]) == other.told(
        [event["data"] for event in other.events]
    )
    assert one.subject not in json.dumps(other.events)


def test_none_of_the_garbage_is_an_event() -> None:
    whole = story("a job").events[-1]
    for name, body in garbage(whole).items():
        try:
            data_of(read_event(body))
        except ValueError:
            continue
        raise AssertionError(name)
