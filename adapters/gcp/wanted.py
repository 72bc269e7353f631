"""What must exist at Google, made of the settings: without it provision and doctor could differ."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import timedelta

from google.cloud.tasks_v2.types import Queue, RateLimits
from google.pubsub_v1.types import (
    DeadLetterPolicy,
    ExpirationPolicy,
    PushConfig,
    RetryPolicy,
    Subscription,
)

from adapters.gcp.settings import EventDelivery, GcpSettings

# Pub/Sub takes no longer ones. Without a filter a subscriber passes over what it does not want.
MOST_FILTER_BYTES = 256
# The subscription that keeps what the dead-letter topic is given.
DEAD_LETTERS = "dead-letters"


@dataclass(frozen=True, slots=True)
class Wanted:
    queue: Queue
    topics: tuple[str, ...]
    # By each subscriber's name; that of the dead letters stands by itself.
    subscriptions: Mapping[str, Subscription]
    dead_letters: Subscription
    bucket: str


def wanted(settings: GcpSettings, types: Mapping[str, Collection[str]]) -> Wanted:
    """*types* are the events that each subscriber wants, by its name."""
    return Wanted(
        queue=Queue(
            name=settings.queue_path,
            rate_limits=RateLimits(
                max_dispatches_per_second=settings.dispatches_per_second,
                max_concurrent_dispatches=settings.concurrent_dispatches,
            ),
        ),
        topics=(settings.topic_path, settings.dead_letter_path),
        subscriptions={name: _subscription(settings, name, types[name]) for name in types},
        dead_letters=Subscription(
            name=settings.subscription_path(DEAD_LETTERS),
            topic=settings.dead_letter_path,
            ack_deadline_seconds=settings.ack_deadline_seconds,
            expiration_policy=ExpirationPolicy(),
        ),
        bucket=settings.bucket or "",
    )


def _subscription(settings: GcpSettings, name: str, types: Collection[str]) -> Subscription:
    made = Subscription(
        name=settings.subscription_path(name),
        topic=settings.topic_path,
        filter=filter_by(types),
        ack_deadline_seconds=settings.ack_deadline_seconds,
        retry_policy=RetryPolicy(
            minimum_backoff=timedelta(seconds=settings.retry_seconds),
            maximum_backoff=timedelta(seconds=settings.most_retry_seconds),
        ),
        dead_letter_policy=DeadLetterPolicy(
            dead_letter_topic=settings.dead_letter_path,
            max_delivery_attempts=settings.delivery_attempts,
        ),
        expiration_policy=ExpirationPolicy(),  # without a time to live: never
    )
    if settings.event_delivery is EventDelivery.PUSH:
        made.push_config = PushConfig(
            push_endpoint=settings.push_endpoint(name),
            oidc_token=PushConfig.OidcToken(
                service_account_email=settings.push_service_account,
                audience=settings.push_audience,
            ),
        )
    return made


def filter_by(types: Collection[str]) -> str:
    told = " OR ".join(f'attributes.type = "{one}"' for one in sorted(types))
    return told if len(told.encode()) <= MOST_FILTER_BYTES else ""
