"""Where in Google Cloud this installation lives. No name of a project has a default.

Environment: `GOOGLE_CLOUD_PROJECT`, `CLOUD_TASKS_…`, `CLOUD_RUN_…` as the requirements document
names them, `PUBSUB_EMULATOR_HOST` and `STORAGE_EMULATOR_HOST` as Google's own tools do, the rest
`LIMNER_GCP__…`.
"""

from collections.abc import Iterator
from enum import StrEnum
from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import Field, StringConstraints, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from adapters.http import is_loopback

WORKER_PATH = "/api/v1/images/worker"
PUSH_PATH = "/api/v1/events"
GOOGLE_JWKS = "https://www.googleapis.com/oauth2/v3/certs"

Id = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._~%+:-]*$", max_length=255)]
Email = Annotated[str, StringConstraints(pattern=r"^[^@\s]+@[^@\s]+$", max_length=320)]
HostAndPort = Annotated[str, StringConstraints(pattern=r"^[^/\s]+:\d+$")]


class EventDelivery(StrEnum):
    PUSH = "push"
    PULL = "pull"


class GcpSettings(BaseSettings):
    model_config = SettingsConfigDict(
        env_prefix="LIMNER_GCP__",
        extra="forbid",
        validate_by_name=True,
        validate_by_alias=True,
    )

    project: Id | None = Field(default=None, validation_alias="GOOGLE_CLOUD_PROJECT")
    location: Id | None = Field(default=None, validation_alias="CLOUD_TASKS_QUEUE_LOCATION")
    queue: Id = Field(
        default="image-generation-queue", validation_alias="CLOUD_TASKS_IMAGE_QUEUE_NAME"
    )
    # Where the service is reached from Google's side.
    service_url: str | None = Field(default=None, validation_alias="CLOUD_RUN_SERVICE_URL")
    # Where tasks are delivered; the service's own worker route by default.
    worker_url: str | None = Field(default=None, validation_alias="CLOUD_RUN_WORKER_URL")
    bucket: Id | None = None
    topic: Id = "limner-events"
    # The subscription of the subscriber blog-linking is limner-blog-linking.
    subscription_prefix: Id = "limner-"
    # As whom tasks are delivered, and pushes where that is somebody else.
    service_account: Email | None = None
    push_service_account: Email | None = None
    # What their tokens must be made for; the worker's and the push route's address by default.
    worker_audience: str | None = None
    push_audience: str | None = None
    jwks_url: str = GOOGLE_JWKS
    call_seconds: float = Field(default=10, gt=0)
    # What `limner provision` makes of the queue and the subscriptions; the bounds are Google's own.
    dispatches_per_second: float = Field(default=100, gt=0, le=500)
    concurrent_dispatches: int = Field(default=500, ge=1, le=5000)
    event_delivery: EventDelivery = EventDelivery.PUSH
    ack_deadline_seconds: int = Field(default=60, ge=10, le=600)
    retry_seconds: int = Field(default=1, ge=0, le=600)
    most_retry_seconds: int = Field(default=60, ge=0, le=600)
    dead_letter_topic: Id = "limner-dead-letters"
    # The net behind our own dead letters, which take an event after 5 failures.
    delivery_attempts: int = Field(default=10, ge=10, le=100)
    # Doubles for development and tests, spoken to without encryption or credentials.
    tasks_emulator_host: HostAndPort | None = None
    pubsub_emulator_host: HostAndPort | None = Field(
        default=None, validation_alias="PUBSUB_EMULATOR_HOST"
    )
    storage_emulator_host: str | None = Field(
        default=None, validation_alias="STORAGE_EMULATOR_HOST"
    )
    iam_emulator_host: str | None = None

    @model_validator(mode="after")
    def _whole(self) -> Self:
        urls = {
            "CLOUD_RUN_SERVICE_URL": self.service_url,
            "CLOUD_RUN_WORKER_URL": self.worker_url,
            "jwks_url": self.jwks_url,
        }
        for name, url in urls.items():
            if url is not None and not _is_trusted(url):
                raise ValueError(f"{name}: it must begin with https:// (or be on this machine)")
        if self.retry_seconds > self.most_retry_seconds:
            raise ValueError("retry_seconds: it must not be above most_retry_seconds")
        if self.dead_letter_topic == self.topic:
            raise ValueError("dead_letter_topic: it must not be the topic of the events")
        if self.service_url is not None:
            self.service_url = self.service_url.rstrip("/")
            self.worker_url = self.worker_url or self.service_url + WORKER_PATH
            self.push_audience = self.push_audience or self.service_url + PUSH_PATH
        self.worker_audience = self.worker_audience or self.worker_url
        self.push_service_account = self.push_service_account or self.service_account
        return self

    def missing(self) -> Iterator[str]:
        """What this profile cannot do without, one line each."""
        needed = {
            "GOOGLE_CLOUD_PROJECT": (self.project, "the project's id"),
            "CLOUD_TASKS_QUEUE_LOCATION": (self.location, "the queue's region"),
            "CLOUD_RUN_SERVICE_URL": (self.service_url, "the service's address"),
            "LIMNER_GCP__BUCKET": (self.bucket, "the bucket of the pictures"),
            "LIMNER_GCP__SERVICE_ACCOUNT": (
                self.service_account,
                "the service account as which tasks and pushes are delivered",
            ),
        }
        for name, (value, meaning) in needed.items():
            if value is None:
                yield f"{name}: it is not set; it names {meaning}"

    @property
    def queue_path(self) -> str:
        return f"projects/{self.project}/locations/{self.location}/queues/{self.queue}"

    @property
    def topic_path(self) -> str:
        return f"projects/{self.project}/topics/{self.topic}"

    @property
    def dead_letter_path(self) -> str:
        return f"projects/{self.project}/topics/{self.dead_letter_topic}"

    def push_endpoint(self, subscriber: str) -> str:
        return f"{self.service_url}{PUSH_PATH}/{subscriber}"

    def subscription_path(self, subscriber: str) -> str:
        return f"projects/{self.project}/subscriptions/{self.subscription_prefix}{subscriber}"


def _is_trusted(url: str) -> bool:
    try:
        parts = urlsplit(url)
        whole = bool(parts.hostname) and "@" not in parts.netloc
    except ValueError:
        return False
    return whole and (parts.scheme == "https" or (parts.scheme == "http" and is_loopback(url)))
