"""Send stored events once more: to whoever subscribes, or to one subscriber of our own.

Harmless, since whoever has handled an event passes it over. Without it nothing could bring back
what a subscriber lost.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import structlog

from adapters.delivery import Delivery, Quarantine, Subscription
from adapters.ports import Clock, Ids
from adapters.store import event_reads
from pipeline.errors import NoSuchSubscriber, ReplayCursorUnknown, SubscriberTakesOthers
from pipeline.inbox import reapplying
from pipeline.journal import Journal
from pipeline.providers import Providers
from pipeline.subscribers import SUBSCRIBERS, Subscriber
from schemas.cursors import EventCursor, EventFilter
from schemas.events import cloud_event
from schemas.redelivery import ReplayRequest, ReplayResponse
from schemas.tables import EventRow

log = structlog.get_logger(__name__)

MOST_IN_A_PART = 500
# A caller waits about this long for a part, however slow the pace.
PART_SECONDS = 5.0
# As often as this the pace is kept; in between events go at once.
STEP_SECONDS = 0.1
DETERMINISTIC_FAILURES = 5

Send = Callable[[Sequence[EventRow]], Awaitable[list[Exception | None]]]


@dataclass(slots=True)
class Replay:
    """All replays of one process; together they keep to *events_per_second*."""

    journal: Journal
    ids: Ids
    clock: Clock
    providers: Providers
    # To the bus; answers for each event why it did not leave.
    send: Send
    quarantine: Quarantine
    events_per_second: float
    most_in_a_part: int = MOST_IN_A_PART
    subscribers: Sequence[Subscriber] = SUBSCRIBERS
    _free_at: float = field(default=0.0)

    async def part(self, asked: ReplayRequest, tenant: str) -> ReplayResponse:
        """Send one part of what is *asked*, in the order of the events, and say where it ended.

        Raises `Unavailable` where it cannot go on; the same part may then be asked for again.
        """
        subscriber = self._subscriber(asked.subscriber)
        types = _types(asked, subscriber)
        wanted = EventFilter(tenant, types, since=asked.since, until=asked.until)
        tail = await self.journal.read(event_reads.tail)
        end = await self._known(asked.end) or tail
        after = await self._known(asked.after) or EventCursor.beginning(end.lineage)
        if asked.dry_run:
            found = await self.journal.read(event_reads.event_counts, after, end, wanted)
            return ReplayResponse(
                events=sum(found.values()),
                by_type=found,
                failed=0,
                done=True,
                cursor=str(end),
                end=str(end),
            )
        limit = max(1, int(min(self.most_in_a_part, self.events_per_second * PART_SECONDS)))
        events, cursor = await self.journal.read(
            event_reads.events_after, after, limit, wanted, end
        )
        failed = await self._send_all(events, subscriber, reapply=asked.reapply)
        log.info(
            "events_replayed",
            events=len(events),
            failed=failed,
            subscriber=asked.subscriber,
            reapply=asked.reapply,
        )
        return ReplayResponse(
            events=len(events) - failed,
            by_type=Counter(event.type for event in events),
            failed=failed,
            done=len(events) < limit,
            cursor=str(cursor),
            end=str(end),
        )

    def _subscriber(self, name: str | None) -> Subscriber | None:
        if name is None:
            return None
        by_name = {one.name: one for one in self.subscribers}
        if name not in by_name:
            raise NoSuchSubscriber(name, by_name)
        return by_name[name]

    async def _known(self, text: str | None) -> EventCursor | None:
        """The cursor that *text* is, of this database; None where none was given."""
        cursor = EventCursor.parse(text) if text is not None else None
        if text is not None and (
            cursor is None or not await self.journal.read(event_reads.holds, cursor)
        ):
            raise ReplayCursorUnknown(text)
        return cursor

    async def _send_all(
        self, events: Sequence[EventRow], subscriber: Subscriber | None, *, reapply: bool
    ) -> int:
        """Send *events* at the pace; how many could not be delivered for a reason of their own."""
        failed = 0
        at_once = max(1, int(min(self.most_in_a_part, self.events_per_second * STEP_SECONDS)))
        for start in range(0, len(events), at_once):
            some = events[start : start + at_once]
            await self._take_turn(len(some))
            if subscriber is None:
                failed += await self._publish(some)
            else:
                handled = (self._deliver(one, subscriber, reapply=reapply) for one in some)
                failed += (await asyncio.gather(*handled)).count(False)
        return failed

    async def _take_turn(self, number: int) -> None:
        """Wait until *number* more events keep to the pace."""
        now = self.clock.monotonic()
        turn = max(now, self._free_at)
        self._free_at = turn + number / self.events_per_second
        if turn > now:
            await self.clock.sleep(turn - now)

    async def _publish(self, events: Sequence[EventRow]) -> int:
        failed = 0
        for answer in await self.send(events):
            if isinstance(answer, ValueError):  # it can travel on no bus, and never could
                failed += 1
            elif answer is not None:
                raise answer
        return failed

    async def _deliver(self, row: EventRow, subscriber: Subscriber, *, reapply: bool) -> bool:
        """Whether the subscriber could digest the event; if not, it stands aside with its error."""
        event = cloud_event(row)
        name, journal = subscriber.name, self.journal
        handler = subscriber.handler(
            reapplying(journal, name, event.id) if reapply else journal, self.ids, self.providers
        )
        subscription = Subscription(name, subscriber.types, handler)
        delivery = Delivery(subscription, event, self.quarantine, DETERMINISTIC_FAILURES)
        while not await delivery.attempt():
            pass
        return delivery.failures < DETERMINISTIC_FAILURES


def _types(asked: ReplayRequest, subscriber: Subscriber | None) -> frozenset[str]:
    types = frozenset(one.value for one in asked.type)
    if subscriber is None:
        return types
    if types and not types & subscriber.types:
        raise SubscriberTakesOthers(subscriber.name, subscriber.types)
    return types & subscriber.types if types else subscriber.types
