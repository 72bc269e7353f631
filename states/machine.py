"""`move(state, trigger)`: where a trigger leads, or why it may not be pulled now.

Pure: no database, no web, no clock. One module-level machine; a cursor that carries only the
state passes through it (a machine per job costs ten times as much).
"""

import logging
from dataclasses import dataclass
from functools import cache

from transitions import Machine, MachineError

from states.table import INITIAL, TRANSITIONS, State, Trigger

logging.getLogger("transitions").setLevel(logging.WARNING)


class IllegalMove(Exception):
    """The trigger may not be pulled in this state. Carries both as attributes."""

    def __init__(self, state: State, trigger: Trigger) -> None:
        super().__init__(f"cannot {trigger} a job that is {state}")
        self.state = state
        self.trigger = trigger


@dataclass(frozen=True, slots=True)
class Move:
    source: State
    target: State
    # Every arrow into queued begins a new attempt.
    raises_attempt: bool
    # Only a person's (or a recorded policy's) retry counts as one.
    counts_as_retry: bool


class _Cursor:
    __slots__ = ("state",)

    def __init__(self, state: str) -> None:
        self.state = state


_machine = Machine(
    model=None,
    states=[state.value for state in State],
    initial=INITIAL.value,
    transitions=[
        {"trigger": rule.trigger.value, "source": source.value, "dest": rule.target.value}
        for rule in TRANSITIONS
        for source in sorted(rule.sources)
    ],
    auto_transitions=False,
    send_event=False,
)


# An enum's `value` is a property; on the way of every step these are cheaper.
_NAMES = {state: state.value for state in State}
_STATES = {state.value: state for state in State}
_EVENTS = {trigger: _machine.events[trigger.value] for trigger in Trigger}


@cache  # pure, and the table has a few dozen pairs: the machine is asked once for each
def move(state: State, trigger: Trigger) -> Move:
    """Say where *trigger* leads from *state*; raise `IllegalMove` when it leads nowhere."""
    cursor = _Cursor(_NAMES[state])
    try:
        _EVENTS[trigger].trigger(cursor)
    except MachineError as exc:
        raise IllegalMove(state, trigger) from exc
    return Move(
        source=state,
        target=(target := _STATES[cursor.state]),
        raises_attempt=target is State.QUEUED,
        counts_as_retry=trigger is Trigger.RETRY,
    )
