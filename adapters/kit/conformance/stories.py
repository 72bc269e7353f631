"""Events as they come, made of recorded ones: what happens to one subject, in its order."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4, uuid5

from schemas.contract import example
from schemas.events import SEQUENCE_DIGITS, EventType

Document = dict[str, Any]

_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")

# The one body that may also be cut off unread.
TOO_MUCH = "two megabytes"

STORIES: dict[str, tuple[EventType, ...]] = {
    "a job": (
        EventType.JOB_QUEUED,
        EventType.JOB_STARTED,
        EventType.JOB_RESULT_RECEIVED,
        EventType.JOB_COMPLETED,
    ),
    "a job that failed and was retried": (
        EventType.JOB_QUEUED,
        EventType.JOB_STARTED,
        EventType.JOB_FAILED,
        EventType.JOB_QUEUED,
        EventType.JOB_STARTED,
        EventType.JOB_RESULT_RECEIVED,
        EventType.JOB_COMPLETED,
    ),
    "a job that was cancelled": (EventType.JOB_QUEUED, EventType.JOB_CANCELLED),
    "a draft that was approved": (
        EventType.JOB_QUEUED,
        EventType.JOB_STARTED,
        EventType.JOB_RESULT_RECEIVED,
        EventType.JOB_COMPLETED,
        EventType.DRAFT_APPROVED,
    ),
    "a batch": (
        EventType.BATCH_CREATED,
        EventType.BATCH_COMPLETED,
        EventType.BATCH_REOPENED,
        EventType.BATCH_COMPLETED,
    ),
    "a place of a post": (
        EventType.SLOT_CANDIDATE_ADDED,
        EventType.SLOT_LINKED,
        EventType.SLOT_REPLACED,
        EventType.SLOT_UPDATED,
        EventType.SLOT_UNLINKED,
    ),
}


@dataclass(frozen=True)
class Story:
    """The events of one new subject. The same story of another subject differs in ids alone."""

    name: str
    subject: str
    events: Sequence[Document]
    # Ids of this story, and what they stand for.
    names: dict[str, str] = field(repr=False)

    def told(self, effects: Any) -> str:
        """*effects* as text in which ids are names: equal for equal stories of two subjects."""
        text = json.dumps(effects, sort_keys=True, default=str, ensure_ascii=False)
        for identity, name in sorted(self.names.items(), key=lambda pair: -len(pair[0])):
            text = text.replace(identity, name)
        return text


def story(name: str) -> Story:
    """A fresh subject to which the story *name* happens."""
    space = uuid4()
    types = STORIES[name]
    blog = f"conformance-{space.hex[:12]}"
    of_slot = types[0] is EventType.SLOT_CANDIDATE_ADDED
    subject = f"{blog}/hero/1" if of_slot else str(space)
    names = {subject: "SUBJECT", blog: "BLOG"}
    events = []
    for number, event_type in enumerate(types, 1):
        event = _retold(example(event_type), space, blog, subject, names)
        event["id"] = str(uuid4())
        event["sequence"] = str(number).zfill(SEQUENCE_DIGITS)
        event["time"] = (_BEGIN + timedelta(seconds=number)).isoformat()
        names[event["id"]] = f"EVENT-{number}"
        events.append(event)
    return Story(name, subject, events, names)


_BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


def _retold(
    recorded: Document, space: UUID, blog: str, subject: str, names: dict[str, str]
) -> Document:
    """A recorded event, as if it had happened to *subject*."""
    old_subject, old_blog = recorded["subject"], recorded["data"].get("blog_id")
    text = json.dumps(recorded["data"]).replace(old_subject, subject)
    if old_blog is not None:
        text = text.replace(json.dumps(old_blog), json.dumps(blog))

    def another(found: re.Match[str]) -> str:
        if found[0] == subject:
            return subject
        fresh = str(uuid5(space, found[0]))
        names[fresh] = found[0]
        return fresh

    data: Document = json.loads(_UUID.sub(another, text))
    return recorded | {"subject": subject, "data": data}


def unknown_members(event: Document) -> Document:
    """*event* as a later release may send it."""
    further = {"added_later": {"list": [1, 2.5, None, True, "ä"]}}
    return event | {"laterextension": "x", "data": event["data"] | further}


def unknown_type(event: Document) -> Document:
    """An event of a type that this release does not have."""
    data = {"subject_of_later": event["subject"]}
    kind = "image.job.added_later"
    return event | {
        "id": str(uuid4()),
        "type": kind,
        "dataschema": f"urn:limner:schema:{kind}:1",
        "data": data,
    }


def garbage(event: Document) -> dict[str, bytes]:
    """What is no event, though some of it looks like *event*."""

    def without(name: str) -> bytes:
        return _bytes({key: value for key, value in event.items() if key != name})

    whole = _bytes(event)
    return {
        "an empty body": b"",
        "no JSON": b"not json at all",
        "no UTF-8": b'{"id": "\xff\xfe"}',
        "JSON cut in the middle": whole[: len(whole) // 2],
        "an empty object": b"{}",
        "a list": b"[" + whole + b"]",
        "a number": b"42",
        "null": b"null",
        "deep nesting": b"[" * 20_000,
        "no id": without("id"),
        "no type": without("type"),
        "no subject": without("subject"),
        "no sequence": without("sequence"),
        "no data": without("data"),
        "another specversion": _bytes(event | {"specversion": "0.3"}),
        "an id that is none": _bytes(event | {"id": "1 OR 1=1"}),
        "a sequence that is none": _bytes(event | {"sequence": "-1"}),
        "a sequence of words": _bytes(event | {"sequence": "first"}),
        "data that is a text": _bytes(event | {"data": "everything is fine"}),
        "data without its members": _bytes(event | {"data": {"hello": "world"}}),
        "data of wrong types": _bytes(event | {"data": {key: [] for key in event["data"]}}),
        "a text with NUL": _bytes(event | {"subject": "a\0b"}),
        TOO_MUCH: _bytes(event | {"data": {"x": "x" * 2_000_000}}),
    }


def _bytes(document: Document) -> bytes:
    return json.dumps(document).encode()
