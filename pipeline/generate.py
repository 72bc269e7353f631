"""The generation step: claim the job, ask the provider once, keep what came, finish.

Every delivery of a task comes here. It may be a repetition, come late, or come while another
worker is at it: the claim decides under the job's lock, and the ledger (an intent committed before
the call) sees to it that an attempt is never paid for twice. The picture of which a final is made
is loaded before that claim, so that a draft that was deleted costs nothing.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TypeVar
from uuid import UUID

import structlog

from adapters.errors import (
    BlobStoreUnavailable,
    NoSuchObject,
    OutcomeUnknown,
    ProviderBusy,
    ProviderRefused,
    StoreUnavailable,
    Unavailable,
)
from adapters.ports import (
    MADE_OF_SOURCE,
    Painting,
    PaintRequest,
    TaskAnswer,
)
from adapters.store import reads
from pipeline import finish
from pipeline.move import JobMoved, exceed_deadline, fail_job, job_key, move_job
from pipeline.settle import Settlement, settle_call
from pipeline.staging import Manifest, Staged, stage
from pipeline.tally import record_moves
from pipeline.worker import Worker
from schemas.requests import Quality, Strategy
from schemas.step import Look, Lost, Step, Writes
from schemas.tables import CallState, JobRow, ProviderCallRow
from schemas.tasks import ImageTask
from states.table import State, Trigger

log = structlog.get_logger(__name__)

T = TypeVar("T")

# The largest picture that is taken from a provider.
MAX_PICTURE_BYTES = 32 * 1024 * 1024


# A queue goes by its own clock; a task that comes this much too early is taken all the same.
CLOCK_TOLERANCE = timedelta(seconds=2)
# A provider that this process does not know may be known to one of another release.
PROVIDER_GRACE = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Claim:
    """A lease on a job: nobody else works on it before `job.lease_until`."""

    job: JobRow
    token: str
    source: bytes | None = None


@dataclass(frozen=True, slots=True)
class Wanted:
    """The picture of which a final is to be made; it is loaded first, and then claimed again."""

    tenant: str
    image_id: UUID


@dataclass(frozen=True, slots=True)
class Source:
    """What was found of a wanted picture; None where it was deleted."""

    data: bytes | None


@dataclass(frozen=True, slots=True)
class Received:
    """A job whose result is staged; with it, where it was staged just now, the result itself."""

    job: JobRow
    manifest: Manifest | None = None
    at_hand: Mapping[str, bytes] = field(default_factory=dict, repr=False)


class NotNow(Lost):
    """The task has nothing to do. *reason* goes to the log and to the queue."""


DONE = "done"


async def generate(task: ImageTask, worker: Worker) -> TaskAnswer:
    """Do what the task's job needs next. Asks for another delivery only when the database is gone.

    Everything else is answered "done": what then remains to be done is the sweep's, since an
    error answer would slow the whole queue down.
    """
    try:
        await _check_room(worker)
        claim = await _claim(task, worker)
        if isinstance(claim, Wanted):
            claim = await _claim(task, worker, await _load(claim, worker))
        assert isinstance(claim, Claim)
    except NotNow as exc:
        log.info("task_not_needed", job_id=str(task.job_id), reason=str(exc))
        return TaskAnswer(done=True, reason=str(exc))
    except StoreUnavailable as exc:
        log.warning("task_put_back", job_id=str(task.job_id), error=str(exc))
        return TaskAnswer(done=False, reason="the database cannot be reached")
    except BlobStoreUnavailable as exc:
        log.error("picture_store_unusable", job_id=str(task.job_id), error=str(exc))
        return TaskAnswer(done=False, reason=str(exc))
    deadline = worker.clock.monotonic() + worker.budgets.worker.total_seconds()
    try:
        if claim.job.state is State.RUNNING:
            received = await _paint(claim, worker, deadline)
            if received is None:
                return TaskAnswer(done=True, reason="the attempt ended without pictures")
        else:
            received = Received(claim.job)
        await finish.complete(
            received.job,
            journal=worker.journal,
            ids=worker.ids,
            blobs=worker.blobs,
            pictures=worker.pictures,
            manifest=received.manifest,
            at_hand=received.at_hand,
        )
    except JobMoved as exc:
        log.info("job_moved_on", job_id=str(task.job_id), reason=str(exc))
        return TaskAnswer(done=True, reason=str(exc))
    except Unavailable as exc:
        # The lease runs out and the sweep takes it up again: staged bytes cost nothing twice.
        log.warning("task_left_to_sweep", job_id=str(task.job_id), error=str(exc))
        return TaskAnswer(done=True, reason="left to the sweep")
    return TaskAnswer(done=True, reason=DONE)


async def _check_room(worker: Worker) -> None:
    """Pay for nothing that could not be stored."""
    free = await worker.blobs.free_bytes()
    if free is not None and free < 3 * MAX_PICTURE_BYTES:
        raise BlobStoreUnavailable(
            f"only {free} bytes are free where pictures are stored; a painting needs"
            f" {3 * MAX_PICTURE_BYTES}. Nothing was asked of the provider; make room"
        )


async def _load(wanted: Wanted, worker: Worker) -> Source:
    image = await worker.journal.read(reads.image, wanted.tenant, wanted.image_id)
    if image is None:
        return Source(None)
    try:
        return Source(await worker.blobs.get(image.key))
    except NoSuchObject:
        log.error("picture_missing", image_id=str(wanted.image_id), key=image.key)
        return Source(None)


async def _claim(task: ImageTask, worker: Worker, source: Source | None = None) -> Claim | Wanted:
    """Take the lease: start a queued job (with its ledger row), or resume a received one.

    A job that is made of another picture starts only with its *source*; without one nothing is
    written, and what it wants is returned.
    """
    token, event_id = worker.ids.token(), worker.ids.new()
    now = worker.journal.now()
    lease_until = now + worker.budgets.lease

    def decide(look: Look, writes: Writes) -> Claim | Wanted | NotNow:
        job = look.get(JobRow, task.job_id)
        if job is None:
            raise NotNow("no such job")
        if job.attempt != task.attempt:
            raise NotNow(f"the job is at attempt {job.attempt}")
        if job.state is State.QUEUED:
            if job.deadline_at is not None and job.deadline_at <= now:
                return _exceeded(job, writes)
            if worker.is_paused():
                # Unsent, and sent again by whoever resumes.
                return _put_back(job, writes, "dispatch is paused")
            if job.not_before is not None and job.not_before > now + CLOCK_TOLERANCE:
                # The queue was early by its clock: another task, for the right time.
                return _put_back(job, writes, f"not before {job.not_before.isoformat()}")
            return _start(job, writes)
        if job.state is State.PROCESSING_RESULT:
            if job.lease_until is not None and job.lease_until > now:
                raise NotNow("another worker is at it")
            leased = job.changed(
                lease_until=lease_until,
                lease_token=token,
                wake_at=lease_until,
                resumes=job.resumes + 1,
            )
            writes.update(leased, job.id)
            return Claim(leased, token)
        raise NotNow(f"the job is {job.state.value}")

    def _put_back(job: JobRow, writes: Writes, reason: str) -> NotNow:
        writes.update(job.changed(dispatch=job.dispatch + 1, dispatched_to=None), job.id)
        return NotNow(reason)

    def _exceeded(job: JobRow, writes: Writes) -> NotNow:
        exceed_deadline(writes, job, at=now, event_id=event_id)
        return NotNow("its deadline has passed")

    def _without_provider(job: JobRow, writes: Writes) -> NotNow:
        if now - job.queued_at < PROVIDER_GRACE:  # perhaps a process of another release has it
            return NotNow(f"provider {job.provider} is not configured in this process")
        message = (
            f"The provider {job.provider} is not configured. Nothing was charged. Configure it and"
            " retry the job."
        )
        fail_job(writes, job, "provider_not_configured", message, at=now, event_id=event_id)
        return NotNow(f"provider {job.provider} is not configured; the job failed")

    def _without_source(job: JobRow, writes: Writes) -> NotNow:
        message = (
            "The draft's picture, of which this final was to be made, was deleted. Nothing was"
            " charged. Promote the draft again with the strategy regenerate, or make another draft."
        )
        fail_job(writes, job, "source_gone", message, at=now, event_id=event_id)
        return NotNow("the picture that it is made of is gone; the job failed")

    def _start(job: JobRow, writes: Writes) -> Claim | Wanted | NotNow:
        provider = worker.providers.by_name.get(job.provider)
        if provider is None:
            return _without_provider(job, writes)
        wanted = _wanted(job)
        if wanted is not None and source is None:
            return wanted
        if source is not None and source.data is None:
            return _without_source(job, writes)
        started = move_job(
            writes,
            job,
            Trigger.START,
            at=now,
            event_id=event_id,
            lease_until=lease_until,
            lease_token=token,
            wake_at=lease_until,
            started_at=now,
        )
        writes.insert(
            ProviderCallRow.of(
                job_id=job.id,
                attempt=job.attempt,
                tenant=job.tenant,
                provider=provider.name,
                model=provider.resolve_model(job.quality, _strategy(job)),
                state=CallState.INTENT,
                lease_token=token,
                amount=provider.price(job.quality, _strategy(job)),
                due_at=lease_until,
                created_at=now,
            ),
            job.id,
            job.attempt,
        )
        return Claim(started, token, source.data if source is not None else None)

    step = Step("start", decide, (job_key(task.job_id),))
    answer = await record_moves(worker.journal, step)
    if isinstance(answer, NotNow):
        raise answer
    return answer


def _wanted(job: JobRow) -> Wanted | None:
    """The picture that the provider must be given."""
    if _strategy(job) not in MADE_OF_SOURCE:
        return None
    return Wanted(job.tenant, UUID(job.request["source_image_id"]))


def _strategy(job: JobRow) -> Strategy:
    return Strategy(job.request.get("strategy", Strategy.REGENERATE))


async def _paint(claim: Claim, worker: Worker, deadline: float) -> Received | None:
    """Ask the provider, once, and settle its answer. None where no picture came of it."""
    job = claim.job
    provider = worker.providers.by_name[job.provider]
    if job.lease_until is None or job.lease_until - worker.journal.now() < worker.budgets.provider:
        # The commit took so long that the lease could end before the answer: nothing was asked.
        settlement = Settlement.busy("the lease was too short when it came", worker.journal.now())
        await _within(deadline, worker, lambda: settle_call(job, settlement, worker))
        return None
    started = worker.clock.monotonic()
    try:
        async with asyncio.timeout(worker.budgets.provider.total_seconds()):
            painting = await provider.generate(paint_request(job, claim.source))
    except ProviderBusy as exc:
        settlement = Settlement.busy(str(exc), worker.journal.now(), exc.retry_after)
    except ProviderRefused as exc:
        settlement = Settlement.refused(exc.code, str(exc), may_be_charged=exc.may_be_charged)
    except (OutcomeUnknown, TimeoutError) as exc:
        reason = str(exc) or f"no answer within {worker.budgets.provider.total_seconds():.0f} s"
        settlement = Settlement.unknown(reason, repeatable=provider.repeatable)
    except Exception as exc:  # an adapter's defect must not look like "nothing happened"
        log.exception("provider_adapter_broken", provider=provider.name, job_id=str(job.id))
        reason = f"the adapter failed: {type(exc).__name__}"
        settlement = Settlement.unknown(reason, repeatable=provider.repeatable)
    else:
        elapsed = worker.clock.monotonic() - started
        staged = await _stage(job, painting, elapsed, worker, deadline)
        if staged is not None:
            received = await _within(
                deadline,
                worker,
                lambda: finish.receive(
                    job.id,
                    staged.manifest,
                    journal=worker.journal,
                    ids=worker.ids,
                    lease_token=claim.token,
                ),
            )
            return Received(received, staged.manifest, staged.at_hand)
        settlement = Settlement.unknown(
            "no picture came, or it could not be stored", repeatable=provider.repeatable
        )
    await _within(deadline, worker, lambda: settle_call(job, settlement, worker))
    return None


async def _within(deadline: float, worker: Worker, commit: Callable[[], Awaitable[T]]) -> T:
    """Repeat *commit* while the database is away, until *deadline*; never the paid call."""
    failures = 0
    while True:
        try:
            return await commit()
        except StoreUnavailable:
            failures += 1
            wait = worker.ids.jitter(worker.backoff.after(failures))
            if worker.clock.monotonic() + wait > deadline:
                raise
            await worker.clock.sleep(wait)


def paint_request(job: JobRow, source: bytes | None = None) -> PaintRequest:
    asked = job.request
    return PaintRequest(
        job_id=job.id,
        attempt=job.attempt,
        prompt=asked["prompt"],
        negative_prompt=asked.get("negative_prompt", ""),
        quality=Quality(job.quality),
        style=asked.get("style"),
        aspect_ratio=asked["aspect_ratio"],
        seed=asked["seed"],
        strategy=_strategy(job),
        source=source,
    )


async def _stage(
    job: JobRow, painting: Painting, elapsed: float, worker: Worker, deadline: float
) -> Staged | None:
    """Store the bytes, again and again within the worker's budget; None when that ran out."""
    if not painting.pictures:
        return None
    failures = 0
    while True:
        try:
            return await stage(
                painting,
                job_id=job.id,
                attempt=job.attempt,
                provider=job.provider,
                elapsed_seconds=elapsed,
                blobs=worker.blobs,
            )
        except BlobStoreUnavailable as exc:
            failures += 1
            wait = worker.ids.jitter(worker.backoff.after(failures))
            log.warning("staging_failed", job_id=str(job.id), failures=failures, error=str(exc))
            if worker.clock.monotonic() + wait > deadline:
                return None
            await worker.clock.sleep(wait)
