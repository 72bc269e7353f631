"""The generation step: claim the job, ask the provider once, keep what came, finish.

Every delivery of a task comes here. It may be a repetition, come late, or come while another
worker is at it: the claim decides under the job's lock, and the ledger (an intent committed before
the call) sees to it that an attempt is never paid for twice. The picture of which a final is made
is loaded before that claim, so that a draft that was deleted costs nothing.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

import structlog
from opentelemetry.trace import SpanKind

from adapters import traces
from adapters.errors import (
    BlobStoreUnavailable,
    OutcomeUnknown,
    ProviderBusy,
    ProviderRefused,
    StoreUnavailable,
    Unavailable,
)
from adapters.ports import (
    Painting,
    PaintRequest,
    TaskAnswer,
)
from pipeline import finish
from pipeline.claim import Claim, NotNow, claim
from pipeline.fallback import asked_of
from pipeline.final import strategy_of
from pipeline.gate import is_late
from pipeline.move import JobMoved
from pipeline.poll import WAIT_AFTER_ERROR, NotYet, accept, ask_about, can_be_kept, wait_on
from pipeline.settle import settle_call
from pipeline.settlement import Settlement
from pipeline.staging import Manifest, Staged, stage
from pipeline.worker import Worker
from schemas.operations import Operands, PaintingOf
from schemas.requests import Quality
from schemas.tables import JobRow, ProviderCallRow
from schemas.tasks import ImageTask
from states.table import State

log = structlog.get_logger(__name__)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Received:
    """A job whose result is staged; with it, where it was staged just now, the result itself."""

    job: JobRow
    manifest: Manifest | None = None
    at_hand: Mapping[str, bytes] = field(default_factory=dict, repr=False)


DONE = "done"


async def generate(task: ImageTask, worker: Worker) -> TaskAnswer:
    """Do what the task's job needs next. Asks for another delivery only when the database is gone.

    Everything else is answered "done": what then remains to be done is the sweep's, since an
    error answer would slow the whole queue down.
    """
    # Where a request brought the task, this is a part of it.
    with traces.span_of_task(task):
        return await _generate(task, worker)


async def _generate(task: ImageTask, worker: Worker) -> TaskAnswer:
    try:
        claimed = await claim(task, worker)
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
        if claimed.job.state is State.RUNNING:
            received = await _paint(claimed, worker, deadline)
            if received is None:
                return TaskAnswer(done=True, reason="there are no pictures, or none yet")
        else:
            received = Received(claimed.job)
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


async def _paint(claimed: Claim, worker: Worker, deadline: float) -> Received | None:
    """Ask the provider, once, and settle its answer. None where no picture came of it."""
    job = claimed.job
    if claimed.accepted is not None:
        return await _ask_about(claimed, claimed.accepted, worker, deadline)
    provider = worker.providers.by_name[job.provider]
    if job.lease_until is None or job.lease_until - worker.journal.now() < worker.budgets.provider:
        # The commit took so long that the lease could end before the answer: nothing was asked.
        settlement = Settlement.busy("the lease was too short when it came", worker.journal.now())
        await _within(deadline, worker, lambda: settle_call(job, settlement, worker))
        return None
    limits = provider.limits
    assert job.started_at is not None
    if limits is not None and is_late(limits, job.started_at, worker.journal.now()):
        settlement = Settlement.busy("its turn by the rate had passed", worker.journal.now())
        await _within(deadline, worker, lambda: settle_call(job, settlement, worker))
        return None
    started = worker.clock.monotonic()
    try:
        async with asyncio.timeout(worker.budgets.provider.total_seconds()):
            told = {"limner.quality": job.quality}
            with traces.span(f"ask {provider.name}", kind=SpanKind.CLIENT, attributes=told):
                answer = await provider.generate(paint_request(job, claimed.source, claimed.mask))
    except ProviderBusy as exc:
        settlement = Settlement.of_busy(exc, worker.journal.now())
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
        reason = "no picture came, or it could not be stored"
        if isinstance(answer, Painting):
            elapsed = worker.clock.monotonic() - started
            received = await _keep(claimed, answer, elapsed, worker, deadline)
            if received is not None:
                return received
        elif can_be_kept(answer):
            accepted = answer
            await _within(deadline, worker, lambda: accept(job, accepted, claimed.probed, worker))
            return None
        else:
            reason = "the provider accepted it under a name that cannot be kept"
        settlement = Settlement.unknown(reason, repeatable=provider.repeatable)
    await _within(deadline, worker, lambda: settle_call(job, settlement, worker))
    return None


async def _ask_about(
    claimed: Claim, call: ProviderCallRow, worker: Worker, deadline: float
) -> Received | None:
    """Poll what the provider has accepted; None where there is no picture yet, or never."""
    job = claimed.job
    answer = await ask_about(call, paint_request(job), worker)
    if isinstance(answer, Painting):
        elapsed = (worker.journal.now() - call.created_at).total_seconds()
        received = await _keep(claimed, answer, elapsed, worker, deadline)
        if received is not None:
            return received
        answer = NotYet(WAIT_AFTER_ERROR, "its picture could not be stored")
    if isinstance(answer, NotYet):
        not_yet = answer
        await _within(deadline, worker, lambda: wait_on(job, not_yet, worker))
    else:
        settlement = answer
        await _within(deadline, worker, lambda: settle_call(job, settlement, worker))
    return None


async def _keep(
    claimed: Claim, painting: Painting, elapsed: float, worker: Worker, deadline: float
) -> Received | None:
    """Stage what came and tell the journal; None where the bytes could not be stored."""
    staged = await _stage(claimed.job, painting, elapsed, worker, deadline)
    if staged is None:
        return None
    received = await _within(
        deadline,
        worker,
        lambda: finish.receive(
            claimed.job.id,
            staged.manifest,
            tenant=claimed.job.tenant,
            journal=worker.journal,
            ids=worker.ids,
            lease_token=claimed.token,
            probed=claimed.probed,
        ),
    )
    return Received(received, staged.manifest, staged.at_hand)


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


def paint_request(
    job: JobRow, source: bytes | None = None, mask: bytes | None = None
) -> PaintRequest:
    asked = asked_of(job)
    of = PaintingOf.of(asked)
    return PaintRequest(
        job_id=job.id,
        attempt=job.attempt,
        prompt=asked["prompt"],
        negative_prompt=asked.get("negative_prompt", ""),
        quality=Quality(job.quality),
        style=asked.get("style"),
        aspect_ratio=asked["aspect_ratio"],
        seed=asked["seed"],
        strategy=strategy_of(job),
        source=source,
        operation=of.operation if of is not None else None,
        operands=of.operands if of is not None else Operands(),
        mask=mask,
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
                price_book=worker.providers.by_name[job.provider].price_book.version,
            )
        except BlobStoreUnavailable as exc:
            failures += 1
            wait = worker.ids.jitter(worker.backoff.after(failures))
            log.warning("staging_failed", job_id=str(job.id), failures=failures, error=str(exc))
            if worker.clock.monotonic() + wait > deadline:
                return None
            await worker.clock.sleep(wait)
