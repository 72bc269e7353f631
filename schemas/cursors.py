"""Where a reader of all events stands: given with each event, given back to go on after it."""

import re
from typing import NamedTuple, Self
from uuid import UUID

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
