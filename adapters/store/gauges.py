"""Numbers about all that stands in the database, for its operators. Of all tenants together."""

from dataclasses import dataclass, field
from datetime import datetime

import sqlalchemy as sa
from sqlmodel import Session, col

from schemas.tables import CallState, DeadLetter, Delivery, Event, Job, Outbox, ProviderCall
from states.table import OPEN, State

OPEN_STATES = tuple(sorted(state.value for state in OPEN))


@dataclass(frozen=True, slots=True)
class Vitals:
    """Counts, ages in seconds, and US dollars."""

    # Open jobs by state.
    jobs: dict[str, int]
    # Of the oldest job that waits for nothing but a worker.
    queue_seconds: float
    outbox: int
    outbox_seconds: float
    dead_letters: int
    unknown_calls: int
    unknown_cost: float
    # Deliveries of webhooks whose time has come and passed.
    deliveries: int
    states: tuple[str, ...] = field(default=OPEN_STATES)


def vitals(session: Session, now: datetime) -> Vitals:
    """Each number by an index of what is open: the history, however long, is not looked at."""
    open_jobs = sa.select(col(Job.state), sa.func.count()).where(col(Job.ended_at).is_(None))
    counts = {State(state).value: n for state, n in session.execute(open_jobs.group_by(Job.state))}
    waits = sa.or_(col(Job.not_before).is_(None), col(Job.not_before) <= now)
    oldest = sa.select(sa.func.min(col(Job.queued_at))).where(
        col(Job.ended_at).is_(None), col(Job.state) == State.QUEUED, waits
    )
    unsent = sa.select(sa.func.count(), sa.func.min(col(Outbox.position))).select_from(Outbox)
    outbox, first = session.execute(unsent).one()
    since = sa.select(col(Event.occurred_at)).where(col(Event.position) == first)
    unknown = sa.select(sa.func.count(), sa.func.sum(col(ProviderCall.amount))).where(
        col(ProviderCall.state) == CallState.UNKNOWN
    )
    calls, cost = session.execute(unknown).one()
    letters = session.execute(sa.select(sa.func.count()).select_from(DeadLetter)).scalar_one()
    overdue = sa.select(sa.func.count()).where(
        col(Delivery.due_at).is_not(None), col(Delivery.due_at) <= now
    )
    return Vitals(
        jobs=counts,
        queue_seconds=_age(session.execute(oldest).scalar(), now),
        outbox=outbox,
        outbox_seconds=_age(session.execute(since).scalar(), now) if first is not None else 0.0,
        dead_letters=letters,
        unknown_calls=calls,
        unknown_cost=float(cost or 0),
        deliveries=session.execute(overdue).scalar_one(),
    )


def _age(since: datetime | None, now: datetime) -> float:
    return max(0.0, (now - since).total_seconds()) if since is not None else 0.0
