"""The use cases joined as wiring joins them, over a real database, with a clock that tests move."""

import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any
from uuid import UUID

from adapters.failpoints import NO_FAILPOINTS, Failpoints
from adapters.local.bus import LocalEventBus
from adapters.local.ids import RandomIds
from adapters.local.queue import LocalTaskQueue
from adapters.ports import Clock, ImageProvider, KeyLimits, TaskAnswer
from adapters.store import event_reads, job_reads, money_reads
from adapters.store.database import AnyStore, open_store
from pipeline.dispatch import Dispatching
from pipeline.estimates import Estimates
from pipeline.feed import Feed
from pipeline.generate import generate
from pipeline.journal import Journal
from pipeline.providers import Providers
from pipeline.quarantine import quarantine
from pipeline.relay import Relay
from pipeline.stragglers import Stragglers
from pipeline.submit import submit
from pipeline.subscribers import SUBSCRIBERS
from pipeline.sweep import Sweep
from pipeline.worker import Worker
from schemas.requests import ImageGenerationRequest
from schemas.tables import Event, Job, ProviderCall
from schemas.tasks import ImageTask
from tests.fakes.blobs import MemoryBlobs
from tests.fakes.clock import FakeClock
from tests.fakes.pictures import InstantPictures
from tests.fakes.provider import ScriptedProvider

TENANT = "default"


@dataclass
class World:
    """One process. Nothing runs by itself until `run()`; tests call the use cases in turn."""

    store: AnyStore
    journal: Journal
    clock: Clock
    worker: Worker
    provider: ScriptedProvider
    blobs: MemoryBlobs
    pictures: InstantPictures
    queue: LocalTaskQueue
    bus: LocalEventBus
    relay: Relay
    sweep: Sweep
    stragglers: Stragglers
    dispatching: Dispatching
    estimates: Estimates
    feed: Feed

    async def submit(self, **fields: Any) -> UUID:
        request = ImageGenerationRequest.model_validate({"prompt": "a lighthouse"} | fields)
        accepted = await submit(
            request,
            tenant=TENANT,
            idempotency_key=None,
            journal=self.journal,
            ids=self.worker.ids,
            providers=self.worker.providers,
            estimate=self.estimates.total_seconds,
        )
        return accepted.reply.job_id

    async def deliver(self, job_id: UUID, attempt: int = 1) -> TaskAnswer:
        """Deliver a task to the worker, as the queue would."""
        return await generate(ImageTask(job_id=job_id, attempt=attempt), self.worker)

    async def job(self, job_id: UUID) -> Job:
        job = await self.store.read(job_reads.job, TENANT, job_id)
        assert job is not None
        return job

    async def call(self, job_id: UUID, attempt: int = 1) -> ProviderCall | None:
        return await self.store.read(money_reads.call, TENANT, job_id, attempt)

    async def events(self, job_id: UUID) -> list[str]:
        found = await self.history("job", str(job_id))
        return [event.type for event in found]

    async def history(self, kind: str, stream: str) -> list[Event]:
        return list(await self.store.read(event_reads.events_of_stream, TENANT, kind, stream))


class _OnClock:
    """A real store whose database goes by the test's clock."""

    def __init__(self, store: AnyStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def time(self) -> datetime:
        return self._clock.now()


@asynccontextmanager
async def world_on(
    url: str,
    *,
    clock: Clock | None = None,
    repeatable: bool = False,
    run: bool = False,
    blobs: MemoryBlobs | None = None,
    concurrent_dispatches: int = 500,
    failpoints: Failpoints = NO_FAILPOINTS,
    limits: KeyLimits | None = None,
    others: Sequence[ImageProvider] = (),
    fallback: Sequence[str] = (),
    queue_kind: Any = LocalTaskQueue,
    bus_kind: Any = LocalEventBus,
    seed: int = 1,
) -> AsyncIterator[World]:
    """A process over the database of *url*; *run* starts relay and queue as well.

    The default provider, `paid`, has *limits*; *others* are configured besides. Processes of one
    database have each its own *seed*: ids are not given twice.
    """
    clock = clock or FakeClock()
    ids = RandomIds(clock, random.Random(seed))
    store = open_store(url, failpoints=failpoints)
    journal = Journal(_OnClock(store, clock), clock, ids)
    await journal.start()
    provider = ScriptedProvider(repeatable=repeatable, limits=limits)
    blobs, pictures = blobs or MemoryBlobs(), InstantPictures()
    by_name: dict[str, ImageProvider] = {one.name: one for one in (provider, *others)}
    providers = Providers(by_name, provider.name, {}, fallback=tuple(fallback))
    dispatching = Dispatching.unknown(journal)
    worker = Worker(
        journal, clock, ids, providers, blobs, pictures, is_paused=dispatching.is_paused
    )
    queue = queue_kind(
        partial(generate, worker=worker),
        clock=clock,
        ids=ids,
        dispatches_per_second=None,
        concurrent_dispatches=concurrent_dispatches,
    )
    bus = bus_kind(
        [one.subscription(journal, ids, providers) for one in SUBSCRIBERS],
        clock=clock,
        ids=ids,
        quarantine=partial(quarantine, journal=journal),
    )
    relay = Relay(journal, queue, bus, clock, dispatching.is_paused)
    sweep = Sweep(worker, relay, queue.incarnation, dispatching)
    estimates = Estimates(journal, clock, 2)
    feed = Feed(journal, clock)
    journal.subscribe(feed.wake)
    if run:
        relay.start()
        queue.start()
    try:
        yield World(
            store,
            journal,
            clock,
            worker,
            provider,
            blobs,
            pictures,
            queue,
            bus,
            relay,
            sweep,
            Stragglers(worker),
            dispatching,
            estimates,
            feed,
        )
    finally:
        if run:
            await queue.drain(10)
            await bus.drain(10)
            await relay.stop()
        await estimates.stop()
        await journal.close()
        await store.close()
