"""Ask about what a provider has accepted and works on, and write when it is asked again.

A poll costs nothing and may be repeated, so that a death between two of them loses nothing. The
ledger's row says when the next is due and goes by itself, whatever becomes of the job.
"""

import asyncio
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import structlog

from adapters.errors import OutcomeUnknown, ProviderBusy, ProviderRefused, ResultGone
from adapters.ports import Accepted, Painting, PaintRequest
from pipeline.key_news import close_probed
from pipeline.move import JobMoved, job_key
from pipeline.settlement import Settlement, clean
from pipeline.worker import Worker
from schemas.step import Look, RowKey, Step, Writes
from schemas.tables import CallState, JobRow, ProviderCallRow
from states.table import State

log = structlog.get_logger(__name__)

# Whatever a provider says, it is asked neither more often nor more seldom.
LEAST_WAIT, MOST_WAIT = timedelta(seconds=1), timedelta(minutes=10)
# After an answer that says nothing of the picture.
WAIT_AFTER_ERROR = timedelta(seconds=15)
# So long the task of a poll may be late; then the sweep sends another, and as long after that the
# call is polled without one.
POLL_PATIENCE = timedelta(minutes=1)
WORKS_ON_IT = "the provider has accepted it and works on it"


@dataclass(frozen=True, slots=True)
class NotYet:
    """There is no picture yet; *detail* says why."""

    wait: timedelta
    detail: str


async def ask_about(
    call: ProviderCallRow, request: PaintRequest, worker: Worker
) -> Painting | NotYet | Settlement:
    """Poll an accepted call once. What is not done by its limit is unknown."""
    answer = await _asked(call, request, worker)
    limit = worker.budgets.accepted
    if isinstance(answer, NotYet) and worker.journal.now() >= call.created_at + limit:
        reason = f"accepted and not answered within {limit.total_seconds():.0f} s: {answer.detail}"
        return Settlement.unknown(reason, repeatable=False)
    return answer


async def _asked(
    call: ProviderCallRow, request: PaintRequest, worker: Worker
) -> Painting | NotYet | Settlement:
    provider = worker.providers.by_name.get(call.provider)
    if provider is None:  # another process may have it
        return NotYet(WAIT_AFTER_ERROR, f"provider {call.provider} is not configured here")
    assert call.provider_ref is not None
    try:
        async with asyncio.timeout(worker.budgets.provider.total_seconds()):
            answer = await provider.poll(call.provider_ref, request)
    except ResultGone as exc:
        return Settlement.unknown(str(exc), repeatable=provider.repeatable)
    except ProviderRefused as exc:
        return Settlement.refused(exc.code, str(exc), may_be_charged=exc.may_be_charged)
    except ProviderBusy as exc:
        return NotYet(exc.retry_after, str(exc))
    except (OutcomeUnknown, TimeoutError) as exc:
        return NotYet(WAIT_AFTER_ERROR, str(exc) or "no answer in time")
    except Exception as exc:  # an adapter's defect must not lose what was paid for
        log.exception("provider_adapter_broken", provider=provider.name, job_id=str(call.job_id))
        return NotYet(WAIT_AFTER_ERROR, f"the adapter failed: {type(exc).__name__}")
    if isinstance(answer, Accepted):
        return NotYet(answer.ask_again_after, WORKS_ON_IT)
    if not answer.pictures:
        return Settlement.unknown("no picture came", repeatable=provider.repeatable)
    return answer


def can_be_kept(accepted: Accepted) -> bool:
    """Whether the provider's name for the call is one that every database takes."""
    ref = accepted.provider_ref
    return bool(ref) and clean(ref) == ref


async def accept(job: JobRow, accepted: Accepted, probed: RowKey | None, worker: Worker) -> None:
    """Write that the call of `job.attempt` was accepted, and let *job* wait for its poll.

    *probed* is the gate whose key the acceptance shows to be good.
    So does the acceptance of a call that was given up meanwhile: it can be asked about after all.
    """
    states = frozenset({CallState.INTENT, CallState.UNKNOWN})
    wait, ref = accepted.ask_again_after, accepted.provider_ref
    await _wait(job, wait, WORKS_ON_IT, states, worker, probed, provider_ref=ref)
    log.info("call_accepted", job_id=str(job.id), attempt=job.attempt)


async def wait_on(job: JobRow, not_yet: NotYet, worker: Worker) -> None:
    """Write when the accepted call of `job.attempt` is asked about again.

    *job* is leased by the caller, and waits for a task; without a lease only the ledger is written.
    """
    states = frozenset({CallState.ACCEPTED})
    await _wait(job, not_yet.wait, not_yet.detail, states, worker)
    log.info("call_not_done", job_id=str(job.id), attempt=job.attempt, detail=not_yet.detail)


async def _wait(
    job: JobRow,
    wait: timedelta,
    detail: str,
    states: frozenset[CallState],
    worker: Worker,
    probed: RowKey | None = None,
    **facts: str,
) -> None:
    now = worker.journal.now()
    again_at = now + min(max(wait, LEAST_WAIT), MOST_WAIT)
    call_key = RowKey(ProviderCallRow, (job.id, job.attempt))

    def decide(look: Look, writes: Writes) -> None:
        if probed is not None:
            close_probed(look, writes, probed, job.id, now)
        call, current = look.get(ProviderCallRow, *call_key.key), look.get(JobRow, job.id)
        if call is None or call.state not in states:
            return
        waits = current is not None and _is_held(current, job)
        open_again = call.changed(
            state=CallState.ACCEPTED,
            detail=clean(detail),
            due_at=again_at + 2 * POLL_PATIENCE if waits else again_at,
            settled_at=None,
            **facts,
        )
        writes.update(open_again, *call_key.key)
        if current is not None and waits:
            writes.update(_waiting(current, again_at), job.id)

    shared = (probed,) if probed is not None else ()
    step = Step("wait_on_call", decide, (job_key(job.id), call_key), shared)
    await worker.journal.record(step)


async def send_again(job_id: UUID, now: datetime, worker: Worker, *, alone: bool) -> None:
    """Let another worker poll: the task of a poll is late, or its worker died.

    Raises `JobMoved` where that is not so; *alone*: no other process is at work.
    """

    def decide(look: Look, writes: Writes) -> None:
        job = look.get(JobRow, job_id)
        if job is None or job.state is not State.RUNNING:
            raise JobMoved(job, "the job moved on")
        if not alone and (job.wake_at is None or job.wake_at > now):
            raise JobMoved(job, "a worker is at it")
        writes.update(_waiting(job, max(now, job.not_before or now)), job_id)

    await worker.journal.record(Step("poll_again", decide, (job_key(job_id),)))


def _is_held(current: JobRow, leased: JobRow) -> bool:
    """Whether the job still runs the attempt under the lease of *leased*."""
    return (
        current.state is State.RUNNING
        and current.attempt == leased.attempt
        and current.lease_token is not None
        and current.lease_token == leased.lease_token
    )


def _waiting(job: JobRow, again_at: datetime) -> JobRow:
    """Leased by nobody, to be sent to a worker for *again_at*."""
    return job.changed(
        lease_token=None,
        lease_until=None,
        not_before=again_at,
        wake_at=again_at + POLL_PATIENCE,
        dispatch=job.dispatch + 1,
        dispatched_to=None,
    )
