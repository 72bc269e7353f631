"""The gate before a provider's key: how fast it is asked, when it is left alone, who tries it.

One row a key, shared by all processes and locked by the step that starts a job: the decision and
the start are one commit. Without it every process would keep a limit of its own, and a key that is
refused would be tried by every job that waits. Pure: rows in, rows out.

**Rate**: a generic cell rate. A start moves `spent_until`, which lies at now or later, on by one
interval I, and is let through while `spent_until` is at most (burst - 1) I ahead of now. Of the
starts within a span of length x that begins at a, the n-th finds `spent_until` at a + (n - 1) I or
later, and was let through at a + x or earlier: n <= burst + x / I, in whichever order their clocks
tell the time. With a burst of half the limit L, and I > (window + slack) / (L - burst + 1), these
are at most L. The slack is for what lies between a start and its request's arrival: a start whose
commit took half of it asks nobody (`is_late`), the other half is the network's.

**Line**: who is not let through gets a place, one interval after the last one, so that they come
back one by one. `line_until` is what `spent_until` will be once all of them have started; whoever
comes anew stands behind them.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Literal, NamedTuple, assert_never
from uuid import UUID

from adapters.ports import Backoff, ImageProvider, KeyLimits
from schemas.step import Look, Lost, RowKey, Writes
from schemas.tables import Circuit, ProviderRow, Waiting

# The share of a window that may pass between a start and the arrival of its request.
SLACK_SHARE = 5
# Between two probes of a key that is refused; it doubles with each.
FIRST_REFUSED = timedelta(minutes=5)
MOST_REFUSED = timedelta(hours=1)
# Who comes while another job tries the key looks again after this, unless it is woken before.
PROBE_PATIENCE = timedelta(seconds=30)


class GateUnnamed(Lost):
    """The step starts a job whose gate it did not name. *key* is to be named."""

    def __init__(self, key: RowKey) -> None:
        self.key = key
        super().__init__(f"the gate of {key.key[0]} was not named")


class Gate(NamedTuple):
    """Where the row of a provider's key stands, and what the provider admits."""

    key: RowKey
    limits: KeyLimits


def gate_of(provider: ImageProvider) -> Gate | None:
    limits = provider.limits
    if limits is None:
        return None
    return Gate(RowKey(ProviderRow, (provider.name, limits.fingerprint)), limits)


def look_at(gate: Gate, look: Look) -> ProviderRow:
    """The gate's row, which the step has named; raises `GateUnnamed` where it has not."""
    try:
        row = look.get(ProviderRow, *gate.key.key)
    except LookupError:
        raise GateUnnamed(gate.key) from None
    name, fingerprint = gate.key.key
    return row or ProviderRow.of(provider=name, fingerprint=fingerprint)


def store(row: ProviderRow, look: Look, writes: Writes) -> None:
    """Write the gate's row, once in a step."""
    key = (row.provider, row.fingerprint)
    if look.get(ProviderRow, *key) is None:
        writes.insert(row, *key)
    else:
        writes.update(row, *key)


class Rate(NamedTuple):
    burst: int
    interval: timedelta

    @property
    def ahead(self) -> timedelta:
        """How far `spent_until` may lie ahead of a start."""
        return (self.burst - 1) * self.interval


def slack(limits: KeyLimits) -> timedelta:
    return limits.window / SLACK_SHARE


@cache
def rate_of(limits: KeyLimits) -> Rate:
    burst = max(1, limits.requests // 2)
    span = limits.window + slack(limits)
    return Rate(burst, span // (limits.requests - burst + 1) + timedelta.resolution)


def is_late(limits: KeyLimits, started_at: datetime, now: datetime) -> bool:
    """Whether a start is too long ago for its request to count in its window."""
    return now - started_at > slack(limits) / 2


@dataclass(frozen=True, slots=True)
class Passed:
    """The job may start; *row* says that it did. A *probe* finds out whether the key is good."""

    row: ProviderRow
    probe: bool = False


@dataclass(frozen=True, slots=True)
class Held:
    """The job is put off until its place in the line."""

    row: ProviderRow
    why: Waiting
    until: datetime


def pass_gate(
    row: ProviderRow,
    limits: KeyLimits,
    *,
    now: datetime,
    job_id: UUID,
    in_line: bool,
    lease_until: datetime,
) -> Passed | Held:
    """Let the job start, or put it off. *in_line*: it had a place in the line, which has come."""
    rate = rate_of(limits)
    probe = row.circuit is not Circuit.CLOSED
    if any(until is not None and until > now for until in (row.retry_at, row.paused_until)):
        return line_up(row, limits, now)
    spent = max(row.spent_until or now, now)
    line = max(row.line_until or now, spent)
    if row.spent_until is None or row.spent_until + limits.window <= now:
        line = now  # nobody has started for a window: whoever stood in the line is gone
    if (spent if in_line or probe else line) > now + rate.ahead:
        return line_up(row, limits, now)
    after = spent + rate.interval
    line = max(line, after) if in_line or probe else line + rate.interval
    row = row.changed(spent_until=after, line_until=line)
    if probe:
        row = row.changed(circuit=Circuit.HALF_OPEN, retry_at=lease_until, probe_job_id=job_id)
    return Passed(row, probe)


def line_up(row: ProviderRow, limits: KeyLimits, now: datetime) -> Held:
    """The next place in the line: one interval after the last, and when the key may be asked."""
    rate = rate_of(limits)
    why, earliest = Waiting.RATE_LIMIT, now
    if row.paused_until is not None and row.paused_until > now:
        why, earliest = Waiting.PAUSED, row.paused_until
    if row.retry_at is not None:
        tried = row.circuit is Circuit.HALF_OPEN
        why = Waiting.UNUSABLE
        earliest = max(earliest, now + PROBE_PATIENCE if tried else row.retry_at)
    line = max(row.line_until or now, row.spent_until or now, earliest + rate.ahead)
    return Held(row.changed(line_until=line + rate.interval), why, line - rate.ahead)


@dataclass(frozen=True, slots=True)
class Word:
    """What the answer to a job says of the key with which it was asked."""

    kind: Literal["works", "busy", "unusable", "unknown", "nothing"]
    # Of an unusable key, and of one that has to wait.
    reason: str = ""
    detail: str = ""
    wait: timedelta = timedelta()


def heard(
    row: ProviderRow,
    limits: KeyLimits,
    word: Word,
    *,
    job_id: UUID,
    asked_at: datetime,
    now: datetime,
) -> ProviderRow:
    """The row after an answer. Only a probe's answer moves a circuit that is not closed."""
    probe = row.circuit is Circuit.HALF_OPEN and row.probe_job_id == job_id
    match word.kind:
        case "busy":
            row = _paused(row, limits, now + word.wait)
            return _opened(row, now + word.wait) if probe else row
        case "unusable" if probe:
            return _opened(_failed(row, word), now + _refused_for(row.failures + 1, word.wait))
        case "unusable" if row.circuit is Circuit.CLOSED:
            if row.closed_at is not None and asked_at < row.closed_at:
                return row  # from before it was mended
            row = _failed(row, word).changed(opened_at=now)
            return _opened(row, now + _refused_for(row.failures, word.wait))
        case "unknown" if probe:
            row = row.changed(failures=row.failures + 1)
            return _opened(row, now + _refused_for(row.failures, FIRST_REFUSED))
        case "nothing" if probe:
            return _opened(row, now)  # the next job tries it
        case "works" if probe:
            return closed(row, now)
        case "unusable" | "unknown" | "nothing" | "works":
            return row
        case _ as never:
            assert_never(never)


def _paused(row: ProviderRow, limits: KeyLimits, until: datetime) -> ProviderRow:
    """Everybody waits, and nothing of the rate is left when the pause ends."""
    until = max(until, row.paused_until or until)
    spent = until + rate_of(limits).ahead
    return row.changed(paused_until=until, spent_until=max(row.spent_until or spent, spent))


def _refused_for(failures: int, first: timedelta) -> timedelta:
    return timedelta(seconds=Backoff(first, MOST_REFUSED).after(failures))


def _failed(row: ProviderRow, word: Word) -> ProviderRow:
    return row.changed(reason=word.reason, detail=word.detail, failures=row.failures + 1)


def _opened(row: ProviderRow, retry_at: datetime) -> ProviderRow:
    return row.changed(circuit=Circuit.OPEN, retry_at=retry_at, probe_job_id=None)


def closed(row: ProviderRow, now: datetime) -> ProviderRow:
    """The key is good again; the line begins anew, and whoever was held is woken into it."""
    return row.changed(
        circuit=Circuit.CLOSED,
        reason=None,
        detail=None,
        opened_at=None,
        retry_at=None,
        closed_at=now,
        failures=0,
        probe_job_id=None,
        line_until=max(row.spent_until or now, now),
    )


def retire(row: ProviderRow, model: str, now: datetime) -> ProviderRow | None:
    """The row's next version, which tells that *model* is gone; None where it was told before."""
    if model in row.retired:
        return None
    retired = row.retired | {model: now.isoformat()}
    return row.changed(version=row.version + 1, retired=retired)
