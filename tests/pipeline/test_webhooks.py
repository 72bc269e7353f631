"""Endpoints are told of what happens once they are registered, again and again until it arrives."""

import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from adapters.store import event_reads
from pipeline.webhooks.collect import collect
from schemas.events import CloudEvent
from schemas.webhooks import DeliveryStatus
from tests.fakes.clock import FakeClock
from tests.fakes.receiver import Answer, Receiver
from tests.webhooks import COMPLETED, Post, post_on, told


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as started:
        yield started


@pytest.fixture
async def post(database_url: str, receiver: Receiver) -> AsyncIterator[Post]:
    async with post_on(database_url, receiver) as opened:
        yield opened


@pytest.fixture
async def quick_post(sqlite_url: str, receiver: Receiver) -> AsyncIterator[Post]:
    """For what no database decides."""
    async with post_on(sqlite_url, receiver) as opened:
        yield opened


async def test_an_endpoint_is_told_of_every_event_of_a_job(post: Post, receiver: Receiver) -> None:
    webhook = await post.register(receiver)
    job_id = await post.complete(blog_id="post")
    await post.courier.once()
    history = await post.world.history("job", str(job_id))
    assert len(history) == 4
    assert sorted(told(receiver)) == sorted((event.type, str(job_id)) for event in history)
    by_id = {one.webhook_id: one for one in receiver.received}
    for event in history:
        came = CloudEvent.model_validate_json(by_id[str(event.event_id)].body)
        assert (came.id, came.seq, came.data) == (
            event.event_id, event.seq, json.loads(event.data),
        )  # fmt: skip
    assert receiver.received[0].headers["content-type"].startswith("application/cloudevents+json")
    done = await post.deliveries(webhook.webhook_id)
    assert {one.status for one in done} == {DeliveryStatus.DELIVERED}
    assert [one.tries[0].status for one in done] == [200] * 4
    await post.courier.once()
    assert len(receiver.received) == 4


async def test_only_what_an_endpoint_wants_is_sent_to_it(database_url: str) -> None:
    with Receiver() as all_of_it, Receiver() as some, Receiver() as others:
        async with post_on(database_url, all_of_it, some, others) as post:
            await post.register(all_of_it, types=[COMPLETED, "image.job.failed"])
            await post.register(some, types=[COMPLETED], blog_id="mine")
            await post.register(others, tenant="other")
            mine = await post.complete(blog_id="mine")
            yours = await post.complete(blog_id="yours")
            await post.complete()
            await post.courier.once()
        assert len(all_of_it.received) == 3
        assert {kind for kind, _ in told(all_of_it)} == {COMPLETED}
        assert told(some) == [(COMPLETED, str(mine))]
        assert (COMPLETED, str(yours)) in told(all_of_it)
        assert others.received == []


async def test_an_endpoint_is_told_of_what_comes_after_it_and_of_nothing_before(
    post: Post, receiver: Receiver
) -> None:
    await post.complete()
    first = await post.register(receiver, types=[COMPLETED])
    after = await post.complete()
    await post.courier.once()
    assert told(receiver) == [(COMPLETED, str(after))]
    await post.change(first.webhook_id, enabled=False)
    await post.complete()
    await post.courier.once()
    await post.change(first.webhook_id, enabled=True)
    again = await post.complete()
    await post.courier.once()
    assert told(receiver)[1:] == [(COMPLETED, str(again))]


async def test_an_endpoint_is_not_told_of_what_others_still_wait_for(database_url: str) -> None:
    """The history is read once for all, from where the first is owed something."""
    with Receiver() as first, Receiver() as second:
        async with post_on(database_url, first, second) as post:
            await post.register(first, types=[COMPLETED])
            before = await post.complete()
            await post.register(second, types=[COMPLETED])
            after = await post.complete()
            await post.courier.once()
        assert sorted(told(first)) == sorted([(COMPLETED, str(before)), (COMPLETED, str(after))])
        assert told(second) == [(COMPLETED, str(after))]


async def test_an_endpoint_that_is_registered_while_the_history_is_read_misses_nothing(
    database_url: str,
) -> None:
    """A process that knows only the first endpoint must not read past the events of the second."""
    with Receiver() as first, Receiver() as second:
        async with post_on(database_url, first, second) as post:
            await post.register(first, types=[COMPLETED])
            journal = post.world.journal

            class Interrupted:
                """The journal of a courier that is overtaken after it has read the endpoints."""

                overtaken = 0

                def __getattr__(self, name: str) -> Any:
                    return getattr(journal, name)

                async def read(self, query: Any, *args: Any) -> Any:
                    if query is event_reads.events_after and not self.overtaken:
                        self.overtaken += 1
                        await post.register(second, types=[COMPLETED])
                        await post.complete()
                    return await journal.read(query, *args)

            interrupted = Interrupted()
            assert (await collect(interrupted)).more  # type: ignore[arg-type]  # stands in for it
            assert interrupted.overtaken == 1
            await post.courier.once()
        assert len(told(first)) == len(told(second)) == 1


async def test_a_message_is_sent_again_until_it_is_given_up_after_about_a_day(
    quick_post: Post, receiver: Receiver
) -> None:
    receiver.otherwise = Answer.BROKEN
    webhook = await quick_post.register(receiver, types=[COMPLETED])
    await quick_post.complete()
    await quick_post.courier.once()
    waits = []
    while (await quick_post.only_delivery(webhook.webhook_id)).status is DeliveryStatus.PENDING:
        waits.append(await quick_post.pass_until_due(webhook.webhook_id))
        await quick_post.courier.once()
    most = [10, 600, 3600, 3 * 3600, 6 * 3600, 10 * 3600, 12 * 3600]
    assert len(waits) == 7
    assert all(wait <= longest for wait, longest in zip(waits, most, strict=True))
    assert all(wait >= longest / 2 for wait, longest in zip(waits, most, strict=True))
    assert len(set(receiver.ids)) == 1
    assert len(receiver.ids) == 8
    given_up = await quick_post.only_delivery(webhook.webhook_id)
    assert given_up.status is DeliveryStatus.FAILED
    assert [one.status for one in given_up.tries] == [500] * 8
    assert (await quick_post.webhook(webhook.webhook_id)).deliveries.failed == 1
    await quick_post.pass_time(86_400)
    await quick_post.courier.once()
    assert len(receiver.ids) == 8


async def test_nothing_is_sent_before_its_time(quick_post: Post, receiver: Receiver) -> None:
    receiver.script = [Answer.BROKEN]
    webhook = await quick_post.register(receiver, types=[COMPLETED])
    await quick_post.complete()
    await quick_post.courier.once()
    await quick_post.pass_time(4.9)
    await quick_post.courier.once()
    assert len(receiver.ids) == 1
    await quick_post.pass_time(5.1)
    await quick_post.courier.once()
    assert len(receiver.ids) == 2
    assert (await quick_post.only_delivery(webhook.webhook_id)).status is DeliveryStatus.DELIVERED


BAD_ANSWERS = [
    (Answer.BROKEN, 500, "it answered 500"),
    (Answer.REFUSED, 400, "it answered 400"),
    (Answer.REDIRECTED, 307, "redirects are not followed"),
    (Answer.SLOW, None, "no reply within 0.5 s"),
    (Answer.CUT, None, "the connection broke"),
    (Answer.RESET, None, "the connection broke"),
    (Answer.GARBAGE, None, "the connection broke"),
]


@pytest.mark.parametrize(("answer", "status", "why"), BAD_ANSWERS)
async def test_whatever_goes_wrong_is_written_down_and_the_message_comes_again(
    sqlite_url: str, receiver: Receiver, answer: Answer, status: int | None, why: str
) -> None:
    clock = FakeClock()
    receiver.script = [answer]
    seconds = 0.5 if answer is Answer.SLOW else 10
    async with post_on(sqlite_url, receiver, clock=clock, timeout_seconds=seconds) as post:
        webhook = await post.register(receiver, types=[COMPLETED])
        await post.complete()
        await post.courier.once()
        failed = await post.only_delivery(webhook.webhook_id)
        assert failed.status is DeliveryStatus.PENDING
        assert failed.tries[0].status == status
        assert why in (failed.tries[0].error or "")
        assert (await post.webhook(webhook.webhook_id)).failing_since is not None
        await post.pass_until_due(webhook.webhook_id)
        receiver.release.set()
    async with post_on(sqlite_url, receiver, clock=clock) as post:
        await post.courier.once()
        arrived = await post.only_delivery(webhook.webhook_id)
        assert arrived.status is DeliveryStatus.DELIVERED
        assert receiver.ids == [str(arrived.delivery_id)] * 2
        assert {one.path for one in receiver.received} == {"/hooks?from=limner"}
        assert (await post.webhook(webhook.webhook_id)).failing_since is None


@pytest.mark.parametrize(
    "answer", [Answer.NO_CONTENT, Answer.GIANT, Answer.CUT_BODY, Answer.DRIPPING]
)
async def test_a_success_is_one_whatever_its_body_does(
    sqlite_url: str, receiver: Receiver, answer: Answer
) -> None:
    receiver.script = [answer]
    seconds = 1.5 if answer is Answer.DRIPPING else 10
    async with post_on(sqlite_url, receiver, timeout_seconds=seconds) as post:
        webhook = await post.register(receiver, types=[COMPLETED])
        await post.complete()
        await post.courier.once()
        assert (await post.only_delivery(webhook.webhook_id)).status is DeliveryStatus.DELIVERED


async def test_an_endpoint_that_is_gone_is_disabled_at_once_and_keeps_what_was_waiting(
    post: Post, receiver: Receiver
) -> None:
    receiver.script = [Answer.GONE]
    webhook = await post.register(receiver, types=[COMPLETED])
    await post.complete()
    await post.courier.once()
    gone = await post.webhook(webhook.webhook_id)
    assert (gone.enabled, gone.disabled_because) == (False, "gone")
    assert "410" in (gone.message or "")
    assert gone.deliveries.pending == 1
    await post.pass_time(10 * 86_400)
    await post.courier.once()
    assert len(receiver.ids) == 1
    await post.change(webhook.webhook_id, enabled=True)
    await post.courier.once()
    assert len(receiver.ids) == 2
    assert len(set(receiver.ids)) == 1
    back = await post.webhook(webhook.webhook_id)
    assert (back.enabled, back.message, back.deliveries.delivered) == (True, None, 1)


async def test_an_endpoint_without_success_for_five_days_is_disabled(
    post: Post, receiver: Receiver
) -> None:
    receiver.otherwise = Answer.BROKEN
    webhook = await post.register(receiver, types=[COMPLETED])
    seen = []
    for _ in range(6):  # a picture a day
        await post.complete()
        for _ in range(4):
            await post.courier.once()
            await post.pass_time(6 * 3600)
        seen.append(await post.webhook(webhook.webhook_id))
    assert [one.enabled for one in seen] == [True] * 5 + [False]
    disabled = seen[-1]
    assert disabled.disabled_because == "failing"
    assert "five days" in (disabled.message or "")
    assert disabled.failing_since is not None
    assert disabled.disabled_at is not None
    assert (disabled.disabled_at - disabled.failing_since).days == 5
    assert disabled.deliveries.pending >= 1
    asked = len(receiver.ids)
    await post.complete()
    await post.courier.once()
    assert len(receiver.ids) == asked
    receiver.otherwise = Answer.OK
    await post.change(webhook.webhook_id, enabled=True)
    await post.courier.once()
    assert (await post.webhook(webhook.webhook_id)).deliveries.pending == 0


async def test_a_success_in_between_begins_the_five_days_anew(
    quick_post: Post, receiver: Receiver
) -> None:
    webhook = await quick_post.register(receiver, types=[COMPLETED])
    for answer in (Answer.BROKEN, Answer.OK, Answer.BROKEN):
        receiver.otherwise = answer
        await quick_post.complete()
        await quick_post.courier.once()
        await quick_post.pass_time(3 * 86_400)
    assert (await quick_post.webhook(webhook.webhook_id)).enabled


@pytest.mark.parametrize("answer", [Answer.BUSY, Answer.AWAY])
async def test_an_endpoint_that_asks_for_patience_gets_it_for_all_that_waits(
    quick_post: Post, receiver: Receiver, answer: Answer
) -> None:
    receiver.script = [answer]
    receiver.retry_after = "7200"
    webhook = await quick_post.register(receiver, types=[COMPLETED])
    await quick_post.complete()
    await quick_post.courier.once()
    assert (await quick_post.webhook(webhook.webhook_id)).paused_until is not None
    await quick_post.complete()
    for _ in range(2):
        await quick_post.pass_time(3599)
        await quick_post.courier.once()
        assert len(receiver.ids) == 1
    await quick_post.pass_time(2)
    await quick_post.courier.once()
    assert len(receiver.ids) == 3
    assert {one.status for one in await quick_post.deliveries(webhook.webhook_id)} == {
        DeliveryStatus.DELIVERED
    }


async def test_a_retry_after_without_end_is_a_day_at_most(
    quick_post: Post, receiver: Receiver
) -> None:
    receiver.script = [Answer.AWAY]
    receiver.retry_after = "999999999"
    webhook = await quick_post.register(receiver, types=[COMPLETED])
    await quick_post.complete()
    await quick_post.courier.once()
    await quick_post.pass_time(86_401)
    await quick_post.courier.once()
    assert (await quick_post.only_delivery(webhook.webhook_id)).status is DeliveryStatus.DELIVERED
