"""How long things are kept, and what a sweep removed."""

from datetime import datetime
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field


class RetentionSettings(BaseModel):
    """Days after which things go: `LIMNER_RETENTION__…`. Never what a post shows."""

    model_config = ConfigDict(extra="forbid")

    # Whether anything is removed by itself; `limner sweep` removes all the same.
    enabled: bool = True
    drafts_days: int = Field(default=14, ge=1, le=3650)
    # Drafts of a batch that nobody has decided about; approval links live as long at most.
    undecided_days: int = Field(default=30, ge=1, le=3650)
    # Raw bytes of completed jobs, as their provider sent them; and what was sent with requests.
    staged_days: int = Field(default=7, ge=1, le=3650)
    # What can be replayed. Effects are remembered a week longer.
    events_days: int = Field(default=90, ge=7, le=3650)
    # First replies under their Idempotency-Keys.
    replies_days: int = Field(default=7, ge=7, le=3650)
    interval_seconds: float = Field(default=3600, gt=0)


class Kind(StrEnum):
    DRAFTS = "drafts"
    RAW = "raw"
    SENT = "sent"
    EVENTS = "events"
    EFFECTS = "effects"
    DELIVERIES = "deliveries"
    REPLIES = "replies"


class Removed(BaseModel):
    """So many of one kind."""

    model_config = ConfigDict(use_attribute_docstrings=True, frozen=True)

    kind: Kind
    """`drafts`: pictures; `raw`: what providers sent for completed jobs, with what their
    requests brought; `sent`: what requests brought whose jobs failed or were cancelled;
    `effects`: what subscribers remember; `deliveries`: of webhooks; `replies`: under
    Idempotency-Keys."""
    number: int
    bytes: int
    """Of pictures of drafts; else 0."""


class SweepRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    dry_run: bool = False


class SweepResponse(BaseModel):
    """The reply of `POST /api/v1/retention/sweep`."""

    dry_run: bool
    removed: list[Removed]


class LegalHoldResponse(BaseModel):
    """Whether anything of a post may be removed for its age."""

    blog_id: str
    held: bool
    held_since: datetime | None
