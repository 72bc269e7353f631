"""Events that a subscriber could not digest: look at them, redrive them, drop them."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Path, Query

from adapters.store import event_reads
from pipeline.dead_letters import drop, find, redrive
from pipeline.routes.dependencies import Running, Tenant
from schemas.cursors import LetterCursor
from schemas.redelivery import (
    DeadLetterDetails,
    DeadLetterFilters,
    DeadLetterListResponse,
    DeadLetterResponse,
    SubscriberName,
)
from schemas.tables import DeadLetter

router = APIRouter(prefix="/api/v1/dead-letters", tags=["events"])

ONE = "/{subscriber}/{event_id}"
Name = Annotated[SubscriberName, Path()]


@router.get("")
async def list_dead_letters(
    filters: Annotated[DeadLetterFilters, Query()], limner: Running, tenant: Tenant
) -> DeadLetterListResponse:
    """What stands aside, the oldest first. Follow `next_cursor` for more."""
    after = LetterCursor.parse(filters.cursor) if filters.cursor is not None else None
    read, subscriber = limner.journal.read, filters.subscriber
    letters = await read(
        event_reads.dead_letters,
        tenant,
        subscriber=subscriber,
        after=after,
        limit=filters.limit + 1,
    )
    page = letters[: filters.limit]
    return DeadLetterListResponse(
        dead_letters=[_told(letter) for letter in page],
        total=await read(event_reads.dead_letter_count, tenant, subscriber),
        next_cursor=str(_cursor(page[-1])) if len(letters) > len(page) else None,
    )


@router.get(ONE)
async def get_dead_letter(
    subscriber: Name, event_id: UUID, limner: Running, tenant: Tenant
) -> DeadLetterDetails:
    """One event that stands aside, as it travelled, and why."""
    letter = await find(subscriber, event_id, tenant=tenant, journal=limner.journal)
    return DeadLetterDetails(**_told(letter).model_dump(), event=letter.event)


@router.post(ONE + "/redrive")
async def redrive_dead_letter(
    subscriber: Name, event_id: UUID, limner: Running, tenant: Tenant
) -> DeadLetterResponse:
    """Deliver it once more to its subscriber. Handled, it stands aside no longer; failed again
    (409), it stays with the new error."""
    letter = await redrive(
        subscriber,
        event_id,
        tenant=tenant,
        journal=limner.journal,
        ids=limner.ids,
        providers=limner.worker.providers,
    )
    return _told(letter)


@router.delete(ONE)
async def drop_dead_letter(
    subscriber: Name, event_id: UUID, limner: Running, tenant: Tenant
) -> DeadLetterResponse:
    """Give it up: its subscriber does nothing about it. The event stays in the history."""
    return _told(await drop(subscriber, event_id, tenant=tenant, journal=limner.journal))


def _cursor(letter: DeadLetter) -> LetterCursor:
    return LetterCursor(letter.quarantined_at, letter.event_id, letter.subscriber)


def _told(letter: DeadLetter) -> DeadLetterResponse:
    return DeadLetterResponse(
        subscriber=letter.subscriber,
        event_id=letter.event_id,
        type=letter.event["type"],
        subject=letter.event["subject"],
        failures=letter.failures,
        error=letter.error,
        quarantined_at=letter.quarantined_at,
    )
