"""A real store behind a gate: a test decides when the next commit may go through."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from adapters.ports import nothing
from adapters.store.database import AnyStore
from schemas.step import Outcome, Step


class GatedStore:
    """Delegates everything; counts groups, and holds commits while closed."""

    def __init__(self, store: AnyStore) -> None:
        self._store = store
        self._open = asyncio.Event()
        self._open.set()
        self._arrived = asyncio.Event()
        self._still_pass = 0
        self.groups: list[list[Step[Any]]] = []
        # Those that were decided before their turn, and whether anything came of it.
        self.decided: list[tuple[list[Step[Any]], bool]] = []
        self._news = asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def shut(self, after: int = 0) -> None:
        """Hold commits; so many may still pass."""
        self._open.clear()
        self._arrived.clear()
        self._still_pass = after

    def open(self) -> None:
        self._open.set()

    async def commit_waits(self) -> None:
        """Return when a commit stands before the closed gate."""
        await self._arrived.wait()

    async def has_decided(self, groups: int) -> None:
        """Return when *groups* were decided before their turn."""
        while len(self.decided) < groups:
            self._news.clear()
            await self._news.wait()

    async def decide(self, group: Sequence[Step[Any]]) -> Any:
        decided = await self._store.decide(group)
        self.decided.append((list(group), decided is not None))
        self._news.set()
        return decided

    async def commit(
        self,
        group: Sequence[Step[Any]],
        decided: Any = None,
        meanwhile: Callable[[], None] = nothing,
    ) -> list[Outcome]:
        self.groups.append(list(group))
        if self._still_pass:
            self._still_pass -= 1
        else:
            self._arrived.set()
            await self._open.wait()
        return await self._store.commit(group, decided, meanwhile)
