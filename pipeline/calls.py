"""Calls of providers as a person sees them, and what a person found out about an unknown one."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import structlog

from adapters.store import job_reads, money_reads
from pipeline.budget_limits import root
from pipeline.errors import CallNotUnknown, NoSuchCall, ResolvedOtherwise
from pipeline.journal import Journal
from pipeline.move import job_key
from pipeline.tally import record_moves
from schemas.ledger import (
    CallFilters,
    CallListResponse,
    CallResponse,
    ResolutionRequest,
    ResolvedCallResponse,
)
from schemas.replies import dollars
from schemas.requests import Quality
from schemas.step import Look, RowKey, Step, Writes
from schemas.tables import CallState, JobRow, ProviderCallRow
from states.table import OPEN, State

log = structlog.get_logger(__name__)


async def list_calls(filters: CallFilters, *, tenant: str, journal: Journal) -> CallListResponse:
    """One page of calls, those of the newest jobs first."""
    found = await journal.read(
        money_reads.calls_page,
        tenant,
        before=filters.before,
        limit=filters.limit + 1,  # one more tells whether there is a next page
        states=filters.state,
        job_id=filters.job_id,
    )
    page = found[: filters.limit]
    last = page[-1][0] if len(found) > len(page) else None
    return CallListResponse(
        calls=[_told(call, job) for call, job in page],
        next_cursor=f"{last.job_id}/{last.attempt}" if last is not None else None,
    )


async def resolve_call(
    job_id: UUID, attempt: int, found: ResolutionRequest, *, tenant: str, journal: Journal
) -> ResolvedCallResponse:
    """Write what a person found out about an unknown call. Saying the same again is a success.

    Raises `NoSuchCall`, `CallNotUnknown` and `ResolvedOtherwise`. A result that turns up later
    counts more than what was said.
    """
    now = journal.now()
    key = RowKey(ProviderCallRow, (job_id, attempt))
    state = CallState.ANSWERED if found.charged else CallState.NOT_CHARGED

    def decide(look: Look, writes: Writes) -> ProviderCallRow:
        call = look.get(ProviderCallRow, *key.key)
        if call is None or call.tenant != tenant:
            raise NoSuchCall(job_id, attempt)
        if call.resolved_at is not None:
            if call.state is not state or found.amount not in (None, call.amount):
                raise ResolvedOtherwise(job_id, attempt, _said(call))
            return call
        if call.state is not CallState.UNKNOWN:
            raise CallNotUnknown(job_id, attempt, call.state.value)
        amount = found.amount if found.amount is not None else call.amount
        resolved = call.changed(state=state, amount=amount, resolved_at=now)
        writes.update(resolved, *key.key)
        return resolved

    named = (job_key(job_id), key)
    shared = (root(tenant),) if found.charged else ()  # the budgets that the charge falls under
    call = await record_moves(journal, Step("resolve_call", decide, named, shared))
    job = await journal.read(job_reads.job, tenant, job_id)
    if job is None:
        raise NoSuchCall(job_id, attempt)
    log.info("call_resolved", job_id=str(job_id), attempt=attempt, charged=found.charged)
    calls = await journal.read(money_reads.calls_of_jobs, tenant, [job_id])
    return ResolvedCallResponse(**_told(call, job).model_dump(), what_now=_what_now(job, calls))


def _told(call: ProviderCallRow, job: JobRow) -> CallResponse:
    unknown = call.state is CallState.UNKNOWN
    facts: dict[str, Any] = {
        name: getattr(call, name) for name in CallResponse.model_fields if hasattr(call, name)
    }
    return CallResponse(
        **facts,
        asked_at=call.created_at,
        look_for=_look_for(call) if unknown else None,
        job_status=job.state,
        quality=Quality(job.quality),
        blog_id=job.blog_id,
        on_unknown=job.request.get("on_unknown"),
    )


def _look_for(call: ProviderCallRow) -> str:
    """What a charge of the call looks like from the provider's side."""
    cost = f"of {dollars(call.amount)}" if call.amount is not None else "at an unknown price"
    begun, ended = _second(call.created_at), _second(call.settled_at or call.created_at)
    named = f", named {call.provider_ref}" if call.provider_ref is not None else ""
    return (
        f"a charge {cost} for {call.model}{named} in the account of {call.provider}, between"
        f" {begun} and {ended}"
    )


def _second(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _said(call: ProviderCallRow) -> str:
    if call.state is CallState.NOT_CHARGED:
        return "not charged"
    return "charged" if call.amount is None else f"charged, {dollars(call.amount)}"


def _what_now(job: JobRow, calls: Sequence[ProviderCallRow]) -> str:
    """What the job may do now; it does nothing by itself."""
    if job.state is State.COMPLETED:
        return "The job is completed by another attempt; only its costs have changed."
    if job.state in OPEN:
        return f"The job is at work on attempt {job.attempt}; only its costs have changed."
    perhaps = CallState.UNKNOWN, CallState.INTENT, CallState.ACCEPTED
    if any(call.state is CallState.ANSWERED for call in calls):
        paid = "it was paid for already, and another attempt is paid for as well"
    elif any(call.state in perhaps for call in calls):
        paid = "another call of it may have been charged, and another attempt is paid for as well"
    else:
        paid = "nothing was charged for it, so that another attempt is the only one to be paid for"
    return f"The job stays {job.state.value} until somebody retries it: {paid}."
