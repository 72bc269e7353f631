"""What a `connect` function returns: every adapter that differs between laptop and cloud.

The setting `connect` names such a function; nothing else chooses between the worlds.
"""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from adapters.delivery import Consumer, Quarantine, Subscription
from adapters.ports import (
    BlobStore,
    CallerCheck,
    Clock,
    EventBus,
    Ids,
    ImageProvider,
    Processes,
    TaskHandler,
    TaskQueue,
)
from adapters.site import Site

if TYPE_CHECKING:
    from adapters.gcp.settings import GcpSettings
    from adapters.local.connect import LocalSettings
    from adapters.providers.sketch.provider import SketchSettings


class Sections(Protocol):
    """What worlds read of the settings."""

    home: Path
    local: "LocalSettings"
    gcp: "GcpSettings"


class RunningQueue(TaskQueue, Protocol):
    def start(self) -> None:
        """Begin to dispatch."""

    async def drain(self, timeout_seconds: float) -> None:
        """Dispatch nothing more and let what runs in this process end."""


class RunningBus(EventBus, Protocol):
    async def drain(self, timeout_seconds: float) -> None:
        """Deliver nothing more and let what runs in this process end."""


class RunningPull(Protocol):
    """Consumes a subscription that is not pushed to us."""

    @property
    def vital(self) -> Sequence[asyncio.Task[None]]: ...

    def start(self) -> None: ...

    async def drain(self, timeout_seconds: float) -> None:
        """Take nothing more, let what runs end, and acknowledge it."""


class World(Protocol):
    @property
    def alone(self) -> bool:
        """One process, alone on its database, which it may bring to its schema."""

    def lacks(self, dispatch_deadline: timedelta) -> Sequence[str]:
        """What must be set otherwise before anything can be opened, one line each."""

    @property
    def clock(self) -> Clock: ...

    @property
    def ids(self) -> Ids: ...

    @property
    def worker_caller(self) -> CallerCheck | None:
        """Who may deliver tasks; None where that is whoever may use the API."""

    @property
    def push_caller(self) -> CallerCheck | None:
        """Who may push events; None where nobody does."""

    def subscription_path(self, subscriber: str) -> str:
        """By which name the bus calls the subscription of *subscriber*."""

    async def open_blobs(self) -> BlobStore: ...

    async def link_secret(self) -> bytes:
        """The secret that signs links where none is set."""

    def open_painter(self, processes: Processes, settings: "SketchSettings") -> ImageProvider: ...

    def open_queue(self, handler: TaskHandler, dispatch_deadline: timedelta) -> RunningQueue: ...

    def open_bus(
        self, subscriptions: Sequence[Subscription], quarantine: Quarantine
    ) -> RunningBus: ...

    def open_pull(self, consumer: Consumer) -> RunningPull: ...

    async def open_site(self, types: Mapping[str, Collection[str]]) -> Site | None:
        """What must exist outside for subscribers of *types*, by name; None where nothing must."""

    async def close(self) -> None:
        """Close what was opened; called when nothing uses it any more."""
