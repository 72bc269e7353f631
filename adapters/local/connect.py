"""The local world: SQLite or PostgreSQL beside an in-process queue and bus, files on a disk."""

import asyncio
import os
from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from adapters.delivery import Consumer, Quarantine, Subscription
from adapters.errors import Unavailable
from adapters.local.blobs import DiskBlobStore
from adapters.local.bus import LocalEventBus
from adapters.local.clock import SystemClock
from adapters.local.ids import RandomIds, SystemEntropy
from adapters.local.queue import LocalTaskQueue
from adapters.local.secret import kept_secret
from adapters.ports import BlobStore, ImageProvider, Processes, TaskHandler
from adapters.providers.sketch.provider import SketchProvider, SketchSettings
from adapters.world import RunningPull, Sections


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1


class LocalSettings(BaseModel):
    """The local queue's and bus's limits."""

    model_config = ConfigDict(extra="forbid")

    dispatches_per_second: float = Field(default=100, gt=0)
    # The offline painter computes on this machine; more at once would only wait for a core.
    concurrent_dispatches: int = Field(default_factory=lambda: 2 * _cores(), ge=1)
    worker_processes: int = Field(default_factory=_cores, ge=1)


class LocalWorld:
    """Opens the local adapters. One process, alone on its database."""

    alone = True
    worker_caller = None
    push_caller = None

    def __init__(self, home: Path, settings: LocalSettings) -> None:
        self._home = home
        self._settings = settings
        self.clock = SystemClock()
        self.ids = RandomIds(self.clock, SystemEntropy())

    def lacks(self, dispatch_deadline: timedelta) -> Sequence[str]:
        return ()

    async def open_blobs(self) -> BlobStore:
        return await DiskBlobStore.open(self._home / "pictures")

    async def link_secret(self) -> bytes:
        """The secret that signs links where none is set; it lies with the data."""
        return await asyncio.to_thread(kept_secret, self._home / "link-secret")

    def open_painter(self, processes: Processes, settings: SketchSettings) -> ImageProvider:
        """What paints without a key or a network; it stands in for providers that need them."""
        return SketchProvider(processes, self.clock, settings)

    def subscription_path(self, subscriber: str) -> str:
        return subscriber

    def open_queue(self, handler: TaskHandler, dispatch_deadline: timedelta) -> LocalTaskQueue:
        return LocalTaskQueue(
            handler,
            clock=self.clock,
            ids=self.ids,
            dispatches_per_second=self._settings.dispatches_per_second,
            concurrent_dispatches=self._settings.concurrent_dispatches,
        )

    def open_bus(
        self, subscriptions: Sequence[Subscription], quarantine: Quarantine
    ) -> LocalEventBus:
        return LocalEventBus(subscriptions, clock=self.clock, ids=self.ids, quarantine=quarantine)

    def open_pull(self, consumer: Consumer) -> RunningPull:
        raise Unavailable("the local bus calls its subscribers itself; nothing is to be pulled")

    async def open_site(self, types: Mapping[str, Collection[str]]) -> None:
        """Nothing outside of this process must exist."""

    async def close(self) -> None: ...


def connect(settings: Sections) -> LocalWorld:
    """What the setting `connect` names by default."""
    return LocalWorld(settings.home, settings.local)
