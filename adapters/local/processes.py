"""Worker processes for pictures: without them one decoding would hold up every request."""

import asyncio
import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import Connection
from typing import ParamSpec, TypeVar

from adapters.errors import Unavailable

P = ParamSpec("P")
T = TypeVar("T")

# Spawned, not forked: a fork of a threaded process may deadlock. Not by a fork server either: that
# is one per program, outlives `close`, and has nothing to offer when nothing is preloaded.
SPAWN = multiprocessing.get_context("spawn")


class WorkerProcesses:
    """At most *size* processes, started by the first calls that need them.

    Every worker holds the reading end of one pipe, the lifeline. When its writing end closes, by
    `close` or because this process was killed, the workers end at once.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._pool: _Pool | None = None
        self._closed = False

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        if self._closed:
            raise Unavailable("the worker processes are closed")
        if self._pool is None:
            self._pool = _Pool(self._size)
        pool = self._pool
        try:
            return await asyncio.wrap_future(pool.executor.submit(function, *args, **kwargs))
        except BrokenProcessPool as error:
            # All calls in flight learn of it; the first to come by drops the broken pool.
            if self._pool is pool:
                self._pool = None
                await pool.end()
            raise Unavailable("a worker process died") from error

    async def close(self) -> None:
        """End every worker now. Who still waits for one gets `Unavailable`."""
        self._closed = True
        pool, self._pool = self._pool, None
        if pool is not None:
            await pool.end()


class InlineProcesses:
    """Runs the function in place, for simulations and tests."""

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return function(*args, **kwargs)

    async def close(self) -> None: ...


class _Pool:
    def __init__(self, size: int) -> None:
        self._held_by_workers, self._lifeline = SPAWN.Pipe(duplex=False)
        self.executor = ProcessPoolExecutor(
            size, mp_context=SPAWN, initializer=_begin, initargs=(self._held_by_workers,)
        )

    async def end(self) -> None:
        self._lifeline.close()
        await asyncio.to_thread(self.executor.shutdown, wait=True)
        self._held_by_workers.close()


def _begin(lifeline: Connection) -> None:
    """Ready a worker: Ctrl-C is the parent's business, and it never outlives its parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_die_with, args=(lifeline,), name="lifeline", daemon=True).start()


def _die_with(lifeline: Connection) -> None:
    with contextlib.suppress(EOFError, OSError):
        lifeline.recv_bytes()
    os._exit(1)
