"""Settle a paid call in the ledger together with what becomes of its job, in one commit.

The ledger row is guarded by itself and not by the job's version: the answer to a call is a fact,
whatever has become of the job meanwhile (cancelled, retried, deleted).
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Literal, Self, assert_never

import structlog

from adapters.ports import Backoff
from pipeline.move import QUEUED_PATIENCE, error_facts, job_key, move_job
from schemas.step import Look, RowKey, Step, Writes
from schemas.tables import OPEN_CALLS, CallState, JobRow, ProviderCallRow
from states.table import State, Trigger

if TYPE_CHECKING:
    from pipeline.generate import Worker

log = structlog.get_logger(__name__)


# A free provider that never gets done (its process dies on this very prompt) is given up.
MAX_REPEATS = 25
REPEAT_BACKOFF = Backoff(timedelta(milliseconds=100), timedelta(seconds=30))


@dataclass(frozen=True, slots=True)
class Settlement:
    """What the call's row becomes, and what its job is to do if it still runs this attempt."""

    call: CallState
    detail: str
    job: Literal["release", "fail"]
    code: str | None = None
    not_before: datetime | None = None

    @classmethod
    def busy(cls, detail: str, not_before: datetime) -> Self:
        """The provider took nothing: back into the queue, not before then."""
        return cls(CallState.NOT_CHARGED, detail, "release", not_before=not_before)

    @classmethod
    def refused(cls, code: str, detail: str) -> Self:
        """The provider will never paint this."""
        return cls(CallState.REFUSED, detail, "fail", code=code)

    @classmethod
    def unknown(cls, detail: str, *, repeatable: bool, attempt: int, now: datetime) -> Self:
        """The answer is lost. Free and repeatable: asked again. Otherwise a person decides."""
        if not repeatable:
            return cls(CallState.UNKNOWN, detail, "fail", code="outcome_unknown")
        if attempt >= MAX_REPEATS:
            return cls(CallState.NOT_CHARGED, detail, "fail", code="provider_failing")
        wait = timedelta(seconds=REPEAT_BACKOFF.after(attempt))
        return cls(CallState.NOT_CHARGED, detail, "release", not_before=now + wait)


async def settle_call(job: JobRow, settlement: Settlement, worker: "Worker") -> None:
    """Write *settlement* for the call of `job.attempt`; a call that is settled stays as it is."""
    event_id, now = worker.ids.new(), worker.journal.now()
    call_key = RowKey(ProviderCallRow, (job.id, job.attempt))

    def decide(look: Look, writes: Writes) -> None:
        call = look.get(ProviderCallRow, job.id, job.attempt)
        if call is not None:
            if call.state not in OPEN_CALLS:
                return
            settled = {"state": settlement.call, "detail": settlement.detail, "settled_at": now}
            writes.update(call.changed(**settled, due_at=None), *call_key.key)
        current = look.get(JobRow, job.id)
        if current is None or current.state is not State.RUNNING or current.attempt != job.attempt:
            return
        _move_on(current, writes)

    def _move_on(current: JobRow, writes: Writes) -> None:
        match settlement.job:
            case "release":
                move_job(
                    writes,
                    current,
                    Trigger.RELEASE,
                    at=now,
                    event_id=event_id,
                    reason=settlement.detail,
                    not_before=settlement.not_before,
                    wake_at=(settlement.not_before or now) + QUEUED_PATIENCE,
                )
            case "fail":
                move_job(
                    writes,
                    current,
                    Trigger.FAIL,
                    at=now,
                    event_id=event_id,
                    reason=settlement.code,
                    error=error_facts(
                        settlement.code or "failed", _advice(settlement), detail=settlement.detail
                    ),
                    data={"code": settlement.code},
                )
            case _ as never:
                assert_never(never)

    await worker.journal.record(Step("settle_call", decide, (job_key(job.id), call_key)))
    log.info(
        "call_settled",
        job_id=str(job.id),
        attempt=job.attempt,
        call=settlement.call.value,
        detail=settlement.detail,
    )


def _advice(settlement: Settlement) -> str:
    if settlement.call is CallState.UNKNOWN:
        return (
            "The provider was asked but its answer was lost: the picture may have been charged and"
            " cannot be fetched. It was not asked again. Retry the job to pay for another try."
        )
    if settlement.code == "moderated":
        return "The provider refused the prompt. Nothing was charged. Change the prompt."
    if settlement.code == "provider_failing":
        return (
            f"The provider failed {MAX_REPEATS} times: {settlement.detail}. Nothing was charged."
            " Retry the job, or change the prompt."
        )
    return f"The provider refused the request: {settlement.detail}. Nothing was charged."
