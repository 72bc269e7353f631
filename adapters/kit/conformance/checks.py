"""The checks, each with what it means when it fails, and what to do then."""

import asyncio
import json
import random
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import uuid4

from adapters.kit.conformance.stories import (
    STORIES,
    TOO_MUCH,
    Document,
    Story,
    garbage,
    story,
    unknown_members,
    unknown_type,
)
from adapters.kit.conformance.targets import Effects, Form, HttpTarget, Target
from adapters.kit.signature import PREFIX, TOLERANCE, sign
from schemas.contract import MEDIA_TYPE, example
from schemas.events import EventType

# As a sender does, an answer other than 2xx is followed by another try.
TRIES = 10
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.1, 0.5
DUPLICATES = 3
AT_ONCE = 5
SHUFFLES = 2

Sleep = Callable[[float], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Finding:
    """What became of one check; *passed* is None where it could not be made."""

    check: str
    passed: bool | None
    detail: str


@dataclass(frozen=True, slots=True)
class Report:
    findings: Sequence[Finding]

    @property
    def passed(self) -> bool:
        return all(one.passed is not False for one in self.findings)


class Failed(Exception):
    """The subscriber does what it must not; the text says what, why it matters, and the remedy."""


class NotMade(Exception):
    """The check cannot be made here; the text says why."""


@dataclass
class Examination:
    target: Target
    effects: Effects | None
    chance: random.Random
    sleep: Sleep
    # By story: what the subscriber makes of it where every event comes once and in order.
    expected: dict[str, str] = field(default_factory=dict)

    async def send(self, event: Document, body: bytes | None = None) -> None:
        """Deliver one event until it is taken, as a sender does."""
        body = body if body is not None else json.dumps(event).encode()
        for number in range(TRIES):
            status = await self.target.deliver(body, event["id"])
            if 200 <= status < 300:
                return
            if status in (400, 401, 403, 404, 410, 413, 422):
                break
            await self.sleep(min(FIRST_PAUSE_SECONDS * 2**number, LONGEST_PAUSE_SECONDS))
        raise Failed(
            f"{event['type']} was answered {_said(status)}. Answer 2xx for every event, also for"
            " those that you have handled before or that mean nothing to you; anything else has it"
            " sent again and again, and in the end not at all."
        )

    async def send_all(self, events: Iterable[Document]) -> None:
        for event in events:
            await self.send(event)

    async def made_of(self, told: Story) -> str:
        assert self.effects is not None
        return told.told(await self.effects(told.subject))

    async def compare(self, told: Story, remedy: str) -> None:
        """Hold what was made of a story against what is made of it where all goes well."""
        if self.effects is None or told.name not in self.expected:
            return
        found = await self.made_of(told)
        if found != self.expected[told.name]:
            raise Failed(
                f"{told.name}: the effects are {_short(found)}, and"
                f" {_short(self.expected[told.name])} where every event comes once and in order."
                f" {remedy}"
            )

    @property
    def telling(self) -> list[str]:
        """Stories of which the subscriber makes anything; all where that cannot be seen."""
        return [name for name in STORIES if name in self.expected] or list(STORIES)


async def examine(
    target: Target,
    effects: Effects | None = None,
    *,
    seed: int = 1,
    sleep: Sleep = asyncio.sleep,
) -> Report:
    """Make all checks, one after the other, and report each.

    *effects* says what the subscriber made of a subject, as JSON: the same for the same events,
    whenever and however they came. Without it only the answers are judged. Everything is done to
    subjects that are made up, in the tenant `default`.
    """
    examination = Examination(target, effects, random.Random(seed), sleep)
    return Report([await _made(examination, name, check) for name, check in CHECKS.items()])


Check = Callable[[Examination], Awaitable[str]]


async def _made(examination: Examination, name: str, check: Check) -> Finding:
    try:
        return Finding(name, True, await check(examination))
    except Failed as exc:
        return Finding(name, False, str(exc))
    except NotMade as exc:
        return Finding(name, None, str(exc))


async def _every_type(it: Examination) -> str:
    for event_type in EventType:
        await it.send(example(event_type) | {"id": str(uuid4()), "subject": str(uuid4())})
    return f"all {len(EventType)} types are taken"


async def _effects(it: Examination) -> str:
    if it.effects is None:
        raise NotMade(
            "what the subscriber does cannot be seen, so that only its answers are judged: name the"
            " address that tells its effects"
        )
    for name in STORIES:
        told = story(name)
        before = await it.made_of(told)
        await it.send_all(told.events)
        after = await it.made_of(told)
        if after != before:
            it.expected[name] = after
    if not it.expected:
        raise Failed(
            "Nothing that happened had an effect that can be seen. Either the subscriber does"
            " nothing about these events, or its effects are told elsewhere."
        )
    return f"seen for {', '.join(it.expected)}"


async def _duplicates(it: Examination) -> str:
    for name in it.telling:
        told = story(name)
        for event in told.events:
            await it.send_all([event] * DUPLICATES)
        await it.compare(
            told,
            "An event that came again had its effect again. Keep the ids of the events that you"
            " have handled, in the same commit as the effect.",
        )
    return f"each event {DUPLICATES} times"


async def _at_once(it: Examination) -> str:
    for name in it.telling:
        told = story(name)
        for event in told.events:
            await asyncio.gather(*(it.send(event) for _ in range(AT_ONCE)))
        await it.compare(
            told,
            "The same event, delivered several times at the same moment, had its effect more than"
            " once. Looking first and writing afterwards does not do: let a unique key on the"
            " event's id decide, in the effect's transaction.",
        )
    return f"each event {AT_ONCE} times at the same moment"


async def _reordered(it: Examination) -> str:
    for name in it.telling:
        for _ in range(SHUFFLES):
            told = story(name)
            events = list(told.events)
            it.chance.shuffle(events)
            await it.send_all(events)
            await it.compare(told, _ORDER)
    return f"{SHUFFLES} orders of each story"


_ORDER = (
    "The order in which events arrived decided. Go by `sequence` within a `subject`: where only the"
    " present counts, pass over what is older than what you have handled."
)


async def _old_sequences(it: Examination) -> str:
    for name in it.telling:
        told = story(name)
        await it.send_all(reversed(told.events))
        await it.compare(told, _ORDER)
    return "the newest event first, then the older ones"


async def _replays(it: Examination) -> str:
    stories = [story(name) for name in it.telling]
    for told in stories:
        await it.send_all(told.events)
    # Of several subjects together, as a replay comes: long after, from the beginning.
    for _ in range(2):
        for told in stories:
            await it.send_all(told.events)
    for told in stories:
        await it.compare(
            told,
            "A replay of old events changed what was there. Keep the ids that you have handled for"
            " as long as events may be replayed.",
        )
    return "every story twice again, from its beginning"


async def _additions(it: Examination) -> str:
    for name in it.telling:
        told = story(name)
        await it.send_all(map(unknown_members, told.events))
        await it.compare(
            told, "Members that are not known must be passed over: data grows with releases."
        )
        before = await it.made_of(told) if it.effects is not None else ""
        await it.send(unknown_type(told.events[-1]))
        if it.effects is not None and await it.made_of(told) != before:
            raise Failed(
                "An event of an unknown type had an effect. Pass over types you do not know."
            )
    return "unknown members and an unknown type"


async def _garbage(it: Examination) -> str:
    told = story(it.telling[0])
    before = await it.made_of(told) if it.effects is not None else ""
    bodies = garbage(told.events[-1])
    for name, body in bodies.items():
        status = await it.target.deliver(body, str(uuid4()))
        if not 200 <= status < 500 and not (name == TOO_MUCH and status == 0):
            raise Failed(
                f"{name.capitalize()} was answered {_said(status)}. What is no event must be"
                " refused (400) or passed over (2xx): a server's error has it sent again for days."
            )
        if it.effects is not None and await it.made_of(told) != before:
            raise Failed(f"{name.capitalize()} had an effect. Check an event before you act on it.")
    return f"{len(bodies)} bodies that are no events"


async def _forged(it: Examination) -> str:
    target = it.target
    if not isinstance(target, HttpTarget) or target.form is not Form.WEBHOOK or not target.secret:
        raise NotMade("no secret was named, so that nothing is signed")
    told = story(it.telling[0])
    before = await it.made_of(told) if it.effects is not None else ""
    event = told.events[-1]
    body = json.dumps(event).encode()
    now = datetime.now(UTC)
    other = PREFIX + "b3RoZXItc2VjcmV0LW90aGVyLXNlY3JldA=="
    good = sign(target.secret, event["id"], body, now)
    cases = {
        "no signature": {},
        "the signature of another secret": sign(other, event["id"], body, now),
        "a body that was changed": sign(target.secret, event["id"], body + b" ", now),
        "the id of another message": good | {"webhook-id": str(uuid4())},
        "a message of an hour ago": sign(
            target.secret, event["id"], body, now - max(TOLERANCE * 2, timedelta(hours=1))
        ),
        "an empty signature": good | {"webhook-signature": ""},
    }
    for name, headers in cases.items():
        status = await target.post(body, {"content-type": MEDIA_TYPE} | headers)
        if not 400 <= status < 500:
            raise Failed(
                f"{name.capitalize()}: the answer was {_said(status)}. Refuse (401) what the secret"
                " did not sign, before you read it: else anybody can send you events."
            )
        if it.effects is not None and await it.made_of(told) != before:
            raise Failed(f"{name.capitalize()}: the event had its effect although it was refused.")
    return f"{len(cases)} forged messages"


async def _afterwards(it: Examination) -> str:
    for name in it.telling:
        told = story(name)
        await it.send_all(told.events)
        await it.compare(told, "After all of this, events no longer have the effect that they had.")
    return "it works as before"


CHECKS: dict[str, Check] = {
    "every type is taken": _every_type,
    "effects are seen": _effects,
    "duplicates": _duplicates,
    "duplicates at the same moment": _at_once,
    "reordering": _reordered,
    "old sequences": _old_sequences,
    "replays": _replays,
    "later additions": _additions,
    "garbage": _garbage,
    "forgery": _forged,
    "afterwards": _afterwards,
}


def _said(status: int) -> str:
    return f"HTTP {status}" if status else "not at all, or not in time"


def _short(text: str) -> str:
    return text if len(text) <= 300 else f"{text[:300]}…"
