"""A wire to PostgreSQL that can be cut at a commit: before it arrives, or before its reply does."""

import asyncio
import re
from contextlib import suppress
from enum import Enum
from typing import Self
from urllib.parse import parse_qs, urlsplit


class Cut(Enum):
    AFTER_ARRIVAL = "the server commits, the reply is lost"
    BEFORE_ARRIVAL = "the server never hears of the commit and sees the connection end"
    HANGING = "the server never hears of the commit and still believes in the connection"


# What asyncpg sends to have a group's write prepared, and to have a prepared statement done.
WRITE_PREPARED = re.compile(rb"\0?(__asyncpg_stmt_\w+__)\0WITH [^\0]*pg_current_xact_id")
BOUND = re.compile(rb"B....\0(__asyncpg_stmt_\w+__)\0", re.DOTALL)


class Wire:
    """A TCP relay on 127.0.0.1 in front of the server of *url*."""

    def __init__(self, url: str) -> None:
        self._url = urlsplit(url)
        self._server: asyncio.Server | None = None
        self._writers: list[asyncio.StreamWriter] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self.cut: Cut | None = None
        # Whether the write itself is the commit: it is the only statement of its transaction.
        self.at_write = False
        self.cuts = 0
        self.was_cut = asyncio.Event()
        self._refuses = False

    def refuse_after_cut(self) -> None:
        """From the next cut on, take no connection any more."""
        self._refuses = True

    def accept_again(self) -> None:
        self._refuses = False

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for writer in self._writers:
            writer.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def url(self) -> str:
        assert self._server is not None
        port = self._server.sockets[0].getsockname()[1]
        user = self._url.username or "postgres"
        return f"postgresql://{user}@127.0.0.1:{port}{self._url.path}"

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        folder = parse_qs(self._url.query).get("host")
        if folder and folder[0].startswith("/"):
            port = self._url.port or 5432
            return await asyncio.open_unix_connection(f"{folder[0]}/.s.PGSQL.{port}")
        host = folder[0] if folder else self._url.hostname
        return await asyncio.open_connection(host, self._url.port or 5432)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        if self._refuses and self.cuts:
            writer.transport.abort()
            return
        theirs, to_server = await self._connect()
        self._writers += [writer, to_server]
        back = asyncio.create_task(self._pump(theirs, writer))
        self._tasks.add(back)
        back.add_done_callback(self._tasks.discard)
        writes: set[bytes] = set()
        with suppress(ConnectionError):
            while data := await reader.read(65536):
                writes |= set(WRITE_PREPARED.findall(data))
                bound = BOUND.search(data)
                commits = (
                    bound is not None and bound[1] in writes
                    if self.at_write
                    else (b"COMMIT\0" in data)
                )
                if self.cut is not None and commits:
                    cut, self.cut = self.cut, None
                    self.cuts += 1
                    self.was_cut.set()
                    back.cancel()
                    if cut is Cut.AFTER_ARRIVAL:
                        to_server.write(data)
                        await to_server.drain()
                        await theirs.read(1)  # the server has answered, so it has committed
                    writer.transport.abort()
                    if cut is not Cut.HANGING:
                        to_server.transport.abort()
                    return
                to_server.write(data)
                await to_server.drain()
        to_server.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()
