"""Who reacts to which events. Names never change: inboxes hold them."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial

from adapters.ports import EventHandler, Ids
from pipeline.journal import Journal
from pipeline.providers import Providers
from pipeline.subscribers import blog_linking, draft_promotion
from schemas.events import CloudEvent, EventType

Reaction = Callable[[CloudEvent, Journal, Ids, Providers], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Subscriber:
    name: str
    types: frozenset[str]
    react: Reaction

    def handler(self, journal: Journal, ids: Ids, providers: Providers) -> EventHandler:
        return partial(_react, self.react, journal=journal, ids=ids, providers=providers)


def _react(
    react: Reaction, event: CloudEvent, *, journal: Journal, ids: Ids, providers: Providers
) -> Awaitable[None]:
    return react(event, journal, ids, providers)


def _link(event: CloudEvent, journal: Journal, ids: Ids, _: Providers) -> Awaitable[None]:
    return blog_linking.link(event, journal, ids)


SUBSCRIBERS: tuple[Subscriber, ...] = (
    Subscriber(blog_linking.NAME, frozenset({EventType.JOB_COMPLETED.value}), _link),
    Subscriber(
        draft_promotion.NAME,
        frozenset({EventType.JOB_COMPLETED.value}),
        draft_promotion.promote_draft,
    ),
)
