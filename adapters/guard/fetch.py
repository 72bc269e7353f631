"""Takes pictures from addresses that callers name, where whoever runs the service allows it.

What comes is bytes that begin as a picture; whether they are one, `Pictures.take_in` tells.
"""

import asyncio
from datetime import timedelta

from adapters.errors import AddressRefused, NotFetched
from adapters.guard.settings import FetchSettings
from adapters.pictures.magic import format_of
from adapters.ports import Web

OK = 200
REDIRECTS = range(300, 400)
ACCEPTED = "image/png, image/jpeg, image/webp"
# Each holds its bytes in memory.
AT_ONCE = 4


class GuardedFetcher:
    """*web* is guarded by the same settings, which are those of fetching alone."""

    def __init__(self, web: Web, settings: FetchSettings) -> None:
        self._web = web
        self._max_bytes = settings.max_bytes
        self._within = timedelta(seconds=settings.seconds)
        self._turns = asyncio.Semaphore(AT_ONCE)

    async def fetch(self, url: str) -> bytes:
        async with self._turns:
            reply = await self._web.send(
                "GET",
                url,
                headers={"accept": ACCEPTED},
                body=b"",
                within=self._within,
                max_bytes=self._max_bytes,
            )
        if reply.status in REDIRECTS:
            raise NotFetched(
                f"it answered {reply.status}, a redirect, and those are not followed; name the"
                " address that it leads to"
            )
        if reply.status != OK:
            raise NotFetched(f"it answered {reply.status} instead of a picture")
        if not reply.whole and len(reply.body) >= self._max_bytes:
            raise NotFetched(f"it has more than {self._max_bytes} bytes")
        if not reply.whole:
            seconds = self._within.total_seconds()
            raise NotFetched(f"it broke off, or was not here within {seconds:g} s")
        if format_of(reply.body) is None:
            raise NotFetched("what lies there is neither PNG nor JPEG nor WebP")
        return reply.body


class NoFetcher:
    """Fetches nothing, and says so."""

    async def fetch(self, url: str) -> bytes:
        raise AddressRefused("this service takes no pictures from foreign addresses")
