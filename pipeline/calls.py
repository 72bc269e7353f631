"""Calls whose outcome nobody knows: shown to a person, and settled by what the person found out.

Without it the budgets would hold for ever what a lost answer may have cost.
"""

from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from uuid import UUID

from adapters.store import reads
from pipeline.budgets import booking_keys
from pipeline.errors import AmountNeeded, CallSettled, NoSuchCall
from pipeline.journal import Journal
from pipeline.ledger import spending
from pipeline.move import job_key
from pipeline.tally import record_moves
from schemas.replies import CallListResponse, CallResponse, DayCostsResponse, ProviderCost
from schemas.requests import CallVerdict
from schemas.step import Look, RowKey, Step, Writes
from schemas.tables import CallState, ProviderCallRow

MOST_CALLS = 500
PARKED = (
    "The job stays as it is; its picture is not fetched by this. Retry the job to paint it, which"
    " pays for another call."
)
AT_REST = "The job goes on by itself; only the ledger is settled by this."


async def unknown_calls(*, tenant: str, journal: Journal) -> CallListResponse:
    """The oldest first, at most `MOST_CALLS`; the sums are of those that are listed."""
    found = await journal.read(reads.unknown_calls, tenant, MOST_CALLS)
    told = [_told(ProviderCallRow.of(**one.model_dump())) for one in found]
    return CallListResponse(
        calls=told, **spending((one.state, one.amount) for one in found)._asdict()
    )


async def resolve_call(
    job_id: UUID,
    attempt: int,
    *,
    verdict: CallVerdict,
    amount: Decimal | None,
    tenant: str,
    journal: Journal,
) -> CallResponse:
    """Write what became of a call; saying the same again changes nothing.

    *amount* (USD) is what was charged, where it is not what the price book says. Raises
    `NoSuchCall`, `CallSettled` for one that is known to have gone otherwise, and `AmountNeeded`.
    """
    now = journal.now()
    key = RowKey(ProviderCallRow, (job_id, attempt))
    call = await journal.read(reads.call, tenant, job_id, attempt)
    if call is None:
        raise NoSuchCall(job_id, attempt)
    charged = amount if amount is not None else call.amount

    def decide(look: Look, writes: Writes) -> ProviderCallRow:
        current = look.get(ProviderCallRow, *key.key)
        if current is None or current.tenant != tenant:
            raise NoSuchCall(job_id, attempt)
        said = _said(current, verdict, amount, now)
        if current.state is not CallState.UNKNOWN:
            if _is_same(current, said):
                return current
            raise CallSettled(job_id, attempt, current.state, by_person=bool(current.resolved_at))
        writes.update(said, *key.key)
        return said

    shared = booking_keys(tenant, charged if verdict is CallVerdict.CHARGED else None)
    step = Step("resolve_call", decide, (job_key(job_id), key), shared)
    settled = await record_moves(journal, step)
    job = await journal.read(reads.job, tenant, job_id)
    ended = job is not None and job.ended_at is not None
    return _told(settled, note=PARKED if ended else AT_REST)


async def day_costs(day: date, *, tenant: str, journal: Journal) -> DayCostsResponse:
    """What the calls of one day (UTC) cost, in all and by provider and model."""
    first = datetime.combine(day, time(), UTC)
    calls = await journal.read(reads.calls_between, tenant, first, first + timedelta(days=1))
    kinds = sorted({(one.provider, one.model) for one in calls})
    by_provider = []
    for provider, model in kinds:
        of_kind = [one for one in calls if (one.provider, one.model) == (provider, model)]
        sums = spending((one.state, one.amount) for one in of_kind)
        by_provider.append(
            ProviderCost(provider=provider, model=model, calls=len(of_kind), **sums._asdict())
        )
    return DayCostsResponse(
        day=day,
        calls=len(calls),
        by_provider=by_provider,
        **spending((one.state, one.amount) for one in calls)._asdict(),
    )


def _said(
    call: ProviderCallRow, verdict: CallVerdict, amount: Decimal | None, now: datetime
) -> ProviderCallRow:
    match verdict:
        case CallVerdict.CHARGED:
            charged = amount if amount is not None else call.amount
            if charged is None:
                raise AmountNeeded(call.job_id, call.attempt)
            return call.changed(
                state=CallState.ANSWERED, amount=charged, settled_at=now, resolved_at=now
            )
        case CallVerdict.NOT_CHARGED:
            return call.changed(state=CallState.NOT_CHARGED, settled_at=now, resolved_at=now)


def _is_same(current: ProviderCallRow, said: ProviderCallRow) -> bool:
    """Whether a person has said this before."""
    if current.resolved_at is None or current.state is not said.state:
        return False
    return current.state is CallState.NOT_CHARGED or current.amount == said.amount


def _told(call: ProviderCallRow, note: str | None = None) -> CallResponse:
    return CallResponse(
        call_id=f"{call.job_id}.{call.attempt}",
        job_id=call.job_id,
        attempt=call.attempt,
        provider=call.provider,
        model=call.model,
        state=call.state.value,
        amount=call.amount,
        price_book=call.price_book,
        asked_at=call.created_at,
        settled_at=call.settled_at,
        resolved_at=call.resolved_at,
        detail=call.detail,
        provider_ref=call.provider_ref,
        look_for=_look_for(call) if call.state is CallState.UNKNOWN else None,
        note=note,
    )


def _look_for(call: ProviderCallRow) -> str:
    """What tells at the provider whether the call was charged."""
    known = f" under the name {call.provider_ref}" if call.provider_ref is not None else ""
    return (
        f"a request for {call.model} to {call.provider}{known} at"
        f" {call.created_at:%Y-%m-%d %H:%M:%S} UTC, or within the minutes after, in the provider's"
        " list of usage; or a balance that fell by its price"
    )
