"""`limner serve`: the service, or one role of it, until SIGTERM or Ctrl-C."""

import asyncio
import contextlib
import errno
import gc
import signal
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import structlog
import uvicorn

from pipeline.cli.start import CommandFailed, WrongUsage
from pipeline.refusals import check_start
from pipeline.roles import PARTS, Part, Role
from pipeline.routes.app import create_app
from pipeline.settings import Settings
from pipeline.subscribers import SUBSCRIBERS
from pipeline.wiring import Limner, consuming, running

log = structlog.get_logger(__name__)

LOST_LOCK_CODE = 1


class _Server(uvicorn.Server):
    """uvicorn without its signal handling: it would end the process before we have drained."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def run_service(settings: Settings, *, role: Role = Role.ALL) -> int:
    if role is not Role.ALL:
        _refuse_if_alone(settings)
    async with serving(settings, PARTS[role]) as (limner, address, stop):
        log.info("listening", address=address, role=role.value)
        return await until_stopped(limner, stop)


async def run_subscriber(settings: Settings, *, name: str) -> int:
    """Consume the events of one subscriber until a signal; only health is answered over HTTP."""
    if name not in {one.name for one in SUBSCRIBERS}:
        known = ", ".join(one.name for one in SUBSCRIBERS)
        raise WrongUsage(f"--name {name!r}: there is no such subscriber; known: {known}")
    _refuse_if_alone(settings)
    async with (
        serving(settings, Part.NONE) as (limner, address, stop),
        consuming(limner, name),
    ):
        log.info("subscribed", subscriber=name, address=address)
        return await until_stopped(limner, stop)


def _refuse_if_alone(settings: Settings) -> None:
    if settings.connect(settings).alone:
        raise CommandFailed(
            "in the local profile one process is the whole service: run `limner serve`. Roles are"
            " for Google Cloud (LIMNER_CONNECT=adapters.gcp.connect.connect)."
        )


async def until_stopped(limner: Limner, stop: asyncio.Event) -> int:
    """Wait for a signal; 1 when the database's lock was lost, so that a supervisor restarts us."""
    waits = [asyncio.create_task(stop.wait()), asyncio.create_task(limner.must_stop.wait())]
    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    for wait in waits:
        wait.cancel()
    if limner.must_stop.is_set():
        log.error("database_lock_lost", meaning="another process may run now; this one stops")
        return LOST_LOCK_CODE
    return 0


@asynccontextmanager
async def serving(
    settings: Settings, parts: Part = Part.ALL
) -> AsyncIterator[tuple[Limner, str, asyncio.Event]]:
    """Run the service and its HTTP server; gives the service, its address and the stop signal."""
    # What was imported lives as long as the process, and a job makes hundreds of short-lived
    # objects: looking through all of them less often saves a fifth of the CPU of each job.
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
    check_start(settings, settings.connect(settings), parts)
    # Bound before anything else, so that a taken port is found before jobs are touched.
    listener = _listen(settings.host, settings.port)
    port = listener.getsockname()[1]
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    try:
        async with running(settings, parts=parts) as limner:
            server = _Server(
                uvicorn.Config(
                    create_app(limner),
                    log_config=None,
                    access_log=False,
                    lifespan="off",
                    # An open stream must not hold the process up for ever.
                    timeout_graceful_shutdown=max(1, int(settings.times.drain_seconds)),
                )
            )
            task = asyncio.create_task(server.serve(sockets=[listener]), name="http")
            try:
                yield limner, f"http://{_shown(settings.host)}:{port}", stop
            finally:
                limner.ready = False
                limner.feed.close()
                server.should_exit = True
                await task
    finally:
        listener.close()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=1024)
    except OSError as exc:
        if exc.errno == errno.EADDRINUSE:
            raise CommandFailed(
                f"port {port} is taken by another program. Choose one with --port"
                " (0 takes any free one)."
            ) from exc
        raise CommandFailed(f"cannot listen on {host}:{port}: {exc.strerror}") from exc


def _shown(host: str) -> str:
    return f"[{host}]" if ":" in host else host
