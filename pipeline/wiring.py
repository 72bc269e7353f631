"""The composition root: the only place that names concrete adapters and joins the parts."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial

import structlog

from adapters.delivery import Consumer, Patience, Subscription
from adapters.errors import Unavailable
from adapters.failpoints import NO_FAILPOINTS, Failpoints, guarded
from adapters.guard.fetch import GuardedFetcher, NoFetcher
from adapters.guard.web import GuardedWeb, SystemResolver
from adapters.local.drain import finish_or_cancel
from adapters.local.processes import WorkerProcesses
from adapters.pictures.worker import PillowPictures
from adapters.ports import BlobStore, Fetcher, Ids, ImageProvider, Processes, Web
from adapters.providers import registry
from adapters.providers.stability.provider import NAME as STABILITY
from adapters.site import Site
from adapters.store import machine_reads
from adapters.store.database import (
    AnyStore,
    check_schema,
    held_alone,
    is_current,
    migrate,
    open_store,
)
from adapters.world import World
from pipeline.dispatch import Dispatching
from pipeline.estimates import Estimates
from pipeline.feed import Feed
from pipeline.generate import generate
from pipeline.journal import Journal
from pipeline.providers import Providers
from pipeline.quarantine import quarantine
from pipeline.refusals import check_start
from pipeline.relay import Relay
from pipeline.replay import Replay
from pipeline.retention import Retention
from pipeline.roles import Part
from pipeline.settings import Misconfigured, Settings
from pipeline.stragglers import Stragglers
from pipeline.subscribers import SUBSCRIBERS
from pipeline.sweep import Sweep
from pipeline.telemetry.metrics import Gauges
from pipeline.telemetry.start import Telemetry, start_telemetry
from pipeline.uploads import Uploads
from pipeline.webhooks.attempt import Sender
from pipeline.webhooks.courier import Courier
from pipeline.worker import TimeBudgets, Worker

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Limner:
    """The running service, as routes and commands use it."""

    settings: Settings
    world: World
    worker: Worker
    store: AnyStore
    feed: Feed
    sweep: Sweep
    dispatching: Dispatching
    estimates: Estimates
    replay: Replay
    # Who takes events that come from a durable bus, by the subscriber's name.
    consumers: Mapping[str, Consumer]
    courier: Courier
    telemetry: Telemetry
    retention: Retention
    fetcher: Fetcher
    link_secret: bytes = field(repr=False)
    # Which parts of the service this process is.
    parts: Part = Part.ALL
    # Set when the process must end although nobody asked it to (it lost its database's lock).
    must_stop: asyncio.Event = field(default_factory=asyncio.Event)
    ready: bool = False
    uploads: Uploads = field(default_factory=Uploads)

    @property
    def journal(self) -> Journal:
        return self.worker.journal

    @property
    def ids(self) -> Ids:
        return self.worker.ids

    @property
    def providers(self) -> Providers:
        return self.worker.providers

    @property
    def blobs(self) -> BlobStore:
        return self.worker.blobs

    @property
    def web(self) -> Web:
        return self.courier.sender.web

    async def is_ready(self) -> bool:
        """Whether requests can be served: started, not stopping, and the database answers."""
        if not self.ready or self.must_stop.is_set():
            return False
        try:
            return await self.journal.read(machine_reads.alive)
        except Unavailable as exc:
            log.warning("not_ready", error=str(exc))
            return False


@asynccontextmanager
async def running(
    settings: Settings, processes: Processes | None = None, parts: Part = Part.ALL
) -> AsyncIterator[Limner]:
    """Start *parts* in the order of dependence; on the way out stop them in reverse.

    *processes* are the worker processes to use instead of own ones.
    """
    failpoints = Failpoints(settings.failpoints) if settings.failpoints else NO_FAILPOINTS
    must_stop = asyncio.Event()
    world: World = settings.connect(settings)
    check_start(settings, world, parts)
    async with AsyncExitStack() as stack:
        telemetry = start_telemetry(settings)
        stack.callback(telemetry.close)
        stack.push_async_callback(world.close)
        store = await _open_store(settings, world.alone, failpoints, must_stop, stack)
        journal = Journal(guarded(store, "store", failpoints), world.clock, world.ids)
        if telemetry.metrics is not None:
            journal.on_group = telemetry.metrics.took
            journal.subscribe(telemetry.metrics.take)
        await journal.start()
        stack.push_async_callback(journal.close)
        if processes is None:
            processes = WorkerProcesses(settings.local.worker_processes)
            stack.push_async_callback(processes.close)
        dispatching = Dispatching.unknown(journal)
        await dispatching.refresh()
        estimates = Estimates(journal, world.clock, settings.local.concurrent_dispatches)
        stack.push_async_callback(estimates.stop)
        providers = await _providers(settings, processes, world, failpoints, stack)
        if parts is not Part.WEBHOOKS:  # it asks no provider, and has no key of one
            _check_named(settings, providers)
        worker = Worker(
            journal=journal,
            clock=world.clock,
            ids=world.ids,
            providers=providers,
            blobs=guarded(await world.open_blobs(), "blobs", failpoints),
            pictures=guarded(PillowPictures(processes), "pictures", failpoints),
            budgets=_budgets(settings),
            is_paused=dispatching.is_paused,
        )
        feed = Feed(journal, world.clock)
        journal.subscribe(feed.wake)
        sweep = await _start_sending(settings, world, worker, dispatching, failpoints, stack)
        courier = _courier(settings, world, journal, failpoints, stack)

        stragglers = Stragglers(worker, settings.times.sweep_interval_seconds)
        loops = _loops(parts, world, store, feed, sweep, stragglers, courier)
        retention = Retention(journal, worker.blobs, world.clock, settings.retention)
        if Part.SWEEP in parts:
            loops["retention"] = retention.run()
        if telemetry.metrics is not None and Part.SWEEP in parts:
            loops["gauges"] = Gauges(telemetry.metrics, journal, world.clock).run()
        vital = [asyncio.create_task(loop, name=name) for name, loop in loops.items()]
        for task in vital:
            stack.push_async_callback(_ended, task)
        # None of these ends while the service runs; if one does, a new process is better.
        for task in (*vital, *sweep.relay.vital, *journal.vital):
            task.add_done_callback(partial(_stop_without, must_stop))

        limner = Limner(
            settings,
            world,
            worker,
            store,
            feed,
            sweep,
            dispatching,
            estimates,
            replay=Replay(
                journal,
                world.ids,
                world.clock,
                worker.providers,
                sweep.relay.send_again,
                partial(quarantine, journal=journal),
                settings.replay_events_per_second,
            ),
            consumers=_consumers(world, worker),
            courier=courier,
            telemetry=telemetry,
            retention=retention,
            fetcher=_fetcher(settings, failpoints, stack),
            link_secret=await _link_secret(settings, world, parts),
            parts=parts,
            must_stop=must_stop,
            ready=True,
        )
        log.info("limner_started", database=store.describe(), home=str(settings.home))
        try:
            yield limner
        finally:
            limner.ready = False
            log.info("limner_stopping", drain_seconds=settings.times.drain_seconds)


def _loops(
    parts: Part,
    world: World,
    store: AnyStore,
    feed: Feed,
    sweep: Sweep,
    stragglers: Stragglers,
    courier: Courier,
) -> dict[str, Coroutine[None, None, None]]:
    """What goes on as long as the process does, beside the journal and the relay."""

    def on_news() -> None:
        feed.wake()
        courier.hear()
        # Where several processes share a database, each one sends itself what it has committed.
        if world.alone:
            sweep.wake()

    loops = {"sweep": sweep.run() if Part.SWEEP in parts else sweep.follow_pauses()}
    if Part.SWEEP in parts:
        loops["stragglers"] = stragglers.run()
    if Part.WEBHOOKS in parts:
        loops["courier"] = courier.run()
    if Part.CALLERS in parts:
        loops["feed"] = feed.run()
    if parts & (Part.CALLERS | Part.WEBHOOKS):
        loops["listen"] = store.listen(on_news)
    return loops


@asynccontextmanager
async def providers_alone(settings: Settings, processes: Processes) -> AsyncIterator[Providers]:
    """Who would paint, without the rest of the service: nothing is opened that others share."""
    world: World = settings.connect(settings)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(world.close)
        providers = await _providers(settings, processes, world, NO_FAILPOINTS, stack)
        _check_named(settings, providers)
        yield providers


@asynccontextmanager
async def site_of(settings: Settings) -> AsyncIterator[Site | None]:
    """What must exist outside of the service; None where nothing must."""
    world: World = settings.connect(settings)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(world.close)
        if lacking := world.lacks(_budgets(settings).dispatch_deadline):
            raise Misconfigured(*lacking)
        yield await world.open_site({one.name: one.types for one in SUBSCRIBERS})


async def _open_store(
    settings: Settings,
    alone: bool,
    failpoints: Failpoints,
    must_stop: asyncio.Event,
    stack: AsyncExitStack,
) -> AnyStore:
    """The database: held where this process must be alone on it, and at this program's schema."""
    if alone:
        await stack.enter_async_context(held_alone(settings.database_url, must_stop.set))
        if not await is_current(settings.database_url):
            await migrate(settings.database_url)
    await check_schema(settings.database_url)
    store = open_store(settings.database_url, failpoints=failpoints)
    stack.push_async_callback(store.close)
    await store.prepare()
    return store


async def _providers(
    settings: Settings,
    processes: Processes,
    world: World,
    failpoints: Failpoints,
    stack: AsyncExitStack,
) -> Providers:
    painter = world.open_painter(processes, settings.sketch)
    found: list[ImageProvider] = [painter]
    for one in registry.configured(settings, processes, _budgets(settings).provider):
        found.append(await stack.enter_async_context(one))
    by_name = {one.name: guarded(one, "provider", failpoints) for one in found}
    return Providers(
        by_name=by_name,
        default=settings.default_provider,
        stand_ins={STABILITY: painter.name} if world.alone and STABILITY not in by_name else {},
        fallback=tuple(settings.provider_fallback),
        fallback_after=timedelta(seconds=settings.fallback_after_seconds),
        on_unknown=settings.on_unknown,
    )


def _check_named(settings: Settings, providers: Providers) -> None:
    """Refuse a start whose settings name a provider that is not there."""
    named = [("default_provider", settings.default_provider)]
    named += [("provider_fallback", name) for name in settings.provider_fallback]
    for setting, name in named:
        if name not in providers.known:
            known = ", ".join(providers.known)
            variable = f"LIMNER_{setting}".upper()
            why = f"{variable}: there is no provider {name!r}; known: {known}"
            raise Misconfigured(why, variable=variable)


async def _start_sending(
    settings: Settings,
    world: World,
    worker: Worker,
    dispatching: Dispatching,
    failpoints: Failpoints,
    stack: AsyncExitStack,
) -> Sweep:
    """Queue, bus and relay, started; what an earlier process left behind is taken over first."""
    journal = worker.journal
    drain_seconds = settings.times.drain_seconds
    queue = world.open_queue(partial(generate, worker=worker), worker.budgets.dispatch_deadline)
    bus = world.open_bus(_subscriptions(world, worker), partial(quarantine, journal=journal))
    relay = Relay(
        journal,
        guarded(queue, "queue", failpoints),
        guarded(bus, "bus", failpoints),
        world.clock,
        dispatching.is_paused,
    )
    relay.start()
    stack.push_async_callback(relay.stop)
    stack.push_async_callback(bus.drain, drain_seconds)
    interval_seconds = settings.times.sweep_interval_seconds
    sweep = Sweep(worker, relay, queue.incarnation, dispatching, interval_seconds)
    if world.alone:
        await sweep.take_over()
    queue.start()
    stack.push_async_callback(queue.drain, drain_seconds)
    return sweep


@asynccontextmanager
async def consuming(limner: Limner, subscriber: str) -> AsyncIterator[None]:
    """Pull the events of one *subscriber* of `SUBSCRIBERS`; on the way out drain what runs."""
    pull = limner.world.open_pull(limner.consumers[subscriber])
    pull.start()
    for task in pull.vital:
        task.add_done_callback(partial(_stop_without, limner.must_stop))
    try:
        yield
    finally:
        await pull.drain(limner.settings.times.drain_seconds)


def _subscriptions(world: World, worker: Worker) -> list[Subscription]:
    return [s.subscription(worker.journal, world.ids, worker.providers) for s in SUBSCRIBERS]


def _consumers(world: World, worker: Worker) -> dict[str, Consumer]:
    put_aside = partial(quarantine, journal=worker.journal)
    patience = Patience(world.clock, world.ids)
    return {
        one.name: Consumer(one, quarantine=put_aside, patience=patience)
        for one in _subscriptions(world, worker)
    }


def _courier(
    settings: Settings,
    world: World,
    journal: Journal,
    failpoints: Failpoints,
    stack: AsyncExitStack,
) -> Courier:
    resolver = SystemResolver()
    stack.callback(resolver.close)
    web = guarded(GuardedWeb(settings.guard, resolve=resolver), "web", failpoints)
    timeout = timedelta(seconds=settings.times.webhook_seconds)
    courier = Courier(Sender(journal, world.clock, world.ids, web, timeout), alone=world.alone)
    journal.subscribe(courier.take)

    async def drain() -> None:
        await finish_or_cancel(
            courier.sends, timeout_seconds=settings.times.drain_seconds, clock=world.clock
        )

    stack.push_async_callback(drain)
    return courier


def _fetcher(settings: Settings, failpoints: Failpoints, stack: AsyncExitStack) -> Fetcher:
    fetcher: Fetcher = NoFetcher()
    if settings.fetch.enabled:
        resolver = SystemResolver()
        stack.callback(resolver.close)
        fetcher = GuardedFetcher(GuardedWeb(settings.fetch, resolve=resolver), settings.fetch)
    return guarded(fetcher, "fetcher", failpoints)


async def _link_secret(settings: Settings, world: World, parts: Part) -> bytes:
    if settings.link_secret is not None:
        return settings.link_secret.get_secret_value().encode()
    if Part.CALLERS not in parts:  # it signs for nobody
        return secrets.token_bytes()
    return await world.link_secret()


def _budgets(settings: Settings) -> TimeBudgets:
    times = settings.times
    return TimeBudgets(
        provider=timedelta(seconds=times.provider_seconds),
        worker=timedelta(seconds=times.worker_seconds),
        lease=timedelta(seconds=times.lease_seconds),
        dispatch_deadline=timedelta(seconds=times.dispatch_deadline_seconds),
        accepted=timedelta(seconds=times.accepted_seconds),
    )


def _stop_without(must_stop: asyncio.Event, task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (exc := task.exception()) is not None:
        log.error("vital_task_ended", task=task.get_name(), exc_info=exc)
        must_stop.set()


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
