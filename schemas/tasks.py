"""What travels through the task queue: ids only, so that a task can never be out of date."""

import hashlib
from functools import cached_property
from uuid import UUID

from pydantic import BaseModel, ConfigDict


class ImageTask(BaseModel):
    """The body of `POST /api/v1/images/worker`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    job_id: UUID
    attempt: int
    # Task names stay reserved for 1 h after a task is gone, so a repeated sending needs another.
    dispatch: int = 1

    @cached_property
    def name(self) -> str:
        """The task's name: equal for equal sendings, spread evenly for the queue's sake."""
        text = f"{self.job_id}/{self.attempt}/{self.dispatch}"
        return hashlib.sha256(text.encode()).hexdigest()[:40]
