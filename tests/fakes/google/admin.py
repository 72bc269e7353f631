"""Doubles of what `limner provision` and `limner doctor` ask of Cloud Tasks and Pub/Sub.

Where they differ from the services is said, and tested, in tests/adapters/test_provision.py.
"""

from datetime import timedelta
from typing import Any

import grpc
from google.cloud.tasks_v2.types import (
    CreateQueueRequest,
    GetQueueRequest,
    Queue,
    UpdateQueueRequest,
)
from google.iam.v1 import iam_policy_pb2, policy_pb2
from google.pubsub_v1.types import (
    GetSubscriptionRequest,
    GetTopicRequest,
    Subscription,
    Topic,
    UpdateSubscriptionRequest,
)

from tests.fakes.google.pubsub import PubSub
from tests.fakes.google.rpc import Method, Methods, Refused

TASKS = "/google.cloud.tasks.v2.CloudTasks"
IAM = "/google.iam.v1.IAMPolicy"
EXPIRES_AFTER = timedelta(days=31)
IMMUTABLE = {"name", "topic", "filter"}

Asked, Told = (
    iam_policy_pb2.TestIamPermissionsRequest,
    iam_policy_pb2.TestIamPermissionsResponse,
)


class Queues:
    """`allowed` are the permissions of whoever calls."""

    def __init__(self) -> None:
        self.queues: dict[str, Queue] = {}
        self.allowed = {
            "cloudtasks.tasks.create",
            "cloudtasks.queues.create",
            "cloudtasks.queues.get",
        }

    @property
    def methods(self) -> Methods:
        return {
            f"{TASKS}/GetQueue": Method(GetQueueRequest, Queue, self.get),
            f"{TASKS}/CreateQueue": Method(CreateQueueRequest, Queue, self.create),
            f"{TASKS}/UpdateQueue": Method(UpdateQueueRequest, Queue, self.update),
            f"{TASKS}/TestIamPermissions": Method(Asked, Told, self.test),
        }

    async def get(self, request: GetQueueRequest) -> Queue:
        self._demand("cloudtasks.queues.get")
        return self._queue(request.name)

    async def create(self, request: CreateQueueRequest) -> Queue:
        queue = request.queue
        self._demand("cloudtasks.queues.create")
        if not queue.name.startswith(f"{request.parent}/queues/"):
            raise Refused(grpc.StatusCode.INVALID_ARGUMENT, "the parent is another one")
        if queue.name in self.queues:
            raise Refused(grpc.StatusCode.ALREADY_EXISTS, "Queue already exists")
        queue.state = Queue.State.RUNNING
        self.queues[queue.name] = queue
        return queue

    async def update(self, request: UpdateQueueRequest) -> Queue:
        queue = self._queue(request.queue.name)
        for path in request.update_mask.paths:
            section, _, field = path.partition(".")
            if section != "rate_limits" or not field:
                raise Refused(grpc.StatusCode.INVALID_ARGUMENT, f"{path} is not known here")
            setattr(queue.rate_limits, field, getattr(request.queue.rate_limits, field))
        return queue

    async def test(self, request: Any) -> Any:
        held = self.allowed if request.resource in self.queues else set()
        return Told(permissions=[one for one in request.permissions if one in held])

    def _demand(self, permission: str) -> None:
        if permission not in self.allowed:
            raise Refused(grpc.StatusCode.PERMISSION_DENIED, f"lacks {permission}")

    def _queue(self, name: str) -> Queue:
        if name not in self.queues:
            raise Refused(grpc.StatusCode.NOT_FOUND, "Queue does not exist.")
        return self.queues[name]


class Subscriptions:
    """Looks at and changes what *bus* has. `bindings` is every policy."""

    def __init__(self, bus: PubSub) -> None:
        self.bus = bus
        self.allowed = {"pubsub.topics.publish", "pubsub.subscriptions.consume"}
        self.bindings: dict[str, list[str]] = {}

    @property
    def methods(self) -> Methods:
        of, update = "/google.pubsub.v1", UpdateSubscriptionRequest
        asked, policy = iam_policy_pb2.GetIamPolicyRequest, policy_pb2.Policy
        return {
            f"{of}.Publisher/GetTopic": Method(GetTopicRequest, Topic, self.topic),
            f"{of}.Subscriber/GetSubscription": Method(
                GetSubscriptionRequest, Subscription, self.subscription
            ),
            f"{of}.Subscriber/CreateSubscription": Method(Subscription, Subscription, self.create),
            f"{of}.Subscriber/UpdateSubscription": Method(update, Subscription, self.update),
            f"{IAM}/TestIamPermissions": Method(Asked, Told, self.test),
            f"{IAM}/GetIamPolicy": Method(asked, policy, self.policy),
        }

    async def topic(self, request: GetTopicRequest) -> Topic:
        if request.topic not in self.bus.topics:
            raise Refused(grpc.StatusCode.NOT_FOUND, "Topic not found")
        return Topic(name=request.topic)

    async def subscription(self, request: GetSubscriptionRequest) -> Subscription:
        return self._told(request.subscription)

    async def create(self, told: Subscription) -> Subscription:
        letters = told.dead_letter_policy.dead_letter_topic
        if letters and letters not in self.bus.topics:
            raise Refused(grpc.StatusCode.NOT_FOUND, "Dead letter topic not found")
        if "expiration_policy" not in told:
            told.expiration_policy = {"ttl": EXPIRES_AFTER}
        return self.bus.add(told)

    async def update(self, request: UpdateSubscriptionRequest) -> Subscription:
        there = self._told(request.subscription.name)
        fields = set(request.update_mask.paths)
        if fields & IMMUTABLE:
            raise Refused(grpc.StatusCode.INVALID_ARGUMENT, "it cannot be changed")
        for field in fields:
            setattr(there, field, getattr(request.subscription, field))
        return there

    async def test(self, request: Any) -> Any:
        return Told(permissions=[one for one in request.permissions if one in self.allowed])

    async def policy(self, request: Any) -> Any:
        bindings = [{"role": role, "members": members} for role, members in self.bindings.items()]
        return policy_pb2.Policy(bindings=[policy_pb2.Binding(**one) for one in bindings])

    def _told(self, name: str) -> Subscription:
        if name not in self.bus.subscriptions:
            raise Refused(grpc.StatusCode.NOT_FOUND, "Subscription does not exist")
        return self.bus.subscriptions[name].told
