"""Pull events from a subscription of Pub/Sub: no address is needed to which they could be pushed.

Needs the libraries of Google Cloud: `limner[gcp]`.
"""

import asyncio
from typing import Any, cast

import grpc
from google.pubsub_v1 import SubscriberAsyncClient
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcAsyncIOTransport

from adapters.delivery import Consumer, Patience
from adapters.gcp.subscriber import PullSubscriber
from adapters.kit.subscriber import Subscriber
from adapters.local.clock import SystemClock
from adapters.local.ids import RandomIds, SystemEntropy

CALL_SECONDS = 10.0
# Pub/Sub sends messages of up to 10 MB each, several in one response.
MOST_RESPONSE_BYTES = 64 * 2**20


async def pull(
    subscriber: Subscriber,
    subscription: str,
    *,
    emulator: str | None = None,
    concurrency: int = 16,
    drain_seconds: float = 25.0,
) -> None:
    """Handle the events of *subscription* until cancelled; then let what runs end.

    *subscription* is its full name (`projects/…/subscriptions/…`). A message is acknowledged after
    its effect is committed, at most *concurrency* are handled at once. *emulator* is the host and
    port of Google's Pub/Sub emulator; without it the credentials of the environment are used.
    """
    clock = SystemClock()
    patience = Patience(clock, RandomIds(clock, SystemEntropy()))
    client = _client(emulator)
    pulling = PullSubscriber(
        client,
        # Of a consumer only `take` is used.
        cast(Consumer, subscriber),
        path=subscription,
        patience=patience,
        call_seconds=CALL_SECONDS,
        concurrency=concurrency,
    )
    pulling.start()
    try:
        done, _ = await asyncio.wait(pulling.vital, return_when=asyncio.FIRST_COMPLETED)
        for task in done:  # none of them ends by itself
            task.result()
    finally:
        await pulling.drain(drain_seconds)
        await client.transport.close()


def _client(emulator: str | None) -> Any:
    if emulator is None:
        return SubscriberAsyncClient()
    options = [("grpc.max_receive_message_length", MOST_RESPONSE_BYTES)]
    channel = grpc.aio.insecure_channel(emulator, options=options)
    return SubscriberAsyncClient(transport=SubscriberGrpcAsyncIOTransport(channel=channel))
