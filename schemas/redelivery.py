"""What callers ask and are told of events that are delivered again: dead letters, and replays."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, model_validator

from schemas.cursors import EventCursor, LetterCursor
from schemas.events import EventType
from schemas.requests import MAX_PAGE

SubscriberName = Annotated[str, Field(min_length=1, max_length=200)]


def _letter_cursor(text: str) -> str:
    if LetterCursor.parse(text) is None:
        raise ValueError("it must be the next_cursor of the page before")
    return text


def _event_cursor(text: str) -> str:
    if EventCursor.parse(text) is None:
        raise ValueError("it must be the cursor that a replay or an event stream gave")
    return text


class DeadLetterFilters(BaseModel):
    """The query of `GET /api/v1/dead-letters`."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    subscriber: SubscriberName | None = None
    limit: Annotated[int, Field(ge=1, le=MAX_PAGE)] = 50
    cursor: Annotated[str, AfterValidator(_letter_cursor)] | None = None
    """The `next_cursor` of the page before."""


class DeadLetterResponse(BaseModel):
    """An event that a subscriber could not digest."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    subscriber: str
    event_id: UUID
    type: str
    subject: str
    failures: int
    error: str
    """Why the subscriber failed the last time."""
    quarantined_at: datetime


class DeadLetterDetails(DeadLetterResponse):
    event: dict[str, Any]
    """The event as it travelled."""


class DeadLetterListResponse(BaseModel):
    model_config = ConfigDict(use_attribute_docstrings=True)

    dead_letters: list[DeadLetterResponse]
    total: int
    """On all pages."""
    next_cursor: str | None
    """Give it as `cursor` for the next page; null on the last one."""


class ReplayRequest(BaseModel):
    """The body of `POST /api/v1/replay`."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    since: AwareDatetime | None = None
    """Only events that happened at or after this time."""
    until: AwareDatetime | None = None
    """Only events that happened before this time."""
    type: list[EventType] = []
    """Only events of these types."""
    subscriber: SubscriberName | None = None
    """Only to this subscriber of the service itself; else to whoever subscribes."""
    reapply: bool = False
    """Past the memory of what was handled; only with a subscriber."""
    dry_run: bool = False
    """Say how many events it would be, and send none."""
    after: Annotated[str, AfterValidator(_event_cursor)] | None = None
    """The `cursor` of the reply before: go on there."""
    end: Annotated[str, AfterValidator(_event_cursor)] | None = None
    """The `end` of the first reply; where it is not given, the newest event there is."""

    @model_validator(mode="after")
    def _reapplies_to_somebody(self) -> "ReplayRequest":
        if self.reapply and self.subscriber is None:
            raise ValueError(
                "reapply goes with a subscriber: only this service's own can be told to forget"
            )
        if self.since and self.until and self.until <= self.since:
            raise ValueError("until must be later than since")
        return self


class ReplayResponse(BaseModel):
    """One part of a replay. Ask again with `cursor` as `after` until it is `done`."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    events: int
    """How many were sent in this part, or would be."""
    by_type: dict[str, int]
    """All of them, those that failed included."""
    failed: int
    """How many could not be delivered for a reason of their own: the log tells of them, and where a
    subscriber was named the dead letters."""
    done: bool
    cursor: str
    """Where this part ended."""
    end: str
    """Give it back with `after`, so that the replay ends with what there was when it began."""
