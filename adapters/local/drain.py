"""Orderly ends: what runs gets its time, then it is cancelled, so that no shutdown hangs."""

import asyncio
from collections.abc import Set as AbstractSet
from typing import Any

from adapters.ports import Clock


async def finish_or_cancel(
    running: AbstractSet[asyncio.Task[Any]], *, timeout_seconds: float, clock: Clock
) -> None:
    """Wait until all of *running* have ended, after *timeout_seconds* by cancelling them."""
    tasks = set(running)
    if not tasks:
        return
    ended: asyncio.Future[Any] = asyncio.gather(*tasks, return_exceptions=True)
    timer: asyncio.Future[Any] = asyncio.create_task(clock.sleep(timeout_seconds))
    try:
        await asyncio.wait({ended, timer}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        timer.cancel()
        for task in tasks:
            task.cancel()
    await asyncio.wait(tasks)
