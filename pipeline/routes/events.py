"""Events as they happen (Server-Sent Events). `Last-Event-ID` goes on without loss."""

from collections.abc import AsyncIterator
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Header, Query
from fastapi.sse import EventSourceResponse, ServerSentEvent

from adapters.store import reads
from pipeline.errors import NoSuchJob
from pipeline.feed import Feed, Filter, Reset, Seen
from pipeline.routes.dependencies import Running, Tenant
from schemas.cursors import EventCursor, Place
from schemas.events import EventType, cloud_event
from schemas.requests import Name
from schemas.tables import Event

router = APIRouter(prefix="/api/v1", tags=["events"])

LastEventId = Annotated[str | None, Header(alias="Last-Event-ID", max_length=200)]
RESET = "reset"


async def _known_job(job_id: UUID, limner: Running, tenant: Tenant) -> UUID:
    """Looked up before the stream begins: afterwards it would be too late for a 404."""
    if await limner.journal.read(reads.job, tenant, job_id) is None:
        raise NoSuchJob(job_id)
    return job_id


KnownJob = Annotated[UUID, Depends(_known_job)]


@router.get("/events", response_class=EventSourceResponse)
async def watch_events(
    limner: Running,
    tenant: Tenant,
    last_event_id: LastEventId = None,
    blog_id: Annotated[Name | None, Query()] = None,
    batch_id: Annotated[UUID | None, Query()] = None,
    type: Annotated[list[EventType] | None, Query()] = None,  # the parameter's name
    follow: Annotated[bool, Query()] = True,
) -> AsyncIterator[ServerSentEvent]:
    """All events from now on, or after `Last-Event-ID`.

    With `follow=false` the stream begins with the oldest event and ends with the newest. A `reset`
    says that the cursor is not of this database: its `id` is where the stream goes on.
    """
    wanted = Filter(tenant, frozenset(type or ()), blog_id, batch_id)
    async for event in _from_cursor(limner.feed, wanted, last_event_id, follow=follow):
        yield event


@router.get("/images/jobs/{job_id}/events", response_class=EventSourceResponse)
async def watch_job(
    job_id: KnownJob, limner: Running, tenant: Tenant, last_event_id: LastEventId = None
) -> AsyncIterator[ServerSentEvent]:
    """One job's events: its whole history first, then what happens; or after `Last-Event-ID`."""
    wanted = Filter(tenant, job_id=job_id)
    if last_event_id is not None:
        async for event in _from_cursor(limner.feed, wanted, last_event_id, follow=True):
            yield event
        return
    tail = await limner.feed.tail()
    seen = 0
    for row in await limner.journal.read(reads.events_of_stream, tenant, "job", str(job_id)):
        # What is not readable in order yet comes by the feed.
        if Place.of(row) <= tail.place:
            seen = row.seq
            yield _sse(Seen(row, EventCursor(tail.lineage, Place.of(row))))
    async for found in limner.feed.watch(wanted, tail):
        if isinstance(found, Seen) and found.event.seq > seen:
            yield _sse(found)


async def _from_cursor(
    feed: Feed, wanted: Filter, last_event_id: str | None, *, follow: bool
) -> AsyncIterator[ServerSentEvent]:
    after = EventCursor.parse(last_event_id) if last_event_id is not None else None
    if last_event_id is not None and after is None:
        after = await feed.tail()
        yield _reset(after)
    async for found in feed.watch(wanted, after, follow=follow):
        yield _reset(found.cursor) if isinstance(found, Reset) else _sse(found)


def _sse(seen: Seen) -> ServerSentEvent:
    event: Event = seen.event
    data = cloud_event(event).model_dump_json()
    return ServerSentEvent(raw_data=data, event=event.type, id=str(seen.cursor))


def _reset(cursor: EventCursor) -> ServerSentEvent:
    told = {"reason": "the cursor is not of this database; read the present state and go on here"}
    return ServerSentEvent(data=told, event=RESET, id=str(cursor))
