"""Pull from a subscription: without it events would need an address to be pushed to.

One StreamingPull at a time, opened again whenever it ends. A message is acknowledged only after its
effect was committed; until then its lease is extended. What is not acknowledged comes again.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from typing import Any

import structlog
from google.api_core.exceptions import GoogleAPICallError
from google.auth.exceptions import GoogleAuthError
from google.pubsub_v1 import SubscriberAsyncClient
from google.pubsub_v1.types import (
    AcknowledgeRequest,
    ModifyAckDeadlineRequest,
    ReceivedMessage,
    StreamingPullRequest,
)

from adapters.delivery import Consumer, Patience, Verdict
from adapters.local.drain import finish_or_cancel
from adapters.ports import Clock

log = structlog.get_logger()

LEASE_SECONDS = 60
# Lost extensions and slow clocks included, a lease is extended twice before it ends.
EXTEND_EVERY_SECONDS = 20.0
MOST_OUTSTANDING_BYTES = 20_000_000
# Pub/Sub takes requests of at most 512 KiB; an id has some 200 bytes.
MOST_IDS = 1_000
TROUBLE = (GoogleAPICallError, GoogleAuthError)


class PullSubscriber:
    """Feeds *consumer* from the subscription named *path*, at most *concurrency* at once."""

    def __init__(
        self,
        client: SubscriberAsyncClient,
        consumer: Consumer,
        *,
        path: str,
        patience: Patience,
        call_seconds: float,
        concurrency: int = 64,
    ) -> None:
        self._client = client
        self._consumer = consumer
        self._path = path
        self._patience = patience
        self._clock: Clock = patience.clock
        self._call_seconds = call_seconds
        self._concurrency = concurrency
        self._slots = asyncio.Semaphore(concurrency)
        self._running: set[asyncio.Task[None]] = set()
        # By the id under which a message is acknowledged.
        self._leased: set[str] = set()
        self._done: list[str] = []
        self._again: list[str] = []
        self._settle = asyncio.Event()
        self._loops: list[asyncio.Task[None]] = []

    @property
    def in_flight(self) -> int:
        return len(self._running)

    @property
    def vital(self) -> Sequence[asyncio.Task[None]]:
        """The loops without which nothing is consumed."""
        return self._loops

    def start(self) -> None:
        for loop in (self._pull(), self._extend(), self._settle_all()):
            self._loops.append(asyncio.create_task(loop))

    async def drain(self, timeout_seconds: float) -> None:
        """Take no more, let what runs end, acknowledge it, and give the rest back."""
        pull, extend, settle = self._loops
        await _end(pull)
        await finish_or_cancel(self._running, timeout_seconds=timeout_seconds, clock=self._clock)
        await _end(extend)
        await _end(settle)
        self._again.extend(self._leased)
        await self._tell_verdicts()

    async def _pull(self) -> None:
        failures = 0
        while True:
            try:
                # Its type does not say that it is a call, which can be cancelled.
                stream: Any = await self._client.streaming_pull(
                    requests=self._requests(),
                    metadata=[("x-goog-request-params", f"subscription={self._path}")],
                    retry=None,
                    timeout=None,
                )
                try:
                    async for response in stream:
                        failures = 0
                        await self._begin(response.received_messages)
                finally:
                    # An open stream would be given messages that nobody reads.
                    stream.cancel()
            except TROUBLE as exc:
                failures += 1
                # A stream is ended by the other side every half hour or so.
                report = log.info if failures == 1 else log.warning
                report("pull_ended", subscription=self._path, error=str(exc), failures=failures)
            else:
                failures += 1
            await self._patience.wait(failures)

    async def _begin(self, messages: Sequence[ReceivedMessage]) -> None:
        """Start to handle *messages*, each as soon as there is a place for it."""
        self._leased.update(message.ack_id for message in messages)
        for message in messages:
            await self._slots.acquire()
            self._spawn(self._handle(message))

    async def _requests(self) -> AsyncIterator[StreamingPullRequest]:
        """What opens the stream; then silence, until the stream ends and this with it."""
        yield StreamingPullRequest(
            subscription=self._path,
            stream_ack_deadline_seconds=LEASE_SECONDS,
            max_outstanding_messages=self._concurrency,
            max_outstanding_bytes=MOST_OUTSTANDING_BYTES,
        )
        while True:  # a stream on which nothing is sent is taken for dead
            await self._clock.sleep(EXTEND_EVERY_SECONDS)
            yield StreamingPullRequest()

    async def _handle(self, message: ReceivedMessage) -> None:
        verdict = Verdict.AGAIN
        try:
            verdict = await self._consumer.take(message.message.data)
        finally:
            self._slots.release()
            self._leased.discard(message.ack_id)
            done = verdict is Verdict.DONE
            (self._done if done else self._again).append(message.ack_id)
            self._settle.set()

    async def _settle_all(self) -> None:
        """Acknowledge by what has piled up while the call before was under way."""
        while True:
            await self._settle.wait()
            self._settle.clear()
            await self._tell_verdicts()

    async def _tell_verdicts(self) -> None:
        done, self._done = self._done, []
        again, self._again = self._again, []
        try:
            await asyncio.gather(self._acknowledge(done), self._lease_for(again, 0))
        except asyncio.CancelledError:  # `drain` tells them once more
            self._done.extend(done)
            self._again.extend(again)
            raise

    async def _extend(self) -> None:
        while True:
            await self._clock.sleep(EXTEND_EVERY_SECONDS)
            await self._lease_for(list(self._leased), LEASE_SECONDS)

    async def _acknowledge(self, ids: list[str]) -> None:
        def call(part: list[str]) -> Coroutine[Any, Any, None]:
            request = AcknowledgeRequest(subscription=self._path, ack_ids=part)
            return self._client.acknowledge(request, retry=None, timeout=self._call_seconds)

        await self._in_parts(ids, call, "messages_not_acknowledged")

    async def _lease_for(self, ids: list[str], seconds: int) -> None:
        def call(part: list[str]) -> Coroutine[Any, Any, None]:
            request = ModifyAckDeadlineRequest(
                subscription=self._path, ack_ids=part, ack_deadline_seconds=seconds
            )
            return self._client.modify_ack_deadline(request, retry=None, timeout=self._call_seconds)

        await self._in_parts(ids, call, "leases_not_changed")

    async def _in_parts(
        self, ids: list[str], call: Callable[[list[str]], Coroutine[Any, Any, None]], failed: str
    ) -> None:
        for start in range(0, len(ids), MOST_IDS):
            part = ids[start : start + MOST_IDS]
            try:
                await call(part)
            except TROUBLE as exc:
                # The messages come again; inboxes and guards make that harmless.
                log.warning(failed, subscription=self._path, messages=len(part), error=str(exc))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
