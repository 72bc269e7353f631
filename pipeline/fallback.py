"""Who paints a job whose provider cannot, and what of the request that one takes.

Only ever for what was certainly not charged: a job whose call is unknown keeps its provider, or two
of them would be paid. Without this module a job would wait for a key that nobody mends.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple
from uuid import UUID

import structlog

from adapters.ports import ImageProvider
from pipeline.budgets import hold
from pipeline.errors import BudgetExceeded, PriceUnknown
from pipeline.move import first_wake, job_event
from pipeline.providers import Providers
from schemas.requests import Strategy
from schemas.step import Look, Writes
from schemas.tables import JobRow

log = structlog.get_logger(__name__)

# Refusals after which another provider may take the request; never `moderated`.
REFUSALS_THAT_FALL_BACK = frozenset({"model_retired", "invalid_request"})
# Kept with a request: the names of those who may paint in its provider's place, in order.
LIST = "fallback"
# In a draft's request: what its batch wants of the final.
WANTED = "final"


def asked_of(job: JobRow) -> Mapping[str, Any]:
    """What is asked of the job's present provider: the request, save what that one lacks."""
    return job.request if job.fallback is None else job.request | job.fallback["changes"]


class Handed(NamedTuple):
    """What the event of the job's next start tells, and its columns once another one paints it."""

    reason: str
    columns: dict[str, Any]


def next_hand(
    job: JobRow, why: str, providers: Providers, look: Look, writes: Writes, *, at: datetime
) -> Handed | None:
    """The job in the hands of the first of its fallbacks that is configured here, was not asked
    yet, and is admitted by the budgets at its own price; None where there is none.

    What the job holds is exchanged within the caller's step, which writes the columns.
    """
    for painter in _painters(job, providers):
        columns = _handed_over(job, painter, why)
        handed = job.changed(**columns)
        try:
            (admitted,) = hold(look, writes, [handed], [_price(handed, painter)], at=at)
        except (BudgetExceeded, PriceUnknown) as exc:
            log.info("fallback_not_admitted", job_id=str(job.id), to=painter.name, error=str(exc))
            continue
        held = {name: getattr(admitted, name) for name in ("held", "held_on", "held_in")}
        return Handed(f"fallback from {job.provider} to {painter.name}: {why}", columns | held)
    return None


def _painters(job: JobRow, providers: Providers) -> Iterator[ImageProvider]:
    tried = {job.provider, *(job.fallback["tried"] if job.fallback is not None else ())}
    for name in job.request.get(LIST, ()):
        if name not in tried and name in providers.by_name:
            yield providers.by_name[name]


def _price(handed: JobRow, painter: ImageProvider) -> Decimal | None:
    strategy = Strategy(asked_of(handed).get("strategy", Strategy.REGENERATE))
    return painter.price(handed.quality, strategy)


def is_busy_for_long(job: JobRow, providers: Providers, now: datetime) -> bool:
    return job.busy_since is not None and now - job.busy_since >= providers.fallback_after


def hand_over(
    job: JobRow, handed_on: Handed, writes: Writes, *, at: datetime, event_id: UUID
) -> None:
    """Give a queued job to another one where it stands, with an event.

    No attempt is used: nobody was asked.
    """
    handed = job.changed(
        version=job.version + 1,
        dispatch=job.dispatch + 1,
        dispatched_to=None,
        not_before=None,
        wake_at=first_wake(at, None, job.deadline_at),
        **handed_on.columns,
    )
    writes.update(handed, job.id)
    writes.insert(job_event(handed, at=at, event_id=event_id, reason=handed_on.reason))


def _handed_over(job: JobRow, painter: ImageProvider, why: str) -> dict[str, Any]:
    """The columns of *job* once *painter* is to paint it. Its finals stay with that one."""
    asked = asked_of(job)
    changes = dict(_adapted(asked, painter))
    before = job.fallback or {"tried": [], "changes": {}}
    note = f"{job.provider} did not paint it ({why}) and charged nothing; {painter.name} does"
    return {
        "provider": painter.name,
        "fallback": {
            "tried": [*before["tried"], job.provider],
            "changes": before["changes"] | changes,
        },
        "warnings": [*job.warnings, note, *_lacks(asked, changes, painter)],
        "waiting": None,
        "busy_since": None,
    }


def _adapted(asked: Mapping[str, Any], painter: ImageProvider) -> Iterator[tuple[str, Any]]:
    if "provider" in asked:
        yield "provider", painter.name
    if asked.get("style") is not None and asked["style"] not in painter.styles:
        yield "style", None
    if (strategy := asked.get("strategy")) is not None:
        yield "strategy", _strategy(strategy, painter)
    wanted = asked.get(WANTED)
    if wanted is not None and wanted.get("strategy") is not None:
        yield WANTED, wanted | {"strategy": _strategy(wanted["strategy"], painter)}


def _strategy(wanted: str, painter: ImageProvider) -> str:
    """*wanted*, or the best that *painter* has."""
    return wanted if Strategy(wanted) in painter.strategies else painter.strategies[0].value


def _lacks(
    asked: Mapping[str, Any], changes: Mapping[str, Any], painter: ImageProvider
) -> Iterator[str]:
    if "style" in changes:
        yield f"{painter.name} has no style {asked['style']!r}; it is left out"
    before = asked.get("strategy") or asked.get(WANTED, {}).get("strategy")
    after = changes.get("strategy") or changes.get(WANTED, {}).get("strategy")
    if before != after:
        yield f"{painter.name} does not make finals by {before}; by {after} in its place"
