"""Wait for a job's end, for callers who would rather wait than ask again."""

import asyncio
from contextlib import aclosing
from uuid import UUID

from adapters.ports import Clock
from pipeline.feed import Feed, Reset
from schemas.events import EventType

ENDS = {EventType.JOB_COMPLETED, EventType.JOB_FAILED, EventType.JOB_CANCELLED}


async def wait_for_end(
    job_id: UUID, *, tenant: str, feed: Feed, clock: Clock, within_seconds: float
) -> None:
    """Return as soon as the job has come to rest, after *within_seconds*, or when the feed ends."""
    watching = asyncio.create_task(_ended(job_id, tenant, feed))
    timer = asyncio.ensure_future(clock.sleep(within_seconds))
    try:
        await asyncio.wait({watching, timer}, return_when=asyncio.FIRST_COMPLETED)
        if watching.done():
            watching.result()
    finally:
        watching.cancel()
        timer.cancel()
        await asyncio.gather(watching, timer, return_exceptions=True)


async def _ended(job_id: UUID, tenant: str, feed: Feed) -> None:
    async with aclosing(feed.watch_job(tenant, job_id)) as told:
        async for found in told:
            if isinstance(found, Reset) or any(one.event.type in ENDS for one in found):
                return
