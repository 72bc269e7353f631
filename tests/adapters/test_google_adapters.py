"""What only the adapters of Google Cloud promise, beside the contracts of their ports."""

import asyncio
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import grpc
import pytest
from google.cloud.tasks_v2.types import HttpMethod
from google.pubsub_v1.types import AcknowledgeRequest, ModifyAckDeadlineRequest, PubsubMessage

from adapters.delivery import Subscription
from adapters.errors import BusUnavailable, QueueUnavailable
from adapters.gcp.bus import message_of
from adapters.local.ids import RandomIds
from schemas.events import CloudEvent, cloud_event
from schemas.tasks import ImageTask
from tests.adapters.test_event_bus_contract import COMPLETED, DeadLetters, Linker, event
from tests.fakes.clock import FakeClock
from tests.fakes.google.here import ACCOUNT, QUEUE, TOPIC, WORKER, CloudBus, CloudQueue
from tests.fakes.google.rpc import Refused

STATUSES = [
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.UNAUTHENTICATED,
    grpc.StatusCode.NOT_FOUND,
]


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def raises(code: grpc.StatusCode) -> Callable[[Any], None]:
    def trouble(_: Any) -> None:
        raise Refused(code, "told so")

    return trouble


class TestTasks:
    @pytest.fixture
    def queue(self, clock: FakeClock) -> CloudQueue:
        async def never(_: ImageTask) -> Any:
            raise AssertionError("nothing is dispatched here")

        return CloudQueue(never, clock=clock, ids=RandomIds(clock))

    async def test_a_task_says_all_that_the_service_needs_and_ids_alone(
        self, queue: CloudQueue, clock: FakeClock
    ) -> None:
        told: list[Any] = []
        queue.service.trouble = told.append
        task = ImageTask(job_id=UUID(int=7), attempt=2, dispatch=3)
        later = clock.now() + timedelta(minutes=5)
        await queue.create_image_generation_task(task, not_before=later)
        ((request,),) = [told]
        sent = request.task
        assert (request.parent, sent.name) == (QUEUE, f"{QUEUE}/tasks/{task.name}")
        assert (sent.http_request.url, sent.http_request.http_method) == (WORKER, HttpMethod.POST)
        assert sent.http_request.oidc_token.service_account_email == ACCOUNT
        assert sent.http_request.oidc_token.audience == WORKER
        assert sent.dispatch_deadline == timedelta(seconds=180)
        assert sent.schedule_time.timestamp() == later.timestamp()
        body = json.loads(sent.http_request.body)
        assert body == {"job_id": str(UUID(int=7)), "attempt": 2, "dispatch": 3}
        assert sent.http_request.headers["traceparent"].startswith(f"00-{UUID(int=7).hex}-")
        assert queue.incarnation == QUEUE

    @pytest.mark.parametrize("code", STATUSES, ids=lambda code: code.name)
    async def test_whatever_the_service_answers_the_task_may_be_sent_again(
        self, queue: CloudQueue, code: grpc.StatusCode
    ) -> None:
        queue.service.trouble = raises(code)
        with pytest.raises(QueueUnavailable, match="told so"):
            await queue.create_image_generation_task(ImageTask(job_id=UUID(int=1), attempt=1))
        assert queue.waiting == 0

    async def test_many_calls_are_in_flight_at_once(
        self, queue: CloudQueue, clock: FakeClock
    ) -> None:
        queue.service.hold = asyncio.Event()
        later = clock.now() + timedelta(hours=1)
        tasks = [ImageTask(job_id=UUID(int=number), attempt=1) for number in range(200)]
        sends = asyncio.gather(
            *(queue.create_image_generation_task(task, not_before=later) for task in tasks)
        )
        await clock.settle()
        assert (queue.service.calls, sends.done()) == (200, False)
        queue.service.hold.set()
        await sends
        assert queue.waiting == 200


class TestBus:
    def test_a_message_carries_what_subscriptions_filter_by(self) -> None:
        row = event(12)
        facts = {
            "is_draft": False,
            "blog_id": "post",
            "quality": "high",
            "job_id": str(UUID(int=7)),
        }
        row.data = json.dumps(facts)
        told = cloud_event(row)
        sent = message_of(told)
        trace = f"00-{UUID(int=7).hex}-{told.id.hex[-16:]}-01"
        assert dict(sent.attributes) == {
            "content-type": "application/cloudevents+json",
            "type": COMPLETED,
            "tenant": "local",
            "sequence": "0000000012",
            "is_draft": "false",
            "blog_id": "post",
            "quality": "high",
            "traceparent": trace,
        }
        assert CloudEvent.model_validate_json(sent.data) == told

    def test_what_an_event_does_not_say_is_no_attribute(self) -> None:
        row = event(1, "image.batch.created")
        row.data = json.dumps({"blog_id": None})
        sent = message_of(cloud_event(row))
        assert {"blog_id", "is_draft", "quality"}.isdisjoint(sent.attributes)

    @pytest.mark.parametrize("code", STATUSES, ids=lambda code: code.name)
    async def test_whatever_the_service_answers_the_events_may_be_sent_again(
        self, clock: FakeClock, code: grpc.StatusCode
    ) -> None:
        bus = CloudBus((), clock=clock, ids=RandomIds(clock), quarantine=DeadLetters())
        bus.service.trouble = raises(code)
        answers = await bus.publish([event(1), event(2)])
        assert [type(one) for one in answers] == [BusUnavailable] * 2


class TestPull:
    @pytest.fixture
    def linker(self, clock: FakeClock) -> Linker:
        return Linker(clock)

    def bus(self, linker: Linker, **options: Any) -> CloudBus:
        clock = linker.clock
        wanted: tuple[Subscription, ...] = (linker.wants(),)
        return CloudBus(
            wanted, clock=clock, ids=RandomIds(clock), quarantine=DeadLetters(), **options
        )

    async def test_nothing_is_acknowledged_before_its_effect_is_durable(
        self, linker: Linker, clock: FakeClock
    ) -> None:
        linker.seconds = 5
        bus = self.bus(linker)
        await bus.publish([event(1)])
        await clock.advance(4.9)
        assert (linker.busy, bus.service.acknowledged) == (1, [])
        await clock.advance(0.2)
        assert len(bus.service.acknowledged) == 1

    async def test_a_lease_is_extended_for_as_long_as_the_work_takes(
        self, linker: Linker, clock: FakeClock
    ) -> None:
        linker.seconds = 600
        bus = self.bus(linker)
        await bus.publish([event(1)])
        await clock.advance(601)
        assert (linker.tried, linker.handled) == ([(1, 0.0)], [1])
        assert len(bus.service.acknowledged) == 1

    async def test_what_is_no_event_is_given_back_for_the_dead_letter_topic(
        self, linker: Linker, clock: FakeClock
    ) -> None:
        bus = self.bus(linker)
        given_back: list[Any] = []

        def watch(request: Any) -> None:
            if isinstance(request, ModifyAckDeadlineRequest) and not request.ack_deadline_seconds:
                given_back.append(request)

        bus.service.trouble = watch
        bus.service._fan_out(TOPIC, PubsubMessage(data=b"garbage", message_id="1"))
        await clock.advance(1)
        assert given_back
        assert bus.service.acknowledged == []
        assert bus.pulls[0]._consumer.refused >= 1

    async def test_a_broken_stream_is_opened_again(self, linker: Linker, clock: FakeClock) -> None:
        bus = self.bus(linker)
        for number in range(1, 4):
            await clock.advance(1)
            bus.service.break_streams()
            await bus.publish([event(number)])
        await clock.advance(5)
        assert linker.handled == [1, 2, 3]

    async def test_a_subscription_that_is_not_there_yet_is_waited_for(
        self, linker: Linker, clock: FakeClock
    ) -> None:
        bus = self.bus(linker)
        bus.service.trouble = raises(grpc.StatusCode.NOT_FOUND)
        bus.service.break_streams()
        await clock.advance(600)
        bus.service.trouble = lambda _: None
        await bus.publish([event(1)])
        await clock.advance(61)
        assert linker.handled == [1]

    async def test_what_could_not_be_acknowledged_comes_again(
        self, linker: Linker, clock: FakeClock
    ) -> None:
        bus = self.bus(linker)

        def no_acknowledgement(request: Any) -> None:
            if isinstance(request, AcknowledgeRequest):
                raise Refused(grpc.StatusCode.UNAVAILABLE, "away")

        bus.service.trouble = no_acknowledgement
        await bus.publish([event(1)])
        await clock.advance(50)
        bus.service.trouble = lambda _: None
        assert linker.handled == [1]
        await clock.advance(20)
        assert linker.handled == [1, 1]
        assert len(bus.service.acknowledged) == 1

    async def test_drain_ends_and_acknowledges_what_runs_and_gives_the_rest_back(
        self, linker: Linker, clock: FakeClock
    ) -> None:
        linker.seconds = 5
        bus = self.bus(linker, concurrency_per_subscriber=2)
        (pull,) = bus.pulls
        await bus.publish([event(number) for number in range(1, 5)])
        await clock.settle()
        assert linker.busy == 2
        draining = asyncio.create_task(pull.drain(timeout_seconds=30))
        await clock.advance(4)
        assert not draining.done()
        await clock.advance(1)
        await draining
        assert (linker.handled, pull.in_flight) == ([1, 2], 0)
        (subscription,) = bus.service.subscriptions.values()
        assert len(bus.service.acknowledged) == 2
        assert (len(subscription.backlog), subscription.leases) == (2, {})
        await bus.publish([event(9)])
        await clock.advance(60)
        assert linker.handled == [1, 2]

    async def test_drain_gives_back_what_came_and_was_not_begun(
        self, linker: Linker, clock: FakeClock
    ) -> None:
        linker.seconds = 5
        bus = self.bus(linker, concurrency_per_subscriber=2)
        bus.service.floods = True
        (pull,) = bus.pulls
        await bus.publish([event(number) for number in range(1, 4)])
        await clock.settle()
        (subscription,) = bus.service.subscriptions.values()
        assert (linker.busy, len(subscription.leases)) == (2, 3)
        draining = asyncio.create_task(pull.drain(timeout_seconds=30))
        await clock.advance(5)
        await draining
        assert subscription.leases == {}
        await clock.advance(1)  # the retry policy's wait
        assert (linker.handled, len(subscription.backlog)) == ([1, 2], 1)

    async def test_drain_gives_back_what_outlasts_it(
        self, linker: Linker, clock: FakeClock
    ) -> None:
        linker.seconds = 500
        bus = self.bus(linker)
        (pull,) = bus.pulls
        await bus.publish([event(1)])
        await clock.settle()
        draining = asyncio.create_task(pull.drain(timeout_seconds=10))
        await clock.advance(10)
        await draining
        assert (linker.handled, linker.busy) == ([], 0)
        (subscription,) = bus.service.subscriptions.values()
        assert (bus.service.acknowledged, subscription.leases) == ([], {})
