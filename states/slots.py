"""Who may stand in a place of a blog: decided by rank and request order, never by arrival."""

from enum import IntEnum
from typing import NamedTuple
from uuid import UUID


class Rank(IntEnum):
    DRAFT = 1
    FINAL = 2


class Standing(NamedTuple):
    """What decides between two pictures for one place; compared from left to right.

    Job ids are UUIDv7, so their order is the order of the requests. *seq* orders several results
    of one job (a retry paints again).
    """

    rank: int
    job_id: UUID
    seq: int


def may_fill(candidate: Standing, current: Standing | None, floor_job_id: UUID | None) -> bool:
    """Whether *candidate* takes the place of *current*.

    A place that was rolled back or emptied by a person has a floor: only jobs that were requested
    after it pass, so that a replay of old events undoes nobody's decision.
    """
    if floor_job_id is not None and candidate.job_id <= floor_job_id:
        return False
    return current is None or candidate > current
