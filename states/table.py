"""What may happen to a job: the states, the triggers and the only transition table.

Everything else is generated from it or compared with it: the machine, the database's guards,
README's diagram. If a rule about states stands elsewhere, that is a defect.
"""

from enum import StrEnum
from typing import NamedTuple


class ImageJobStatus(StrEnum):
    """The states of a job, under the name that the public interface gives them."""

    QUEUED = "queued"
    RUNNING = "running"
    PROCESSING_RESULT = "processing_result"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


State = ImageJobStatus


class Trigger(StrEnum):
    START = "start"
    RECEIVE = "receive"
    COMPLETE = "complete"
    RELEASE = "release"
    FAIL = "fail"
    CANCEL = "cancel"
    RETRY = "retry"
    RECOVER = "recover"


class Rule(NamedTuple):
    trigger: Trigger
    sources: frozenset[State]
    target: State


S, T = State, Trigger

TRANSITIONS: tuple[Rule, ...] = (
    Rule(T.START, frozenset({S.QUEUED}), S.RUNNING),
    Rule(T.RECEIVE, frozenset({S.RUNNING}), S.PROCESSING_RESULT),
    Rule(T.COMPLETE, frozenset({S.PROCESSING_RESULT}), S.COMPLETED),
    # Nothing was charged: the provider was busy, refused the connection, or we drained on shutdown.
    Rule(T.RELEASE, frozenset({S.RUNNING}), S.QUEUED),
    Rule(T.FAIL, frozenset({S.QUEUED, S.RUNNING, S.PROCESSING_RESULT}), S.FAILED),
    Rule(T.CANCEL, frozenset({S.QUEUED, S.RUNNING, S.PROCESSING_RESULT}), S.CANCELLED),
    # By a person; by a recorded policy from failed only.
    Rule(T.RETRY, frozenset({S.FAILED, S.CANCELLED}), S.QUEUED),
    # The paid result of an earlier attempt turned up. From cancelled only by a person.
    Rule(T.RECOVER, frozenset({S.QUEUED, S.FAILED, S.CANCELLED}), S.PROCESSING_RESULT),
)

INITIAL = State.QUEUED
TERMINAL: frozenset[State] = frozenset({S.COMPLETED, S.FAILED, S.CANCELLED})
OPEN: frozenset[State] = frozenset(State) - TERMINAL

LEGAL_PAIRS: frozenset[tuple[State, State]] = frozenset(
    (source, rule.target) for rule in TRANSITIONS for source in rule.sources
)
