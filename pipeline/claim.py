"""Take a task's job: start it with its ledger row, resume it, or say why there is nothing to do.

The job's lock decides between two deliveries of a task. Nothing is paid for before this is
committed, and nothing is committed here that could not be stored or lacks its source.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

import structlog

from adapters.errors import BlobStoreUnavailable, NoSuchObject
from adapters.ports import MADE_OF_SOURCE
from adapters.store import picture_reads
from pipeline.budget_limits import day_of
from pipeline.fallback import hand_over, is_busy_for_long, next_hand
from pipeline.final import way_of
from pipeline.gate import Held, Passed, look_at, pass_gate, store
from pipeline.move import (
    exceed_deadline,
    fail_job,
    first_wake,
    job_key,
    move_job,
)
from pipeline.poll import POLL_PATIENCE
from pipeline.tally import record_moves
from pipeline.worker import Worker
from schemas.operations import GENERATE, Operation, PaintingOf, Way
from schemas.step import Look, Lost, RowKey, Step, Writes
from schemas.tables import CallState, JobRow, ProviderCallRow, Waiting
from schemas.tasks import ImageTask
from states.table import State, Trigger

log = structlog.get_logger(__name__)

# The largest picture that is taken from a provider.
MAX_PICTURE_BYTES = 32 * 1024 * 1024
# A queue goes by its own clock; a task that comes this much too early is taken all the same.
CLOCK_TOLERANCE = timedelta(seconds=2)
# Of a place in a provider's line; it starts as if at its time.
LINE_TOLERANCE = timedelta(milliseconds=50)
# A provider that this process does not know may be known to one of another release.
PROVIDER_GRACE = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Claim:
    """A lease on a job: nobody else works on it before `job.lease_until`."""

    job: JobRow
    token: str
    source: bytes | None = None
    # The gate whose circuit the job's answer closes or opens.
    probed: RowKey | None = None
    # The call that the provider has accepted for this attempt: it is polled, and nothing is begun.
    accepted: ProviderCallRow | None = None
    mask: bytes | None = field(default=None, repr=False)


class CallWanted(Lost):
    """The job runs without a lease: its call says whether it is to be polled."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """The picture of which another is to be made; it is loaded first, and then claimed again.

    It is named by its id, or by its key where it was sent with the request.
    """

    tenant: str
    picture: UUID | str
    gate: tuple[RowKey, ...]
    mask: UUID | str | None = None


@dataclass(frozen=True, slots=True)
class Source:
    """What was found of a wanted picture and its mask; None where one of them was deleted."""

    data: bytes | None
    mask: bytes | None = None


class NotNow(Lost):
    """The task has nothing to do. *reason* goes to the log and to the queue."""


async def claim(task: ImageTask, worker: Worker) -> Claim:
    """Take the lease on the task's job; raise `NotNow` where there is nothing to do.

    A job that is made of another picture starts only with that picture: where it is wanted nothing
    is written, it is loaded, and the job is claimed again.
    """
    await _check_room(worker)
    answer = await _record(task, worker, worker.providers.likely_gate)
    if isinstance(answer, Wanted):
        answer = await _record(task, worker, answer.gate, await _load(answer, worker))
    assert isinstance(answer, Claim)
    return answer


async def _check_room(worker: Worker) -> None:
    """Pay for nothing that could not be stored."""
    free = await worker.blobs.free_bytes()
    if free is not None and free < 3 * MAX_PICTURE_BYTES:
        raise BlobStoreUnavailable(
            f"only {free} bytes are free where pictures are stored; a painting needs"
            f" {3 * MAX_PICTURE_BYTES}. Nothing was asked of the provider; make room"
        )


async def _load(wanted: Wanted, worker: Worker) -> Source:
    data = await _bytes_of(wanted.picture, wanted.tenant, worker)
    if wanted.mask is None or data is None:
        return Source(data)
    mask = await _bytes_of(wanted.mask, wanted.tenant, worker)
    return Source(data if mask is not None else None, mask)


async def _bytes_of(picture: UUID | str, tenant: str, worker: Worker) -> bytes | None:
    key = picture
    if isinstance(picture, UUID):
        image = await worker.journal.read(picture_reads.image, tenant, picture)
        if image is None:
            return None
        key = image.key
    try:
        return await worker.blobs.get(str(key))
    except NoSuchObject:
        log.error("picture_missing", picture=str(picture), key=str(key))
        return None


async def _record(
    task: ImageTask, worker: Worker, gate: tuple[RowKey, ...], source: Source | None = None
) -> Claim | Wanted:
    """Record the step; a job whose provider has another gate than *gate* is decided again."""
    now = worker.journal.now()
    claiming = _Claiming(
        task=task,
        worker=worker,
        source=source,
        now=now,
        lease_until=now + worker.budgets.lease,
        token=worker.ids.token(),
        event_id=worker.ids.new(),
    )
    step = Step("start", claiming.decide, (job_key(task.job_id),), gate)
    try:
        answer = await record_moves(worker.journal, step, at=now)
    except CallWanted:
        call_key = RowKey(ProviderCallRow, (task.job_id, task.attempt))
        step = Step("poll", claiming.poll, (job_key(task.job_id), call_key))
        answer = await worker.journal.record(step)
    if isinstance(answer, NotNow):
        raise answer
    return answer


@dataclass(slots=True, eq=False)
class _Claiming:
    """The decision about one delivery of a task."""

    task: ImageTask
    worker: Worker
    source: Source | None
    now: datetime
    lease_until: datetime
    token: str
    event_id: UUID

    def decide(self, look: Look, writes: Writes) -> Claim | Wanted | NotNow:
        job = look.get(JobRow, self.task.job_id)
        if job is None:
            raise NotNow("no such job")
        if job.attempt != self.task.attempt:
            raise NotNow(f"the job is at attempt {job.attempt}")
        if job.state is State.QUEUED:
            if job.deadline_at is not None and job.deadline_at <= self.now:
                return self._exceeded(job, writes)
            if self.worker.is_paused():
                # Unsent, and sent again by whoever resumes.
                return self._put_back(job, writes, "dispatch is paused")
            early = LINE_TOLERANCE if _in_line(job) else CLOCK_TOLERANCE
            if job.not_before is not None and job.not_before > self.now + early:
                # The queue was early by its clock: another task, for the right time.
                return self._put_back(job, writes, f"not before {job.not_before.isoformat()}")
            return self._start(job, look, writes)
        if job.state is State.PROCESSING_RESULT:
            if job.lease_until is not None and job.lease_until > self.now:
                raise NotNow("another worker is at it")
            leased = job.changed(
                lease_until=self.lease_until,
                lease_token=self.token,
                wake_at=self.lease_until,
                resumes=job.resumes + 1,
            )
            writes.update(leased, job.id)
            return Claim(leased, self.token)
        if job.state is State.RUNNING and job.lease_token is None:
            raise CallWanted
        raise NotNow(f"the job is {job.state.value}")

    def poll(self, look: Look, writes: Writes) -> Claim | NotNow:
        """Lease a running job whose call was accepted; its attempt stays."""
        job = look.get(JobRow, self.task.job_id)
        call = look.get(ProviderCallRow, self.task.job_id, self.task.attempt)
        if job is None or job.state is not State.RUNNING or job.attempt != self.task.attempt:
            raise NotNow("the job moved on")
        if job.lease_token is not None:
            raise NotNow("another worker is at it")
        if call is None or call.state is not CallState.ACCEPTED:
            raise NotNow("no call of the job is to be polled")
        if job.not_before is not None and job.not_before > self.now + CLOCK_TOLERANCE:
            return self._put_back(job, writes, f"not before {job.not_before.isoformat()}")
        leased = job.changed(
            lease_until=self.lease_until, lease_token=self.token, wake_at=self.lease_until
        )
        writes.update(leased, job.id)
        held = call.changed(due_at=self.lease_until + POLL_PATIENCE)
        writes.update(held, job.id, job.attempt)
        return Claim(leased, self.token, accepted=held)

    def _put_back(self, job: JobRow, writes: Writes, reason: str) -> NotNow:
        writes.update(job.changed(dispatch=job.dispatch + 1, dispatched_to=None), job.id)
        return NotNow(reason)

    def _exceeded(self, job: JobRow, writes: Writes) -> NotNow:
        exceed_deadline(writes, job, at=self.now, event_id=self.event_id)
        return NotNow("its deadline has passed")

    def _without_provider(self, job: JobRow, look: Look, writes: Writes) -> NotNow:
        if self.now - job.queued_at < PROVIDER_GRACE:  # perhaps a process of another release has it
            return NotNow(f"provider {job.provider} is not configured in this process")
        if (handed := self._hand_over(job, look, writes, "not configured")) is not None:
            return handed
        message = (
            f"The provider {job.provider} is not configured. Nothing was charged. Configure it and"
            " retry the job."
        )
        fail_job(
            writes, job, "provider_not_configured", message, at=self.now, event_id=self.event_id
        )
        return NotNow(f"provider {job.provider} is not configured; the job failed")

    def _without_source(self, job: JobRow, writes: Writes) -> NotNow:
        message = (
            "The draft's picture, of which this final was to be made, was deleted. Nothing was"
            " charged. Promote the draft again with the strategy regenerate, or make another draft."
            if job.kind == GENERATE
            else "The picture of which this one was to be made, or its mask, was deleted. Nothing"
            " was charged. Ask again with another picture."
        )
        fail_job(writes, job, "source_gone", message, at=self.now, event_id=self.event_id)
        return NotNow("the picture that it is made of is gone; the job failed")

    def _pass_gate(self, job: JobRow, look: Look) -> Passed | Held | None:
        """What the gate of the job's provider says; None where it has none."""
        gate = self.worker.providers.gate(job.provider)
        if gate is None:
            return None
        in_line = _in_line(job)
        return pass_gate(
            look_at(gate, look),
            gate.limits,
            now=max(self.now, job.not_before) if in_line and job.not_before else self.now,
            job_id=job.id,
            in_line=in_line,
            lease_until=self.lease_until,
        )

    def _hold(self, job: JobRow, held: Held, look: Look, writes: Writes) -> NotNow:
        """Put the job off: no attempt is used. A key that is of no use is another one's turn."""
        if held.why is Waiting.UNUSABLE or (
            held.why is Waiting.PAUSED and is_busy_for_long(job, self.worker.providers, self.now)
        ):
            why = held.row.reason or "busy"
            if (handed := self._hand_over(job, look, writes, why)) is not None:
                return handed
        store(held.row, look, writes)
        rated = held.why is Waiting.RATE_LIMIT
        held_back = job.changed(
            dispatch=job.dispatch + 1,
            dispatched_to=None,
            not_before=held.until,
            wake_at=first_wake(self.now, held.until, job.deadline_at),
            waiting=held.why.value,
            busy_since=job.busy_since if rated else job.busy_since or self.now,
        )
        writes.update(held_back, job.id)
        return NotNow(f"{held.why.value}; not before {held.until.isoformat()}")

    def _hand_over(self, job: JobRow, look: Look, writes: Writes, why: str) -> NotNow | None:
        """Let the next provider of the job's list have it; None where there is none."""
        handed = next_hand(job, why, self.worker.providers, look, writes, at=self.now)
        if handed is None:
            return None
        hand_over(job, handed, writes, at=self.now, event_id=self.event_id)
        return NotNow(handed.reason)

    def _start(self, job: JobRow, look: Look, writes: Writes) -> Claim | Wanted | NotNow:
        provider = self.worker.providers.by_name.get(job.provider)
        if provider is None:
            return self._without_provider(job, look, writes)
        passed = self._pass_gate(job, look)
        if isinstance(passed, Held):
            return self._hold(job, passed, look, writes)
        gate = self.worker.providers.gate(job.provider)
        way = way_of(job)
        wanted = _wanted(job, way, (gate.key,) if gate is not None else ())
        if wanted is not None and self.source is None:
            return wanted
        if self.source is not None and self.source.data is None:
            return self._without_source(job, writes)
        if passed is not None:
            store(passed.row, look, writes)
        started = move_job(
            writes,
            job,
            Trigger.START,
            at=self.now,
            event_id=self.event_id,
            lease_until=self.lease_until,
            lease_token=self.token,
            wake_at=self.lease_until,
            started_at=self.now,
        )
        writes.insert(
            ProviderCallRow.of(
                job_id=job.id,
                attempt=job.attempt,
                tenant=job.tenant,
                provider=provider.name,
                model=provider.resolve_model(job.quality, way),
                state=CallState.INTENT,
                lease_token=self.token,
                amount=provider.price(job.quality, way),
                price_book=provider.price_book.version,
                day=job.held_on or day_of(self.now),
                due_at=self.lease_until,
                created_at=self.now,
            ),
            job.id,
            job.attempt,
        )
        return Claim(
            started,
            self.token,
            self.source.data if self.source is not None else None,
            gate.key if gate is not None and passed is not None and passed.probe else None,
            mask=self.source.mask if self.source is not None else None,
        )


def _in_line(job: JobRow) -> bool:
    """Whether the job has a place in the line before its provider's gate."""
    return job.waiting is not None and job.waiting != Waiting.BUSY


def _wanted(job: JobRow, way: Way, gate: tuple[RowKey, ...]) -> Wanted | None:
    """The picture that the provider must be given."""
    if isinstance(way, Operation):
        of = PaintingOf.model_validate(job.request)
        picture = of.source_image_id or of.source_key
        assert picture is not None
        return Wanted(job.tenant, picture, gate, of.mask_image_id or of.mask_key)
    if way not in MADE_OF_SOURCE:
        return None
    return Wanted(job.tenant, UUID(job.request["source_image_id"]), gate)
