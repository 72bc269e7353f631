"""What the doubles of Google's services do as the services do, and where they differ."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import grpc
import jwt
import pytest
from google.cloud.tasks_v2.types import CreateTaskRequest, HttpRequest, Task
from google.pubsub_v1.types import (
    AcknowledgeRequest,
    DeadLetterPolicy,
    ModifyAckDeadlineRequest,
    PublishRequest,
    PubsubMessage,
    PushConfig,
    RetryPolicy,
    StreamingPullRequest,
    Subscription,
)

from tests.fakes.clock import FakeClock
from tests.fakes.google.login import Login
from tests.fakes.google.pubsub import PubSub
from tests.fakes.google.rpc import Refused
from tests.fakes.google.storage import CloudStorage
from tests.fakes.google.tasks import CloudTasks, Limits

QUEUE = "projects/p/locations/l/queues/q"
TOPIC, LETTERS = "projects/p/topics/t", "projects/p/topics/letters"
PULLED, PUSHED = "projects/p/subscriptions/pulled", "projects/p/subscriptions/pushed"


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


class Endpoint:
    """Answers tasks and pushes as it is told."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.answers: list[int | Exception] = []
        self.seconds = 0.0
        self.came: list[tuple[float, Any]] = []

    async def __call__(self, told: Any, more: Any) -> int:
        self.came.append((self.clock.monotonic(), more))
        if self.seconds:
            await self.clock.sleep(self.seconds)
        answer = self.answers.pop(0) if self.answers else 200
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture
def endpoint(clock: FakeClock) -> Endpoint:
    return Endpoint(clock)


def create(name: str = "a", **fields: Any) -> CreateTaskRequest:
    task = Task(name=f"{QUEUE}/tasks/{name}", http_request=HttpRequest(url="https://x"), **fields)
    return CreateTaskRequest(parent=QUEUE, task=task)


class TestCloudTasks:
    @pytest.mark.parametrize(
        ("request_", "code"),
        [
            (CreateTaskRequest(parent=QUEUE + "x", task=Task()), grpc.StatusCode.NOT_FOUND),
            (create("a/b"), grpc.StatusCode.INVALID_ARGUMENT),
            (
                create("a", dispatch_deadline=timedelta(seconds=14)),
                grpc.StatusCode.INVALID_ARGUMENT,
            ),
            (create("a", dispatch_deadline=timedelta(hours=1)), grpc.StatusCode.INVALID_ARGUMENT),
        ],
    )
    async def test_refuses_what_the_service_refuses(
        self, clock: FakeClock, endpoint: Endpoint, request_: CreateTaskRequest, code: Any
    ) -> None:
        tasks = CloudTasks(QUEUE, endpoint, clock)
        with pytest.raises(Refused) as caught:
            await tasks.create(request_)
        assert caught.value.code is code
        await tasks.create(create("taken"))
        with pytest.raises(Refused) as caught:
            await tasks.create(create("taken"))
        assert caught.value.code is grpc.StatusCode.ALREADY_EXISTS

    async def test_tells_how_often_a_task_came(self, clock: FakeClock, endpoint: Endpoint) -> None:
        endpoint.answers = [503, ConnectionError("refused"), 500, 200]
        await CloudTasks(QUEUE, endpoint, clock).create(create())
        await clock.advance(10)
        told = [
            (more["X-CloudTasks-TaskRetryCount"], more["X-CloudTasks-TaskExecutionCount"])
            for _, more in endpoint.came
        ]
        # Without an answer an attempt is no execution.
        assert told == [("0", "0"), ("1", "1"), ("2", "1"), ("3", "2")]
        assert endpoint.came[0][1]["X-CloudTasks-TaskName"] == "a"
        assert endpoint.came[0][1]["X-CloudTasks-QueueName"] == "q"

    async def test_an_attempt_that_outlasts_its_deadline_is_made_again(
        self, clock: FakeClock, endpoint: Endpoint
    ) -> None:
        endpoint.seconds = 20
        limits = Limits(min_backoff=1)
        tasks = CloudTasks(QUEUE, endpoint, clock, limits)
        await tasks.create(create(dispatch_deadline=timedelta(seconds=15)))
        await clock.advance(15)
        endpoint.seconds = 0
        await clock.advance(2)
        assert [moment for moment, _ in endpoint.came] == [0, 16]

    async def test_gives_up_after_its_attempts(self, clock: FakeClock, endpoint: Endpoint) -> None:
        endpoint.answers = [500] * 9
        tasks = CloudTasks(QUEUE, endpoint, clock, Limits(max_attempts=3))
        await tasks.create(create())
        await clock.advance(60)
        assert len(endpoint.came) == 3
        assert [task.name for task in tasks.dead] == [f"{QUEUE}/tasks/a"]

    async def test_differs_from_the_service(self, clock: FakeClock, endpoint: Endpoint) -> None:
        """Its tasks die with it; it never dispatches one twice without reason, as the service
        may; it lets an attempt go at its deadline to the millisecond; and it needs no IAM."""
        tasks = CloudTasks(QUEUE, endpoint, clock)
        await tasks.create(create(schedule_time=clock.now() + timedelta(seconds=5)))
        await tasks.stop()
        await clock.advance(60)
        assert endpoint.came == []


def message(kind: str = "done") -> PubsubMessage:
    return PubsubMessage(data=b"{}", attributes={"type": kind})


async def puller(bus: PubSub, **fields: Any) -> asyncio.Queue[Any]:
    """Open a stream; what it gives comes into the queue."""
    came: asyncio.Queue[Any] = asyncio.Queue()

    async def requests() -> Any:
        yield StreamingPullRequest(subscription=PULLED, stream_ack_deadline_seconds=10, **fields)
        await asyncio.Event().wait()

    async def read() -> None:
        async for response in bus.pull(requests()):
            for received in response.received_messages:
                came.put_nowait(received)

    bus._spawn(read())
    await asyncio.sleep(0)
    return came


class TestPubSub:
    @pytest.fixture
    def bus(self, clock: FakeClock, endpoint: Endpoint) -> PubSub:
        bus = PubSub(clock, endpoint)
        bus.topics |= {TOPIC, LETTERS}
        return bus

    async def publish(self, bus: PubSub, *messages: PubsubMessage) -> None:
        await bus.publish(PublishRequest(topic=TOPIC, messages=messages or [message()]))

    async def test_what_is_not_acknowledged_in_time_comes_again(
        self, bus: PubSub, clock: FakeClock
    ) -> None:
        bus.add(Subscription(name=PULLED, topic=TOPIC))
        came = await puller(bus)
        await self.publish(bus)
        first = await came.get()
        await clock.advance(9)
        extend = ModifyAckDeadlineRequest(
            subscription=PULLED, ack_ids=[first.ack_id], ack_deadline_seconds=60
        )
        await bus.modify_deadline(extend)
        await clock.advance(59)
        assert came.empty()
        await clock.advance(2)
        second = await came.get()
        assert (second.message.message_id, second.ack_id != first.ack_id) == ("1", True)
        stale = AcknowledgeRequest(subscription=PULLED, ack_ids=[first.ack_id])
        await bus.acknowledge(stale)
        await clock.advance(11)
        third = await came.get()
        await bus.acknowledge(AcknowledgeRequest(subscription=PULLED, ack_ids=[third.ack_id]))
        await clock.advance(3600)
        assert came.empty()
        assert bus.acknowledged == ["1"]

    async def test_a_stream_holds_no_more_than_it_asked_for(
        self, bus: PubSub, clock: FakeClock
    ) -> None:
        bus.add(Subscription(name=PULLED, topic=TOPIC))
        came = await puller(bus, max_outstanding_messages=2)
        await self.publish(bus, *(message() for _ in range(5)))
        await clock.settle()
        assert came.qsize() == 2

    async def test_filters_and_dead_letters(
        self, bus: PubSub, clock: FakeClock, endpoint: Endpoint
    ) -> None:
        letters = DeadLetterPolicy(dead_letter_topic=LETTERS, max_delivery_attempts=5)
        bus.add(Subscription(name=PULLED, topic=LETTERS))
        config = PushConfig(push_endpoint="https://x")
        bus.add(
            Subscription(
                name=PUSHED,
                topic=TOPIC,
                push_config=config,
                filter='attributes.type = "done" OR attributes.type = "failed"',
                dead_letter_policy=letters,
                retry_policy=RetryPolicy(minimum_backoff=timedelta(seconds=10)),
            )
        )
        endpoint.answers = [500] * 5
        came = await puller(bus)
        await self.publish(bus, message("queued"), message("failed"))
        await clock.advance(600)
        assert [moment for moment, _ in endpoint.came] == [0, 10, 30, 70, 150]
        envelopes = [envelope for _, envelope in endpoint.came]
        assert [one["deliveryAttempt"] for one in envelopes] == [1, 2, 3, 4, 5]
        assert {one["subscription"] for one in envelopes} == {PUSHED}
        assert (await came.get()).message.attributes["type"] == "failed"

    async def test_refuses_what_the_service_refuses(self, bus: PubSub) -> None:
        empty = PubsubMessage()
        long = PubsubMessage(data=b"x", attributes={"blog_id": "x" * 1025})
        many = [message()] * 1001
        for messages in ([empty], [message(), long], many, [PubsubMessage(data=b"x" * 10**7)]):
            with pytest.raises(Refused) as caught:
                await self.publish(bus, *messages)
            assert caught.value.code is grpc.StatusCode.INVALID_ARGUMENT
        assert bus.published == []

    async def test_differs_from_the_service(self, bus: PubSub, clock: FakeClock) -> None:
        """It delivers in order and once where nothing fails, one message a response; of filters it
        knows types alone; it keeps no message without a subscription, and forgets all when it
        ends. (Google's emulator ignores filters and retry policies, and pushes without a token.)"""
        bus.add(Subscription(name=PULLED, topic=TOPIC, filter='attributes.tenant = "other"'))
        came = await puller(bus)
        await self.publish(bus, *(message() for _ in range(20)))
        await clock.settle()
        numbers = [int(came.get_nowait().message.message_id) for _ in range(came.qsize())]
        assert (len(numbers), numbers) == (20, sorted(set(numbers)))


class TestCloudStorage:
    @pytest.fixture
    def ask(self) -> Callable[..., tuple[int, bytes, dict[str, str]]]:
        storage = CloudStorage("pictures")
        trusted = {"Authorization": "Bearer whatever"}

        def ask(
            method: str, path: str, body: bytes = b"", **headers: str
        ) -> tuple[int, bytes, dict[str, str]]:
            told = {name.replace("_", "-"): value for name, value in headers.items()}
            return storage.handle(method, path, trusted | told, body)

        return ask

    def test_an_object_is_created_once_under_generation_match_0(self, ask: Any) -> None:
        create_only = {"x_goog_if_generation_match": "0"}
        assert ask("PUT", "/pictures/a%2Fb", b"one", **create_only)[0] == 200
        assert ask("PUT", "/pictures/a%2Fb", b"two", **create_only)[0] == 412
        assert ask("GET", "/pictures/a/b")[1] == b"one"
        assert ask("PUT", "/other/a", b"one")[0] == 404

    def test_differs_from_the_service(self, ask: Any) -> None:
        """It takes any bearer for the owner, keeps no generations, and checks a signature as one
        for storage.googleapis.com, for which obstore signs wherever it sends its requests."""
        assert ask("PUT", "/pictures/a", b"one")[0] == 200
        assert ask("PUT", "/pictures/a", b"two")[0] == 200
        assert ask("GET", "/pictures/a")[2]["x-goog-generation"] == "1"


class TestLogin:
    def test_differs_from_the_service(self) -> None:
        """It vouches for whatever it is told to, and its keys are rotated by hand alone."""
        login = Login()
        (key,) = login.jwks()["keys"]
        assert key.keys() >= {"kid", "n", "e", "alg", "use", "kty"}
        assert "d" not in key, "the private half is nobody's business"
        token = login.token(email="a@b", audience="x", iss="https://accounts.example.com")
        said = jwt.decode(token, options={"verify_signature": False})
        assert (said["iss"], said["email_verified"]) == ("https://accounts.example.com", True)
