"""How long a picture will take: the measured median of its quality, and the queue before it.

Until enough jobs were measured the requirements document's figures stand in. Estimates are read
at most every few seconds, and never on the way of a request: an old one is good enough.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from statistics import median

import structlog

from adapters.errors import Unavailable
from adapters.ports import Clock
from adapters.store import job_reads
from pipeline.journal import Journal
from schemas.prices import DOCUMENT_SECONDS
from schemas.requests import Quality

log = structlog.get_logger(__name__)

REFRESH_SECONDS = 5.0
LEAST_SAMPLES = 20
SAMPLES = 50


@dataclass(slots=True)
class Estimates:
    journal: Journal
    clock: Clock
    # How many jobs are worked on at the same time.
    concurrency: int
    _measured: dict[Quality, float] = field(default_factory=dict)
    _waiting: int = 0
    _taken_at: float | None = None
    _refreshing: asyncio.Task[None] | None = None

    def seconds(self, quality: Quality) -> float:
        """The measured median of one job, from start to end; else the document's figure."""
        self._refresh_soon()
        return self._measured.get(quality, DOCUMENT_SECONDS[quality])

    def wait_seconds(self, quality: Quality, ahead: int | None = None) -> float:
        """How long *ahead* jobs (all that wait, where not given) keep the next one waiting."""
        before = self._waiting if ahead is None else ahead
        return before / self.concurrency * self.seconds(quality) if before else 0.0

    def total_seconds(self, quality: Quality) -> int:
        """For a new request: the wait and the work, at least 1 s."""
        return max(1, round(self.wait_seconds(quality) + self.seconds(quality)))

    def batch_seconds(self, qualities: Sequence[Quality]) -> int:
        """For several new requests at once: until the last of them is done, at least 1 s."""
        if not qualities:
            return 0
        seconds = [self.seconds(quality) for quality in qualities]
        wait = self.wait_seconds(qualities[0])
        work = max(*seconds, sum(seconds) / self.concurrency)
        return max(1, round(wait + work))

    async def refresh(self) -> None:
        """Read the newest durations and how many jobs wait."""
        for quality in Quality:
            spans = await self.journal.read(job_reads.recent_spans, quality.value, SAMPLES)
            if len(spans) >= LEAST_SAMPLES:
                self._measured[quality] = median(span.total_seconds() for span in spans)
        self._waiting = await self.journal.read(job_reads.queued_count)

    def _refresh_soon(self) -> None:
        now = self.clock.monotonic()
        if self._taken_at is not None and now - self._taken_at < REFRESH_SECONDS:
            return
        self._taken_at = now
        if self._refreshing is None or self._refreshing.done():
            self._refreshing = asyncio.create_task(self._refresh_quietly())

    async def _refresh_quietly(self) -> None:
        try:
            await self.refresh()
        except Unavailable as exc:
            log.warning("estimates_not_refreshed", error=str(exc))

    async def stop(self) -> None:
        if self._refreshing is not None:
            self._refreshing.cancel()
            await asyncio.gather(self._refreshing, return_exceptions=True)


def seconds_until(not_before: datetime | None, now: datetime) -> float:
    """How long a job is kept from beginning, whatever else there is to do."""
    return max(0.0, (not_before - now).total_seconds()) if not_before is not None else 0.0
