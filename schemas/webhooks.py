"""What callers say of webhooks, and what they are told of them."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from schemas.events import EventType
from schemas.requests import MAX_PAGE, Name, Text
from schemas.tables.webhooks import DeliveryState, DisabledBecause

MAX_OVERLAP_SECONDS = 7 * 86_400
DEFAULT_OVERLAP_SECONDS = 86_400
# The type of a message that only tries the way; no job has anything to do with it.
TEST_TYPE = "limner.webhook.test"

Url = Annotated[Text, StringConstraints(min_length=1, max_length=2_000)]
Types = Annotated[list[EventType], Field(max_length=100)]
Description = Annotated[Text, StringConstraints(max_length=500)]


def _without_default(schema: dict[str, Any]) -> None:
    schema.pop("default", None)


class WebhookRequest(BaseModel):
    """The body of `POST /api/v1/webhooks`."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    url: Url
    """Where events are sent: https, at a public address."""
    types: Types = []
    """Only events of these types; all where none is named."""
    blog_id: Name | None = None
    """Only events of this blog."""
    description: Description | None = None


class WebhookUpdate(BaseModel):
    """The body of `PATCH /api/v1/webhooks/{webhook_id}`: what is not named stays as it is."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    # The defaults stand for what was not sent, and are told to nobody.
    url: Url = Field(default="", json_schema_extra=_without_default)
    types: Types = Field(default=[], json_schema_extra=_without_default)
    """An empty list: all types."""
    blog_id: Name | None = None
    """null: events of all blogs."""
    description: Description | None = None
    enabled: bool = Field(default=True, strict=True, json_schema_extra=_without_default)
    """true sends what was waiting, and tells of what happens from now on."""

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not self.model_fields_set:
            raise ValueError("name at least one of url, types, blog_id, description and enabled")
        return self

    @property
    def named(self) -> dict[str, Any]:
        """What was sent."""
        return {name: getattr(self, name) for name in self.model_fields_set}


class RotationRequest(BaseModel):
    """The body of `POST /api/v1/webhooks/{webhook_id}/secret`."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    overlap_seconds: Annotated[int, Field(ge=0, le=MAX_OVERLAP_SECONDS, strict=True)] = (
        DEFAULT_OVERLAP_SECONDS
    )
    """How long the present secret signs as well: a day where it is not given, 7 days at most."""


class DeliveryFilters(BaseModel):
    """The query of `GET /api/v1/webhooks/{webhook_id}/deliveries`."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    state: DeliveryState | None = None
    limit: Annotated[int, Field(ge=1, le=MAX_PAGE)] = 50
    cursor: UUID | None = None
    """The `next_cursor` of the page before."""


class SecretResponse(BaseModel):
    """A secret that signs; the secret itself is told once, when it is made."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    created_at: datetime
    ends_at: datetime | None
    """When it ceases to sign; null for the one that goes on."""


class DeliveryCounts(BaseModel):
    pending: int
    delivered: int
    failed: int


class WebhookResponse(BaseModel):
    model_config = ConfigDict(use_attribute_docstrings=True)

    webhook_id: UUID
    url: str
    types: list[str]
    """Only these types; all where it is empty."""
    blog_id: str | None
    description: str | None
    enabled: bool
    disabled_at: datetime | None
    disabled_because: DisabledBecause | None
    message: str | None
    """What is wrong and what to do about it; null where nothing is."""
    failing_since: datetime | None
    """The first failure since the last success."""
    paused_until: datetime | None
    """It asked for patience (Retry-After)."""
    secrets: list[SecretResponse]
    deliveries: DeliveryCounts
    created_at: datetime
    updated_at: datetime


class WebhookWithSecretResponse(WebhookResponse):
    secret: str
    """Signs every message. It is told here only; keep it."""


class WebhookListResponse(BaseModel):
    webhooks: list[WebhookResponse]


class TryResponse(BaseModel):
    """One attempt: the status that came, or why there was none."""

    attempt: int
    at: datetime
    status: int | None
    error: str | None
    elapsed_ms: int


class DeliveryStatus(StrEnum):
    PENDING = "pending"
    SENDING = "sending"
    DELIVERED = "delivered"
    FAILED = "failed"


class DeliveryResponse(BaseModel):
    model_config = ConfigDict(use_attribute_docstrings=True)

    delivery_id: UUID
    """The event's id, and the `webhook-id` of every attempt."""
    type: str
    subject: str
    status: DeliveryStatus
    """`failed`: given up; it can be redelivered."""
    attempts: int
    next_attempt_at: datetime | None
    tries: list[TryResponse]
    """The last 20 attempts."""
    created_at: datetime
    ended_at: datetime | None


class DeliveryListResponse(BaseModel):
    deliveries: list[DeliveryResponse]
    next_cursor: UUID | None


class RedeliveryResponse(BaseModel):
    model_config = ConfigDict(use_attribute_docstrings=True)

    redelivered: int
    """How many failed deliveries are sent again."""
