"""Settle a paid call in the ledger together with what becomes of its job, in one commit.

The ledger row is guarded by itself and not by the job's version: the answer to a call is a fact,
whatever has become of the job meanwhile (cancelled, retried, deleted).
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, Self, assert_never

import structlog

from adapters.ports import Backoff
from pipeline.move import fail_job, first_wake, job_key, move_job, retry_job
from pipeline.new_job import blog_is_deleted, blog_keys
from pipeline.tally import record_moves
from pipeline.worker import Worker
from schemas.requests import OnUnknown
from schemas.step import Look, RowKey, Step, Writes
from schemas.tables import OPEN_CALLS, CallState, JobRow, ProviderCallRow
from states.table import State, Trigger

log = structlog.get_logger(__name__)


# A free provider that never gets done (its process dies on this very prompt) is given up.
MAX_REPEATS = 25
# Whatever a provider says, a job is not put off for longer.
MAX_RETRY_AFTER = timedelta(hours=1)
REPEAT_BACKOFF = Backoff(timedelta(milliseconds=100), timedelta(seconds=30))


@dataclass(frozen=True, slots=True)
class Settlement:
    """What the call's row becomes, and what its job is to do if it still runs this attempt."""

    call: CallState
    detail: str
    job: Literal["release", "repeat", "by_policy", "fail"]
    code: str | None = None
    not_before: datetime | None = None

    @classmethod
    def busy(cls, detail: str, now: datetime, retry_after: timedelta = timedelta(0)) -> Self:
        """The provider took nothing: back into the queue, after what it asked for."""
        wait = min(retry_after, MAX_RETRY_AFTER)
        return cls(CallState.NOT_CHARGED, clean(detail), "release", not_before=now + wait)

    @classmethod
    def refused(cls, code: str, detail: str, *, may_be_charged: bool = False) -> Self:
        """The provider will never paint this; *may_be_charged* where it did and kept it back."""
        call = CallState.UNKNOWN if may_be_charged else CallState.REFUSED
        return cls(call, clean(detail), "fail", code=clean(code))

    @classmethod
    def unknown(cls, detail: str, *, repeatable: bool) -> Self:
        """The answer is lost. Free and repeatable: asked again. Else the job's policy decides."""
        if repeatable:
            return cls(CallState.NOT_CHARGED, clean(detail), "repeat")
        return cls(CallState.UNKNOWN, clean(detail), "by_policy", code="outcome_unknown")


def clean(text: str, most_characters: int = 2_000) -> str:
    """A text from outside as every database takes it: no NUL, no half characters, not endless."""
    return text.replace("\x00", "").encode(errors="replace").decode()[:most_characters]


async def settle_call(
    job: JobRow,
    settlement: Settlement,
    worker: Worker,
    *,
    only: frozenset[CallState] = OPEN_CALLS,
) -> None:
    """Write *settlement* for the call of `job.attempt` where it is in one of the states *only*.

    A call that is settled stays as it is.
    """
    event_id, retry_id, now = worker.ids.new(), worker.ids.new(), worker.journal.now()
    call_key = RowKey(ProviderCallRow, (job.id, job.attempt))

    def decide(look: Look, writes: Writes) -> None:
        call = look.get(ProviderCallRow, job.id, job.attempt)
        if call is not None:
            if call.state not in only:
                return
            settled = {"state": settlement.call, "detail": settlement.detail, "settled_at": now}
            writes.update(call.changed(**settled, due_at=None), *call_key.key)
        current = look.get(JobRow, job.id)
        if current is None or current.state is not State.RUNNING or current.attempt != job.attempt:
            return
        _move_on(current, call, look, writes)

    def _move_on(current: JobRow, call: ProviderCallRow | None, look: Look, writes: Writes) -> None:
        match settlement.job:
            case "release" | "repeat" if blog_is_deleted(look, current):
                # The blog's queued jobs were cancelled; in the queue it would be paid for.
                reason = "blog_deleted"
                move_job(writes, current, Trigger.CANCEL, at=now, event_id=event_id, reason=reason)
            case "release":
                _release(current, settlement.not_before or now, writes)
            case "repeat" if current.lost_calls + 1 < MAX_REPEATS:
                wait = timedelta(seconds=REPEAT_BACKOFF.after(current.lost_calls + 1))
                _release(current.changed(lost_calls=current.lost_calls + 1), now + wait, writes)
            case "repeat":
                _fail(current, call, "provider_failing", writes)
            case "by_policy" if _asks_again(current, look):
                # The one retry without a person: two moves, two events.
                failed = _fail(current, call, "outcome_unknown", writes)
                note = _asked_again(current, call)
                retry_job(
                    writes,
                    failed,
                    at=now,
                    event_id=retry_id,
                    reason=OnUnknown.RETRY_ONCE,
                    asked_again_at=now,
                    warnings=[*current.warnings, note],
                )
            case "fail" | "by_policy":
                _fail(current, call, settlement.code or "failed", writes)
            case _ as never:
                assert_never(never)

    def _release(current: JobRow, not_before: datetime, writes: Writes) -> None:
        move_job(
            writes,
            current,
            Trigger.RELEASE,
            at=now,
            event_id=event_id,
            reason=settlement.detail,
            not_before=not_before,
            wake_at=first_wake(now, not_before, current.deadline_at),
        )

    def _asks_again(current: JobRow, look: Look) -> bool:
        policy = worker.providers.on_unknown.of(current)
        return (
            policy is OnUnknown.RETRY_ONCE
            and current.asked_again_at is None
            and not blog_is_deleted(look, current)
        )

    def _fail(current: JobRow, call: ProviderCallRow | None, code: str, writes: Writes) -> JobRow:
        message = _advice(code, settlement, current, call)
        return fail_job(
            writes, current, code, message, at=now, event_id=event_id, detail=settlement.detail
        )

    # Most answers put the job back into the queue: its batch is named only when it has to be.
    step = Step("settle_call", decide, (job_key(job.id), call_key), blog_keys([job]))
    await record_moves(worker.journal, step)
    log.info(
        "call_settled",
        job_id=str(job.id),
        attempt=job.attempt,
        call=settlement.call.value,
        detail=settlement.detail,
    )


def _may_be_charged(job: JobRow, call: ProviderCallRow | None) -> str:
    """What a lost answer may have cost, in words."""
    if call is None or call.amount is None:
        return f"an amount that nobody knows may have been charged by {job.provider}"
    amount = f"${call.amount.normalize():f}"
    return f"{amount} may have been charged by {call.provider} ({call.model})"


def _asked_again(job: JobRow, call: ProviderCallRow | None) -> str:
    return (
        f"the answer of attempt {job.attempt} was lost and {_may_be_charged(job, call)};"
        f" the provider was asked once more (on_unknown: {OnUnknown.RETRY_ONCE.value})"
    )


def _advice(code: str, settlement: Settlement, job: JobRow, call: ProviderCallRow | None) -> str:
    detail = settlement.detail
    match code:
        case "outcome_unknown":
            again = " a third time" if job.asked_again_at is not None else " again"
            return (
                f"The provider was asked but its answer was lost: {_may_be_charged(job, call)}, and"
                f" the picture cannot be fetched. It was not asked{again}. `limner calls unknown`"
                " tells what to look for at the provider, `limner calls resolve` records what was"
                " found; retry the job to pay for another try."
            )
        case "moderated" if settlement.call is CallState.UNKNOWN:
            return (
                "The provider painted the picture and withheld it for its content. It may have been"
                " charged. Change the prompt."
            )
        case "moderated":
            return "The provider refused the prompt. Nothing was charged. Change the prompt."
        case "model_retired":
            return (
                f"The provider no longer has the model: {detail}. Nothing was charged. Have another"
                " model configured for this quality, then retry the job."
            )
        case "provider_failing":
            return (
                f"The provider lost its answer {MAX_REPEATS} times: {detail}. Nothing was charged."
                " Retry the job, or change the prompt."
            )
    return f"The provider refused the request: {detail}. Nothing was charged."
