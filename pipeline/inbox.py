"""Handle an event otherwise than the first time, whoever its subscriber is: redriven, or reapplied.

A subscriber's step names its inbox row. Here that step is changed on its way to the journal, so
that no subscriber has to know of it.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeVar, cast
from uuid import UUID

from pipeline.journal import Journal
from schemas.step import Look, RowKey, Step, Writes
from schemas.tables import DeadLetterRow, InboxRow, Row

R = TypeVar("R", bound=Row)
Alter = Callable[[Step[Any]], Step[Any]]


def redriving(journal: Journal, subscriber: str, event_id: UUID) -> Journal:
    """*journal* for a handler of a dead letter: handled, the letter goes in the same commit."""
    letter = RowKey(DeadLetterRow, (subscriber, event_id))

    def alter(step: Step[Any]) -> Step[Any]:
        def decide(look: Look, writes: Writes) -> Any:
            answer = step.decide(look, writes)
            writes.delete(letter.row, *letter.key)
            return answer

        return replace(step, decide=decide, keys=(*step.keys, letter))

    return _at_inbox(journal, subscriber, event_id, alter)


def reapplying(journal: Journal, subscriber: str, event_id: UUID) -> Journal:
    """*journal* for a handler that is to act as if it had never seen the event.

    Its effect is applied again; that this changes nothing is for the effect's own guard to see to.
    """
    inbox = RowKey(InboxRow, (subscriber, event_id))

    def alter(step: Step[Any]) -> Step[Any]:
        def decide(look: Look, writes: Writes) -> Any:
            answer = step.decide(_Forgetful(look, inbox), writes)
            if look.get(InboxRow, *inbox.key) is not None:
                writes.inserts[:] = [one for one in writes.inserts if one[0] != inbox]
            return answer

        return replace(step, decide=decide)

    return _at_inbox(journal, subscriber, event_id, alter)


def _at_inbox(journal: Journal, subscriber: str, event_id: UUID, alter: Alter) -> Journal:
    return cast(Journal, _Altering(journal, RowKey(InboxRow, (subscriber, event_id)), alter))


class _Altering:
    """A journal through which the step of one inbox row goes altered, and all else as it is."""

    def __init__(self, journal: Journal, inbox: RowKey, alter: Alter) -> None:
        self._journal = journal
        self._inbox = inbox
        self._alter = alter

    def __getattr__(self, name: str) -> Any:
        return getattr(self._journal, name)

    async def record(self, step: Step[Any]) -> Any:
        return await self._journal.record(self._altered(step))

    async def record_all(self, steps: Sequence[Step[Any]]) -> list[Any]:
        return await self._journal.record_all([self._altered(step) for step in steps])

    def _altered(self, step: Step[Any]) -> Step[Any]:
        return self._alter(step) if self._inbox in step.keys else step


class _Forgetful(Look):
    """A look in which one row is not there."""

    def __init__(self, look: Look, hidden: RowKey) -> None:
        self._look = look
        self._hidden = hidden

    def __getattr__(self, name: str) -> Any:
        return getattr(self._look, name)

    def get(self, row: type[R], *key: Any) -> R | None:
        return None if RowKey(row, key) == self._hidden else self._look.get(row, *key)
