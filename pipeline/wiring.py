"""The composition root: the only place that names concrete adapters and joins the parts."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial

import structlog

from adapters.errors import Unavailable
from adapters.failpoints import NO_FAILPOINTS, Failpoints, guarded
from adapters.local.bus import Subscription
from adapters.local.processes import WorkerProcesses
from adapters.pictures.worker import PillowPictures
from adapters.ports import BlobStore, Ids, Processes
from adapters.providers.sketch.provider import NAME as SKETCH
from adapters.providers.sketch.provider import SketchProvider
from adapters.store import reads
from adapters.store.database import (
    AnyStore,
    check_schema,
    held_alone,
    is_current,
    migrate,
    open_store,
)
from pipeline.generate import TimeBudgets, Worker, generate
from pipeline.journal import Journal
from pipeline.quarantine import quarantine
from pipeline.relay import Relay
from pipeline.settings import Misconfigured, Settings
from pipeline.submit import Providers
from pipeline.subscribers import SUBSCRIBERS
from pipeline.sweep import Sweep

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Limner:
    """The running service, as routes and commands use it."""

    settings: Settings
    journal: Journal
    ids: Ids
    providers: Providers
    blobs: BlobStore
    worker: Worker
    store: AnyStore
    # Set when the process must end although nobody asked it to (it lost its database's lock).
    must_stop: asyncio.Event = field(default_factory=asyncio.Event)
    ready: bool = False

    async def is_ready(self) -> bool:
        """Whether requests can be served: started, not stopping, and the database answers."""
        if not self.ready or self.must_stop.is_set():
            return False
        try:
            return await self.journal.read(reads.alive)
        except Unavailable as exc:
            log.warning("not_ready", error=str(exc))
            return False


@asynccontextmanager
async def running(settings: Settings, processes: Processes | None = None) -> AsyncIterator[Limner]:
    """Start everything in the order of dependence; on the way out stop it in reverse.

    *processes* are the worker processes to use instead of own ones.
    """
    failpoints = Failpoints(settings.failpoints) if settings.failpoints else NO_FAILPOINTS
    must_stop = asyncio.Event()
    async with AsyncExitStack() as stack:
        world = settings.connect(settings.home, settings.local)
        if world.alone:
            await stack.enter_async_context(held_alone(settings.database_url, must_stop.set))
            if not await is_current(settings.database_url):
                await migrate(settings.database_url)
        await check_schema(settings.database_url)

        store = open_store(settings.database_url, failpoints=failpoints)
        stack.push_async_callback(store.close)
        journal = Journal(guarded(store, "store", failpoints), world.clock, world.ids)
        await journal.start()
        stack.push_async_callback(journal.close)

        if processes is None:
            processes = WorkerProcesses(settings.local.worker_processes)
            stack.push_async_callback(processes.close)
        blobs = guarded(await world.open_blobs(), "blobs", failpoints)
        sketch = SketchProvider(processes, world.clock, settings.sketch)
        providers = Providers(
            by_name={SKETCH: guarded(sketch, "provider", failpoints)},
            default=settings.default_provider,
            stand_ins={"stability_ai": SKETCH} if world.alone else {},
        )
        if settings.default_provider not in {*providers.by_name, *providers.stand_ins}:
            known = ", ".join(sorted({*providers.by_name, *providers.stand_ins}))
            raise Misconfigured(
                f"default_provider: there is no provider {settings.default_provider!r};"
                f" known: {known}"
            )
        worker = Worker(
            journal=journal,
            clock=world.clock,
            ids=world.ids,
            providers=providers,
            blobs=blobs,
            pictures=guarded(PillowPictures(processes), "pictures", failpoints),
            budgets=_budgets(settings),
        )
        queue = world.open_queue(partial(generate, worker=worker))
        bus = world.open_bus(
            [Subscription(s.name, s.types, s.handler(journal, world.ids)) for s in SUBSCRIBERS],
            partial(quarantine, journal=journal),
        )
        relay = Relay(
            journal,
            guarded(queue, "queue", failpoints),
            guarded(bus, "bus", failpoints),
            world.clock,
        )
        relay.start()
        stack.push_async_callback(relay.stop)
        drain_seconds = settings.times.drain.total_seconds()
        stack.push_async_callback(bus.drain, drain_seconds)
        sweep = Sweep(worker, relay, queue.incarnation, settings.times.sweep_interval_seconds)
        if world.alone:
            await sweep.take_over()
        queue.start()
        stack.push_async_callback(queue.drain, drain_seconds)
        sweeping = asyncio.create_task(sweep.run(), name="sweep")
        stack.push_async_callback(_ended, sweeping)
        # None of these ends while the service runs; if one does, a new process is better.
        for vital in (sweeping, *relay.vital, *journal.vital):
            vital.add_done_callback(partial(_stop_without, must_stop))

        limner = Limner(
            settings, journal, world.ids, providers, blobs, worker, store, must_stop, ready=True
        )
        log.info("limner_started", database=store.describe(), home=str(settings.home))
        try:
            yield limner
        finally:
            limner.ready = False
            log.info("limner_stopping", drain_seconds=drain_seconds)


def _budgets(settings: Settings) -> TimeBudgets:
    times = settings.times
    return TimeBudgets(
        provider=timedelta(seconds=times.provider_seconds),
        worker=timedelta(seconds=times.worker_seconds),
        lease=timedelta(seconds=times.lease_seconds),
        dispatch_deadline=timedelta(seconds=times.dispatch_deadline_seconds),
    )


def _stop_without(must_stop: asyncio.Event, task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (exc := task.exception()) is not None:
        log.error("vital_task_ended", task=task.get_name(), exc_info=exc)
        must_stop.set()


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
