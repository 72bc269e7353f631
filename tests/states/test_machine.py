import itertools

import pytest

from states.machine import IllegalMove, move
from states.table import LEGAL_PAIRS, OPEN, TERMINAL, TRANSITIONS, State, Trigger

# Written out by hand, once, beside the table: what design and users rely on.
EXPECTED = {
    (State.QUEUED, Trigger.START): State.RUNNING,
    (State.RUNNING, Trigger.RECEIVE): State.PROCESSING_RESULT,
    (State.PROCESSING_RESULT, Trigger.COMPLETE): State.COMPLETED,
    (State.RUNNING, Trigger.RELEASE): State.QUEUED,
    (State.QUEUED, Trigger.FAIL): State.FAILED,
    (State.RUNNING, Trigger.FAIL): State.FAILED,
    (State.PROCESSING_RESULT, Trigger.FAIL): State.FAILED,
    (State.QUEUED, Trigger.CANCEL): State.CANCELLED,
    (State.RUNNING, Trigger.CANCEL): State.CANCELLED,
    (State.PROCESSING_RESULT, Trigger.CANCEL): State.CANCELLED,
    (State.FAILED, Trigger.RETRY): State.QUEUED,
    (State.CANCELLED, Trigger.RETRY): State.QUEUED,
    (State.QUEUED, Trigger.RECOVER): State.PROCESSING_RESULT,
    (State.FAILED, Trigger.RECOVER): State.PROCESSING_RESULT,
    (State.CANCELLED, Trigger.RECOVER): State.PROCESSING_RESULT,
}


@pytest.mark.parametrize(("state", "trigger"), list(itertools.product(State, Trigger)))
def test_every_trigger_in_every_state_does_what_the_design_says(
    state: State, trigger: Trigger
) -> None:
    if (state, trigger) in EXPECTED:
        made = move(state, trigger)
        assert (made.source, made.target) == (state, EXPECTED[state, trigger])
    else:
        with pytest.raises(IllegalMove) as caught:
            move(state, trigger)
        assert (caught.value.state, caught.value.trigger) == (state, trigger)


def test_every_arrow_into_queued_begins_an_attempt_and_only_retry_counts_as_one() -> None:
    for state, trigger in EXPECTED:
        made = move(state, trigger)
        assert made.raises_attempt == (made.target is State.QUEUED)
        assert made.counts_as_retry == (trigger is Trigger.RETRY)


def test_completed_is_final_and_the_other_ends_can_be_left_by_retry_and_recover_only() -> None:
    leaving = {(source, rule.trigger) for rule in TRANSITIONS for source in rule.sources & TERMINAL}
    assert leaving == {
        (State.FAILED, Trigger.RETRY),
        (State.FAILED, Trigger.RECOVER),
        (State.CANCELLED, Trigger.RETRY),
        (State.CANCELLED, Trigger.RECOVER),
    }
    assert frozenset(State) == TERMINAL | OPEN
    assert (State.COMPLETED, State.QUEUED) not in LEGAL_PAIRS
