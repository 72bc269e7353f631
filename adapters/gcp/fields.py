"""What of a queue and a subscription can be changed, as the API, a person and gcloud say it.

One table: a field that is compared is also changed, and printed as the flag that does the same.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from google.cloud.tasks_v2.types import Queue
from google.pubsub_v1.types import Subscription


@dataclass(frozen=True, slots=True)
class Field:
    """*path* in the update mask; *shown* has all that is compared; *flags* are gcloud's."""

    path: str
    meaning: str
    shown: Callable[[Any], str]
    flags: Callable[[Any], Sequence[str]]


def differing(fields: Iterable[Field], there: Any, wanted: Any) -> list[Field]:
    return [one for one in fields if one.shown(there) != one.shown(wanted)]


def difference(field: Field, there: Any, wanted: Any) -> str:
    return f"{field.meaning}: {field.shown(there)}; it must be {field.shown(wanted)}"


def last(path: str) -> str:
    """What gcloud calls it: the end of *path*."""
    return path.rpartition("/")[2]


def _delay(time: timedelta) -> str:
    return f"{time.total_seconds():g}s"


def _ack_deadline(one: Subscription) -> str:
    return f"{one.ack_deadline_seconds} s"


def _retry(one: Subscription) -> str:
    if "retry_policy" not in one:
        return "at once"
    policy = one.retry_policy
    return f"after {_delay(policy.minimum_backoff)} to {_delay(policy.maximum_backoff)}"


def _retry_flags(one: Subscription) -> Sequence[str]:
    if "retry_policy" not in one:
        return ()
    policy = one.retry_policy
    return (
        f"--min-retry-delay={_delay(policy.minimum_backoff)}",
        f"--max-retry-delay={_delay(policy.maximum_backoff)}",
    )


def _dead_letters(one: Subscription) -> str:
    policy = one.dead_letter_policy
    if not policy.dead_letter_topic:
        return "none"
    return f"{policy.dead_letter_topic} after {policy.max_delivery_attempts} attempts"


def _dead_letter_flags(one: Subscription) -> Sequence[str]:
    policy = one.dead_letter_policy
    if not policy.dead_letter_topic:
        return ()
    return (
        f"--dead-letter-topic={policy.dead_letter_topic}",
        f"--max-delivery-attempts={policy.max_delivery_attempts}",
    )


def _expiry(one: Subscription) -> str:
    # Without a policy it is the service's own; with one that names no time there is none.
    if "expiration_policy" not in one:
        return "after 31 days without use"
    ttl = one.expiration_policy.ttl
    return f"after {ttl.days} days without use" if ttl else "never"


def _push(one: Subscription) -> str:
    push = one.push_config
    if not push.push_endpoint:
        return "pull"
    token = push.oidc_token
    bare = ", unwrapped" if "no_wrapper" in push else ""
    return (
        f"push to {push.push_endpoint} as {token.service_account_email or 'nobody'}"
        f" for {token.audience or push.push_endpoint}{bare}"
    )


def _push_flags(one: Subscription) -> Sequence[str]:
    push = one.push_config
    if not push.push_endpoint:
        return ("--push-endpoint=",)  # which makes it one to pull from
    return (
        f"--push-endpoint={push.push_endpoint}",
        f"--push-auth-service-account={push.oidc_token.service_account_email}",
        f"--push-auth-token-audience={push.oidc_token.audience}",
    )


EXPIRY = Field("expiration_policy", "expiry", _expiry, lambda _: ("--expiration-period=never",))

SUBSCRIPTION_FIELDS = (
    Field(
        "ack_deadline_seconds",
        "time to acknowledge",
        _ack_deadline,
        lambda one: (f"--ack-deadline={one.ack_deadline_seconds}",),
    ),
    Field("retry_policy", "delivery again", _retry, _retry_flags),
    Field("dead_letter_policy", "dead letters", _dead_letters, _dead_letter_flags),
    EXPIRY,
    Field("push_config", "delivery", _push, _push_flags),
)


def _rate(one: Queue) -> str:
    return f"{one.rate_limits.max_dispatches_per_second:g}"


def _concurrency(one: Queue) -> str:
    return str(one.rate_limits.max_concurrent_dispatches)


QUEUE_FIELDS = (
    Field(
        "rate_limits.max_dispatches_per_second",
        "dispatches a second",
        _rate,
        lambda one: (f"--max-dispatches-per-second={_rate(one)}",),
    ),
    Field(
        "rate_limits.max_concurrent_dispatches",
        "dispatches at once",
        _concurrency,
        lambda one: (f"--max-concurrent-dispatches={_concurrency(one)}",),
    ),
)
