"""What must exist at Google is made once, mended where it differs, and never deleted."""

import shlex
from collections.abc import Awaitable, Callable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import grpc
import pytest
from google.cloud.tasks_v2.types import Queue
from google.pubsub_v1 import SubscriberAsyncClient
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcAsyncIOTransport
from google.pubsub_v1.types import (
    DeadLetterPolicy,
    ExpirationPolicy,
    PushConfig,
    RetryPolicy,
    Subscription,
    UpdateSubscriptionRequest,
)

from adapters.gcp.connect import GoogleWorld
from adapters.gcp.settings import GcpSettings
from adapters.gcp.wanted import filter_by
from adapters.site import Part, Right, Site, Standing
from tests.fakes.google import emulator
from tests.fakes.google.cloud import ACCOUNT, BUCKET, LOCATION, PROJECT, QUEUE, SERVICE_URL, Cloud

T = TypeVar("T")

TYPES = {"blog-linking": {"image.job.completed"}}
FILTER = 'attributes.type = "image.job.completed"'
FITS, CREATE, UPDATE = Standing.FITS, Standing.CREATE, Standing.UPDATE
STUCK, UNKNOWN = Standing.STUCK, Standing.UNKNOWN
AGENT = "serviceAccount:service-123456@gcp-sa-pubsub.iam.gserviceaccount.com"


class Bench:
    """One cloud, and the site in it as the settings want it."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud
        self.settings = cloud.settings("postgresql://x/y")
        self.subscription = cloud.subscription("blog-linking")

    def on_site(self, work: Callable[[Site], Awaitable[T]], **changes: Any) -> T:
        told = {name[5:]: one for name, one in self.settings.items() if name.startswith("gcp__")}
        settings = GcpSettings(
            **{
                "project": PROJECT,
                "location": LOCATION,
                "queue": QUEUE,
                "service_url": SERVICE_URL,
                "pubsub_emulator_host": self.cloud.pubsub_host,
                "storage_emulator_host": self.cloud.storage.url,
                **told,
                **changes,
            }
        )

        async def within() -> T:
            world = GoogleWorld(settings)
            try:
                return await work(await world.open_site(TYPES))
            finally:
                await world.close()

        return self.cloud.run(within())

    def look(self, **changes: Any) -> dict[str, Part]:
        parts = self.on_site(lambda site: site.look(), **changes)
        prefix = self.settings["gcp__subscription_prefix"]
        return {part.name.replace(prefix, ""): part for part in parts}

    def provision(self, **changes: Any) -> Sequence[str]:
        """Make what lacks; the names of it."""

        async def make(site: Site) -> list[str]:
            parts = [part for part in await site.look() if part.make is not None]
            for part in parts:
                assert part.make is not None
                await part.make()
            return [part.name for part in parts]

        return self.on_site(make, **changes)

    def rights(self, **changes: Any) -> dict[str, Right]:
        found = self.on_site(lambda site: site.rights(), **changes)
        return {right.name: right for right in found}

    def with_subscriber(self, call: Callable[[SubscriberAsyncClient], Awaitable[T]]) -> T:
        async def within() -> T:
            async with grpc.aio.insecure_channel(self.cloud.pubsub_host) as channel:
                transport = SubscriberGrpcAsyncIOTransport(channel=channel)
                return await call(SubscriberAsyncClient(transport=transport))

        return self.cloud.run(within())

    def there(self) -> Subscription:
        return self.with_subscriber(
            lambda client: client.get_subscription(subscription=self.subscription)
        )

    def create(self, **fields: Any) -> None:
        told = Subscription(name=self.subscription, topic=self.cloud.topic, **fields)
        self.with_subscriber(lambda client: client.create_subscription(told))


@pytest.fixture(params=["double", "emulator"])
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    """Pub/Sub as our double, and as Google's emulator where that is installed."""
    emulated = request.param == "emulator"
    if emulated and emulator.installed() is None:
        pytest.skip("Google's emulator is not installed")
    with Cloud(tmp_path, emulated=emulated) as cloud:
        yield Bench(cloud)


@pytest.fixture
def doubled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    with Cloud(tmp_path, emulated=False) as cloud:
        key = cloud.storage.credentials(tmp_path)
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(key))
        yield Bench(cloud)


def standings(parts: dict[str, Part]) -> dict[str, Standing]:
    return {name: part.standing for name, part in parts.items()}


def test_all_of_it_is_made_once_and_found_again(bench: Bench) -> None:
    assert standings(bench.look()) == {
        f"queue {QUEUE}": CREATE,
        "topic events": FITS,  # made by the cloud itself
        "topic dead-letters": CREATE,
        "subscription dead-letters": CREATE,
        "subscription blog-linking": CREATE,
        f"bucket {BUCKET}": FITS,
    }
    assert len(bench.provision()) == 4
    assert set(standings(bench.look()).values()) == {FITS}
    assert bench.provision() == []

    queue = next(iter(bench.cloud.queues.queues.values()))
    assert queue.rate_limits.max_dispatches_per_second == 100
    assert queue.rate_limits.max_concurrent_dispatches == 500
    made = bench.there()
    prefix = bench.settings["gcp__subscription_prefix"]
    assert made.topic == bench.cloud.topic
    assert made.filter == FILTER
    assert made.ack_deadline_seconds == 60
    assert made.retry_policy.minimum_backoff == timedelta(seconds=1)
    assert made.retry_policy.maximum_backoff == timedelta(seconds=60)
    assert made.dead_letter_policy.dead_letter_topic.endswith(f"/{prefix}dead-letters")
    assert made.dead_letter_policy.max_delivery_attempts == 10
    assert "expiration_policy" in made
    assert not made.expiration_policy.ttl
    assert made.push_config.push_endpoint == f"{SERVICE_URL}/api/v1/events/blog-linking"
    assert made.push_config.oidc_token.service_account_email == ACCOUNT
    assert made.push_config.oidc_token.audience == f"{SERVICE_URL}/api/v1/events"


def test_what_differs_is_told_and_mended_and_nothing_else(bench: Bench) -> None:
    bench.provision()
    letters = bench.there().dead_letter_policy.dead_letter_topic
    changed = Subscription(
        name=bench.subscription,
        topic=bench.cloud.topic,
        retry_policy=RetryPolicy(
            minimum_backoff=timedelta(seconds=20), maximum_backoff=timedelta(seconds=600)
        ),
        dead_letter_policy=DeadLetterPolicy(dead_letter_topic=letters, max_delivery_attempts=5),
        push_config=PushConfig(push_endpoint="https://old.example/events"),
    )
    mask = {"paths": ["retry_policy", "dead_letter_policy", "push_config"]}
    request = UpdateSubscriptionRequest(subscription=changed, update_mask=mask)
    bench.with_subscriber(lambda client: client.update_subscription(request))

    part = bench.look()["subscription blog-linking"]
    assert part.standing is UPDATE
    assert [one.partition(":")[0] for one in part.details] == [
        "delivery again", "dead letters", "delivery",
    ]  # fmt: skip
    assert part.details[0] == "delivery again: after 20s to 600s; it must be after 1s to 60s"
    flags = shlex.split(part.command or "")
    assert {"--min-retry-delay=1s", "--max-delivery-attempts=10"} < set(flags)
    assert f"--push-auth-service-account={ACCOUNT}" in flags
    assert not [one for one in flags if one.startswith(("--ack-deadline", "--expiration"))]

    assert bench.provision() == [f"subscription {bench.subscription.rpartition('/')[2]}"]
    assert bench.look()["subscription blog-linking"].standing is FITS
    assert bench.there().dead_letter_policy.max_delivery_attempts == 10
    assert bench.there().filter == FILTER


def test_push_becomes_pull_by_the_setting_and_back(bench: Bench) -> None:
    bench.provision()
    part = bench.look(event_delivery="pull")["subscription blog-linking"]
    assert "it must be pull" in part.details[0]
    assert "--push-endpoint=" in shlex.split(part.command or "")
    bench.provision(event_delivery="pull")
    assert bench.there().push_config.push_endpoint == ""
    assert bench.look(event_delivery="pull")["subscription blog-linking"].standing is FITS
    assert bench.look()["subscription blog-linking"].standing is UPDATE


def test_a_filter_that_differs_is_left_to_a_person(bench: Bench) -> None:
    bench.create(filter='attributes.type = "other"', expiration_policy=ExpirationPolicy())
    found = bench.look()
    # The rest of it is mended all the same.
    assert found["subscription blog-linking"].standing is UPDATE
    stuck = found["subscription blog-linking: filter"]
    assert (stuck.standing, stuck.make) == (STUCK, None)
    assert stuck.details == (f'attributes.type = "other"; it must be {FILTER}',)
    for told in ("never changes", "subscriptions delete", "limner replay --since"):
        assert told in (stuck.remedy or "")
    bench.provision()
    assert bench.there().filter == 'attributes.type = "other"'
    assert standings(bench.look()).get("subscription blog-linking") is None
    assert bench.look()["subscription blog-linking: filter"].standing is STUCK


def test_a_subscription_to_another_topic_is_left_to_a_person(bench: Bench) -> None:
    bench.provision()
    found = bench.look(topic="other-events")
    assert found["topic other-events"].standing is CREATE
    stuck = found["subscription blog-linking: topic"]
    assert stuck.standing is STUCK
    assert "LIMNER_GCP__TOPIC" in (stuck.remedy or "")


def test_the_rate_of_the_queue_follows_the_settings_and_a_pause_stays(doubled: Bench) -> None:
    doubled.provision()
    (queue,) = doubled.cloud.queues.queues.values()
    queue.state = Queue.State.PAUSED
    queue.retry_config.max_attempts = 7  # somebody's own
    found = doubled.look(dispatches_per_second=20, concurrent_dispatches=500)
    part = found[f"queue {QUEUE}"]
    assert part.details == ("dispatches a second: 100; it must be 20",)
    flags = shlex.split(part.command or "")
    assert "--max-dispatches-per-second=20" in flags
    assert f"--location={LOCATION}" in flags
    paused = found[f"queue {QUEUE}: dispatch"]
    assert paused.standing is STUCK
    assert "gcloud tasks queues resume" in (paused.remedy or "")
    doubled.provision(dispatches_per_second=20)
    assert queue.rate_limits.max_dispatches_per_second == 20
    assert queue.rate_limits.max_concurrent_dispatches == 500
    assert queue.state is Queue.State.PAUSED
    assert queue.retry_config.max_attempts == 7


def test_a_subscription_that_would_expire_is_mended(doubled: Bench) -> None:
    doubled.create(filter=FILTER)  # as the service makes it: gone after 31 days without use
    part = doubled.look()["subscription blog-linking"]
    assert "expiry: after 31 days without use; it must be never" in part.details
    assert "--expiration-period=never" in shlex.split(part.command or "")
    doubled.provision()
    assert not doubled.there().expiration_policy.ttl
    assert doubled.look()["subscription blog-linking"].standing is FITS


def test_the_dead_letters_own_delivery_is_whoever_looks_after_thems(doubled: Bench) -> None:
    doubled.provision()
    name = doubled.cloud.subscription("dead-letters")
    there = doubled.cloud.bus.subscriptions[name].told
    there.push_config = PushConfig(push_endpoint="https://alarm.example")
    there.ack_deadline_seconds = 600
    assert doubled.look()["subscription dead-letters"].standing is FITS


def test_a_bucket_is_looked_at_and_never_made(doubled: Bench) -> None:
    absent = doubled.look(bucket="absent")["bucket absent"]
    assert (absent.standing, absent.make) == (STUCK, None)
    assert "gcloud storage buckets create gs://absent" in (absent.remedy or "")
    assert "LIMNER_GCP__BUCKET" in (absent.remedy or "")
    doubled.cloud.storage.about[BUCKET] = {
        "lifecycle": {"rule": [{"action": {"type": "Delete"}, "condition": {"age": 30}}]},
        "retentionPolicy": {"retentionPeriod": "1000"},
    }
    found = doubled.look()
    assert found[f"bucket {BUCKET}: lifecycle"].standing is STUCK
    assert found[f"bucket {BUCKET}: retention"].standing is STUCK


def test_what_may_not_be_looked_at_hides_nothing_else(doubled: Bench) -> None:
    doubled.provision()
    doubled.cloud.queues.allowed.remove("cloudtasks.queues.get")
    doubled.cloud.storage.allowed.remove("storage.buckets.get")
    doubled.cloud.run(_delete_subscription(doubled))
    found = doubled.look()
    for name in (f"queue {QUEUE}", f"bucket {BUCKET}"):
        assert found[name].standing is UNKNOWN
        assert "roles/viewer" in (found[name].remedy or "")
    assert found["subscription blog-linking"].standing is CREATE


async def _delete_subscription(bench: Bench) -> None:
    del bench.cloud.bus.subscriptions[bench.subscription]


def test_every_right_is_asked_for_and_its_lack_told_with_the_grant(doubled: Bench) -> None:
    doubled.provision(event_delivery="pull")
    subscriptions = doubled.cloud.subscriptions
    subscriptions.bindings = {
        "roles/pubsub.publisher": [AGENT],
        "roles/pubsub.subscriber": [AGENT],
    }
    held = doubled.rights(event_delivery="pull")
    assert {right.held for right in held.values()} == {True}, held
    assert len(held) == 8

    doubled.cloud.queues.allowed.clear()
    doubled.cloud.storage.allowed.clear()
    subscriptions.allowed.clear()
    subscriptions.bindings.clear()
    found = doubled.rights(event_delivery="pull")
    lacking = [name for name, right in found.items() if right.held is False]
    name = doubled.subscription.rpartition("/")[2]
    assert lacking == [
        f"send tasks to {QUEUE}",
        f"have tasks delivered as {ACCOUNT}",
        f"publish events to {doubled.settings['gcp__topic']}",
        f"keep pictures in {BUCKET}",
        f"pull from {name}",
    ]
    roles = ("cloudtasks.enqueuer", "iam.serviceAccountUser", "pubsub.publisher",
             "storage.objectUser", "pubsub.subscriber")  # fmt: skip
    for one, role in zip(lacking, roles, strict=True):
        assert f"--role=roles/{role}" in (found[one].remedy or "")
        assert "serviceAccount:limner@test-project.iam" in (found[one].remedy or "")
    # These may be granted on the whole project, where they cannot be seen.
    agents = [one for name, one in found.items() if name.startswith("Pub/Sub itself")]
    assert [one.held for one in agents] == [None, None]
    assert all("gcp-sa-pubsub" in (one.remedy or "") for one in agents)


def test_a_queue_that_is_not_there_gives_no_rights(doubled: Bench) -> None:
    assert doubled.rights()[f"send tasks to {QUEUE}"].held is False


def test_differs_from_the_service(doubled: Bench) -> None:
    """One policy holds for all of Pub/Sub; a right is there or not, at once and for every
    resource; a queue deleted a moment ago may be made again; names and filters are not checked."""
    doubled.cloud.subscriptions.bindings = {"roles/pubsub.publisher": [AGENT]}
    found = doubled.rights()
    name = f"Pub/Sub itself: put dead letters into {doubled.settings['gcp__dead_letter_topic']}"
    assert found[name].held is True  # although there is no such topic


def test_a_filter_names_every_type_or_none() -> None:
    assert filter_by({"b", "a"}) == 'attributes.type = "a" OR attributes.type = "b"'
    # Pub/Sub takes 256 bytes; who is sent everything passes over what it does not want.
    assert filter_by({f"image.job.kind-{number}" for number in range(9)}) == ""
