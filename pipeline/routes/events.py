"""Events as they happen (Server-Sent Events). `Last-Event-ID` goes on without loss."""

import json
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Header, Query, Response
from fastapi.responses import StreamingResponse
from starlette.types import Send

from adapters.store import job_reads
from pipeline.errors import NoSuchJob
from pipeline.feed import Feed, Reset, Seen
from pipeline.routes.dependencies import Running, Tenant
from schemas.cursors import EventCursor, EventFilter, EventFilters
from schemas.server_sent import MEDIA_TYPE, PING, server_sent

router = APIRouter(prefix="/api/v1", tags=["events"])

LastEventId = Annotated[str | None, Header(alias="Last-Event-ID", max_length=200)]
RESET = "reset"
STREAM: dict[int | str, dict[str, Any]] = {
    200: {
        "content": {
            MEDIA_TYPE: {
                "itemSchema": {
                    "type": "object",
                    "properties": {
                        "data": {"type": "string"},
                        "event": {"type": "string"},
                        "id": {"type": "string"},
                        "retry": {"type": "integer", "minimum": 0},
                    },
                }
            }
        }
    }
}


class EventStream(StreamingResponse):
    """Text of the feed as it comes.

    FastAPI's own stream passes each event through three tasks, for each watcher anew.
    """

    media_type = MEDIA_TYPE

    def __init__(self, told: AsyncGenerator[bytes]) -> None:
        # nginx would keep events back until they fill a buffer.
        super().__init__(told, headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"})
        self._told = told

    async def stream_response(self, send: Send) -> None:
        async with aclosing(self._told):  # a watcher that has gone is counted off at once
            await super().stream_response(send)


async def _known_job(job_id: UUID, limner: Running, tenant: Tenant) -> UUID:
    """Looked up before the stream begins: afterwards it would be too late for a 404."""
    if await limner.journal.read(job_reads.job, tenant, job_id) is None:
        raise NoSuchJob(job_id)
    return job_id


KnownJob = Annotated[UUID, Depends(_known_job)]


@router.get("/events", response_class=Response, responses=STREAM)
async def watch_events(
    limner: Running,
    tenant: Tenant,
    filters: Annotated[EventFilters, Query()],
    last_event_id: LastEventId = None,
) -> EventStream:
    """All events from now on, or after `Last-Event-ID`.

    With `follow=false` the stream begins with the oldest event and ends with the newest. A `reset`
    says that the cursor is not of this database, or that a restore has undone its event: the `id`
    of the `reset` is where the stream goes on.
    """
    wanted = EventFilter(tenant, frozenset(filters.type), filters.blog_id, filters.batch_id)
    return EventStream(_from_cursor(limner.feed, wanted, last_event_id, follow=filters.follow))


@router.get("/images/jobs/{job_id}/events", response_class=Response, responses=STREAM)
async def watch_job(
    job_id: KnownJob, limner: Running, tenant: Tenant, last_event_id: LastEventId = None
) -> EventStream:
    """One job's events: its whole history first, then what happens; or after `Last-Event-ID`."""
    if last_event_id is None:
        return EventStream(_text(limner.feed.watch_job(tenant, job_id)))
    wanted = EventFilter(tenant, job_id=job_id)
    return EventStream(_from_cursor(limner.feed, wanted, last_event_id, follow=True))


async def _from_cursor(
    feed: Feed, wanted: EventFilter, last_event_id: str | None, *, follow: bool
) -> AsyncGenerator[bytes]:
    after = EventCursor.parse(last_event_id) if last_event_id is not None else None
    if last_event_id is not None and after is None:
        after = await feed.tail()
        yield _reset(after)
    async with aclosing(_text(feed.watch(wanted, after, follow=follow))) as texts:
        async for text in texts:
            yield text


async def _text(watching: AsyncGenerator[Sequence[Seen] | Reset]) -> AsyncGenerator[bytes]:
    async with aclosing(watching):
        async for found in watching:
            yield _reset(found.cursor) if isinstance(found, Reset) else _told(found)


def _told(found: Sequence[Seen]) -> bytes:
    return b"".join(one.wire for one in found) or PING


def _reset(cursor: EventCursor) -> bytes:
    told = {
        "reason": "the cursor is not of this database, or of what a restore has undone;"
        " read the present state and go on here"
    }
    return server_sent(RESET, json.dumps(told), cursor)
