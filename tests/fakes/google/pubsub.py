"""A double of Pub/Sub: topics, and subscriptions by pull and by push.

Faithful in leases, redelivery, backoff, filters by type, dead letters, envelopes and push tokens.
Where it differs is said, and tested, in tests/adapters/test_google_doubles.py.
"""

import asyncio
import base64
import re
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC
from itertools import count
from typing import Any

import grpc
from google.protobuf.empty_pb2 import Empty
from google.pubsub_v1.types import (
    AcknowledgeRequest,
    ModifyAckDeadlineRequest,
    PublishRequest,
    PublishResponse,
    PubsubMessage,
    ReceivedMessage,
    StreamingPullRequest,
    StreamingPullResponse,
    Subscription,
    Topic,
)

from adapters.ports import Clock
from tests.fakes.google.rpc import Method, Methods, Refused

MOST_MESSAGES = 1_000
MOST_REQUEST_BYTES = 10_000_000
MOST_ATTRIBUTES, MOST_KEY_BYTES, MOST_VALUE_BYTES = 100, 256, 1024
DEFAULT_DEADLINE = 10
PUSH_BACKOFF = (0.1, 60.0)
ACKNOWLEDGED = {102, 200, 201, 202, 204}
TYPE_IS = re.compile(r'attributes\.type\s*=\s*"([^"]+)"')

# Posts one envelope to a subscription's endpoint, and tells the status that was answered.
Push = Callable[[Subscription, dict[str, Any]], Awaitable[int]]


@dataclass(eq=False)
class _Stream:
    limit: int
    deadline: int
    out: asyncio.Queue[StreamingPullResponse | None] = field(default_factory=asyncio.Queue)
    held: set[str] = field(default_factory=set)

    @property
    def has_room(self) -> bool:
        return not self.limit or len(self.held) < self.limit


@dataclass
class _Lease:
    message: PubsubMessage
    deliveries: int
    until: float
    stream: _Stream | None


@dataclass
class _Subscription:
    told: Subscription
    backlog: deque[tuple[PubsubMessage, int]] = field(default_factory=deque)
    leases: dict[str, _Lease] = field(default_factory=dict)
    streams: list[_Stream] = field(default_factory=list)

    @property
    def wanted(self) -> set[str]:
        return set(TYPE_IS.findall(self.told.filter))


async def _nowhere(subscription: Subscription, envelope: dict[str, Any]) -> int:
    return 404


class PubSub:
    """`trouble` may raise `Refused` before each call; `acknowledged` are ids of messages.

    With `floods` a stream is given more than it asked for, as the service's limits are no promise.
    """

    def __init__(self, clock: Clock, push: Push = _nowhere) -> None:
        self.trouble: Callable[[Any], None] = lambda _: None
        self.floods = False
        self.topics: set[str] = set()
        self.subscriptions: dict[str, _Subscription] = {}
        self.published: list[PubsubMessage] = []
        self.acknowledged: list[str] = []
        self._clock = clock
        self._push = push
        self._numbers = count(1)
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def methods(self) -> Methods:
        def one(service: str, name: str, request: Any, response: Any, call: Any) -> Any:
            return f"/google.pubsub.v1.{service}/{name}", Method(request, response, call)

        modify, pull = ModifyAckDeadlineRequest, "/google.pubsub.v1.Subscriber/StreamingPull"
        return dict(
            [
                one("Publisher", "CreateTopic", Topic, Topic, self.create_topic),
                one("Publisher", "Publish", PublishRequest, PublishResponse, self.publish),
                one("Subscriber", "CreateSubscription", Subscription, Subscription, self.subscribe),
                one("Subscriber", "Acknowledge", AcknowledgeRequest, Empty, self.acknowledge),
                one("Subscriber", "ModifyAckDeadline", modify, Empty, self.modify_deadline),
            ]
        ) | {pull: Method(StreamingPullRequest, StreamingPullResponse, self.pull, streams=True)}

    async def create_topic(self, topic: Topic) -> Topic:
        if topic.name in self.topics:
            raise Refused(grpc.StatusCode.ALREADY_EXISTS, "Topic already exists")
        self.topics.add(topic.name)
        return topic

    async def subscribe(self, told: Subscription) -> Subscription:
        return self.add(told)

    def add(self, told: Subscription) -> Subscription:
        if told.name in self.subscriptions:
            raise Refused(grpc.StatusCode.ALREADY_EXISTS, "Subscription already exists")
        if told.topic not in self.topics:
            raise Refused(grpc.StatusCode.NOT_FOUND, "Topic not found")
        told.ack_deadline_seconds = told.ack_deadline_seconds or DEFAULT_DEADLINE
        self.subscriptions[told.name] = _Subscription(told)
        return told

    async def publish(self, request: PublishRequest) -> PublishResponse:
        self.trouble(request)
        if request.topic not in self.topics:
            raise Refused(grpc.StatusCode.NOT_FOUND, "Topic not found")
        _check(request)
        for message in request.messages:
            message.message_id = str(next(self._numbers))
            message.publish_time = self._clock.now()
            self._fan_out(request.topic, message)
        self.published.extend(request.messages)
        return PublishResponse(message_ids=[one.message_id for one in request.messages])

    async def pull(
        self, requests: AsyncIterator[StreamingPullRequest]
    ) -> AsyncIterator[StreamingPullResponse]:
        first = await anext(aiter(requests))
        self.trouble(first)
        found = self._subscription(first.subscription)
        stream = _Stream(first.max_outstanding_messages, first.stream_ack_deadline_seconds)
        found.streams.append(stream)
        self._pump(found)
        listening = asyncio.ensure_future(_read_out(requests))
        try:
            while (response := await stream.out.get()) is not None:
                yield response
            raise Refused(grpc.StatusCode.UNAVAILABLE, "The service was unable to fulfill …")
        finally:
            listening.cancel()
            found.streams.remove(stream)

    async def acknowledge(self, request: AcknowledgeRequest) -> Empty:
        self.trouble(request)
        found = self._subscription(request.subscription)
        for ack_id in request.ack_ids:
            lease = self._release(found, ack_id)
            if lease is not None:
                self.acknowledged.append(lease.message.message_id)
        self._pump(found)
        return Empty()

    async def modify_deadline(self, request: ModifyAckDeadlineRequest) -> Empty:
        self.trouble(request)
        found = self._subscription(request.subscription)
        for ack_id in request.ack_ids:
            lease = found.leases.get(ack_id)
            if lease is None:
                continue
            lease.until = self._clock.monotonic() + request.ack_deadline_seconds
            if request.ack_deadline_seconds == 0:
                self._back(found, ack_id)
        return Empty()

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def break_streams(self) -> None:
        """End every open stream, as the service does now and then."""
        for found in self.subscriptions.values():
            for stream in found.streams:
                stream.out.put_nowait(None)

    def _subscription(self, name: str) -> _Subscription:
        if name not in self.subscriptions:
            raise Refused(grpc.StatusCode.NOT_FOUND, "Subscription does not exist")
        return self.subscriptions[name]

    def _fan_out(self, topic: str, message: PubsubMessage) -> None:
        for found in self.subscriptions.values():
            wanted = found.wanted
            if found.told.topic == topic and (
                not wanted or message.attributes.get("type") in wanted
            ):
                found.backlog.append((message, 0))
                self._pump(found)

    def _pump(self, found: _Subscription) -> None:
        if found.told.push_config.push_endpoint:
            while found.backlog:
                self._spawn(self._pushing(found, *found.backlog.popleft()))
            return
        for stream in found.streams:
            while found.backlog and (self.floods or stream.has_room):
                message, deliveries = found.backlog.popleft()
                self._lease(found, stream, message, deliveries + 1)

    def _lease(
        self, found: _Subscription, stream: _Stream, message: PubsubMessage, deliveries: int
    ) -> None:
        ack_id = f"{message.message_id}-{next(self._numbers)}"
        seconds = stream.deadline or found.told.ack_deadline_seconds
        until = self._clock.monotonic() + seconds
        found.leases[ack_id] = _Lease(message, deliveries, until, stream)
        stream.held.add(ack_id)
        attempt = deliveries if found.told.dead_letter_policy.dead_letter_topic else 0
        received = ReceivedMessage(ack_id=ack_id, message=message, delivery_attempt=attempt)
        stream.out.put_nowait(StreamingPullResponse(received_messages=[received]))
        self._spawn(self._expire(found, ack_id))

    async def _expire(self, found: _Subscription, ack_id: str) -> None:
        while (lease := found.leases.get(ack_id)) is not None:
            left = lease.until - self._clock.monotonic()
            if left <= 0:
                self._back(found, ack_id)
                return
            await self._clock.sleep(left)

    def _release(self, found: _Subscription, ack_id: str) -> _Lease | None:
        lease = found.leases.pop(ack_id, None)
        if lease is not None and lease.stream is not None:
            lease.stream.held.discard(ack_id)
        return lease

    def _back(self, found: _Subscription, ack_id: str) -> None:
        lease = self._release(found, ack_id)
        if lease is not None:
            self._again(found, lease.message, lease.deliveries, 0.0)
            self._pump(found)

    def _again(
        self, found: _Subscription, message: PubsubMessage, deliveries: int, least: float
    ) -> None:
        """Deliver once more after the retry policy's wait, or give it to the dead letters."""
        letters = found.told.dead_letter_policy
        if letters.dead_letter_topic and deliveries >= (letters.max_delivery_attempts or 5):
            self._fan_out(letters.dead_letter_topic, message)
            return
        policy = found.told.retry_policy
        wait = least
        if policy.minimum_backoff:
            first = policy.minimum_backoff.total_seconds()
            most = policy.maximum_backoff.total_seconds() if policy.maximum_backoff else 600.0
            wait = min(first * 2.0 ** (deliveries - 1), most)

        async def later() -> None:
            await self._clock.sleep(wait)
            found.backlog.append((message, deliveries))
            self._pump(found)

        if wait > 0:
            self._spawn(later())
        else:
            found.backlog.append((message, deliveries))

    async def _pushing(self, found: _Subscription, message: PubsubMessage, before: int) -> None:
        told = {
            "data": base64.b64encode(message.data).decode(),
            "attributes": dict(message.attributes),
            "messageId": message.message_id,
            "message_id": message.message_id,
            "publishTime": self._clock.now().astimezone(UTC).isoformat(),
        }
        envelope = {"message": told, "subscription": found.told.name}
        if found.told.dead_letter_policy.dead_letter_topic:
            envelope["deliveryAttempt"] = before + 1
        try:
            status = await self._push(found.told, envelope)
        except OSError:
            status = 0
        if status in ACKNOWLEDGED:
            self.acknowledged.append(message.message_id)
            return
        first, most = PUSH_BACKOFF
        self._again(found, message, before + 1, min(first * 2.0**before, most))

    def _spawn(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def _read_out(requests: AsyncIterator[Any]) -> None:
    async for _ in requests:
        pass


def _check(request: PublishRequest) -> None:
    if len(request.messages) > MOST_MESSAGES:
        raise Refused(grpc.StatusCode.INVALID_ARGUMENT, "too many messages")
    if len(PublishRequest.serialize(request)) > MOST_REQUEST_BYTES:
        raise Refused(grpc.StatusCode.INVALID_ARGUMENT, "Request payload size exceeds the limit")
    for message in request.messages:
        if not message.data and not message.attributes:
            raise Refused(grpc.StatusCode.INVALID_ARGUMENT, "Some messages are empty")
        if len(message.attributes) > MOST_ATTRIBUTES or any(
            len(key.encode()) > MOST_KEY_BYTES or len(value.encode()) > MOST_VALUE_BYTES
            for key, value in message.attributes.items()
        ):
            raise Refused(grpc.StatusCode.INVALID_ARGUMENT, "An attribute is too long")
