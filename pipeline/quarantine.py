"""Put an event that a subscriber cannot digest aside, with its error, so that others go on."""

from uuid import UUID

from pipeline.journal import Journal
from pipeline.settlement import clean
from schemas.events import CloudEvent
from schemas.step import Look, RowKey, Step, Writes
from schemas.tables import DeadLetterRow


async def quarantine(
    subscriber: str, event: CloudEvent, failures: int, error: str, *, journal: Journal
) -> None:
    """Store a dead letter; a second one for the same subscriber and event changes nothing."""
    letter = DeadLetterRow(
        subscriber=subscriber,
        event_id=event.id,
        tenant=event.tenant,
        failures=failures,
        error=told(error),
        event=event.model_dump(mode="json"),
        quarantined_at=journal.now(),
    )

    def decide(look: Look, writes: Writes) -> None:
        if look.get(DeadLetterRow, subscriber, event.id) is None:
            writes.insert(letter, subscriber, event.id)

    await journal.record(Step("quarantine", decide, (letter_key(subscriber, event.id),)))


def letter_key(subscriber: str, event_id: UUID) -> RowKey:
    return RowKey(DeadLetterRow, (subscriber, event_id))


def told(error: str) -> str:
    """*error* as it is kept in a letter."""
    return clean(error, 4_000)
