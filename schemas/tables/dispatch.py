"""Whether jobs are sent to workers at all: one row, so that every process sees a pause."""

from datetime import datetime

from sqlmodel import Field

from schemas.tables.row import Row

THE_ROW = 1


class DispatchRow(Row):
    id: int = Field(primary_key=True)
    paused_at: datetime | None = None
    reason: str | None = None


class Dispatch(DispatchRow, table=True):
    __tablename__ = "dispatch"
