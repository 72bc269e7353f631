"""Who paints a job whose provider cannot, and what of the request that one takes.

Only ever for what was certainly not charged: a job whose call is unknown keeps its provider, or two
of them would be paid. Without this module a job would wait for a key that nobody mends.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from adapters.ports import ImageProvider
from pipeline.move import first_wake, job_event
from pipeline.providers import Providers
from schemas.requests import Strategy
from schemas.step import Writes
from schemas.tables import JobRow

# Refusals after which another provider may take the request; never `moderated`.
REFUSALS_THAT_FALL_BACK = frozenset({"model_retired", "invalid_request"})
# Kept with a request: the names of those who may paint in its provider's place, in order.
LIST = "fallback"
# In a draft's request: what its batch wants of the final.
WANTED = "final"


def asked_of(job: JobRow) -> Mapping[str, Any]:
    """What is asked of the job's present provider: the request, save what that one lacks."""
    return job.request if job.fallback is None else job.request | job.fallback["changes"]


def next_painter(job: JobRow, providers: Providers) -> ImageProvider | None:
    """The first of the job's fallbacks that is configured here and was not asked yet."""
    tried = {job.provider, *(job.fallback["tried"] if job.fallback is not None else ())}
    for name in job.request.get(LIST, ()):
        if name not in tried and name in providers.by_name:
            return providers.by_name[name]
    return None


def is_busy_for_long(job: JobRow, providers: Providers, now: datetime) -> bool:
    return job.busy_since is not None and now - job.busy_since >= providers.fallback_after


def hand_over(
    job: JobRow, painter: ImageProvider, why: str, writes: Writes, *, at: datetime, event_id: UUID
) -> str:
    """Give a queued job to *painter* where it stands, with an event; return what that one tells.

    No attempt is used: nobody was asked.
    """
    handed = job.changed(
        version=job.version + 1,
        dispatch=job.dispatch + 1,
        dispatched_to=None,
        not_before=None,
        wake_at=first_wake(at, None, job.deadline_at),
        **handed_over(job, painter, why),
    )
    reason = reason_of(job, painter, why)
    writes.update(handed, job.id)
    writes.insert(job_event(handed, at=at, event_id=event_id, reason=reason))
    return reason


def reason_of(job: JobRow, painter: ImageProvider, why: str) -> str:
    """What the event of the job's next start tells."""
    return f"fallback from {job.provider} to {painter.name}: {why}"


def handed_over(job: JobRow, painter: ImageProvider, why: str) -> dict[str, Any]:
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
