"""Who reacts to which events. Names never change: inboxes hold them."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from adapters.delivery import Subscription
from adapters.ports import EventHandler, Ids
from pipeline.journal import Journal
from pipeline.providers import Providers
from pipeline.subscribers import blog_linking, draft_promotion
from schemas.events import CloudEvent, EventType

# Answers for each event None, or why it was not handled.
Reaction = Callable[
    [Sequence[CloudEvent], Journal, Ids, Providers], Awaitable[list[Exception | None]]
]


@dataclass(frozen=True, slots=True)
class Subscriber:
    name: str
    types: frozenset[str]
    react: Reaction

    def handler(self, journal: Journal, ids: Ids, providers: Providers) -> EventHandler:
        """Handles one event; raises why that could not be."""

        async def handle(event: CloudEvent) -> None:
            (failure,) = await self.react([event], journal, ids, providers)
            if failure is not None:
                raise failure

        return handle

    def subscription(self, journal: Journal, ids: Ids, providers: Providers) -> Subscription:
        return Subscription(
            self.name,
            self.types,
            self.handler(journal, ids, providers),
            lambda events: self.react(events, journal, ids, providers),
        )


SUBSCRIBERS: tuple[Subscriber, ...] = (
    Subscriber(
        blog_linking.NAME,
        frozenset({EventType.JOB_COMPLETED.value}),
        lambda events, journal, ids, _: blog_linking.link(events, journal, ids),
    ),
    Subscriber(
        draft_promotion.NAME,
        frozenset({EventType.JOB_COMPLETED.value}),
        draft_promotion.promote_drafts,
    ),
)
