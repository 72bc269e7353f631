"""A real store behind a gate: a test decides when the next commit may go through."""

import asyncio
from collections.abc import Sequence
from typing import Any

from adapters.store.database import AnyStore
from schemas.step import Outcome, Step


class GatedStore:
    """Delegates everything; counts groups, and holds commits while closed."""

    def __init__(self, store: AnyStore) -> None:
        self._store = store
        self._open = asyncio.Event()
        self._open.set()
        self._arrived = asyncio.Event()
        self.groups: list[list[Step[Any]]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def shut(self) -> None:
        self._open.clear()
        self._arrived.clear()

    def open(self) -> None:
        self._open.set()

    async def commit_waits(self) -> None:
        """Return when a commit stands before the closed gate."""
        await self._arrived.wait()

    async def commit(self, group: Sequence[Step[Any]]) -> list[Outcome]:
        self.groups.append(list(group))
        self._arrived.set()
        await self._open.wait()
        return await self._store.commit(group)
