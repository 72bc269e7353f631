"""Where a command finds Limner: the server that runs, else the service in this process.

Without it two programs could work on one database, or a command would need a server to be useful.
"""

import ipaddress
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import urlsplit

import httpx2

from adapters.errors import AlreadyRunning
from pipeline.cli.client import CONNECT_SECONDS, REPLY_SECONDS, Client, NoAnswer, Refused
from pipeline.cli.output import Output
from pipeline.cli.start import CommandFailed, WrongUsage, finish, misconfiguration_told, settings_of

if TYPE_CHECKING:
    from pipeline.settings import Settings

LOG_NAME = "limner.log"


@dataclass(frozen=True, slots=True)
class Reached:
    """Limner, however it was reached."""

    client: Client
    # True: the service runs in this process and holds the database while the command lasts.
    here: bool
    # Raises when the service in this process may not go on.
    check: Callable[[], None] = lambda: None


@dataclass(frozen=True, slots=True)
class Place:
    """What the caller said of where Limner is. A named *server* is the only one that will do."""

    server: str | None
    home: Path | None

    @asynccontextmanager
    async def reached(
        self, *, works: bool = False, creates: bool = False, needs_server: bool = False
    ) -> AsyncIterator[Reached]:
        """Reach the running server, or take the database's lock and be the service.

        In this process jobs are stored and not begun, unless the command *works*. Only a command
        that *creates* makes a database where there is none.
        """
        async with AsyncExitStack() as stack:
            if self.server is not None:
                client = await stack.enter_async_context(http_client(address_of(self.server)))
                if not await client.is_alive():
                    raise NoAnswer(f"nothing answers on {client.address}: start `limner serve`")
                yield Reached(client, here=False)
                return
            settings = settings_of(home=self.home)
            address = local_address(settings)
            if address is not None and not await self._is_elsewhere(settings):
                client = await stack.enter_async_context(http_client(address))
                if await client.is_alive():
                    yield Reached(client, here=False)
                    return
            if needs_server:
                raise NoAnswer(
                    f"nothing answers on {address or 'any known port'}: start `limner serve`,"
                    " or name its address with --server"
                )
            if not creates and is_missing(settings):
                raise CommandFailed(
                    f"nothing answers on {address or 'any known port'}, and {settings.home} has no"
                    " database. Start `limner serve`, or name the place with --server or --home."
                )
            yield await stack.enter_async_context(_in_process(settings, address, works=works))

    async def _is_elsewhere(self, settings: "Settings") -> bool:
        """Whether a home was named and nobody holds it: a server that answers has another one."""
        if self.home is None and not any(name.upper() == "LIMNER_HOME" for name in os.environ):
            return False
        if is_missing(settings):
            return True
        from adapters.store.database import held_alone

        try:
            async with held_alone(settings.database_url, lambda: None):
                return True
        except AlreadyRunning:
            return False


Command = Callable[[Place, Output], Awaitable[int]]


def speak(command: Command, *, server: str | None, home: Path | None, as_json: bool) -> NoReturn:
    """Run *command*; show a problem as its title and detail; exit with a code."""
    out = Output(as_json=as_json)

    async def run() -> int:
        try:
            return await command(Place(server, home), out)
        except Refused as exc:
            out.error(exc.problem.title)
            out.error(exc.problem.detail)
            if as_json:
                out.document(exc.problem)
            # What was asked has no meaning; every other problem is of the world.
            return 2 if exc.code == "invalid_request" else 1

    finish(run, out.failed)


def address_of(server: str) -> str:
    """*server* as an address without a path; raises `WrongUsage` for what is none."""
    try:
        parts = urlsplit(server)
        good = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        good = False
    if not good or parts.query or parts.fragment:
        raise WrongUsage(f"--server {server!r} is no address; one is http://127.0.0.1:8080")
    return server.rstrip("/")


def local_address(settings: "Settings") -> str | None:
    """Where the service of these settings listens; None when it takes any free port."""
    if settings.port == 0:
        return None
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return f"http://{host}:{settings.port}"


@asynccontextmanager
async def http_client(address: str) -> AsyncIterator[Client]:
    async with httpx2.AsyncClient(
        base_url=address,
        headers=authorization(),
        timeout=httpx2.Timeout(REPLY_SECONDS, connect=CONNECT_SECONDS),
        # A proxy of the environment does not know this machine's own services.
        trust_env=not _is_loopback(address),
        # Reading the certificates takes longer than a request to this machine.
        verify=address.startswith("https:"),
    ) as http:
        yield Client(http, address)


def authorization() -> dict[str, str]:
    """The key of the environment. The settings would say more of it, and take longer to read."""
    key, file = os.environ.get("LIMNER_API_KEY"), os.environ.get("LIMNER_API_KEY_FILE")
    if key is None and file is not None:
        key = Path(file).read_text(encoding="utf-8")
    if not key:
        return {}
    key = key.strip()
    if not (key.isascii() and key.isprintable()):
        raise WrongUsage("LIMNER_API_KEY: a key has printable ASCII characters only")
    return {"Authorization": f"Bearer {key}"}


def _is_loopback(address: str) -> bool:
    host = urlsplit(address).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def is_missing(settings: "Settings") -> bool:
    """Whether the database is a file that is not there."""
    from sqlalchemy.engine import make_url

    url = make_url(settings.database_url)
    return url.get_backend_name() == "sqlite" and not Path(url.database or "").exists()


@asynccontextmanager
async def _in_process(
    settings: "Settings", address: str | None, *, works: bool
) -> AsyncIterator[Reached]:
    # They take a second to import, which a command that finds a server does not need.
    from pipeline.roles import Part
    from pipeline.routes.app import create_app
    from pipeline.telemetry.logs import configure_logging
    from pipeline.wiring import running

    if not works:
        connect = partial(_holding_world, settings.connect)
        settings = settings.model_copy(update={"connect": connect})
    settings.home.mkdir(parents=True, exist_ok=True)
    async with AsyncExitStack() as stack:
        # The log would stand between the lines of the command.
        log_file = stack.enter_context((settings.home / LOG_NAME).open("a", buffering=1))
        configure_logging(log_file, as_json=True)
        stack.callback(configure_logging)
        try:
            with misconfiguration_told():
                parts = Part.ALL if works else Part.ALL & ~Part.WEBHOOKS
                limner = await stack.enter_async_context(running(settings, parts=parts))
        except AlreadyRunning as exc:
            raise CommandFailed(
                f"{exc}, but nothing answers on {address or 'any known port'}."
                " Name its address with --server, or stop it."
            ) from exc

        def check() -> None:
            if limner.must_stop.is_set():
                raise CommandFailed("the service in this process had to stop; the log says why")

        # Pictures are given the address under which the next server will have them.
        address = address or "http://127.0.0.1"
        http = await stack.enter_async_context(
            httpx2.AsyncClient(
                transport=httpx2.ASGITransport(create_app(limner), raise_app_exceptions=False),
                base_url=address,
                headers=authorization(),
                timeout=REPLY_SECONDS,
            )
        )
        yield Reached(Client(http, address), here=True, check=check)


def _holding_world(connect: Callable[..., Any], *arguments: Any) -> Any:
    return _HoldingWorld(connect(*arguments))


class _HoldingWorld:
    """A world whose queue takes tasks and hands them to nobody: the next service finds them."""

    def __init__(self, world: Any) -> None:
        self._world = world

    def __getattr__(self, name: str) -> Any:
        return getattr(self._world, name)

    def open_queue(self, *arguments: Any) -> "_HoldingQueue":
        return _HoldingQueue(self._world.open_queue(*arguments))


class _HoldingQueue:
    def __init__(self, queue: Any) -> None:
        self._queue = queue

    def __getattr__(self, name: str) -> Any:
        return getattr(self._queue, name)

    def start(self) -> None:
        """Never begin to dispatch."""
