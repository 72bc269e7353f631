"""Handlers of events: each is called once for an event, in the transaction that remembers it."""

import asyncio
import difflib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, Self, TypeVar
from uuid import UUID

import sqlalchemy as sa
import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.delivery import Verdict
from adapters.kit.inbox import HandledBefore, is_newest, remember
from schemas.event_data import EventData, data_of
from schemas.events import CloudEvent, EventType, read_event

log = structlog.get_logger()

D = TypeVar("D", bound=EventData)
Handle = Callable[[Any, sa.Connection], None]
H = TypeVar("H", bound=Handle)


@dataclass(frozen=True, slots=True)
class Event(Generic[D]):
    """An event with its data typed: `Event[JobCompleted]`."""

    id: UUID
    type: str
    subject: str
    sequence: int
    time: datetime
    tenant: str
    data: D
    # As it came, with what this release does not know.
    raw: CloudEvent

    @classmethod
    def of(cls, event: CloudEvent) -> Self:
        """Raises `ValueError` for data that is none of the type's."""
        data: Any = data_of(event)
        return cls(
            id=event.id,
            type=event.type,
            subject=event.subject,
            sequence=event.seq,
            time=event.time,
            tenant=event.tenant,
            data=data,
            raw=event,
        )


@dataclass(frozen=True, slots=True)
class _Handler:
    handle: Handle
    name: str
    newest_only: bool


class Subscriber:
    """*name* is its memory: keep it. *engine* is of the database of its effects."""

    def __init__(self, name: str, engine: sa.Engine | AsyncEngine) -> None:
        self.name = name
        self._engine = engine
        self._handlers: dict[str, list[_Handler]] = {}

    @property
    def types(self) -> frozenset[str]:
        """What it wants to be sent; all else is passed over."""
        return frozenset(self._handlers)

    def on(self, *types: str, newest_only: bool = False) -> Callable[[H], H]:
        """Have a function called for events of *types*: `handle(event, connection)`.

        What it does on *connection* is committed with the memory of the event: once, however often
        the event comes. It does nothing elsewhere, since that could not be taken back. A function
        that raises is called again when the event comes again.

        With *newest_only* it is not called for an event when it was called for a later one of the
        same subject; the function's own name is the memory of that.
        """
        for one in types:
            _check_type(one)

        def add(handle: H) -> H:
            handler = _Handler(handle, getattr(handle, "__name__", repr(handle)), newest_only)
            for one in types:
                self._handlers.setdefault(one, []).append(handler)
            return handle

        return add

    async def take(self, message: bytes | str) -> Verdict:
        """Handle *message*, a CloudEvent in structured JSON, and say what became of it.

        DONE: its effect is committed, or there is none to have. AGAIN: it failed; have it sent
        again. REFUSED: it is no event, and never will be one.
        """
        engine = self._engine
        if not isinstance(engine, AsyncEngine):
            return await asyncio.to_thread(self.take_now, message)
        event = self._read(message)
        if not isinstance(event, Event):
            return event
        try:
            async with engine.begin() as connection:
                await connection.run_sync(self._handle, event)
        except Exception as exc:
            return self._verdict(event, exc)
        return Verdict.DONE

    def take_now(self, message: bytes | str) -> Verdict:
        """`take` for programs without an event loop; not with an `AsyncEngine`."""
        if isinstance(self._engine, AsyncEngine):
            raise TypeError("an AsyncEngine is awaited: call take")
        event = self._read(message)
        if not isinstance(event, Event):
            return event
        try:
            with self._engine.begin() as connection:
                self._handle(connection, event)
        except Exception as exc:
            return self._verdict(event, exc)
        return Verdict.DONE

    def _read(self, message: bytes | str) -> Event[Any] | Verdict:
        """The event, or what to say of a message in which there is nothing to do."""
        try:
            event = read_event(message)
            return Event.of(event) if event.type in self._handlers else Verdict.DONE
        except ValueError as exc:
            log.warning("message_refused", subscriber=self.name, reason=str(exc)[:500])
            return Verdict.REFUSED

    def _handle(self, connection: sa.Connection, event: Event[Any]) -> None:
        remember(connection, self.name, event.id)
        for handler in self._handlers[event.type]:
            if not handler.newest_only or is_newest(
                connection,
                self.name,
                handler.name,
                tenant=event.tenant,
                subject=event.subject,
                sequence=event.sequence,
            ):
                handler.handle(event, connection)

    def _verdict(self, event: Event[Any], exc: Exception) -> Verdict:
        if isinstance(exc, HandledBefore):
            return Verdict.DONE
        log.error(
            "handler_failed",
            subscriber=self.name,
            event_id=str(event.id),
            event_type=event.type,
            exc_info=exc,
        )
        return Verdict.AGAIN


def _check_type(name: str) -> None:
    known = [one.value for one in EventType]
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"; {near[0]!r} is near" if near else f"; known: {', '.join(known)}"
        raise ValueError(f"there is no event {name!r}{hint}")
