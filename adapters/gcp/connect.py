"""The world of Google Cloud: Cloud Tasks, Pub/Sub and Cloud Storage beside PostgreSQL."""

from collections.abc import Collection, Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import timedelta
from functools import cached_property
from typing import Any

import grpc
from google.auth.exceptions import GoogleAuthError
from google.cloud.tasks_v2 import CloudTasksAsyncClient
from google.cloud.tasks_v2.services.cloud_tasks.transports import CloudTasksGrpcAsyncIOTransport
from google.pubsub_v1 import PublisherAsyncClient, SubscriberAsyncClient
from google.pubsub_v1.services.publisher.transports import PublisherGrpcAsyncIOTransport
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcAsyncIOTransport

from adapters.delivery import Consumer, Patience, Quarantine, Subscription
from adapters.errors import Unavailable
from adapters.gcp.blobs import CloudBlobStore
from adapters.gcp.bus import PubSubBus
from adapters.gcp.oidc import KeySet, OidcCheck
from adapters.gcp.rest import GoogleRest
from adapters.gcp.rights import Clients
from adapters.gcp.settings import GcpSettings
from adapters.gcp.site import GoogleSite
from adapters.gcp.subscriber import PullSubscriber
from adapters.gcp.tasks import LONGEST_DEADLINE, SHORTEST_DEADLINE, CloudTaskQueue
from adapters.gcp.wanted import wanted
from adapters.local.clock import SystemClock
from adapters.local.ids import RandomIds, SystemEntropy
from adapters.ports import BlobStore, CallerCheck, ImageProvider, Processes, TaskHandler
from adapters.providers.sketch.provider import SketchProvider, SketchSettings
from adapters.world import Sections

# Pub/Sub sends messages of up to 10 MB each, several in one response.
MOST_RESPONSE_BYTES = 64 * 2**20


class GoogleWorld:
    """Opens the adapters of Google Cloud. Any number of processes share one database."""

    alone = False

    def __init__(self, settings: GcpSettings) -> None:
        self.clock = SystemClock()
        self.ids = RandomIds(self.clock, SystemEntropy())
        self._settings = settings
        self._stack = AsyncExitStack()

    def lacks(self, dispatch_deadline: timedelta) -> Sequence[str]:
        lines = list(self._settings.missing())
        if not SHORTEST_DEADLINE <= dispatch_deadline <= LONGEST_DEADLINE:
            lines.append(
                "LIMNER_TIMES__DISPATCH_DEADLINE_SECONDS: Cloud Tasks takes"
                f" {SHORTEST_DEADLINE.total_seconds():.0f} to"
                f" {LONGEST_DEADLINE.total_seconds():.0f} seconds"
            )
        return lines

    @cached_property
    def worker_caller(self) -> CallerCheck:
        return self._check(self._settings.worker_audience, self._settings.service_account)

    @cached_property
    def push_caller(self) -> CallerCheck:
        return self._check(self._settings.push_audience, self._settings.push_service_account)

    def subscription_path(self, subscriber: str) -> str:
        return self._settings.subscription_path(subscriber)

    async def open_blobs(self) -> BlobStore:
        store = CloudBlobStore(
            _given(self._settings.bucket),
            call_seconds=self._settings.call_seconds,
            emulator=self._settings.storage_emulator_host,
        )
        self._stack.push_async_callback(store.close)
        return store

    async def link_secret(self) -> bytes:
        raise Unavailable("LIMNER_LINK_SECRET is not set, and several processes must share it")

    def open_painter(self, processes: Processes, settings: SketchSettings) -> ImageProvider:
        return SketchProvider(processes, self.clock, settings)

    def open_queue(self, handler: TaskHandler, dispatch_deadline: timedelta) -> CloudTaskQueue:
        """Tasks come back over HTTP, so *handler* is called by the worker's route alone."""
        settings = self._settings
        client = self._client(
            CloudTasksAsyncClient, CloudTasksGrpcAsyncIOTransport, settings.tasks_emulator_host
        )
        return CloudTaskQueue(
            client,
            path=settings.queue_path,
            url=_given(settings.worker_url),
            service_account=_given(settings.service_account),
            audience=_given(settings.worker_audience),
            dispatch_deadline=dispatch_deadline,
            call_seconds=settings.call_seconds,
        )

    def open_bus(self, subscriptions: Sequence[Subscription], quarantine: Quarantine) -> PubSubBus:
        """Events come back by push or pull, so *subscriptions* are called from there alone."""
        settings = self._settings
        client = self._client(
            PublisherAsyncClient, PublisherGrpcAsyncIOTransport, settings.pubsub_emulator_host
        )
        return PubSubBus(client, topic_path=settings.topic_path, call_seconds=settings.call_seconds)

    def open_pull(self, consumer: Consumer) -> PullSubscriber:
        settings = self._settings
        client = self._client(
            SubscriberAsyncClient, SubscriberGrpcAsyncIOTransport, settings.pubsub_emulator_host
        )
        return PullSubscriber(
            client,
            consumer,
            path=settings.subscription_path(consumer.subscription.name),
            patience=Patience(self.clock, self.ids),
            call_seconds=settings.call_seconds,
        )

    async def open_site(self, types: Mapping[str, Collection[str]]) -> GoogleSite:
        settings = self._settings
        rest = GoogleRest(
            call_seconds=settings.call_seconds,
            storage=settings.storage_emulator_host,
            iam=settings.iam_emulator_host,
        )
        self._stack.push_async_callback(rest.close)
        clients = Clients(
            self._client(
                CloudTasksAsyncClient, CloudTasksGrpcAsyncIOTransport, settings.tasks_emulator_host
            ),
            self._client(
                PublisherAsyncClient, PublisherGrpcAsyncIOTransport, settings.pubsub_emulator_host
            ),
            self._client(
                SubscriberAsyncClient, SubscriberGrpcAsyncIOTransport, settings.pubsub_emulator_host
            ),
            rest,
            await self.open_blobs(),
            settings.call_seconds,
        )
        return GoogleSite(settings, wanted(settings, types), clients)

    async def close(self) -> None:
        await self._stack.aclose()

    @cached_property
    def _keys(self) -> KeySet:
        keys = KeySet(self._settings.jwks_url, self.clock, self._settings.call_seconds)
        self._stack.push_async_callback(keys.close)
        return keys

    def _check(self, audience: str | None, email: str | None) -> OidcCheck:
        return OidcCheck(self._keys, self.clock, audience=_given(audience), email=_given(email))

    def _client(self, client: Any, transport: Any, emulator: str | None) -> Any:
        """*client* over *transport*: with our own credentials, or without any to an *emulator*."""
        options = [("grpc.max_receive_message_length", MOST_RESPONSE_BYTES)]
        try:
            if emulator is not None:
                channel = grpc.aio.insecure_channel(emulator, options=options)
                made = client(transport=transport(channel=channel))
            else:
                made = client()
        except GoogleAuthError as exc:
            raise Unavailable(f"no credentials for Google Cloud: {exc}") from exc
        self._stack.push_async_callback(made.transport.close)
        return made


def _given(value: str | None) -> str:
    assert value is not None, "wiring opens nothing while the world lacks something"
    return value


def connect(settings: Sections) -> GoogleWorld:
    """What `LIMNER_CONNECT=adapters.gcp.connect.connect` names."""
    return GoogleWorld(settings.gcp)
