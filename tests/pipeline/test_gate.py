"""The arithmetic of the gate: no window ever holds more than the limit, and the line is fair."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import pairwise
from uuid import UUID, uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.ports import KeyLimits
from pipeline.gate import Held, Passed, Word, heard, pass_gate, rate_of, slack
from schemas.tables import Circuit, ProviderRow, Waiting
from tests.jobs import NOW

JOB = UUID(int=1)
SECOND = timedelta(seconds=1)


def limits(requests: int = 150, seconds: float = 10) -> KeyLimits:
    return KeyLimits("0" * 8, requests, timedelta(seconds=seconds))


def row(**columns: object) -> ProviderRow:
    return ProviderRow.of(provider="paid", fingerprint="0" * 8, **columns)


def ask(
    found: ProviderRow, at: datetime, *, in_line: bool = False, of: KeyLimits | None = None,
    job_id: UUID = JOB,
) -> Passed | Held:  # fmt: skip
    return pass_gate(
        found, of or limits(), now=at, job_id=job_id, in_line=in_line,
        lease_until=at + timedelta(seconds=150),
    )  # fmt: skip


def most_in_a_window(starts: list[datetime], window: timedelta) -> int:
    starts = sorted(starts)
    most = first = 0
    for last, moment in enumerate(starts):
        while moment - starts[first] > window:
            first += 1
        most = max(most, last - first + 1)
    return most


@settings(max_examples=150, deadline=None)
@given(
    requests=st.integers(1, 40),
    waits=st.lists(st.floats(0, 2.5), min_size=1, max_size=300),
    delays=st.randoms(use_true_random=False),
)
def test_no_window_holds_more_arrivals_than_the_limit_whenever_and_however_late_they_come(
    requests: int, waits: list[float], delays: object
) -> None:
    of = limits(requests)
    found, now = row(), NOW
    arrivals: list[datetime] = []
    for wait in waits:
        # Clocks of several processes: not every start is later than the one before.
        at = now + delays.uniform(-0.2, 0.2) * SECOND  # type: ignore[attr-defined]  # Random
        answer = ask(found, at, in_line=delays.random() < 0.5, of=of)  # type: ignore[attr-defined]
        found = answer.row
        if isinstance(answer, Passed):
            arrivals.append(at + delays.random() * slack(of))  # type: ignore[attr-defined]
        now += wait * SECOND / max(1, requests / 4)
    assert most_in_a_window(arrivals, of.window) <= requests
    assert arrivals


def drain(of: KeyLimits, jobs: int) -> Iterator[tuple[int, datetime]]:
    """Jobs that all come at once, each started at its place; (number of the job, when)."""
    found = row()
    waiting = []
    for number in range(jobs):
        answer = ask(found, NOW, of=of)
        found = answer.row
        if isinstance(answer, Passed):
            yield number, NOW
        else:
            assert answer.why is Waiting.RATE_LIMIT
            waiting.append((answer.until, number))
    for until, number in sorted(waiting):
        answer = ask(found, until, in_line=True, of=of)
        found = answer.row
        assert isinstance(answer, Passed), "a place in the line is a start"
        yield number, until


def test_many_who_come_at_once_start_in_their_order_one_interval_apart() -> None:
    of = limits()
    starts = list(drain(of, 500))
    assert [number for number, _ in starts] == list(range(500))
    moments = [moment for _, moment in starts]
    assert moments.count(NOW) == rate_of(of).burst == 75
    later = moments[75:]
    assert all(b - a == rate_of(of).interval for a, b in pairwise(later))
    assert most_in_a_window(moments, of.window) <= 150
    # A limit that is kept by starting next to nothing would be no achievement.
    assert moments[-1] - NOW < 425 * timedelta(seconds=0.16)


@pytest.mark.parametrize(("requests", "burst"), [(1, 1), (2, 1), (3, 1), (150, 75)])
def test_even_the_smallest_limit_starts_jobs_and_keeps_its_window(
    requests: int, burst: int
) -> None:
    of = limits(requests)
    assert rate_of(of).burst == burst
    moments = [moment for _, moment in drain(of, 5 * requests)]
    assert len(moments) == 5 * requests
    assert most_in_a_window(moments, of.window + slack(of)) <= requests


def test_who_comes_anew_stands_behind_those_in_the_line() -> None:
    of, found = limits(2), row()
    answers = []
    for _ in range(3):
        answers.append(ask(found, NOW, of=of))
        found = answers[-1].row
    first, second, third = answers
    assert isinstance(first, Passed)
    assert isinstance(second, Held)
    assert isinstance(third, Held)
    newcomer = ask(found, second.until, of=of)
    assert isinstance(newcomer, Held)
    assert newcomer.until > third.until
    assert isinstance(ask(newcomer.row, second.until, in_line=True, of=of), Passed)


def test_a_line_whose_jobs_were_cancelled_keeps_nobody_waiting() -> None:
    of, found = limits(2), row()
    for _ in range(1000):
        found = ask(found, NOW, of=of).row
    assert found.line_until is not None
    quiet = NOW + 2 * of.window
    assert found.line_until > quiet + timedelta(minutes=30)
    assert isinstance(ask(found, quiet, of=of), Passed)


def hear(found: ProviderRow, word: Word, at: datetime, job_id: UUID = JOB) -> ProviderRow:
    return heard(found, limits(), word, job_id=job_id, asked_at=at, now=at)


def test_a_pause_holds_all_and_lets_them_go_one_by_one_afterwards() -> None:
    found = hear(row(), Word("busy", wait=17 * SECOND), NOW)
    places = []
    for _ in range(100):
        answer = ask(found, NOW + SECOND)
        assert isinstance(answer, Held)
        assert answer.why is Waiting.PAUSED
        places.append(answer.until)
        found = answer.row
    assert places[0] == NOW + 17 * SECOND
    assert len(set(places)) == 100
    assert isinstance(ask(found, places[0], in_line=True), Passed)
    shorter = hear(found, Word("busy", wait=SECOND), NOW)
    assert shorter.paused_until == found.paused_until, "no answer shortens a pause"


REFUSED = Word("unusable", "out_of_credit", "402", timedelta(minutes=5))


def test_a_refused_key_is_tried_by_one_job_after_longer_and_longer_waits() -> None:
    found = hear(row(), REFUSED, NOW)
    waits = []
    at = NOW
    for number in range(8):
        assert found.circuit is Circuit.OPEN
        assert found.retry_at is not None
        waits.append((found.retry_at - at).total_seconds())
        early = ask(found, found.retry_at - SECOND)
        assert isinstance(early, Held)
        assert early.why is Waiting.UNUSABLE
        at = found.retry_at
        job_id = UUID(int=100 + number)
        probe = ask(found, at, in_line=True, job_id=job_id)
        assert isinstance(probe, Passed)
        assert probe.probe
        other = ask(probe.row, at + SECOND, in_line=True, job_id=uuid4())
        assert isinstance(other, Held)
        assert other.why is Waiting.UNUSABLE
        # What others still say of it moves nothing; what the probe says does.
        assert hear(probe.row, REFUSED, at) == probe.row
        assert hear(probe.row, Word("works"), at) == probe.row
        found = hear(probe.row, REFUSED, at, job_id)
    assert waits == [300, 600, 1200, 2400, 3600, 3600, 3600, 3600]


def probing() -> ProviderRow:
    found = hear(row(), REFUSED, NOW)
    answer = ask(found, NOW + timedelta(minutes=5), in_line=True)
    assert isinstance(answer, Passed)
    return answer.row


@pytest.mark.parametrize(
    ("word", "circuit", "failures", "wait"),
    [
        (Word("works"), Circuit.CLOSED, 0, None),
        (Word("nothing"), Circuit.OPEN, 1, 0),
        (Word("busy", wait=17 * SECOND), Circuit.OPEN, 1, 17),
        (Word("unknown"), Circuit.OPEN, 2, 600),
        (REFUSED, Circuit.OPEN, 2, 600),
    ],
    ids=lambda value: getattr(value, "kind", None),
)
def test_what_a_probe_says_decides(
    word: Word, circuit: Circuit, failures: int, wait: int | None
) -> None:
    at = NOW + timedelta(minutes=5, seconds=4)
    found = hear(probing(), word, at)
    assert (found.circuit, found.failures, found.probe_job_id) == (circuit, failures, None)
    assert found.retry_at == (at + wait * SECOND if wait is not None else None)


def test_a_probe_that_never_answers_gives_way_to_another() -> None:
    found = probing()
    assert found.retry_at == NOW + timedelta(minutes=5, seconds=150)
    assert isinstance(ask(found, found.retry_at - SECOND, job_id=uuid4()), Held)
    second = uuid4()
    answer = ask(found, found.retry_at, job_id=second)
    assert isinstance(answer, Passed)
    assert answer.row.probe_job_id == second
    late = hear(answer.row, REFUSED, found.retry_at)
    assert late == answer.row, "the first probe has no say any more"


def test_an_answer_from_before_it_was_mended_opens_no_circuit() -> None:
    mended = hear(probing(), Word("works"), NOW + timedelta(minutes=6))
    old = heard(
        mended, limits(), REFUSED, job_id=uuid4(), asked_at=NOW, now=NOW + timedelta(hours=1)
    )
    assert old.circuit is Circuit.CLOSED
    assert hear(mended, REFUSED, NOW + timedelta(hours=1)).circuit is Circuit.OPEN


def test_two_rows_of_answers_at_once_open_it_once() -> None:
    found = hear(hear(row(), REFUSED, NOW), REFUSED, NOW + SECOND, uuid4())
    assert (found.failures, found.opened_at) == (1, NOW)
