"""Who reacts to which events. Names never change: inboxes hold them."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial

from adapters.ports import EventHandler, Ids
from pipeline.journal import Journal
from pipeline.subscribers import blog_linking, draft_promotion
from schemas.events import CloudEvent, EventType

Reaction = Callable[[CloudEvent, Journal, Ids], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Subscriber:
    name: str
    types: frozenset[str]
    react: Reaction

    def handler(self, journal: Journal, ids: Ids) -> EventHandler:
        return partial(_react, self.react, journal=journal, ids=ids)


async def _react(react: Reaction, event: CloudEvent, *, journal: Journal, ids: Ids) -> None:
    await react(event, journal, ids)


SUBSCRIBERS: tuple[Subscriber, ...] = (
    Subscriber(blog_linking.NAME, frozenset({EventType.JOB_COMPLETED.value}), blog_linking.link),
    Subscriber(
        draft_promotion.NAME,
        frozenset({EventType.JOB_COMPLETED.value}),
        draft_promotion.promote_draft,
    ),
)
