"""An endpoint that is registered, and a courier that tells it of a world's events when asked to."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from adapters.failpoints import NO_FAILPOINTS, Failpoints, guarded
from adapters.guard.settings import GuardSettings
from adapters.guard.web import GuardedWeb, SystemResolver
from adapters.store import webhook_reads
from pipeline.webhooks import endpoints
from pipeline.webhooks.attempt import Sender
from pipeline.webhooks.courier import Courier
from pipeline.webhooks.deliveries import deliveries
from schemas.events import CloudEvent
from schemas.tables import Webhook
from schemas.webhooks import (
    DeliveryFilters,
    DeliveryResponse,
    WebhookRequest,
    WebhookResponse,
    WebhookUpdate,
    WebhookWithSecretResponse,
)
from tests.fakes.clock import FakeClock
from tests.fakes.receiver import Receiver
from tests.world import TENANT, World, world_on

COMPLETED = "image.job.completed"


@dataclass
class Post:
    """A world with a courier that runs only when it is told to."""

    world: World
    courier: Courier
    web: GuardedWeb

    async def register(
        self, receiver: Receiver, *, tenant: str = TENANT, **wanted: Any
    ) -> WebhookWithSecretResponse:
        asked = WebhookRequest.model_validate({"url": receiver.url} | wanted)
        journal, ids = self.world.journal, self.world.worker.ids
        return await endpoints.register(
            asked, tenant=tenant, journal=journal, ids=ids, web=self.web
        )

    async def change(self, webhook_id: UUID, **wanted: Any) -> WebhookResponse:
        asked = WebhookUpdate.model_validate(wanted)
        return await endpoints.change(
            webhook_id, asked, tenant=TENANT, journal=self.world.journal, web=self.web
        )

    async def webhook(self, webhook_id: UUID) -> WebhookResponse:
        return await endpoints.webhook(webhook_id, tenant=TENANT, journal=self.world.journal)

    async def row(self, webhook_id: UUID) -> Webhook:
        row = await self.world.store.read(webhook_reads.webhook, TENANT, webhook_id)
        assert row is not None
        return row

    async def deliveries(self, webhook_id: UUID) -> list[DeliveryResponse]:
        """Of the oldest event first."""
        page = await deliveries(
            webhook_id, DeliveryFilters(), tenant=TENANT, journal=self.world.journal
        )
        return page.deliveries[::-1]

    async def only_delivery(self, webhook_id: UUID) -> DeliveryResponse:
        (found,) = await self.deliveries(webhook_id)
        return found

    async def complete(self, **fields: Any) -> UUID:
        """Have a job done; its id."""
        job_id = await self.world.submit(**fields)
        await self.world.deliver(job_id)
        return job_id

    async def pass_time(self, seconds: float) -> None:
        clock = self.world.clock
        assert isinstance(clock, FakeClock)
        await clock.advance(seconds)

    async def pass_until_due(self, webhook_id: UUID) -> float:
        """Let time pass until the next attempt may begin; how many seconds that took."""
        due_at = (await self.only_delivery(webhook_id)).next_attempt_at
        assert due_at is not None
        seconds = (due_at - self.world.journal.now()).total_seconds()
        await self.pass_time(seconds)
        return seconds


def told(receiver: Receiver) -> list[tuple[str, str]]:
    """What came: type and subject."""
    found = [CloudEvent.model_validate_json(one.body) for one in receiver.received]
    return [(event.type, event.subject) for event in found]


def web_to(*receivers: Receiver) -> GuardedWeb:
    guard = GuardSettings(
        allow_http=True,
        ports=[one.port for one in receivers],
        allowed_networks=["127.0.0.0/8"],
    )
    return GuardedWeb(guard, resolve=SystemResolver())


@asynccontextmanager
async def post_on(
    url: str,
    *receivers: Receiver,
    clock: FakeClock | None = None,
    failpoints: Failpoints = NO_FAILPOINTS,
    timeout_seconds: float = 10.0,
    alone: bool = False,
) -> AsyncIterator[Post]:
    """A process over the database of *url* that may send to *receivers*."""
    async with world_on(url, clock=clock, failpoints=failpoints) as world:
        web = web_to(*receivers)
        sender = Sender(
            world.journal,
            world.clock,
            world.worker.ids,
            guarded(web, "web", failpoints),
            timedelta(seconds=timeout_seconds),
        )
        courier = Courier(sender, alone=alone)
        world.journal.subscribe(courier.take)
        yield Post(world, courier, web)
