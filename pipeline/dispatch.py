"""Pause and resume: whether jobs are sent to workers and taken up by them.

A pause is a row, so that it outlives restarts and holds in every process; each one looks at it with
every round of its sweep. What is already asked of a provider goes on: it may be paid for.
"""

from collections.abc import Callable
from dataclasses import dataclass

import structlog

from adapters.store import machine_reads
from pipeline.journal import Journal
from schemas.step import Look, RowKey, Step, Writes
from schemas.tables import DispatchRow
from schemas.tables.dispatch import THE_ROW

log = structlog.get_logger(__name__)

Change = Callable[[DispatchRow], DispatchRow]


@dataclass(slots=True)
class Dispatching:
    """This process's view of the pause."""

    journal: Journal
    state: DispatchRow

    @classmethod
    def unknown(cls, journal: Journal) -> "Dispatching":
        return cls(journal, DispatchRow.of(id=THE_ROW))

    def is_paused(self) -> bool:
        return self.state.paused_at is not None

    async def refresh(self) -> None:
        """See what another process, or an earlier one, has decided."""
        found = await self.journal.read(machine_reads.dispatch)
        if found is not None:
            self.state = DispatchRow.of(**found.model_dump())

    async def pause(self, reason: str | None) -> DispatchRow:
        """Send nothing more. Pausing again keeps the first moment, and takes a new reason."""
        now = self.journal.now()
        self.state = await self._write(
            lambda row: row.changed(
                paused_at=row.paused_at or now, reason=row.reason if reason is None else reason
            )
        )
        log.warning("dispatch_paused", reason=self.state.reason)
        return self.state

    async def resume(self) -> DispatchRow:
        self.state = await self._write(lambda row: row.changed(paused_at=None, reason=None))
        log.info("dispatch_resumed")
        return self.state

    async def _write(self, change: Change) -> DispatchRow:
        def decide(look: Look, writes: Writes) -> DispatchRow:
            row = look.get(DispatchRow, THE_ROW)
            if row is None:
                row = change(DispatchRow.of(id=THE_ROW))
                writes.insert(row, THE_ROW)
            else:
                row = change(row)
                writes.update(row, THE_ROW)
            return row

        key = RowKey(DispatchRow, (THE_ROW,))
        return await self.journal.record(Step("dispatch", decide, (key,)))
