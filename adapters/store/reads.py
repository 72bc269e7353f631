"""Every read of the product. Each takes the tenant, save those of the machinery, which say so."""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import NamedTuple, Self
from uuid import UUID

import sqlalchemy as sa
from sqlmodel import Session, col, select
from sqlmodel.sql.expression import SelectOfScalar

from schemas.cursors import EventCursor, EventFilter, LetterCursor
from schemas.operations import GENERATE
from schemas.requests import Period
from schemas.tables import (
    ALL,
    Batch,
    Blog,
    BlogSlot,
    Budget,
    CallState,
    DeadLetter,
    Dispatch,
    Event,
    IdempotencyKey,
    Image,
    Job,
    JobRow,
    Lineage,
    Outbox,
    Promotion,
    Provider,
    ProviderCall,
    SlotCandidate,
    SlotChange,
    Spend,
)
from states.table import State

# Whoever waits for a lock on a table keeps all others waiting behind.
LONGEST_WAIT_SECONDS = 5


def job(session: Session, tenant: str, job_id: UUID) -> Job | None:
    return session.exec(select(Job).where(Job.id == job_id, Job.tenant == tenant)).one_or_none()


def jobs_page(
    session: Session,
    tenant: str,
    *,
    before: UUID | None,
    limit: int,
    states: Sequence[State] = (),
    blog_id: str | None = None,
    batch_id: UUID | None = None,
    quality: str | None = None,
    since: datetime | None = None,
) -> Sequence[Job]:
    """Jobs from the newest request to the oldest, those requested before the job *before*."""
    query = select(Job).where(Job.tenant == tenant)
    if before is not None:
        query = query.where(col(Job.id) < before)
    if states:
        query = query.where(col(Job.state).in_(states))
    if blog_id is not None:
        query = query.where(Job.blog_id == blog_id)
    if batch_id is not None:
        query = query.where(Job.batch_id == batch_id)
    if quality is not None:
        query = query.where(Job.quality == quality)
    if since is not None:
        query = query.where(col(Job.created_at) >= since)
    return session.exec(query.order_by(col(Job.id).desc()).limit(limit)).all()


def queued_jobs_of_blog(session: Session, tenant: str, blog_id: str, limit: int) -> Sequence[UUID]:
    return session.exec(
        select(Job.id)
        .where(Job.tenant == tenant, Job.blog_id == blog_id, Job.state == State.QUEUED)
        .limit(limit)
    ).all()


def last_promotion(session: Session, tenant: str, draft_id: UUID) -> Promotion | None:
    """The latest decision about a draft."""
    return session.exec(
        select(Promotion)
        .where(Promotion.draft_job_id == draft_id, Promotion.tenant == tenant)
        .order_by(col(Promotion.generation).desc())
        .limit(1)
    ).one_or_none()


def promotions_of(session: Session, tenant: str, draft_ids: Sequence[UUID]) -> Sequence[Promotion]:
    """All decisions about drafts, the earlier ones first."""
    return session.exec(
        select(Promotion)
        .where(col(Promotion.draft_job_id).in_(draft_ids), Promotion.tenant == tenant)
        .order_by(col(Promotion.draft_job_id), col(Promotion.generation))
    ).all()


def kept_reply(session: Session, tenant: str, route: str, key: str) -> IdempotencyKey | None:
    return session.exec(
        select(IdempotencyKey).where(
            IdempotencyKey.tenant == tenant,
            IdempotencyKey.route == route,
            IdempotencyKey.key == key,
        )
    ).one_or_none()


def undecided_drafts(
    session: Session, tenant: str, blog_id: str, prompt: str, limit: int
) -> Sequence[Job]:
    """Completed drafts of a prompt in a blog about which nobody decided; none of dead batches."""
    decided = select(Promotion.draft_job_id).where(Promotion.draft_job_id == Job.id).exists()
    cancelled = (
        select(Batch.id)
        .where(Batch.id == Job.batch_id, col(Batch.cancelled_at).is_not(None))
        .exists()
    )
    return session.exec(
        select(Job)
        .where(
            Job.tenant == tenant,
            Job.blog_id == blog_id,
            col(Job.is_draft).is_(True),
            Job.state == State.COMPLETED,
            col(Job.request)["prompt"].as_string() == prompt,
            ~decided,
            ~cancelled,
        )
        .limit(limit)
    ).all()


def batch(session: Session, tenant: str, batch_id: UUID) -> Batch | None:
    return session.exec(
        select(Batch).where(Batch.id == batch_id, Batch.tenant == tenant)
    ).one_or_none()


def jobs_of_batch(session: Session, tenant: str, batch_id: UUID) -> Sequence[Job]:
    """In the order in which they were asked for."""
    return session.exec(
        select(Job).where(Job.batch_id == batch_id, Job.tenant == tenant).order_by(col(Job.id))
    ).all()


def calls_of_batch(session: Session, tenant: str, batch_id: UUID) -> Sequence[ProviderCall]:
    """The ledger of a batch's jobs."""
    return session.exec(
        select(ProviderCall)
        .join(Job, col(Job.id) == col(ProviderCall.job_id))
        .where(Job.batch_id == batch_id, ProviderCall.tenant == tenant)
    ).all()


def calls_of_jobs(session: Session, tenant: str, job_ids: Sequence[UUID]) -> Sequence[ProviderCall]:
    """The ledger of some jobs, each job's attempts in order."""
    return session.exec(
        select(ProviderCall)
        .where(col(ProviderCall.job_id).in_(job_ids), ProviderCall.tenant == tenant)
        .order_by(col(ProviderCall.job_id), col(ProviderCall.attempt))
    ).all()


def images_of_jobs(session: Session, tenant: str, job_ids: Sequence[UUID]) -> Sequence[Image]:
    return session.exec(
        select(Image)
        .where(
            col(Image.job_id).in_(job_ids),
            Image.tenant == tenant,
            col(Image.deleted_at).is_(None),
        )
        .order_by(col(Image.job_id), col(Image.index))
    ).all()


def image(session: Session, tenant: str, image_id: UUID) -> Image | None:
    return session.exec(
        select(Image).where(
            Image.id == image_id, Image.tenant == tenant, col(Image.deleted_at).is_(None)
        )
    ).one_or_none()


def images(session: Session, tenant: str, image_ids: Sequence[UUID]) -> Sequence[Image]:
    return session.exec(
        select(Image).where(col(Image.id).in_(image_ids), Image.tenant == tenant)
    ).all()


def blog(session: Session, tenant: str, blog_id: str) -> Blog | None:
    return session.exec(
        select(Blog).where(Blog.tenant == tenant, Blog.blog_id == blog_id)
    ).one_or_none()


def slots(session: Session, tenant: str, blog_id: str) -> Sequence[BlogSlot]:
    return session.exec(
        select(BlogSlot)
        .where(BlogSlot.tenant == tenant, BlogSlot.blog_id == blog_id)
        .order_by(col(BlogSlot.role), col(BlogSlot.position))
    ).all()


def slot_candidate(
    session: Session, tenant: str, blog_id: str, *, image_id: UUID | None, job_id: UUID | None
) -> SlotCandidate | None:
    """The candidate that is this picture and of this job, as far as they are named."""
    query = select(SlotCandidate).where(
        SlotCandidate.tenant == tenant, SlotCandidate.blog_id == blog_id
    )
    if image_id is not None:
        query = query.where(SlotCandidate.image_id == image_id)
    if job_id is not None:
        query = query.where(SlotCandidate.job_id == job_id)
    return session.exec(query.order_by(col(SlotCandidate.seq).desc()).limit(1)).one_or_none()


def slot_candidates(session: Session, tenant: str, blog_id: str) -> Sequence[SlotCandidate]:
    """Whatever was offered to the blog's slots, the best standing first."""
    return session.exec(
        select(SlotCandidate)
        .where(SlotCandidate.tenant == tenant, SlotCandidate.blog_id == blog_id)
        .order_by(
            col(SlotCandidate.rank).desc(),
            col(SlotCandidate.job_id).desc(),
            col(SlotCandidate.seq).desc(),
        )
    ).all()


def slot_changes(session: Session, tenant: str, blog_id: str) -> Sequence[SlotChange]:
    """What stood in the blog's slots, the newest first."""
    return session.exec(
        select(SlotChange)
        .where(SlotChange.tenant == tenant, SlotChange.blog_id == blog_id)
        .order_by(col(SlotChange.version).desc())
    ).all()


class Charge(NamedTuple):
    """A call of the ledger, with what the cost of a blog needs of its job."""

    job_id: UUID
    quality: str
    is_draft: bool
    draft_job_id: UUID | None
    job_state: State
    call_state: CallState
    amount: Decimal | None
    price_book: str | None


def charges_of_blog(session: Session, tenant: str, blog_id: str) -> Sequence[Charge]:
    columns = (
        Job.id,
        Job.quality,
        Job.is_draft,
        Job.draft_job_id,
        Job.state,
        ProviderCall.state,
        ProviderCall.amount,
        ProviderCall.price_book,
    )
    rows = session.exec(
        sa.select(*columns)  # type: ignore[call-overload]  # eight columns are too many for SQLModel's select
        .join(ProviderCall, col(ProviderCall.job_id) == col(Job.id))
        .where(Job.tenant == tenant, Job.blog_id == blog_id)
    ).all()
    return [Charge(*row) for row in rows]


def budgets(session: Session, tenant: str, day: str) -> Sequence[tuple[Budget, Spend | None]]:
    """All budgets of a tenant, each with what is held and spent of it (*day* for daily ones)."""
    counted = sa.case((col(Budget.period) == Period.DAY, day), else_=ALL)
    return session.exec(
        select(Budget, Spend)
        .outerjoin(
            Spend,
            sa.and_(
                col(Spend.tenant) == col(Budget.tenant),
                col(Spend.blog_id) == col(Budget.blog_id),
                col(Spend.day) == counted,
            ),
        )
        .where(Budget.tenant == tenant)
        .order_by(col(Budget.blog_id), col(Budget.period))
    ).all()


def uncounted(session: Session, tenant: str, blog_id: str, day: str) -> Decimal:
    """What the ledger says was charged of a budget and its row in `spend` does not, in dollars.

    Waits until every group is through that looked at budgets before this: one of them may settle a
    call without having seen that it is counted by now. *blog_id* and *day* may be `ALL`.
    """
    if session.get_bind().dialect.name == "postgresql":
        # Looks lock the table as a whole for less, so this waits for theirs, and they for this.
        connection = session.connection(execution_options={"isolation_level": "READ COMMITTED"})
        connection.execute(sa.text(f"SET LOCAL lock_timeout = '{LONGEST_WAIT_SECONDS}s'"))
        connection.execute(sa.text("LOCK TABLE budgets IN EXCLUSIVE MODE"))
    charged = (
        sa.select(col(ProviderCall.amount), sa.func.count())
        .join(Job, col(Job.id) == col(ProviderCall.job_id))
        .where(
            col(ProviderCall.tenant) == tenant,
            col(ProviderCall.state) == CallState.ANSWERED,
            col(ProviderCall.amount).is_not(None),
            sa.true() if blog_id == ALL else col(Job.blog_id) == blog_id,
            sa.true() if day == ALL else col(ProviderCall.day) == day,
        )
        .group_by(col(ProviderCall.amount))
    )
    counted = sa.select(col(Spend.spent), sa.literal(-1)).where(
        col(Spend.tenant) == tenant, col(Spend.blog_id) == blog_id, col(Spend.day) == day
    )
    # One statement, so that both are of one moment; added up here, since SQLite would use floats.
    rows = session.execute(sa.union_all(charged, counted)).all()
    return sum((amount * times for amount, times in rows), Decimal(0))


def call(session: Session, tenant: str, job_id: UUID, attempt: int) -> ProviderCall | None:
    return session.exec(
        select(ProviderCall).where(
            ProviderCall.job_id == job_id,
            ProviderCall.attempt == attempt,
            ProviderCall.tenant == tenant,
        )
    ).one_or_none()


def calls_page(
    session: Session,
    tenant: str,
    *,
    before: tuple[UUID, int] | None,
    limit: int,
    states: Sequence[CallState] = (),
    job_id: UUID | None = None,
) -> Sequence[tuple[ProviderCall, Job]]:
    """Calls with their jobs, from the newest job to the oldest, those after the call *before*."""
    query = (
        select(ProviderCall, Job)
        .join(Job, col(Job.id) == col(ProviderCall.job_id))
        .where(ProviderCall.tenant == tenant)
    )
    place = sa.tuple_(ProviderCall.job_id, ProviderCall.attempt)
    if before is not None:
        query = query.where(place < sa.tuple_(sa.literal(before[0], sa.Uuid()), before[1]))
    if states:
        query = query.where(col(ProviderCall.state).in_(states))
    if job_id is not None:
        query = query.where(ProviderCall.job_id == job_id)
    order = (col(ProviderCall.job_id).desc(), col(ProviderCall.attempt).desc())
    return session.exec(query.order_by(*order).limit(limit)).all()


class DayCharges(NamedTuple):
    """Equal calls of a day, and how many there were."""

    provider: str
    model: str
    state: CallState
    amount: Decimal | None
    number: int


def charges_of_day(
    session: Session, tenant: str, begins: datetime, ends: datetime
) -> Sequence[DayCharges]:
    """What providers were asked from *begins* until before *ends*."""
    kind = (
        col(ProviderCall.provider),
        col(ProviderCall.model),
        col(ProviderCall.state),
        col(ProviderCall.amount),
    )
    rows = session.exec(
        sa.select(*kind, sa.func.count())  # type: ignore[call-overload]  # five columns are too many for SQLModel's select
        .where(
            col(ProviderCall.tenant) == tenant,
            col(ProviderCall.created_at) >= begins,
            col(ProviderCall.created_at) < ends,
        )
        .group_by(*kind)
        .order_by(*kind[:2])
    ).all()
    return [DayCharges(*row) for row in rows]


def events_of_stream(
    session: Session, tenant: str, stream_kind: str, stream_id: str
) -> Sequence[Event]:
    return session.exec(
        select(Event)
        .where(
            Event.stream_kind == stream_kind,
            Event.stream_id == stream_id,
            Event.tenant == tenant,
        )
        .order_by(col(Event.seq))
    ).all()


def event_count(session: Session, tenant: str, blog_id: str) -> int:
    return session.exec(
        select(sa.func.count())
        .select_from(Event)
        .where(Event.tenant == tenant, Event.blog_id == blog_id)
    ).one()


# The machinery's reads: they serve every tenant and answer to no caller.


def due_jobs(session: Session, now: datetime, limit: int) -> Sequence[Job]:
    """Open jobs whose `wake_at` has come. All tenants: the sweep's."""
    return session.exec(
        select(Job)
        .where(col(Job.ended_at).is_(None), col(Job.wake_at) <= now)
        .order_by(col(Job.wake_at))
        .limit(limit)
    ).all()


def working_jobs(session: Session) -> Sequence[Job]:
    """Jobs that some process is, or was, at work on. All tenants: the sweep's, at start."""
    return session.exec(
        select(Job).where(
            col(Job.ended_at).is_(None),
            col(Job.state).in_([State.RUNNING, State.PROCESSING_RESULT]),
        )
    ).all()


class Sending(NamedTuple):
    """What the relay needs of a job to send it."""

    tenant: str
    job_id: UUID
    attempt: int
    dispatch: int
    not_before: datetime | None

    @classmethod
    def of(cls, job: JobRow) -> Self:
        return cls(job.tenant, job.id, job.attempt, job.dispatch, job.not_before)


def unsent_jobs(
    session: Session,
    incarnation: str,
    limit: int,
    *,
    queued_since: datetime | None = None,
    after: Sending | None = None,
) -> Sequence[Sending]:
    """Open jobs that wait for a worker and were not sent to this queue. All tenants: the sweep's.

    In the order of their ids; *after* is the last of the page before.

    A received job whose lease lives goes on by itself. A running job waits for a worker only where
    its provider works asynchronously: its call is `accepted` and is to be polled.
    """
    polled = (
        select(ProviderCall.job_id)
        .where(
            ProviderCall.job_id == Job.id,
            ProviderCall.attempt == Job.attempt,
            ProviderCall.state == CallState.ACCEPTED,
        )
        .exists()
    )
    rows = session.exec(
        sa.select(Job.tenant, Job.id, Job.attempt, Job.dispatch, Job.not_before)  # type: ignore[call-overload]  # five columns are too many for SQLModel's select
        .where(
            col(Job.ended_at).is_(None),
            sa.or_(col(Job.dispatched_to).is_(None), col(Job.dispatched_to) != incarnation),
            col(Job.lease_token).is_(None),
            sa.or_(
                col(Job.state).in_([State.QUEUED, State.PROCESSING_RESULT]),
                sa.and_(col(Job.state) == State.RUNNING, polled),
            ),
        )
        .where(
            sa.true() if queued_since is None else col(Job.queued_at) >= queued_since,
            sa.true() if after is None else col(Job.id) > after.job_id,
        )
        .order_by(col(Job.id))
        .limit(limit)
    ).all()
    return [Sending(*row) for row in rows]


def unpublished_events(
    session: Session, before: datetime, limit: int, *, after: UUID | None = None
) -> Sequence[Event]:
    """Events that have not left, older than *before*. All tenants: the sweep's.

    In the order of their ids; *after* is the last of the page before.
    """
    unsent = (
        select(Event)
        .join(Outbox, col(Outbox.position) == col(Event.position))
        .where(col(Event.occurred_at) <= before)
        .order_by(col(Outbox.event_id))
        .limit(limit)
    )
    if after is not None:
        unsent = unsent.where(col(Outbox.event_id) > after)
    return session.exec(unsent).all()


def tail(session: Session) -> EventCursor:
    """The cursor after the last event that can be read now. All tenants: the feed's."""
    lineage = session.exec(select(Lineage.name)).one()
    newest = _in_order(select(Event).where(_readable(session)), descending=True).limit(1)
    last = session.exec(newest).one_or_none()
    return EventCursor.of(lineage, last) if last else EventCursor.beginning(lineage)


def holds(session: Session, cursor: EventCursor) -> bool:
    """Whether a reader can go on after *cursor* here without missing an event. All tenants.

    It can where the event that it names lies at its place, whatever the epoch. Then all that it
    has not seen lies behind: what was there before a restore keeps its order, and what is written
    after one gets higher positions (SQLite), higher transaction ids or a higher epoch.

    A cursor of another database is refused, and one of what a restore has undone: its event is not
    there, even where its place was given again and the order has long passed it. So is one whose
    event was removed for its age, since those after it may have been removed as well.

    Not noticed is an event that the reader has seen and that a restore has undone while it kept
    later ones, as it happens to transactions that are open when a backup is taken.
    """
    lineage = session.exec(select(Lineage.name)).one()
    if cursor.lineage != lineage:
        return False
    if cursor == EventCursor.beginning(lineage):
        return True
    event = session.get(Event, cursor.place.position)
    return event is not None and EventCursor.of(lineage, event) == cursor


def events_after(
    session: Session,
    after: EventCursor,
    limit: int,
    wanted: EventFilter | None = None,
    end: EventCursor | None = None,
) -> tuple[Sequence[Event], EventCursor]:
    """At most *limit* events that are *wanted*, and the cursor after all that was looked through.

    They come in the order in which no event ever appears behind a reader. On PostgreSQL a position
    is given before its commit, so a lower one may be committed later; readable is only what was
    written by transactions older than every open one. Nobody writes into an older epoch any more,
    so that all of it can be read, whatever transaction ids it carries. All tenants: the feed's,
    which gives each watcher its own. They end with *end*, a tail of before, where it is given.
    """
    end = end or tail(session)
    if end.place <= after.place:
        return [], after
    place = _place()
    # Nothing appears before the end any more, so that the two queries need no common snapshot.
    query = select(Event).where(place > _at(after), place <= _at(end))
    if wanted is not None:
        query = query.where(*_wanted(wanted))
    events = session.exec(_in_order(query).limit(limit)).all()
    return events, EventCursor.of(end.lineage, events[-1]) if len(events) == limit else end


def event_counts(
    session: Session, after: EventCursor, end: EventCursor, wanted: EventFilter
) -> dict[str, int]:
    """How many events are *wanted* after *after* and up to *end*, by type. A tenant's."""
    found = session.exec(
        select(Event.type, sa.func.count())
        .where(_place() > _at(after), _place() <= _at(end), *_wanted(wanted))
        .group_by(Event.type)
        .order_by(Event.type)
    ).all()
    return dict(found)


def _place() -> sa.Tuple:
    return sa.tuple_(Event.epoch, Event.xid, Event.position)


def _at(cursor: EventCursor) -> sa.Tuple:
    return sa.tuple_(*(sa.literal(part, sa.BigInteger) for part in cursor.place))


def _wanted(wanted: EventFilter) -> Iterator[sa.ColumnElement[bool]]:
    yield col(Event.tenant) == wanted.tenant
    if wanted.types:
        yield col(Event.type).in_(wanted.types)
    if wanted.blog_id is not None:
        yield col(Event.blog_id) == wanted.blog_id
    if wanted.batch_id is not None:
        yield col(Event.batch_id) == wanted.batch_id
    if wanted.job_id is not None:
        yield col(Event.stream_kind) == "job"
        yield col(Event.stream_id) == str(wanted.job_id)
    if wanted.since is not None:
        yield col(Event.occurred_at) >= wanted.since
    if wanted.until is not None:
        yield col(Event.occurred_at) < wanted.until


def _readable(session: Session) -> sa.ColumnElement[bool]:
    if session.get_bind().dialect.name == "sqlite":
        return sa.true()  # one writer: positions are given in the order of the commits
    # In the same statement, so that epoch and snapshot are of one moment.
    epoch = sa.select(col(Lineage.epoch)).scalar_subquery()
    oldest_open: sa.ColumnElement[int] = sa.literal_column(
        "pg_snapshot_xmin(pg_current_snapshot())::text::bigint"
    )
    return sa.or_(
        col(Event.epoch) < epoch, sa.and_(col(Event.epoch) == epoch, col(Event.xid) < oldest_open)
    )


def _in_order(query: SelectOfScalar[Event], *, descending: bool = False) -> SelectOfScalar[Event]:
    order = [col(Event.epoch), col(Event.xid), col(Event.position)]
    return query.order_by(*(part.desc() if descending else part for part in order))


def queued_count(session: Session, before: UUID | None = None) -> int:
    """How many jobs wait, of those requested before the job *before*. All tenants share a queue."""
    query = (
        select(sa.func.count())
        .select_from(Job)
        .where(col(Job.ended_at).is_(None), Job.state == State.QUEUED)
    )
    if before is not None:
        query = query.where(col(Job.id) < before)
    return session.exec(query).one()


def recent_spans(session: Session, quality: str, limit: int) -> Sequence[timedelta]:
    """From start to end, of the newest completed jobs of a quality. All tenants': an estimate."""
    spans = session.exec(
        select(Job.started_at, Job.ended_at)
        .where(Job.state == State.COMPLETED, Job.quality == quality, Job.kind == GENERATE)
        .order_by(col(Job.id).desc())
        .limit(limit)
    ).all()
    return [ended - started for started, ended in spans if started and ended]


def dispatch(session: Session) -> Dispatch | None:
    """Whether jobs are sent. All tenants: the relay's."""
    return session.exec(select(Dispatch)).one_or_none()


def provider_keys(session: Session) -> Sequence[Provider]:
    """What is known of each provider's key. All tenants share them."""
    return session.exec(select(Provider)).all()


def waiting_jobs(session: Session, provider: str, waiting: str, limit: int) -> Sequence[UUID]:
    """Jobs that are put off for one reason, the oldest first. All tenants share the key."""
    return session.exec(
        select(Job.id)
        .where(Job.provider == provider, Job.waiting == waiting, Job.state == State.QUEUED)
        .order_by(col(Job.id))
        .limit(limit)
    ).all()


class Queue(NamedTuple):
    """How many jobs are queued for a provider, and how many of them are put off."""

    provider: str
    queued: int
    waiting: int


def queues(session: Session, tenant: str) -> Sequence[Queue]:
    """The tenant's part of the queue before each provider."""
    rows = session.exec(
        select(Job.provider, sa.func.count(), sa.func.count(col(Job.waiting)))
        .where(Job.tenant == tenant, col(Job.ended_at).is_(None), Job.state == State.QUEUED)
        .group_by(col(Job.provider))
    ).all()
    return [Queue(*row) for row in rows]


def recent_spans_by_provider(
    session: Session, limit: int = 500
) -> Sequence[tuple[str, str, timedelta]]:
    """Provider, quality, and from start to end, of the newest completed jobs. All tenants'."""
    spans = session.exec(
        select(Job.provider, Job.quality, Job.started_at, Job.ended_at)
        .where(Job.state == State.COMPLETED)
        .order_by(col(Job.id).desc())
        .limit(limit)
    ).all()
    return [
        (provider, quality, ended - started)
        for provider, quality, started, ended in spans
        if started and ended
    ]


def overdue_calls(
    session: Session, state: CallState, now: datetime, limit: int
) -> Sequence[ProviderCall]:
    """Open calls whose `due_at` has come, whatever their job's state. All tenants: the sweep's."""
    return session.exec(
        select(ProviderCall)
        .where(col(ProviderCall.due_at) <= now, ProviderCall.state == state)
        .order_by(col(ProviderCall.due_at))
        .limit(limit)
    ).all()


def dead_letters(
    session: Session,
    tenant: str,
    *,
    subscriber: str | None = None,
    after: LetterCursor | None = None,
    limit: int | None = None,
) -> Sequence[DeadLetter]:
    """In the order in which they were put aside."""
    order = (
        col(DeadLetter.quarantined_at),
        col(DeadLetter.event_id),
        col(DeadLetter.subscriber),
    )
    query = select(DeadLetter).where(DeadLetter.tenant == tenant)
    if subscriber is not None:
        query = query.where(DeadLetter.subscriber == subscriber)
    if after is not None:
        columns = DeadLetter.__table__.c  # type: ignore[attr-defined]  # SQLModel sets it
        place = (sa.literal(part, columns[name].type) for name, part in after._asdict().items())
        query = query.where(sa.tuple_(*order) > sa.tuple_(*place))
    return session.exec(query.order_by(*order).limit(limit)).all()


def dead_letter(
    session: Session, tenant: str, subscriber: str, event_id: UUID
) -> DeadLetter | None:
    return session.exec(
        select(DeadLetter).where(
            DeadLetter.tenant == tenant,
            DeadLetter.subscriber == subscriber,
            DeadLetter.event_id == event_id,
        )
    ).one_or_none()


def dead_letter_count(session: Session, tenant: str, subscriber: str | None = None) -> int:
    query = select(sa.func.count()).select_from(DeadLetter).where(DeadLetter.tenant == tenant)
    if subscriber is not None:
        query = query.where(DeadLetter.subscriber == subscriber)
    return session.exec(query).one()


def alive(session: Session) -> bool:
    """Whether the database answers, from its own pages and not only from memory."""
    return session.exec(select(sa.func.count()).select_from(sa.table("alembic_version"))).one() > 0
