"""Who may stand in a place of a blog: decided by rank and request order, never by arrival."""

from collections.abc import Iterable
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
    """Whether *candidate* takes the place of *current* by itself. A draft never does.

    A place that was rolled back or emptied by a person has a floor: only jobs that were requested
    after it pass, so that a replay of old events undoes nobody's decision.
    """
    if candidate.rank < Rank.FINAL or not _passes(candidate, floor_job_id):
        return False
    return current is None or candidate > current


def preview_of(
    candidates: Iterable[Standing], current: Standing | None, floor_job_id: UUID | None
) -> Standing | None:
    """The draft that shows what may come: the newest one that was requested after *current*."""
    drafts = [
        one
        for one in candidates
        if one.rank == Rank.DRAFT
        and _passes(one, floor_job_id)
        and (current is None or one.job_id > current.job_id)
    ]
    return max(drafts, default=None)


def raised_floor(decision_id: UUID, current: Standing | None, floor_job_id: UUID | None) -> UUID:
    """The floor after a person's decision: above it, above what stands there, never lower.

    *decision_id* is a fresh id, so it stands after every job that was requested until now; what
    another process with a faster clock put there is above it and counts as well.
    """
    known = [decision_id, *([current.job_id] if current else []), *filter(None, [floor_job_id])]
    return max(known)


def _passes(candidate: Standing, floor_job_id: UUID | None) -> bool:
    return floor_job_id is None or candidate.job_id > floor_job_id
