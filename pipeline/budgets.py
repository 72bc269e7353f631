"""Hold money on budgets before it is spent, and settle what was held when the ledger knows more.

Without it a tenant could spend more than anybody allowed. A job is admitted in the commit that
creates it, under the lock of its budgets, and its price is held there until the call of that
attempt is answered (`spent`), is known not to be charged, or is never made. What a lost or open
call may have cost stays held: by the job while it is open, by the call once the job is at rest.

Who has no budgets pays for one look at an absent row (`root`), a free picture for nothing.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from pipeline.budget_limits import ZERO, Scope, day_of, refusal, root, scopes, standing
from pipeline.ledger import CHARGED, MAYBE_CHARGED
from schemas.columns import as_stored
from schemas.step import Look, RowKey, Writes
from schemas.tables import BudgetRow, JobRow, ProviderCallRow, SpendRow
from states.table import State

# What holds its price itself; in any other state a job's hold is released, or its call's.
HOLDING = frozenset({State.QUEUED, State.RUNNING})


def hold_keys(jobs: Iterable[JobRow], prices: Iterable[Decimal | None]) -> tuple[RowKey, ...]:
    """What a step that calls `hold` names as shared; the rest it finds out by itself."""
    priced = [job.tenant for job, price in zip(jobs, prices, strict=True) if price != ZERO]
    return tuple(root(tenant) for tenant in dict.fromkeys(priced))


def booking_keys(tenant: str, amount: Decimal | None) -> tuple[RowKey, ...]:
    """What a step that writes a charge of *amount* into the ledger names as shared."""
    return (root(tenant),) if amount else ()


def hold(
    look: Look,
    writes: Writes,
    jobs: Sequence[JobRow],
    prices: Sequence[Decimal | None],
    *,
    at: datetime,
) -> list[JobRow]:
    """Admit *jobs* at their *prices* (USD), in this order, all or none; give them their holds.

    A job that holds something already exchanges it. The caller writes the jobs. Raises
    `BudgetExceeded`, and `PriceUnknown` where a price is not known and anything is limited.
    """
    roots = hold_keys(jobs, prices)
    look.require(roots)
    unlimited = all(look.get(BudgetRow, *key.key) is None for key in roots)
    if unlimited and all(job.held is None for job in jobs):
        return list(jobs)
    day = day_of(at)
    counters = _Counters(look, writes)
    asking = [
        (job, price) if price != ZERO and counters.has_budgets(job.tenant) else (job, ZERO)
        for job, price in zip(jobs, prices, strict=True)
    ]
    look.require(
        key
        for job, price in asking
        for day_named in (*([day] if price != ZERO else []), *_held_on(job))
        for key in _keys(scopes(job.tenant, job.blog_id, day_named))
    )
    held = []
    for job, price in asking:
        counters.release(job, job.held_on, job)
        freed = _without_hold(job)
        if price != ZERO:
            freed = counters.admit(freed, price, day)
        held.append(freed)
    counters.write()
    return held


def take_again(
    look: Look, writes: Writes, job: JobRow, price: Decimal | None, *, at: datetime
) -> JobRow:
    """The job with a hold for its next attempt; what it holds for the attempt that fails in this
    very step is left to its call, where that may be charged. Raises as `hold` does.
    """
    if job.held is not None:
        job = _leave_to_call(look, writes, job)
    (held,) = hold(look, writes, [job], [price], at=at)
    return held


def book(look: Look, writes: Writes, moved: Iterable[tuple[tuple[Any, ...], JobRow]]) -> None:
    """Settle holds and book charges, as *writes* say of calls and of the jobs *moved*.

    Every step that `record_moves` records ends with it.
    """
    jobs = [job for _, job in moved if job.held is not None and job.state not in HOLDING]
    calls = [
        (call, before)
        for key, call in writes.last_updates(ProviderCallRow)
        if (before := look.get(ProviderCallRow, *key)) is not None
        and (_charge(call) != _charge(before) or _is_settled(call))
    ]
    if not jobs and (not calls or _charge_nobody(look, calls)):
        return
    _require_rows(look, jobs, calls)
    counters = _Counters(look, writes)
    for job in jobs:
        freed = job
        if _was_asked(look, job):
            freed = _leave_to_call(look, writes, job)
        counters.release(freed, freed.held_on, freed)
        writes.update(_without_hold(freed), job.id)
    for call, before in calls:
        asker = look.get(JobRow, call.job_id)
        if asker is None:
            continue
        if _is_settled(call):
            counters.release(asker, call.day, call)
            writes.update(call.changed(held=None, held_in=None), call.job_id, call.attempt)
        counters.charge(asker, call.day, _charge(call) - _charge(before))
    counters.write()


class _Counters:
    """The rows of `spend` as this step leaves them."""

    def __init__(self, look: Look, writes: Writes) -> None:
        self._look = look
        self._writes = writes
        self._changed: dict[RowKey, SpendRow] = {}

    def has_budgets(self, tenant: str) -> bool:
        return self._look.get(BudgetRow, *root(tenant).key) is not None

    def admit(self, job: JobRow, price: Decimal | None, day: str) -> JobRow:
        found = [
            (scope, budget)
            for scope in scopes(job.tenant, job.blog_id, day)
            if (budget := self._look.get(BudgetRow, *scope.budget.key)) is not None
        ]
        limited = [standing(budget, self._spend(scope), scope.day) for scope, budget in found]
        refused = refusal([one for one in limited if one is not None], price)
        if refused is not None:
            raise refused
        if price is None:
            return job
        amount = as_stored(price)
        for scope, _ in found:
            self._add(scope, held=amount)
        bits = sum(scope.bit for scope, _ in found)
        return job.changed(held=amount, held_on=day, held_in=bits)

    def release(self, job: JobRow, day: str | None, holder: JobRow | ProviderCallRow) -> None:
        """Let go of what *holder*, the job or a call of it, holds."""
        if holder.held is None or day is None:
            return
        for scope in scopes(job.tenant, job.blog_id, day):
            if scope.bit & (holder.held_in or 0):
                self._add(scope, held=-holder.held)

    def charge(self, job: JobRow, day: str, amount: Decimal) -> None:
        """Book what a call of *job* costs on every budget that it falls under by now."""
        if amount == ZERO or not self.has_budgets(job.tenant):
            return
        for scope in scopes(job.tenant, job.blog_id, day):
            if self._look.get(BudgetRow, *scope.budget.key) is not None:
                self._add(scope, spent=amount)

    def write(self) -> None:
        inserted = {key for key, _ in self._writes.inserts}
        for key, row in self._changed.items():
            if self._look.get(SpendRow, *key.key) is None and key not in inserted:
                self._writes.insert(row, *key.key)
            else:
                self._writes.update(row, *key.key)
        self._changed.clear()

    def _add(self, scope: Scope, *, held: Decimal = ZERO, spent: Decimal = ZERO) -> None:
        row = self._spend(scope) or SpendRow.of(
            tenant=scope.tenant, blog_id=scope.blog_id, day=scope.day
        )
        self._changed[scope.spend] = row.changed(held=row.held + held, spent=row.spent + spent)

    def _spend(self, scope: Scope) -> SpendRow | None:
        key = scope.spend
        written = [*self._writes.inserts, *self._writes.updates]
        earlier = {key: row for key, row in written if isinstance(row, SpendRow)}
        return self._changed.get(key) or earlier.get(key) or self._look.get(SpendRow, *key.key)


def _charge_nobody(look: Look, calls: Iterable[tuple[ProviderCallRow, ProviderCallRow]]) -> bool:
    """Whether *calls* hold nothing, and are charged to tenants who have no budgets."""
    if any(_is_settled(call) for call, _ in calls):
        return False
    roots = [root(tenant) for tenant in sorted({call.tenant for call, _ in calls})]
    look.require(roots)
    return all(look.get(BudgetRow, *key.key) is None for key in roots)


def _require_rows(
    look: Look, jobs: Sequence[JobRow], calls: Sequence[tuple[ProviderCallRow, ProviderCallRow]]
) -> None:
    """See to it that everything is named that `book` needs, in two rounds at most."""
    tenants = {job.tenant for job in jobs} | {call.tenant for call, _ in calls}
    look.require(
        [
            *(root(tenant) for tenant in sorted(tenants)),
            *(_call_key(job) for job in jobs if _was_asked(look, job)),
            *(RowKey(JobRow, (call.job_id,)) for call, _ in calls),
        ]
    )
    falling = [scopes(job.tenant, job.blog_id, day) for job in jobs for day in _held_on(job)]
    for call, _ in calls:
        asker = look.get(JobRow, call.job_id)
        if asker is not None and look.get(BudgetRow, *root(call.tenant).key) is not None:
            falling.append(scopes(call.tenant, asker.blog_id, call.day))
    look.require(key for found in falling for key in _keys(found))


def _keys(found: Iterable[Scope]) -> Iterable[RowKey]:
    return [key for scope in found for key in (scope.budget, scope.spend)]


def _held_on(job: JobRow) -> tuple[str, ...]:
    return (job.held_on,) if job.held_on is not None else ()


def _was_asked(look: Look, job: JobRow) -> bool:
    """Whether this step takes the job away from a provider that was asked, and no answer came."""
    before = look.get(JobRow, job.id)
    asked = before is not None and before.state is State.RUNNING
    return asked and job.state in (State.FAILED, State.CANCELLED)


def _is_settled(call: ProviderCallRow) -> bool:
    """Whether the call holds something though it is known by now what it cost."""
    return call.held is not None and call.state not in MAYBE_CHARGED


def _charge(call: ProviderCallRow) -> Decimal:
    return as_stored(call.amount) if call.amount and call.state in CHARGED else ZERO


def _leave_to_call(look: Look, writes: Writes, job: JobRow) -> JobRow:
    """Let the call of the job's attempt hold what the job holds, if it may be charged."""
    key = _call_key(job)
    call = dict(writes.last_updates(ProviderCallRow)).get(key.key)
    if call is None:
        look.require([key])
        call = look.get(ProviderCallRow, *key.key)
    if call is None or call.state not in MAYBE_CHARGED:
        return job
    writes.update(call.changed(held=job.held, held_in=job.held_in, day=job.held_on), *key.key)
    return _without_hold(job)


def _without_hold(job: JobRow) -> JobRow:
    return job.changed(held=None, held_on=None, held_in=None) if job.held is not None else job


def _call_key(job: JobRow) -> RowKey:
    return RowKey(ProviderCallRow, (job.id, job.attempt))
