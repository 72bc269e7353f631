"""Put an event that a subscriber cannot digest aside, with its error, so that others go on."""

from pipeline.journal import Journal
from pipeline.settle import clean
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
        error=clean(error, 4_000),
        event=event.model_dump(mode="json"),
        quarantined_at=journal.now(),
    )

    def decide(look: Look, writes: Writes) -> None:
        if look.get(DeadLetterRow, subscriber, event.id) is None:
            writes.insert(letter, subscriber, event.id)

    key = RowKey(DeadLetterRow, (subscriber, event.id))
    await journal.record(Step("quarantine", decide, (key,)))
