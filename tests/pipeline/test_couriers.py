"""Couriers die, hang and race: each message arrives all the same, and nothing of it leaks."""

import asyncio
import io
import json
import sqlite3
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import structlog
from sqlmodel import Session, select

from adapters.errors import StoreUnavailable
from adapters.store import machine_reads, webhook_reads
from pipeline.journal import Journal
from pipeline.telemetry.logs import configure_logging
from pipeline.webhooks import endpoints
from pipeline.webhooks.attempt import DeliveryMoved
from pipeline.webhooks.courier import LOOK_SECONDS, SENDS_TO_ONE_AT_ONCE
from pipeline.webhooks.rows import SUBSCRIBER
from pipeline.webhooks.verdict import Tried
from schemas.tables import DeliveryRow
from schemas.webhooks import DeliveryStatus
from tests.fakes.clock import FakeClock
from tests.fakes.provider import raises
from tests.fakes.receiver import Answer, Receiver
from tests.webhooks import COMPLETED, Post, post_on, told
from tests.world import TENANT


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as started:
        yield started


@pytest.fixture
async def post(database_url: str, receiver: Receiver) -> AsyncIterator[Post]:
    async with post_on(database_url, receiver) as opened:
        yield opened


async def test_an_endpoint_that_hangs_delays_no_other(database_url: str) -> None:
    with Receiver(otherwise=Answer.SLOW) as slow, Receiver() as quick:
        async with post_on(database_url, slow, quick) as post:
            hanging = await post.register(slow, types=[COMPLETED])
            await post.register(quick, types=[COMPLETED])
            for _ in range(SENDS_TO_ONE_AT_ONCE + 4):
                await post.complete()
            async with asyncio.timeout(20):
                while len(quick.ids) < SENDS_TO_ONE_AT_ONCE + 4:
                    await post.courier.round()
                while len(slow.ids) < SENDS_TO_ONE_AT_ONCE:
                    await post.courier.round()
            assert len(slow.ids) == SENDS_TO_ONE_AT_ONCE
            states = [one.status for one in await post.deliveries(hanging.webhook_id)]
            assert states.count(DeliveryStatus.SENDING) == SENDS_TO_ONE_AT_ONCE
            slow.release.set()
            await post.courier.once()


async def test_two_processes_send_each_message_once(database_url: str, receiver: Receiver) -> None:
    clock = FakeClock()
    async with (
        post_on(database_url, receiver, clock=clock) as one,
        post_on(database_url, receiver, clock=clock) as other,
    ):
        webhook = await one.register(receiver)
        for _ in range(5):
            await one.complete()
        pending = 20
        while pending:
            await asyncio.gather(*(post.courier.once() for post in (one, other)))
            pending = (await one.webhook(webhook.webhook_id)).deliveries.pending
        assert len(receiver.ids) == len(set(receiver.ids)) == 20


async def test_a_message_whose_sender_died_is_sent_again_under_the_same_id(
    database_url: str, receiver: Receiver
) -> None:
    clock = FakeClock()
    async with post_on(database_url, receiver, clock=clock) as post:
        webhook = await post.register(receiver, types=[COMPLETED])
        await post.complete()
        receiver.script = [Answer.SLOW]
        await post.courier.round()
        async with asyncio.timeout(10):
            while not receiver.slow_came.is_set():
                await post.world.journal.read(machine_reads.alive)
        for task in post.courier.sends:
            task.cancel()
        await asyncio.gather(*post.courier.sends, return_exceptions=True)
    receiver.release.set()
    async with post_on(database_url, receiver, clock=clock) as another:
        await another.courier.once()
        assert len(receiver.ids) == 1, "its lease lives"
        await another.pass_time(41)
        await another.courier.once()
        assert len(receiver.ids) == 2
        assert len(set(receiver.ids)) == 1
        arrived = await another.only_delivery(webhook.webhook_id)
        assert (arrived.status, arrived.attempts) == (DeliveryStatus.DELIVERED, 2)


async def test_a_process_that_is_alone_takes_over_at_once(
    sqlite_url: str, receiver: Receiver
) -> None:
    clock = FakeClock()
    receiver.script = [Answer.SLOW]
    async with post_on(sqlite_url, receiver, clock=clock) as post:
        await post.register(receiver, types=[COMPLETED])
        await post.complete()
        await post.courier.round()
        for task in post.courier.sends:
            task.cancel()
        await asyncio.gather(*post.courier.sends, return_exceptions=True)
    receiver.script = []
    receiver.received.clear()
    async with post_on(sqlite_url, receiver, clock=clock, alone=True) as another:
        running = asyncio.create_task(another.courier.run())
        async with asyncio.timeout(10):
            while not receiver.received:
                await another.world.journal.read(machine_reads.alive)
        running.cancel()
        await asyncio.gather(running, *another.courier.sends, return_exceptions=True)


async def test_a_late_answer_of_a_sender_that_was_given_up_changes_nothing(
    database_url: str, receiver: Receiver
) -> None:
    clock = FakeClock()
    receiver.script = [Answer.SLOW]
    async with (
        post_on(database_url, receiver, clock=clock) as slow,
        post_on(database_url, receiver, clock=clock) as quick,
    ):
        webhook = await slow.register(receiver, types=[COMPLETED])
        await slow.complete()
        await slow.courier.round()
        async with asyncio.timeout(10):
            while not receiver.slow_came.is_set():
                await slow.world.journal.read(machine_reads.alive)
        await quick.pass_time(41)
        receiver.otherwise = Answer.BROKEN
        await quick.courier.once()
        receiver.release.set()
        await asyncio.gather(*slow.courier.sends)
        left = await quick.only_delivery(webhook.webhook_id)
        assert (left.status, left.attempts) == (DeliveryStatus.PENDING, 2)
        assert [one.status for one in left.tries] == [500]


async def test_a_sender_that_was_given_up_does_not_answer_for_the_one_after_it(
    database_url: str, receiver: Receiver
) -> None:
    clock = FakeClock()
    receiver.otherwise = Answer.SLOW
    async with (
        post_on(database_url, receiver, clock=clock) as first,
        post_on(database_url, receiver, clock=clock) as second,
    ):
        webhook = await first.register(receiver, types=[COMPLETED])
        await first.complete()
        await first.courier.round()
        (given_up,) = await first.world.store.read(
            webhook_reads.deliveries_being_sent, SUBSCRIBER, 10
        )
        await second.pass_time(41)
        await second.courier.round()
        late = Tried(attempt=1, at=clock.now(), elapsed_ms=40_000, status=500)
        with pytest.raises(DeliveryMoved):
            await first.courier.sender.settle(
                DeliveryRow.of(**given_up.model_dump()), await first.row(webhook.webhook_id), late
            )
        assert (await first.only_delivery(webhook.webhook_id)).status is DeliveryStatus.SENDING
        receiver.release.set()
        await asyncio.gather(*second.courier.sends)
        arrived = await first.only_delivery(webhook.webhook_id)
        assert (arrived.status, arrived.attempts) == (DeliveryStatus.DELIVERED, 2)
        await asyncio.gather(*first.courier.sends)


async def test_a_removed_endpoint_gets_nothing_more_and_its_secret_is_gone(
    post: Post, receiver: Receiver
) -> None:
    receiver.script = [Answer.BROKEN]
    webhook = await post.register(receiver, types=[COMPLETED])
    await post.complete()
    await post.courier.once()
    await endpoints.remove(webhook.webhook_id, tenant=TENANT, journal=post.world.journal)
    await post.complete()
    await post.pass_time(86_400)
    await post.courier.once()
    assert len(receiver.ids) == 1

    def secrets(session: Session) -> Any:
        from sqlmodel import select

        from schemas.tables import Webhook

        return session.exec(select(Webhook.secrets)).all()

    assert await post.world.store.read(secrets) == [[]]


async def test_an_event_that_cannot_travel_holds_up_no_other(
    sqlite_url: str, receiver: Receiver
) -> None:
    async with post_on(sqlite_url, receiver) as post:
        await post.register(receiver, types=[COMPLETED])
        bad, good = await post.complete(), await post.complete()
        with sqlite3.connect(sqlite_url.removeprefix("sqlite:///")) as connection:
            connection.execute(
                "UPDATE events SET data = '{torn' WHERE type = ? AND stream_id = ?",
                (COMPLETED, str(bad)),
            )
        connection.close()
        await post.courier.once()
        assert told(receiver) == [(COMPLETED, str(good))]


async def test_a_courier_that_runs_sends_without_being_asked(
    database_url: str, receiver: Receiver
) -> None:
    """Woken by its own journal; what another process left, it finds by looking now and then."""
    clock = FakeClock()
    async with (
        post_on(database_url, receiver, clock=clock) as post,
        post_on(database_url, receiver, clock=clock) as elsewhere,
    ):
        running = asyncio.create_task(post.courier.run())

        async def came(number: int) -> None:
            async with asyncio.timeout(20):
                while len(receiver.ids) < number:
                    await post.world.journal.read(machine_reads.alive)

        await elsewhere.register(receiver, types=[COMPLETED])
        await elsewhere.complete()
        await clock.sleeping()
        await post.pass_time(LOOK_SECONDS)
        await came(1)
        await post.complete()
        await came(2)
        running.cancel()
        await asyncio.gather(running, *post.courier.sends, return_exceptions=True)


class Counting:
    """A journal that notes what it is asked."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self.reads: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._journal, name)

    async def read(self, query: Any, *args: Any) -> Any:
        self.reads.append(query.__name__)
        return await self._journal.read(query, *args)


@pytest.mark.parametrize("registered", [False, True], ids=["none", "a disabled one"])
async def test_without_an_enabled_endpoint_no_job_pays_for_webhooks(
    database_url: str, receiver: Receiver, registered: bool
) -> None:
    async with post_on(database_url, receiver) as post:
        if registered:
            webhook = await post.register(receiver)
            await post.change(webhook.webhook_id, enabled=False)
        counting = Counting(post.world.journal)
        object.__setattr__(post.courier.sender, "journal", counting)
        running = asyncio.create_task(post.courier.run())
        assert isinstance(post.world.clock, FakeClock)
        await post.world.clock.sleeping()  # it has looked, and waits
        assert counting.reads == ["listening"]
        before = post.world.store.commits
        await post.complete()
        with_courier = post.world.store.commits - before
        assert counting.reads == ["listening"]
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        before = post.world.store.commits
        await post.complete()
        assert post.world.store.commits - before == with_courier

        def deliveries(session: Session) -> int:
            return len(session.exec(select(webhook_reads.Delivery)).all())

        assert await post.world.store.read(deliveries) == 0


async def test_a_database_that_is_away_costs_no_message(
    database_url: str, receiver: Receiver
) -> None:
    from adapters.failpoints import Failpoints

    failpoints, clock = Failpoints(), FakeClock()
    async with post_on(database_url, receiver, clock=clock, failpoints=failpoints) as post:
        webhook = await post.register(receiver, types=[COMPLETED])
        await post.complete()
        # The claim goes through, what came of it does not.
        failpoints.arm(
            "store.before_commit", hit=3, times=1, error=lambda: StoreUnavailable("away")
        )
        await post.courier.once()
        left = await post.only_delivery(webhook.webhook_id)
        assert left.status is DeliveryStatus.SENDING
        await post.pass_time(41)
        await post.courier.once()
        assert receiver.ids == [str(left.delivery_id)] * 2
        assert (await post.only_delivery(webhook.webhook_id)).status is DeliveryStatus.DELIVERED


async def test_no_secret_and_no_address_reaches_the_log(
    sqlite_url: str, receiver: Receiver
) -> None:
    stream = io.StringIO()
    configure_logging(stream, as_json=True)
    try:
        async with post_on(sqlite_url, receiver) as post:
            webhook = await post.register(receiver, types=[COMPLETED])
            fresh = await endpoints.rotate(
                webhook.webhook_id,
                post.courier.sender.timeout,
                tenant=TENANT,
                journal=post.world.journal,
                ids=post.world.worker.ids,
            )
            receiver.script = [Answer.BROKEN, Answer.RESET, Answer.GONE]
            for _ in range(3):
                await post.complete()
                await post.courier.once()
            post.world.provider.script.append(raises(RuntimeError("a defect")))
            row = await post.row(webhook.webhook_id)
            structlog.get_logger("test").info("row", row=repr(row), told=str(row))
            post.courier.sender.web.send = None  # type: ignore[method-assign]  # a defect
            await post.change(webhook.webhook_id, enabled=True)
            await post.courier.once()
    finally:
        structlog.reset_defaults()
    log = stream.getvalue()
    assert {"webhook_not_delivered", "webhook_disabled", "webhook_sender_broken"} <= {
        json.loads(line)["message"] for line in log.splitlines()
    }
    for secret in (webhook.secret, fresh.secret):
        assert secret not in log
        assert secret.removeprefix("whsec_") not in log
    assert "from=limner" not in log


def test_a_delivery_and_its_endpoint_do_not_show_what_is_theirs() -> None:
    assert not {"body", "url", "secrets"} & set(repr(DeliveryRow.of(body="text")).split("="))
