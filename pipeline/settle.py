"""Settle a paid call in the ledger together with what becomes of its job, in one commit.

The ledger row is guarded by itself and not by the job's version: the answer to a call is a fact,
whatever has become of the job meanwhile (cancelled, retried, deleted).
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, assert_never
from uuid import UUID

import structlog

from adapters.ports import Backoff
from pipeline.budgets import take_again
from pipeline.errors import BudgetExceeded, PriceUnknown
from pipeline.fallback import (
    REFUSALS_THAT_FALL_BACK,
    Handed,
    is_busy_for_long,
    next_hand,
)
from pipeline.final import job_price
from pipeline.gate import Gate
from pipeline.key_news import KeyNews
from pipeline.move import fail_job, first_wake, job_key, move_job, retry_job
from pipeline.new_job import blog_is_deleted, blog_keys
from pipeline.providers import Providers
from pipeline.settlement import MAX_REPEATS, Settlement, advice, may_be_charged
from pipeline.tally import record_moves
from pipeline.worker import Worker
from schemas.requests import OnUnknown
from schemas.step import Look, RowKey, Step, Writes
from schemas.tables import OPEN_CALLS, CallState, JobRow, ProviderCallRow, Waiting
from states.table import State, Trigger

log = structlog.get_logger(__name__)

REPEAT_BACKOFF = Backoff(timedelta(milliseconds=100), timedelta(seconds=30))


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
    providers, gate = worker.providers, worker.providers.gate(job.provider)

    def decide(look: Look, writes: Writes) -> None:
        settling = _Settling(settlement, providers, now, event_id, retry_id, look, writes)
        settling.settle(job, gate, only)

    # Most answers put the job back into the queue: its batch is named only when it has to be.
    shared = (*blog_keys([job]), *((gate.key,) if gate is not None else ()))
    await record_moves(
        worker.journal, Step("settle_call", decide, (job_key(job.id), _call_key(job)), shared)
    )
    log.info(
        "call_settled",
        job_id=str(job.id),
        attempt=job.attempt,
        call=settlement.call.value,
        detail=settlement.detail,
    )


def _call_key(job: JobRow) -> RowKey:
    return RowKey(ProviderCallRow, (job.id, job.attempt))


@dataclass(slots=True)
class _Settling:
    """The decision about one answer, in one run of its step."""

    answer: Settlement
    providers: Providers
    now: datetime
    event_id: UUID
    retry_id: UUID
    look: Look
    writes: Writes
    call: ProviderCallRow | None = None
    # What is heard of the key with which the call was made.
    news: KeyNews | None = None

    def settle(self, job: JobRow, gate: Gate | None, only: frozenset[CallState]) -> None:
        """First the ledger, then the key, then the job, where it still runs this attempt."""
        self.call = call = self.look.get(ProviderCallRow, job.id, job.attempt)
        if call is not None:
            if call.state not in only:
                return
            settled = {"state": self.answer.call, "detail": self.answer.detail}
            row = call.changed(**settled, settled_at=self.now, due_at=None)
            self.writes.update(row, *_call_key(job).key)
            if gate is not None and call.provider == job.provider:
                self._hear(job, call, gate)
        current = self.look.get(JobRow, job.id)
        runs = current is not None and current.state is State.RUNNING
        if current is not None and runs and current.attempt == job.attempt:
            self._move_on(current)
        if self.news is not None:
            self.news.store(self.look, self.writes)

    def _hear(self, job: JobRow, call: ProviderCallRow, gate: Gate) -> None:
        self.news = KeyNews.hear(self.look, gate, self.answer.says, call, now=self.now)
        if self.answer.code == "model_retired":
            self.news.retire(job, call, self.answer.detail, self.writes)

    def _move_on(self, job: JobRow) -> None:
        is_deleted = blog_is_deleted(self.look, job)
        match self.answer.job:
            case "release" | "repeat" if is_deleted:
                # The blog's queued jobs were cancelled; in the queue it would be paid for.
                self._cancel(job, "blog_deleted")
            case "release" | "fail" if not is_deleted and (instead := self._instead(job)):
                self._release(job, self.now, instead.reason, **instead.columns)
            case "release":
                not_before, waits = self._put_off(job)
                self._release(job, not_before, **waits)
            case "repeat" if job.lost_calls + 1 < MAX_REPEATS:
                wait = timedelta(seconds=REPEAT_BACKOFF.after(job.lost_calls + 1))
                self._release(job.changed(lost_calls=job.lost_calls + 1), self.now + wait)
            case "repeat":
                self._fail(job, "provider_failing")
            case "by_policy" if not is_deleted and self._asks_again(job):
                self._ask_again(self._fail(job, "outcome_unknown"))
            case "fail" | "by_policy":
                self._fail(job, self.answer.code or "failed")
            case _ as never:
                assert_never(never)

    def _cancel(self, job: JobRow, reason: str) -> None:
        move_job(
            self.writes, job, Trigger.CANCEL, at=self.now, event_id=self.event_id, reason=reason
        )

    def _release(
        self, job: JobRow, not_before: datetime, reason: str | None = None, **changes: Any
    ) -> None:
        move_job(
            self.writes,
            job,
            Trigger.RELEASE,
            at=self.now,
            event_id=self.event_id,
            reason=reason if reason is not None else self.answer.detail,
            not_before=not_before,
            wake_at=first_wake(self.now, not_before, job.deadline_at),
            **changes,
        )

    def _fail(self, job: JobRow, code: str) -> JobRow:
        return fail_job(
            self.writes,
            job,
            code,
            advice(code, self.answer, job, self.call),
            at=self.now,
            event_id=self.event_id,
            detail=self.answer.detail,
        )

    def _instead(self, job: JobRow) -> Handed | None:
        """The job as another provider is to paint it; None where it keeps its own.

        Whatever may have been charged stays with the provider that may have charged it.
        """
        answer = self.answer
        if answer.call not in {CallState.NOT_CHARGED, CallState.REFUSED}:
            return None
        why = None
        if answer.job == "fail" and answer.code in REFUSALS_THAT_FALL_BACK:
            why = answer.code
        elif answer.waiting is Waiting.UNUSABLE:
            why = answer.says.reason
        elif answer.waiting is not None and is_busy_for_long(job, self.providers, self.now):
            why = "busy"
        if why is None:
            return None
        return next_hand(job, why, self.providers, self.look, self.writes, at=self.now)

    def _put_off(self, job: JobRow) -> tuple[datetime, dict[str, Any]]:
        """When a job that was put back may start, and what is told of its waiting."""
        not_before, waiting = self.answer.not_before or self.now, self.answer.waiting
        if waiting is None:
            return not_before, {}
        if self.news is not None and waiting is not Waiting.BUSY:
            not_before, waiting = self.news.line_up()
        return not_before, {"waiting": waiting.value, "busy_since": job.busy_since or self.now}

    def _asks_again(self, job: JobRow) -> bool:
        """Whether the job's policy buys another try."""
        policy = self.providers.on_unknown.of(job)
        return policy is OnUnknown.RETRY_ONCE and job.asked_again_at is None

    def _ask_again(self, failed: JobRow) -> None:
        """The one retry without a person, in the step in which the job failed, if budgets admit it.

        What the lost call may have cost stays held beside the price of the new one.
        """
        price = job_price(failed, self.providers)
        try:
            admitted = take_again(self.look, self.writes, failed, price, at=self.now)
        except (BudgetExceeded, PriceUnknown):
            return
        note = (
            f"the answer of attempt {failed.attempt} was lost and"
            f" {may_be_charged(failed, self.call)};"
            f" the provider was asked once more (on_unknown: {OnUnknown.RETRY_ONCE.value})"
        )
        retry_job(
            self.writes,
            admitted,
            at=self.now,
            event_id=self.retry_id,
            reason=OnUnknown.RETRY_ONCE,
            asked_again_at=self.now,
            warnings=[*failed.warnings, note],
        )
