"""Where a reader of all events stands: given with each event, given back to go on after it."""

import re
from typing import NamedTuple, Self
from uuid import UUID

from schemas.tables import EventRow

_FORM = re.compile(r"([0-9a-f]{32})-(\d{1,10})-(\d{1,19})-(\d{1,19})")


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
    """A place and the database that it is in."""

    lineage: UUID
    place: Place

    def __str__(self) -> str:
        return "-".join((self.lineage.hex, *map(str, self.place)))

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """The cursor that *text* is; None for anything else."""
        found = _FORM.fullmatch(text)
        if found is None:
            return None
        return cls(UUID(found[1]), Place(int(found[2]), int(found[3]), int(found[4])))
