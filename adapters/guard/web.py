"""The `Web`: requests to addresses that callers name, which the guard judges first.

A name is resolved once, every address of it is judged, and the connection is made to a judged
address. No proxy, no redirect, no kept connection; size and time are bounded.
"""

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Any, TypeAlias

from adapters.errors import NoReply
from adapters.guard.addresses import IPAddress, is_reachable, parsed
from adapters.guard.settings import GuardSettings
from adapters.guard.targets import LOOPBACK, Target, not_public, read_target
from adapters.ports import WebReply

RESOLVE_SECONDS = 10.0
# Resolvers of the system block; a name that hangs must not hold up whatever else runs in threads.
RESOLVING_AT_ONCE = 8

# The addresses of a name, as text; raises `OSError` for a name that leads nowhere.
Resolve: TypeAlias = Callable[[str, int], Awaitable[Sequence[str]]]
# An open stream to an address and a port (`httpcore2.AsyncNetworkStream`).
Connect: TypeAlias = Callable[[IPAddress, int], Awaitable[Any]]


class SystemResolver:
    """What the machine's own resolver says, of the name alone."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(RESOLVING_AT_ONCE, thread_name_prefix="resolver")

    async def __call__(self, name: str, port: int) -> Sequence[str]:
        loop = asyncio.get_running_loop()
        found = await loop.run_in_executor(self._threads, _looked_up, name, port)
        return [str(address[0]) for *_, address in found]

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


def _looked_up(name: str, port: int) -> list[Any]:
    # The last dot keeps the domains of resolv.conf from being tried: in a cluster they come first.
    return socket.getaddrinfo(f"{name}.", port, type=socket.SOCK_STREAM)


class GuardedWeb:
    """*resolve* and *connect* are the only ways out; tests hand over their own."""

    def __init__(
        self,
        settings: GuardSettings,
        *,
        resolve: Resolve,
        connect: Connect | None = None,
        trusted: Callable[[], ssl.SSLContext] | None = None,
    ) -> None:
        """*trusted* makes the certificates to believe in; the system's where it is not given."""
        self._settings = settings
        self._resolve = resolve
        self._connect = connect
        self._make_trusted = trusted or _system_trust
        self._trusted: ssl.SSLContext | None = None

    async def check(self, url: str) -> None:
        target = read_target(url, self._settings)
        try:
            async with asyncio.timeout(RESOLVE_SECONDS):
                await self._judged(target)
        except TimeoutError:
            raise NoReply("its name is not resolved in time") from None

    async def send(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        body: bytes,
        within: timedelta,
        max_bytes: int,
    ) -> WebReply:
        # It takes a while to load, and most processes never send anything.
        import httpcore2

        from adapters.guard import wire

        target = read_target(url, self._settings)
        deadline = asyncio.get_running_loop().time() + within.total_seconds()
        async with AsyncExitStack() as stack:
            try:
                async with asyncio.timeout_at(deadline):
                    addresses = await self._judged(target)
                    location = httpcore2.URL(
                        scheme=target.scheme, host=target.host, port=target.port, target=target.path
                    )
                    connection = httpcore2.AsyncHTTPConnection(
                        location.origin,
                        ssl_context=await self._trust(target),
                        network_backend=wire.Pinned(addresses, self._connect or wire.connect),
                    )
                    stack.push_async_callback(connection.aclose)
                    told = {
                        "host": target.authority,
                        "accept-encoding": "identity",
                        "connection": "close",
                        **headers,
                    }
                    sending = connection.stream(
                        method, location, headers=list(told.items()), content=body
                    )
                    reply = await stack.enter_async_context(sending)
            except TimeoutError:
                seconds = within.total_seconds()
                raise NoReply(f"there was no reply within {seconds:g} s") from None
            except _broken() as exc:
                raise NoReply(_why(exc)) from exc
            content, whole = await _content(reply, max_bytes, deadline)
            named = {name.decode().lower(): text.decode("latin-1") for name, text in reply.headers}
            return WebReply(reply.status, named, content, whole)

    async def _judged(self, target: Target) -> list[IPAddress]:
        """The addresses of *target*, if every single one may be connected to."""
        if target.address is not None:
            return [target.address]
        if target.host == "localhost" or target.host.endswith(".localhost"):
            given: Sequence[str] = [LOOPBACK]  # RFC 6761: no resolver is asked
        else:
            try:
                given = await self._resolve(target.host, target.port)
            except OSError:
                raise NoReply("its host name cannot be resolved") from None
        if not given:
            raise NoReply("its host name has no address")
        found = [parsed(one) for one in dict.fromkeys(given)]
        judged = [
            one
            for one in found
            if one is not None and is_reachable(one, self._settings.allowed_networks)
        ]
        if len(judged) < len(found):
            raise not_public("its host name")
        return judged

    async def _trust(self, target: Target) -> ssl.SSLContext | None:
        if target.scheme != "https":
            return None
        if self._trusted is None:  # reading the certificates takes tens of milliseconds
            self._trusted = await asyncio.to_thread(self._make_trusted)
        return self._trusted


def _system_trust() -> ssl.SSLContext:
    import httpx2

    return httpx2.create_ssl_context()


async def _content(reply: Any, max_bytes: int, deadline: float) -> tuple[bytes, bool]:
    """At most *max_bytes* of the body, and whether that was all of it."""
    content = bytearray()
    try:
        async with asyncio.timeout_at(deadline):
            async for chunk in reply.aiter_stream():
                content += chunk
                if len(content) > max_bytes:
                    return bytes(content[:max_bytes]), False
    except _broken():  # a timeout is an OSError
        return bytes(content), False
    return bytes(content), True


def _broken() -> tuple[type[Exception], ...]:
    import httpcore2

    return (
        httpcore2.NetworkError,
        httpcore2.ProtocolError,
        httpcore2.TimeoutException,
        ssl.SSLError,
        OSError,
    )


def _why(exc: BaseException) -> str:
    """What broke, without addresses: they may be of networks that the caller knows nothing of."""
    import httpcore2

    cause: BaseException | None = exc
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"its certificate is not accepted ({cause.verify_message})"
        if isinstance(cause, ssl.SSLError):
            return "no encrypted connection could be made (TLS)"
        cause = cause.__cause__ or cause.__context__
    if isinstance(exc, httpcore2.ConnectError | httpcore2.ConnectTimeout):
        return "no connection could be made"
    return "the connection broke before there was a reply"
