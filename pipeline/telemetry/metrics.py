"""What Prometheus is told: numbers for all jobs together, never a job's id or a blog's as a label.

What one process does is counted as its commits pass by; what stands in the database is asked for
by one process now and then (`Gauges`). Sums of money are for alerts; the ledger alone is exact.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import structlog
from opentelemetry.metrics import CallbackOptions, Meter, Observation

from adapters.errors import Unavailable
from adapters.ports import Clock
from adapters.store.gauges import Vitals, vitals
from pipeline.journal import Journal
from schemas.events import EventType
from schemas.step import RowKey, Writes
from schemas.tables import CallState, EventRow, JobRow, ProviderCallRow
from states.table import State

log = structlog.get_logger(__name__)

SECONDS = [0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 160, 320, 900, 3600]
COMMIT_SECONDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10]
STEPS = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512]
MOST_REMEMBERED = 10_000
LOOK_EVERY_SECONDS = 15.0

# The state that a job leaves by an event; ends are left from wherever it was.
LEFT = {
    EventType.JOB_STARTED: State.QUEUED,
    EventType.JOB_RESULT_RECEIVED: State.RUNNING,
    EventType.JOB_COMPLETED: State.PROCESSING_RESULT,
}
ENDS = {EventType.JOB_COMPLETED, EventType.JOB_FAILED, EventType.JOB_CANCELLED}


class Metrics:
    """The instruments of one process."""

    def __init__(self, meter: Meter) -> None:
        def histogram(name: str, unit: str, told: str, bounds: Sequence[float]):  # type: ignore[no-untyped-def]
            return meter.create_histogram(
                name, unit, told, explicit_bucket_boundaries_advisory=bounds
            )

        self._in_state = histogram("limner.job.state.duration", "s", "Time in a state", SECONDS)
        self._calls = histogram(
            "limner.provider.call.duration", "s", "From the intent to what became of it", SECONDS
        )
        self._commit = histogram(
            "limner.journal.commit.duration", "s", "Commit of a group", COMMIT_SECONDS
        )
        self._group = histogram("limner.journal.group.size", "{step}", "Steps of a group", STEPS)
        self._ended = meter.create_counter("limner.jobs.ended", "{job}", "Jobs that came to rest")
        self._spent = meter.create_counter("limner.spend", "USD", "Charged by providers")
        self._vitals: Vitals | None = None
        # When a job entered its present state, where this process saw it.
        self._entered: OrderedDict[UUID, datetime] = OrderedDict()
        self._observe(meter)

    def took(self, steps: int, seconds: float) -> None:
        """A group of so many *steps* was committed."""
        self._group.record(steps)
        self._commit.record(seconds)

    def take(self, committed: Sequence[Writes]) -> None:
        """Called by the journal with what it has committed."""
        for writes in committed:
            # As the commit leaves them: what is booked on a row is a second update of it.
            jobs: dict[str, JobRow] = {}
            calls: dict[RowKey, ProviderCallRow] = {}
            for key, row in writes.updates:
                if isinstance(row, JobRow):
                    jobs[str(row.id)] = row
                elif isinstance(row, ProviderCallRow):
                    calls[key] = row
            for call in calls.values():
                self._tell_call(call)
            for _, row in writes.inserts:
                if isinstance(row, EventRow) and row.stream_id in jobs:
                    self._tell_move(row, jobs[row.stream_id])

    def know(self, found: Vitals | None) -> None:
        """What stands in the database; None where it cannot be reached."""
        self._vitals = found

    def _tell_move(self, event: EventRow, job: JobRow) -> None:
        try:
            kind = EventType(event.type)
        except ValueError:
            return
        entered = self._entered.pop(job.id, None)
        left = LEFT.get(kind)
        if entered is None and left is not None:
            entered = {State.QUEUED: job.queued_at, State.RUNNING: job.started_at}.get(left)
        if left is not None and entered is not None:
            seconds = max(0.0, (event.occurred_at - entered).total_seconds())
            self._in_state.record(seconds, {"state": left.value, "quality": job.quality})
        if kind in ENDS:
            code = (job.error or {}).get("code", "") if job.state is State.FAILED else ""
            told = {"state": job.state.value, "quality": job.quality, "code": code}
            self._ended.add(1, told)
        elif kind in LEFT:
            self._entered[job.id] = event.occurred_at
            if len(self._entered) > MOST_REMEMBERED:
                self._entered.popitem(last=False)

    def _tell_call(self, call: ProviderCallRow) -> None:
        if call.settled_at is None or call.state in (CallState.INTENT, CallState.ACCEPTED):
            return
        told = {"provider": call.provider, "model": call.model}
        if call.resolved_at is None:  # a person's verdict says nothing about the provider's speed
            seconds = max(0.0, (call.settled_at - call.created_at).total_seconds())
            self._calls.record(seconds, told | {"outcome": call.state.value})
        if call.state is CallState.ANSWERED and call.amount:
            self._spent.add(float(call.amount), told)

    def _observe(self, meter: Meter) -> None:
        def gauge(
            name: str, unit: str, told: str, value: Callable[[Vitals], Iterable[Observation]]
        ) -> None:
            def observed(_: CallbackOptions) -> Iterable[Observation]:
                return value(self._vitals) if self._vitals is not None else ()

            meter.create_observable_gauge(name, [observed], unit, told)

        gauge(
            "limner.jobs.open", "{job}", "Jobs that have not come to rest",
            lambda v: [Observation(v.jobs.get(state, 0), {"state": state}) for state in v.states],
        )  # fmt: skip
        for name, unit, told, value in (
            ("limner.queue.oldest", "s", "Age of the oldest job that could run", "queue_seconds"),
            ("limner.outbox.size", "{event}", "Events that have not left for the bus", "outbox"),
            ("limner.outbox.oldest", "s", "Age of the oldest of them", "outbox_seconds"),
            ("limner.dead.letters", "{event}", "Events put aside", "dead_letters"),
            ("limner.calls.unknown", "{call}", "Calls that a person must decide", "unknown_calls"),
            ("limner.calls.unknown.cost", "USD", "What they may have cost", "unknown_cost"),
            ("limner.webhooks.overdue", "{delivery}", "Deliveries past their time", "deliveries"),
        ):
            gauge(name, unit, told, lambda v, value=value: [Observation(getattr(v, value))])  # type: ignore[misc]


@dataclass(slots=True)
class Gauges:
    """Looks into the database again and again; one process does so for all."""

    metrics: Metrics
    journal: Journal
    clock: Clock

    async def run(self) -> None:
        while True:
            await self.once()
            await self.clock.sleep(LOOK_EVERY_SECONDS)

    async def once(self) -> None:
        try:
            self.metrics.know(await self.journal.read(vitals, self.journal.now()))
        except Unavailable as exc:
            self.metrics.know(None)
            log.warning("gauges_not_read", error=str(exc))
        except asyncio.CancelledError:
            raise
        except Exception:
            self.metrics.know(None)
            log.exception("gauges_not_read")
