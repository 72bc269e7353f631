"""What an answer says of its provider's key, written in the commit that settles the call.

Without it a key that is refused would be asked for every job that waits, and nobody would hear that
a model is gone.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Self
from uuid import UUID

from pipeline.gate import Gate, Word, closed, heard, line_up, look_at, retire, store
from schemas.events import EventType, StreamKind
from schemas.ids import id_from
from schemas.json_text import to_json
from schemas.step import Look, RowKey, Writes
from schemas.tables import Circuit, EventRow, JobRow, ProviderCallRow, ProviderRow, Waiting


@dataclass(slots=True)
class KeyNews:
    """The gate's row as a step changes it; `store` writes it."""

    gate: Gate
    row: ProviderRow
    now: datetime

    @classmethod
    def hear(
        cls, look: Look, gate: Gate, word: Word, call: ProviderCallRow, *, now: datetime
    ) -> Self:
        """What the answer to *call* makes of the row."""
        row = heard(
            look_at(gate, look),
            gate.limits,
            word,
            job_id=call.job_id,
            asked_at=call.created_at,
            now=now,
        )
        return cls(gate, row, now)

    def line_up(self) -> tuple[datetime, Waiting]:
        """A place in the line for a job that was put back, and why it waits."""
        held = line_up(self.row, self.gate.limits, self.now)
        self.row = held.row
        return held.until, held.why

    def retire(self, job: JobRow, call: ProviderCallRow, detail: str, writes: Writes) -> None:
        """Tell, once a key and model, that the provider no longer has the call's model."""
        retired = retire(self.row, call.model, self.now)
        if retired is None:
            return
        self.row = retired
        data = {
            "provider": call.provider,
            "key_fingerprint": retired.fingerprint,
            "model": call.model,
            "quality": job.quality,
            "job_id": str(job.id),
            "detail": detail,
        }
        event = EventRow.of(
            stream_kind=StreamKind.PROVIDER,
            stream_id=f"{retired.provider}:{retired.fingerprint}",
            seq=retired.version,
            event_id=id_from(job.id, f"{call.attempt}/{call.model}"),
            tenant=job.tenant,
            type=EventType.MODEL_RETIRED,
            data=to_json(data),
            occurred_at=self.now,
        )
        writes.insert(event)

    def store(self, look: Look, writes: Writes) -> None:
        store(self.row, look, writes)


def close_probed(look: Look, writes: Writes, key: RowKey, job_id: UUID, now: datetime) -> None:
    """A probe came back with a picture: its key is good."""
    row = look.get(ProviderRow, *key.key)
    if row is not None and row.circuit is Circuit.HALF_OPEN and row.probe_job_id == job_id:
        store(closed(row, now), look, writes)
