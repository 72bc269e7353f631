"""What a reader of all events wants, and where it stands.

A cursor is given with each event, and given back to go on after it.
"""

import re
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict

from schemas.events import EventType
from schemas.requests import Name
from schemas.tables import EventRow

_FORM = re.compile(r"([0-9a-f]{32})-(\d{1,9})-(\d{1,18})-(\d{1,18})-([0-9a-f]{32})")
_NO_EVENT = UUID(int=0)


class Place(NamedTuple):
    """A place in the order of all events of one database; later events compare greater."""

    epoch: int
    xid: int
    position: int

    @classmethod
    def of(cls, event: EventRow) -> Self:
        assert event.position is not None
        return cls(event.epoch, event.xid, event.position)


class EventCursor(NamedTuple):
    """An event, its place, and the database that it is in.

    The place alone would not do: a database that was put back to an earlier state gives the same
    places again, to other events.
    """

    lineage: UUID
    place: Place
    event_id: UUID

    @classmethod
    def of(cls, lineage: UUID, event: EventRow) -> Self:
        return cls(lineage, Place.of(event), event.event_id)

    @classmethod
    def beginning(cls, lineage: UUID) -> Self:
        """Before the first event of all."""
        return cls(lineage, Place(0, 0, 0), _NO_EVENT)

    def __str__(self) -> str:
        return "-".join((self.lineage.hex, *map(str, self.place), self.event_id.hex))

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """The cursor that *text* is; None for anything else."""
        found = _FORM.fullmatch(text)
        if found is None:
            return None
        place = Place(int(found[2]), int(found[3]), int(found[4]))
        return cls(UUID(found[1]), place, UUID(found[5]))


class LetterCursor(NamedTuple):
    """A dead letter, by its place in the order in which letters were put aside."""

    quarantined_at: datetime
    event_id: UUID
    subscriber: str

    def __str__(self) -> str:
        return f"{self.quarantined_at.isoformat()}_{self.event_id}_{self.subscriber}"

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """The cursor that *text* is; None for anything else."""
        try:
            moment, event_id, subscriber = text.split("_", 2)
            at = datetime.fromisoformat(moment)
            return cls(at, UUID(event_id), subscriber) if at.tzinfo else None
        except ValueError:
            return None


class EventFilters(BaseModel):
    """The query of `GET /api/v1/events`."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    blog_id: Name | None = None
    batch_id: UUID | None = None
    type: list[EventType] = []
    """May be given several times."""
    follow: bool = True
    """Whether the stream goes on with what happens; else it begins with the oldest event and ends
    with the newest."""


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Which events a reader wants; an empty part wants all. `event_reads` says it in SQL."""

    tenant: str
    types: frozenset[str] = frozenset()
    blog_id: str | None = None
    batch_id: UUID | None = None
    job_id: UUID | None = None
    since: datetime | None = None
    until: datetime | None = None

    def wants(self, event: EventRow) -> bool:
        return (
            event.tenant == self.tenant
            and (not self.types or event.type in self.types)
            and (self.blog_id is None or event.blog_id == self.blog_id)
            and (self.batch_id is None or event.batch_id == self.batch_id)
            and (
                self.job_id is None
                or (event.stream_kind == "job" and event.stream_id == str(self.job_id))
            )
            and (self.since is None or event.occurred_at >= self.since)
            and (self.until is None or event.occurred_at < self.until)
        )
