"""What becomes of events that a subscriber could not digest: looked at, redriven, dropped.

`quarantine` puts them aside. Without this they would stay there for ever.
"""

from collections.abc import Sequence
from uuid import UUID

import structlog

from adapters.delivery import error_text
from adapters.errors import Unavailable
from adapters.ports import Ids
from adapters.store import event_reads
from pipeline.errors import NoSuchDeadLetter, NoSuchSubscriber, RedriveFailed
from pipeline.inbox import redriving
from pipeline.journal import Journal, JournalClosed, JournalFull
from pipeline.providers import Providers
from pipeline.quarantine import letter_key, told
from pipeline.subscribers import SUBSCRIBERS, Subscriber
from schemas.events import CloudEvent
from schemas.step import Look, Step, Writes
from schemas.tables import DeadLetter, DeadLetterRow

log = structlog.get_logger(__name__)


async def find(subscriber: str, event_id: UUID, *, tenant: str, journal: Journal) -> DeadLetter:
    """The dead letter, or `NoSuchDeadLetter`."""
    found = await journal.read(event_reads.dead_letter, tenant, subscriber, event_id)
    if found is None:
        raise NoSuchDeadLetter(subscriber, event_id)
    return found


async def redrive(
    subscriber: str,
    event_id: UUID,
    *,
    tenant: str,
    journal: Journal,
    ids: Ids,
    providers: Providers,
    subscribers: Sequence[Subscriber] = SUBSCRIBERS,
) -> DeadLetter:
    """Deliver a dead letter once more to its subscriber; it goes in the commit of the effect.

    Raises `RedriveFailed`, and keeps it with the new error, when the subscriber fails again; and
    `Unavailable` when nothing could be tried. Two at once do it once: the inbox decides.
    """
    letter = await find(subscriber, event_id, tenant=tenant, journal=journal)
    by_name = {one.name: one for one in subscribers}
    if subscriber not in by_name:
        raise NoSuchSubscriber(subscriber, by_name)
    within = redriving(journal, subscriber, event_id)
    handle = by_name[subscriber].handler(within, ids, providers)
    try:
        await handle(CloudEvent.model_validate(letter.event))
    except (Unavailable, JournalClosed, JournalFull):
        raise
    except Exception as exc:
        failed = await journal.record(_failed_again(letter, error_text(exc)))
        log.warning("redrive_failed", subscriber=subscriber, event_id=str(event_id), exc_info=exc)
        raise RedriveFailed(subscriber, event_id, failed.failures, failed.error) from exc
    # A subscriber that had nothing to do about the event has recorded nothing.
    await journal.record(_removal(letter))
    log.info("event_redriven", subscriber=subscriber, event_id=str(event_id))
    return letter


async def drop(subscriber: str, event_id: UUID, *, tenant: str, journal: Journal) -> DeadLetter:
    """Give an event up for its subscriber: it is not delivered again by itself."""
    letter = await find(subscriber, event_id, tenant=tenant, journal=journal)
    await journal.record(_removal(letter))
    log.info("dead_letter_dropped", subscriber=subscriber, event_id=str(event_id))
    return letter


def _failed_again(letter: DeadLetter, error: str) -> Step[DeadLetterRow]:
    def decide(look: Look, writes: Writes) -> DeadLetterRow:
        present = look.get(DeadLetterRow, letter.subscriber, letter.event_id)
        if present is None:
            raise NoSuchDeadLetter(letter.subscriber, letter.event_id)
        failed = present.changed(failures=present.failures + 1, error=told(error))
        writes.update(failed, letter.subscriber, letter.event_id)
        return failed

    return Step("fail_redrive", decide, (letter_key(letter.subscriber, letter.event_id),))


def _removal(letter: DeadLetter) -> Step[None]:
    def decide(look: Look, writes: Writes) -> None:
        if look.get(DeadLetterRow, letter.subscriber, letter.event_id) is not None:
            writes.delete(DeadLetterRow, letter.subscriber, letter.event_id)

    return Step("remove_dead_letter", decide, (letter_key(letter.subscriber, letter.event_id),))
