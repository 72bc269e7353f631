"""Settle a paid call in the ledger together with what becomes of its job, in one commit.

The ledger row is guarded by itself and not by the job's version: the answer to a call is a fact,
whatever has become of the job meanwhile (cancelled, retried, deleted).
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, Self, assert_never

import structlog

from adapters.errors import ProviderBusy, ProviderUnusable
from adapters.ports import Backoff
from pipeline.fallback import (
    REFUSALS_THAT_FALL_BACK,
    handed_over,
    is_busy_for_long,
    next_painter,
    reason_of,
)
from pipeline.gate import Word
from pipeline.key_news import KeyNews
from pipeline.move import fail_job, first_wake, job_key, move_job
from pipeline.new_job import blog_is_deleted, blog_keys
from pipeline.tally import record_moves
from pipeline.worker import Worker
from schemas.step import Look, RowKey, Step, Writes
from schemas.tables import OPEN_CALLS, CallState, JobRow, ProviderCallRow, Waiting
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
    job: Literal["release", "repeat", "fail"]
    code: str | None = None
    not_before: datetime | None = None
    # What the answer says of the key with which it was asked.
    says: Word = Word("nothing")
    waiting: Waiting | None = None

    @classmethod
    def of_busy(cls, exc: ProviderBusy, now: datetime) -> Self:
        """The provider took nothing: of this request, or of any with this key."""
        wait = min(exc.retry_after, MAX_RETRY_AFTER)
        detail, waiting, says = clean(str(exc)), Waiting.BUSY, Word("nothing")
        if isinstance(exc, ProviderUnusable):
            waiting, says = Waiting.UNUSABLE, Word("unusable", exc.reason, detail, wait)
        elif exc.of_key:
            waiting, says = Waiting.PAUSED, Word("busy", "", detail, wait)
        call = CallState.NOT_CHARGED
        return cls(call, detail, "release", None, now + wait, says, waiting)

    @classmethod
    def busy(cls, detail: str, now: datetime, retry_after: timedelta = timedelta(0)) -> Self:
        """The provider was not asked, or took nothing: back into the queue, after *retry_after*."""
        wait = min(retry_after, MAX_RETRY_AFTER)
        return cls(CallState.NOT_CHARGED, clean(detail), "release", not_before=now + wait)

    @classmethod
    def refused(cls, code: str, detail: str, *, may_be_charged: bool = False) -> Self:
        """The provider will never paint this; *may_be_charged* where it did and kept it back."""
        call = CallState.UNKNOWN if may_be_charged else CallState.REFUSED
        says = Word("works" if may_be_charged else "nothing")
        return cls(call, clean(detail), "fail", code=clean(code), says=says)

    @classmethod
    def unknown(cls, detail: str, *, repeatable: bool) -> Self:
        """The answer is lost. Free and repeatable: asked again. Otherwise a person decides."""
        if repeatable:
            return cls(CallState.NOT_CHARGED, clean(detail), "repeat")
        code, says = "outcome_unknown", Word("unknown")
        return cls(CallState.UNKNOWN, clean(detail), "fail", code=code, says=says)


def clean(text: str, most_characters: int = 2_000) -> str:
    """A text from outside as every database takes it: no NUL, no half characters, not endless."""
    return text.replace("\x00", "").encode(errors="replace").decode()[:most_characters]


async def settle_call(job: JobRow, settlement: Settlement, worker: Worker) -> None:
    """Write *settlement* for the call of `job.attempt`; a call that is settled stays as it is."""
    event_id, now = worker.ids.new(), worker.journal.now()
    call_key = RowKey(ProviderCallRow, (job.id, job.attempt))
    gate = worker.providers.gate(job.provider)

    def decide(look: Look, writes: Writes) -> None:
        news = None
        call = look.get(ProviderCallRow, job.id, job.attempt)
        if call is not None:
            if call.state not in OPEN_CALLS:
                return
            settled = {"state": settlement.call, "detail": settlement.detail, "settled_at": now}
            writes.update(call.changed(**settled, due_at=None), *call_key.key)
            if gate is not None and call.provider == job.provider:
                news = KeyNews.hear(look, gate, settlement.says, call, now=now)
                if settlement.code == "model_retired":
                    news.retire(job, call, settlement.detail, writes)
        current = look.get(JobRow, job.id)
        runs = current is not None and current.state is State.RUNNING
        if current is not None and runs and current.attempt == job.attempt:
            _move_on(current, news, look, writes)
        if news is not None:
            news.store(look, writes)

    def _move_on(current: JobRow, news: KeyNews | None, look: Look, writes: Writes) -> None:
        match settlement.job:
            case "release" | "repeat" if blog_is_deleted(look, current):
                # The blog's queued jobs were cancelled; in the queue it would be paid for.
                reason = "blog_deleted"
                move_job(writes, current, Trigger.CANCEL, at=now, event_id=event_id, reason=reason)
            case "release" | "fail" if not blog_is_deleted(look, current) and (
                instead := _instead(current, settlement, worker, now)
            ):
                reason, handed = instead
                _release(current, now, writes, reason, **handed)
            case "release":
                not_before, waits = _put_off(current, settlement, news, now)
                _release(current, not_before, writes, **waits)
            case "repeat" if current.lost_calls + 1 < MAX_REPEATS:
                wait = timedelta(seconds=REPEAT_BACKOFF.after(current.lost_calls + 1))
                _release(current.changed(lost_calls=current.lost_calls + 1), now + wait, writes)
            case "repeat":
                _fail(current, "provider_failing", writes)
            case "fail":
                _fail(current, settlement.code or "failed", writes)
            case _ as never:
                assert_never(never)

    def _release(
        current: JobRow,
        not_before: datetime,
        writes: Writes,
        reason: str = settlement.detail,
        **changes: Any,
    ) -> None:
        move_job(
            writes,
            current,
            Trigger.RELEASE,
            at=now,
            event_id=event_id,
            reason=reason,
            not_before=not_before,
            wake_at=first_wake(now, not_before, current.deadline_at),
            **changes,
        )

    def _fail(current: JobRow, code: str, writes: Writes) -> None:
        message = _advice(code, settlement)
        fail_job(
            writes, current, code, message, at=now, event_id=event_id, detail=settlement.detail
        )

    # Most answers put the job back into the queue: its batch is named only when it has to be.
    shared = (*blog_keys([job]), *((gate.key,) if gate is not None else ()))
    step = Step("settle_call", decide, (job_key(job.id), call_key), shared)
    await record_moves(worker.journal, step)
    log.info(
        "call_settled",
        job_id=str(job.id),
        attempt=job.attempt,
        call=settlement.call.value,
        detail=settlement.detail,
    )


def _instead(
    job: JobRow, settlement: Settlement, worker: Worker, now: datetime
) -> tuple[str, dict[str, Any]] | None:
    """Why another provider is to paint the job, and its columns then; None where it keeps its own.

    Whatever may have been charged stays with the provider that may have charged it.
    """
    if settlement.call not in {CallState.NOT_CHARGED, CallState.REFUSED}:
        return None
    why = None
    if settlement.job == "fail" and settlement.code in REFUSALS_THAT_FALL_BACK:
        why = settlement.code
    elif settlement.waiting is Waiting.UNUSABLE:
        why = settlement.says.reason
    elif settlement.waiting is not None and is_busy_for_long(job, worker.providers, now):
        why = "busy"
    painter = next_painter(job, worker.providers) if why is not None else None
    if painter is None or why is None:
        return None
    return reason_of(job, painter, why), handed_over(job, painter, why)


def _put_off(
    job: JobRow, settlement: Settlement, news: KeyNews | None, now: datetime
) -> tuple[datetime, dict[str, Any]]:
    """When a job that was put back may start, and what is told of its waiting."""
    not_before, waiting = settlement.not_before or now, settlement.waiting
    if waiting is None:
        return not_before, {}
    if news is not None and waiting is not Waiting.BUSY:
        not_before, waiting = news.line_up()
    return not_before, {"waiting": waiting.value, "busy_since": job.busy_since or now}


def _advice(code: str, settlement: Settlement) -> str:
    detail = settlement.detail
    match code:
        case "outcome_unknown":
            return (
                "The provider was asked but its answer was lost: the picture may have been charged"
                " and cannot be fetched. It was not asked again. Retry the job to pay for another"
                " try."
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
