"""First replies, kept so that a repeated request is answered and not done again."""

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlmodel import Field

from schemas.columns import Json
from schemas.tables.row import Row


class IdempotencyKeyRow(Row):
    tenant: str = Field(primary_key=True)
    route: str = Field(primary_key=True)
    key: str = Field(primary_key=True)
    request_hash: str
    reply: dict[str, Any] = Field(sa_type=Json)
    created_at: datetime


class IdempotencyKey(IdempotencyKeyRow, table=True):
    __tablename__ = "idempotency_keys"
    __table_args__ = (sa.Index("idempotency_keys_age", "created_at"),)
