"""Cloud Tasks and Pub/Sub in place: the adapters and the official clients before doubles.

Made with the arguments of the local queue and the local bus, so that one suite runs against both.
Nothing leaves the event loop, and all of it goes by the test's clock.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from google.cloud.tasks_v2 import CloudTasksAsyncClient
from google.cloud.tasks_v2.services.cloud_tasks.transports import CloudTasksGrpcAsyncIOTransport
from google.cloud.tasks_v2.types import Task
from google.pubsub_v1 import PublisherAsyncClient, SubscriberAsyncClient
from google.pubsub_v1.services.publisher.transports import PublisherGrpcAsyncIOTransport
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcAsyncIOTransport
from google.pubsub_v1.types import RetryPolicy
from google.pubsub_v1.types import Subscription as SubscriptionAtGoogle

from adapters.delivery import Consumer, Patience, Quarantine, Subscription
from adapters.gcp.bus import PubSubBus
from adapters.gcp.subscriber import PullSubscriber
from adapters.gcp.tasks import CloudTaskQueue
from adapters.ports import Backoff, Clock, Ids, TaskHandler
from schemas.tasks import ImageTask
from tests.fakes.google.pubsub import PubSub
from tests.fakes.google.rpc import Channel
from tests.fakes.google.tasks import CloudTasks, Limits

QUEUE = "projects/project/locations/europe-west1/queues/images"
TOPIC = "projects/project/topics/limner-events"
WORKER = "https://limner.example/api/v1/images/worker"
ACCOUNT = "tasks@project.iam.gserviceaccount.com"


class CloudQueue:
    """`service` is the double; *handler* is called where the service would post."""

    def __init__(
        self,
        handler: TaskHandler,
        *,
        clock: Clock,
        ids: Ids,
        dispatches_per_second: float | None = 100,
        concurrent_dispatches: int = 500,
        backoff: Backoff | None = None,
    ) -> None:
        async def post(task: Task, headers: dict[str, str]) -> int:
            try:
                answer = await handler(ImageTask.model_validate_json(task.http_request.body))
            except Exception:
                return 500
            return answer.status_code

        backoff = backoff or Backoff()
        limits = Limits(
            dispatches_per_second or 1e9,
            concurrent_dispatches,
            min_backoff=backoff.first.total_seconds(),
            max_backoff=backoff.most.total_seconds(),
        )
        self.service = CloudTasks(QUEUE, post, clock, limits)
        transport = CloudTasksGrpcAsyncIOTransport(channel=Channel(self.service.methods))
        self.adapter = CloudTaskQueue(
            CloudTasksAsyncClient(transport=transport),
            path=QUEUE,
            url=WORKER,
            service_account=ACCOUNT,
            audience=WORKER,
            dispatch_deadline=timedelta(seconds=180),
            call_seconds=10,
        )

    def __getattr__(self, name: str) -> Any:
        return getattr(self.adapter, name)

    @property
    def waiting(self) -> int:
        return self.service.waiting

    @property
    def in_flight(self) -> int:
        return self.service.in_flight

    async def drain(self, timeout_seconds: float) -> None:
        await self.adapter.drain(timeout_seconds)
        await self.service.stop()


class CloudBus:
    """`service` is the double; every subscription is pulled from the start."""

    def __init__(
        self,
        subscriptions: Sequence[Subscription],
        *,
        clock: Clock,
        ids: Ids,
        quarantine: Quarantine,
        concurrency_per_subscriber: int = 64,
        backoff: Backoff | None = None,
    ) -> None:
        backoff = backoff or Backoff()
        retry = RetryPolicy(minimum_backoff=backoff.first, maximum_backoff=backoff.most)
        patience = Patience(clock, ids)
        self.service = PubSub(clock)
        self.service.topics.add(TOPIC)
        channel = Channel(self.service.methods)
        self.adapter = PubSubBus(
            PublisherAsyncClient(transport=PublisherGrpcAsyncIOTransport(channel=channel)),
            topic_path=TOPIC,
            call_seconds=10,
        )
        client = SubscriberAsyncClient(transport=SubscriberGrpcAsyncIOTransport(channel=channel))
        self.pulls: list[PullSubscriber] = []
        for one in subscriptions:
            path = f"projects/project/subscriptions/limner-{one.name}"
            self.service.add(SubscriptionAtGoogle(name=path, topic=TOPIC, retry_policy=retry))
            pull = PullSubscriber(
                client,
                Consumer(one, quarantine=quarantine, patience=patience),
                path=path,
                patience=patience,
                call_seconds=10,
                concurrency=concurrency_per_subscriber,
            )
            pull.start()
            self.pulls.append(pull)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.adapter, name)

    async def drain(self, timeout_seconds: float) -> None:
        for pull in self.pulls:
            await pull.drain(timeout_seconds)
        await self.service.stop()
