"""One connection to one checked address: whatever a name may lead to a moment later.

Imported when the first request is sent: the engine of httpx2 takes a while to load.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import httpcore2

from adapters.guard.addresses import IPAddress

CONNECT_SECONDS = 5.0
MOST_ADDRESSES = 3

Stream = httpcore2.AsyncNetworkStream


async def connect(address: IPAddress, port: int) -> Stream:
    """Open a TCP connection; an address needs no resolver."""
    return await httpcore2.AnyIOBackend().connect_tcp(str(address), port, timeout=CONNECT_SECONDS)


class Pinned(httpcore2.AsyncNetworkBackend):
    """Connects to the first of *addresses* that answers, and never asks what the name is."""

    def __init__(self, addresses: Sequence[IPAddress], connect: Any) -> None:
        self._addresses = addresses[:MOST_ADDRESSES]
        self._connect = connect

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> Stream:
        for address in self._addresses[:-1]:
            try:
                return await self._connected(address, port)
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout):
                continue
        return await self._connected(self._addresses[-1], port)

    async def _connected(self, address: IPAddress, port: int) -> Stream:
        stream: Stream = await self._connect(address, port)
        return stream
