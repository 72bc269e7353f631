"""The journal: the only writer. Steps that arrive while a commit is in flight form the next group.

No timer: the commit in flight is the window. Where the store works beside this process, the next
group is formed once half as many steps wait as the one in flight has, and decided while that one is
written. No SQL here; the store looks, decides and writes. If this file vanished, every step would
pay for a commit of its own, and lost replies, deadlocks and bad rows would become their callers'
business.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Concatenate, ParamSpec, TypeVar

import structlog
from sqlmodel import Session

from adapters import traces
from adapters.errors import CommitUnknown, StoreConflict, StoreRejected, StoreUnavailable
from adapters.ports import Backoff, Clock, Ids, Store
from pipeline.database_clock import DatabaseClock
from schemas.step import Outcome, RowKey, RowsUnnamed, Step, Writes, writes_of
from schemas.tables import JobRow

Decided = Any
P = ParamSpec("P")
T = TypeVar("T")

log = structlog.get_logger(__name__)

MAX_GROUP = 500
# An event that was committed takes so many turns of the loop to its subscribers' steps.
IDLE_TURNS = 3
MOST_TURNS = 12
# So few are committed in the next turn, and told at once: nothing is gained by their waiting.
FEW_STEPS = 8
MAX_CREATIONS_WAITING = 2_000
# A group that loses this often is split: one step of it may lose every time, for a reason of its
# own. A single step that loses so often is given up with an error to its caller.
MAX_CONFLICTS_OF_GROUP = 5
MAX_CONFLICTS = 20


class JournalFull(Exception):
    """Too many creations wait already; nothing was stored. Try again after *retry_after*."""

    def __init__(self, retry_after: timedelta = timedelta(seconds=1)) -> None:
        super().__init__("too many requests wait to be stored")
        self.retry_after = retry_after


class JournalClosed(Exception):
    """The process is going down; nothing was stored."""


@dataclass(slots=True, eq=False)
class _Entry:
    step: Step[Any]
    answer: asyncio.Future[Any]
    # Whoever asks for jobs, where traces are kept.
    asked: traces.Asked | None = None


class Journal:
    """Groups steps, commits them, repeats what may be repeated and answers each caller."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        ids: Ids,
        *,
        max_group: int = MAX_GROUP,
        max_creations_waiting: int = MAX_CREATIONS_WAITING,
        conflict_backoff: Backoff = Backoff(timedelta(milliseconds=5), timedelta(milliseconds=500)),
        settle_backoff: Backoff = Backoff(timedelta(milliseconds=50), timedelta(seconds=2)),
    ) -> None:
        self._store = store
        self._clock = clock
        self.database_clock = DatabaseClock(store.time, clock)
        # The time of day, by the database's clock.
        self.now: Callable[[], datetime] = self.database_clock.now
        self._ids = ids
        self._max_group = max_group
        self._max_creations_waiting = max_creations_waiting
        self._conflict_backoff = conflict_backoff
        self._settle_backoff = settle_backoff
        self._waiting: deque[_Entry] = deque()
        # The next group, and the one that is being written.
        self._formed: list[_Entry] = []
        self._flying: list[_Entry] = []
        self._flight: asyncio.Task[None] | None = None
        self._is_sent = False
        # Committed, and told to their callers while the next group is being written.
        self._landed: list[tuple[_Entry, Outcome]] = []
        self._creations_waiting = 0
        self._listeners: list[Callable[[Sequence[Writes]], None]] = []
        self._writer: asyncio.Task[None] | None = None
        self._news = asyncio.Event()
        self._closed = False
        # Of all groups so far: how many, and how many steps they held.
        self.groups = 0
        self.steps = 0
        # Told of each group: its steps, and the seconds until it was committed or given up.
        self.on_group: Callable[[int, float], None] | None = None

    def subscribe(self, listener: Callable[[Sequence[Writes]], None]) -> None:
        """Call *listener* with what was committed, when the callers are told of it."""
        self._listeners.append(listener)

    def send_only(self, types: frozenset[str] | None) -> None:
        """Keep only events of *types* for sending; None: all. What nobody wants has left as it
        is written."""
        self._store.send_only(types)

    async def start(self) -> None:
        await self.database_clock.look()
        self._writer = asyncio.create_task(self._write_groups(), name="journal")

    async def close(self, within_seconds: float = 30.0) -> None:
        """Commit what has entered, then stop; later steps raise `JournalClosed`.

        What a database that is away keeps waiting for longer than *within_seconds* is answered
        `JournalClosed` too: whether it was committed only the database knows.
        """
        self._closed = True
        self._news.set()
        if self._writer is None:
            return
        timer = asyncio.create_task(self._clock.sleep(within_seconds))
        await asyncio.wait({self._writer, timer}, return_when=asyncio.FIRST_COMPLETED)
        tasks = [timer, self._writer, *([self._flight] if self._flight is not None else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._tell()
        for entry in (*self._flying, *self._formed, *self._waiting):
            _answer(entry, error=JournalClosed())

    @property
    def vital(self) -> tuple[asyncio.Task[None], ...]:
        """The task without which nothing is written any more."""
        return (self._writer,) if self._writer is not None else ()

    async def record(self, step: Step[T]) -> T:
        """Commit *step* and return what it decided; raise what it lost by.

        A step that has entered is never withdrawn: when its caller is cancelled it is written all
        the same. Raises `JournalFull` (creations only), `StoreUnavailable` (nothing was written).
        """
        # Cancelling the caller cancels this future and not the entry, which stays in the queue.
        answer: T = await self._enter(step)
        return answer

    async def record_all(self, steps: Sequence[Step[T]]) -> list[T | Exception]:
        """Record *steps* as `record` does each; for each its answer, or what `record` would raise.

        They need not share a commit, and none is withdrawn once it has entered. Raises
        `JournalClosed` where none of them may enter any more.
        """
        entered = [self._enter(step) for step in steps]
        answers: list[T | Exception] = []
        try:
            for one in entered:
                try:
                    answers.append(await one)
                except Exception as exc:
                    answers.append(exc)
        except asyncio.CancelledError:
            for one in entered:
                one.cancel()
            raise
        return answers

    def _enter(self, step: Step[Any]) -> asyncio.Future[Any]:
        if self._closed or self._writer is None:
            raise JournalClosed
        entry = _Entry(step, asyncio.get_running_loop().create_future())
        if step.creates:
            if self._creations_waiting >= self._max_creations_waiting:
                _answer(entry, error=JournalFull())
                return entry.answer
            self._creations_waiting += 1
            entry.asked = traces.asked()
        self._waiting.append(entry)
        self._news.set()
        return entry.answer

    async def read(
        self, query: Callable[Concatenate[Session, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run one of the reads of `adapters.store`."""
        return await self._store.read(query, *args, **kwargs)

    async def _write_groups(self) -> None:
        while True:
            await self._gather()
            group = self._formed = self._next_group()
            if group:
                # Beside the group before it, which is being written.
                decided = await self._store.decide([entry.step for entry in group])
                await self._wait_for_landing()
                if self._formed is not group:
                    continue  # it was taken back
                self._formed, self._flying, self._is_sent = [], group, False
                self._flight = asyncio.create_task(self._fly(group, decided), name="group")
                self._flight.add_done_callback(lambda _: self._news.set())
            elif self._flight is not None:
                await self._wait_for_landing()
            elif self._landed:
                # One half goes on while the other one's next steps are being written.
                self._tell(len(self._landed) // 2 if len(self._landed) > FEW_STEPS else None)
            else:
                return

    async def _wait_for_landing(self) -> None:
        """Wait until the group that is being written is committed, or given up."""
        if self._flight is not None:
            await self._flight
            self._flight, self._flying = None, []

    async def _fly(self, group: list[_Entry], decided: Decided) -> None:
        self.groups += 1
        self.steps += len(group)
        begun = self._clock.monotonic()
        await self._commit(group, decided)
        if self.on_group is not None:
            self.on_group(len(group), self._clock.monotonic() - begun)
        await self.database_clock.refresh()

    def _on_sent(self) -> None:
        """The group is on its way; meanwhile those before it hear of theirs."""
        self._is_sent = True
        self._news.set()
        self._tell()

    async def _gather(self) -> None:
        """Wait for steps, and let whatever is ready to run come first: it joins the group.

        Beside a group in flight, wait for half as many as it has, or for its end. Then no time is
        waited, only turns of the loop: one for a few steps; while many come, until a few turns in a
        row have brought nothing, and never many.
        """
        while not self._has_work():
            self._news.clear()
            await self._news.wait()
        idle_turns, arrived = 0, len(self._waiting)
        for _ in range(MOST_TURNS):
            await asyncio.sleep(0)
            idle_turns = idle_turns + 1 if len(self._waiting) == arrived else 0
            arrived = len(self._waiting)
            many = len(self._landed) + arrived > FEW_STEPS
            if idle_turns == IDLE_TURNS or not many or arrived >= self._max_group:
                return

    def _has_work(self) -> bool:
        if self._flight is None or self._flight.done():
            return bool(self._waiting or self._landed or self._closed)
        # Whatever comes before it has landed may still join the next group.
        return (
            self._store.works_beside
            and self._is_sent
            and 2 * len(self._waiting) >= len(self._flying)
        )

    def _next_group(self) -> list[_Entry]:
        """Take steps in order of arrival, leaving those whose rows this group holds already."""
        group: list[_Entry] = []
        passed: list[_Entry] = []
        # Rows that the next step may not have for itself, and those that it may not even share.
        held: set[RowKey] = set()
        own: set[RowKey] = set()
        while self._waiting and len(group) < self._max_group and len(passed) < self._max_group:
            entry = self._waiting.popleft()
            step = entry.step
            if held.isdisjoint(step.keys) and own.isdisjoint(step.shared):
                held.update(step.keys, step.shared)
                own.update(step.keys)
                group.append(entry)
                self._creations_waiting -= step.creates
            else:
                # A step that must wait keeps its rows from the steps behind it: order stays.
                held.update(step.keys, step.shared)
                own.update(step.keys, step.shared)
                passed.append(entry)
        self._waiting.extendleft(reversed(passed))
        return group

    async def _commit(self, group: list[_Entry], decided: Decided = None) -> None:
        """Commit *group* and answer every entry of it, whatever happens."""
        try:
            outcomes = await self._commit_or_repeat([entry.step for entry in group], decided)
        except (StoreRejected, StoreConflict) as exc:
            await self._bisect(group, exc)
            return
        except Exception as exc:
            self._tell()
            for entry in group:
                _answer(entry, error=exc)
            if not isinstance(exc, StoreUnavailable):
                log.error("journal_group_failed", steps=len(group), exc_info=exc)
            return
        again = []
        for entry, outcome in zip(group, outcomes, strict=True):
            if _named_now(entry, outcome):
                again.append(entry)
            else:
                self._landed.append((entry, outcome))
        if again:
            # Before the next group, which is formed anew: it may hold later steps on their rows.
            again += self._formed
            self._formed = []
            self._creations_waiting += sum(entry.step.creates for entry in again)
            self._waiting.extendleft(reversed(again))
        if len(self._landed) <= FEW_STEPS or not self._store.works_beside:
            self._tell()

    def _tell(self, most: int | None = None) -> None:
        """Tell the callers of what has landed, or of the first *most* of it, and the listeners."""
        told, self._landed = self._landed[:most], self._landed[most:] if most is not None else []
        if not told:
            return
        for entry, outcome in told:
            if entry.asked is not None and outcome.writes is not None:
                _tell_created(entry.asked, outcome.writes)
            _answer(entry, outcome)
        written = writes_of(outcome for _, outcome in told)
        for listener in self._listeners:
            try:
                listener(written)
            except Exception as exc:  # what is committed is committed, whoever fails to hear of it
                log.error("journal_listener_failed", exc_info=exc)

    async def _bisect(self, group: list[_Entry], exc: StoreRejected | StoreConflict) -> None:
        """Find the step whose data the database refuses, so that it hurts nobody else."""
        if len(group) == 1:
            if isinstance(exc, StoreConflict):
                _answer(group[0], error=StoreUnavailable(f"lost again and again: {exc}"))
            else:
                _answer(group[0], error=exc)
            log.error("step_rejected", step=group[0].step.name, error=str(exc))
            return
        middle = len(group) // 2
        await self._commit(group[:middle])
        await self._commit(group[middle:])

    async def _commit_or_repeat(self, steps: list[Step[Any]], decided: Decided) -> list[Outcome]:
        conflicts = 0
        rejected = False
        while True:
            self._is_sent = False
            try:
                return await self._store.commit(steps, decided, self._on_sent)
            except StoreRejected:
                # A step that took a row for absent while another process wrote it may break a
                # CHECK before the row's key tells; seen anew, it decides otherwise.
                if rejected or len(steps) > 1:
                    raise
                rejected = True
            except CommitUnknown as unknown:
                log.warning("commit_unknown", steps=len(steps), ticket=unknown.ticket)
                self._tell()
                outcomes = await self._settle(unknown.ticket)
                if outcomes is not None:
                    return outcomes
            except StoreConflict:
                conflicts += 1
                if conflicts >= (MAX_CONFLICTS if len(steps) == 1 else MAX_CONFLICTS_OF_GROUP):
                    raise
                self._tell()
                wait = self._conflict_backoff.after(conflicts)
                await self._clock.sleep(self._ids.jitter(wait))

    async def _settle(self, ticket: str) -> list[Outcome] | None:
        """Ask what became of a commit until the database can tell; None means it was not done."""
        failures = 0
        while True:
            try:
                return await self._store.settle(ticket)
            except StoreUnavailable as exc:
                failures += 1
                log.warning("commit_still_unknown", ticket=ticket, error=str(exc))
                await self._clock.sleep(self._ids.jitter(self._settle_backoff.after(failures)))


def _named_now(entry: _Entry, outcome: Outcome) -> bool:
    """Name what the step found that it needs, if it needs more; it is then decided again."""
    if not isinstance(outcome.error, RowsUnnamed):
        return False
    step = entry.step
    further = [key for key in outcome.error.keys if key not in (*step.keys, *step.shared)]
    entry.step = replace(step, shared=(*step.shared, *further))
    return bool(further)


def _tell_created(asked: traces.Asked, writes: Writes) -> None:
    for _, row in writes.inserts:
        if isinstance(row, JobRow):
            told = {"limner.quality": row.quality, "limner.provider": row.provider}
            traces.tell_created(row.id, asked, told)


def _answer(entry: _Entry, outcome: Outcome | None = None, error: Exception | None = None) -> None:
    if entry.answer.done():
        return
    error = outcome.error if outcome is not None else error
    if error is not None:
        entry.answer.set_exception(error)
    elif outcome is not None:
        entry.answer.set_result(outcome.answer)
