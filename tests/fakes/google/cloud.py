"""All of Google Cloud that Limner uses, on loopback: for the real program in processes of its own.

Pub/Sub is Google's own emulator where that is installed, and else our double; `pubsub` says which.
The services' names are resolved by the double: whatever a task's or a push's address says, it is
posted to `service`.
"""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit
from uuid import uuid4

import grpc
import httpx2
from google.cloud.tasks_v2.types import Task
from google.pubsub_v1 import PublisherAsyncClient, SubscriberAsyncClient
from google.pubsub_v1.services.publisher.transports import PublisherGrpcAsyncIOTransport
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcAsyncIOTransport
from google.pubsub_v1.types import PushConfig, RetryPolicy, Subscription, Topic

from adapters.local.clock import SystemClock
from tests.fakes.google import emulator
from tests.fakes.google.admin import Queues, Subscriptions
from tests.fakes.google.login import Login
from tests.fakes.google.pubsub import PubSub
from tests.fakes.google.rpc import serve
from tests.fakes.google.storage import CloudStorage
from tests.fakes.google.tasks import CloudTasks, Limits

T = TypeVar("T")

PROJECT, LOCATION, QUEUE, BUCKET = "test-project", "europe-west1", "images", "pictures"
ACCOUNT = "limner-calls@test-project.iam.gserviceaccount.com"
SERVICE_URL = "https://limner.example"
KEY = "a-key-of-at-least-thirty-two-characters"


class Cloud:
    """Enter it to start everything. *emulated* False takes our double of Pub/Sub in any case."""

    def __init__(self, folder: Path, *, emulated: bool = True) -> None:
        command = emulator.installed() if emulated else None
        self.pubsub = "Google's emulator" if command else "our double"
        self.folder = folder
        # Where the service listens at the moment; it may be nowhere.
        self.service = "http://127.0.0.1:9"
        self.login = Login()
        self.storage = CloudStorage(BUCKET)
        self.token: Callable[[str], str] = lambda audience: self.login.token(
            email=ACCOUNT, audience=audience
        )
        clock = SystemClock()
        path = f"projects/{PROJECT}/locations/{LOCATION}/queues/{QUEUE}"
        self.tasks = CloudTasks(path, self._post_task, clock, Limits(max_backoff=2))
        self.queues = Queues()
        self.bus = PubSub(clock, self._push)
        self.subscriptions = Subscriptions(self.bus)
        # Nothing is shared with an earlier test of the same emulator.
        self._prefix = f"limner-{uuid4().hex[:8]}-"
        self._emulator = command
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="cloud")
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        print(f"Pub/Sub is {self.pubsub}")
        self._stack.enter_context(self.login)
        self._stack.enter_context(self.storage)
        self._thread.start()
        self._stack.callback(self._end_loop)
        self._http = self.run(_client())
        server, self.tasks_host = self.run(serve(self.tasks.methods, self.queues.methods))
        self._stack.callback(lambda: self.run(_stop(server, self._http, self.tasks)))
        if self._emulator is not None:
            self.pubsub_host = self._stack.enter_context(emulator.running(self._emulator))
        else:
            methods = {**self.bus.methods, **self.subscriptions.methods}
            bus, self.pubsub_host = self.run(serve(methods))
            self._stack.callback(lambda: self.run(_stop(bus, None, self.bus)))
        self.run(self._with_clients(_make_topic, self.topic))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Do *work* in the loop of the doubles."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(60)

    @property
    def topic(self) -> str:
        return f"projects/{PROJECT}/topics/{self._prefix}events"

    def subscription(self, subscriber: str) -> str:
        return f"projects/{PROJECT}/subscriptions/{self._prefix}{subscriber}"

    def subscribe(self, subscriber: str, *, push: bool = False) -> None:
        told = Subscription(
            name=self.subscription(subscriber),
            topic=self.topic,
            ack_deadline_seconds=10,
            retry_policy=RetryPolicy(minimum_backoff={"seconds": 1}),
        )
        if push:
            path = f"/api/v1/events/{subscriber}"
            token = PushConfig.OidcToken(
                service_account_email=ACCOUNT, audience=f"{SERVICE_URL}/api/v1/events"
            )
            told.push_config = PushConfig(push_endpoint=SERVICE_URL + path, oidc_token=token)
        self.run(self._with_clients(_make_subscription, told))

    def settings(self, database_url: str, **others: str) -> dict[str, str]:
        """The program's settings for this cloud, as `tests.service.environment` takes them."""
        return {
            "connect": "adapters.gcp.connect.connect",
            "database_url": database_url,
            "api_key": KEY,
            "link_secret": "a-secret-that-all-processes-share-here",
            "gcp__bucket": BUCKET,
            "gcp__topic": self.topic.rpartition("/")[2],
            "gcp__subscription_prefix": self._prefix,
            "gcp__dead_letter_topic": f"{self._prefix}dead-letters",
            "gcp__service_account": ACCOUNT,
            "gcp__jwks_url": self.login.url,
            "gcp__tasks_emulator_host": self.tasks_host,
            "gcp__iam_emulator_host": self.storage.url,
            "PUBSUB_EMULATOR_HOST": self.pubsub_host,
            "STORAGE_EMULATOR_HOST": self.storage.url,
            "GOOGLE_APPLICATION_CREDENTIALS": str(self.storage.credentials(self.folder)),
            "GOOGLE_CLOUD_PROJECT": PROJECT,
            "CLOUD_TASKS_QUEUE_LOCATION": LOCATION,
            "CLOUD_TASKS_IMAGE_QUEUE_NAME": QUEUE,
            "CLOUD_RUN_SERVICE_URL": SERVICE_URL,
        } | others

    async def _post_task(self, task: Task, headers: dict[str, str]) -> int:
        token = self.token(task.http_request.oidc_token.audience)
        authorization = {"Authorization": f"Bearer {token}"}
        path = urlsplit(task.http_request.url).path
        return await self._post(path, headers | authorization, task.http_request.body)

    async def _push(self, subscription: Subscription, envelope: dict[str, Any]) -> int:
        config = subscription.push_config
        token = self.token(config.oidc_token.audience)
        body = httpx2.Request("POST", "http://x", json=envelope).content
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
        return await self._post(urlsplit(config.push_endpoint).path, headers, body)

    async def _post(self, path: str, headers: dict[str, str], body: bytes) -> int:
        try:
            reply = await self._http.post(self.service + path, headers=headers, content=body)
        except httpx2.HTTPError as exc:
            raise ConnectionError(str(exc)) from exc
        return reply.status_code

    async def _with_clients(
        self, work: Callable[..., Coroutine[Any, Any, None]], told: Any
    ) -> None:
        async with grpc.aio.insecure_channel(self.pubsub_host) as channel:
            publisher = PublisherAsyncClient(
                transport=PublisherGrpcAsyncIOTransport(channel=channel)
            )
            subscriber = SubscriberAsyncClient(
                transport=SubscriberGrpcAsyncIOTransport(channel=channel)
            )
            await work(publisher, subscriber, told)

    def _end_loop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


async def _client() -> httpx2.AsyncClient:
    limits = httpx2.Limits(max_connections=None, max_keepalive_connections=20)
    return httpx2.AsyncClient(timeout=None, limits=limits, trust_env=False, verify=False)


async def _stop(server: grpc.aio.Server, http: httpx2.AsyncClient | None, double: Any) -> None:
    await double.stop()
    await server.stop(None)
    if http is not None:
        await http.aclose()


async def _make_topic(publisher: PublisherAsyncClient, _: Any, name: str) -> None:
    await publisher.create_topic(Topic(name=name))


async def _make_subscription(_: Any, subscriber: SubscriberAsyncClient, told: Subscription) -> None:
    await subscriber.create_subscription(told)
