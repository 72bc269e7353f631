"""`limner dead-letters`: events that a subscriber could not digest."""

import json
from collections.abc import AsyncIterator, Sequence
from typing import Any
from uuid import UUID

from rich.table import Table

from pipeline.cli.client import Client, Refused
from pipeline.cli.output import Output, clean, counted, facts
from pipeline.cli.reach import Place
from pipeline.cli.start import WrongUsage, checked
from schemas.redelivery import DeadLetterDetails, DeadLetterFilters, DeadLetterResponse


async def run_list(place: Place, out: Output, *, filters: dict[str, Any]) -> int:
    given = {name: value for name, value in filters.items() if value is not None}
    query = checked(DeadLetterFilters, given).model_dump(mode="json", exclude_unset=True)
    async with place.reached() as reached:
        found = await reached.client.dead_letters(query)
    if out.as_json:
        out.document(found)
    elif not out.for_person:
        for letter in found.dead_letters:
            out.line(
                letter.quarantined_at.isoformat(),
                letter.subscriber,
                letter.event_id,
                letter.type,
                letter.failures,
                letter.error,
            )
    elif found.dead_letters:
        out.person(_table(found.dead_letters))
    if not found.dead_letters:
        out.note("No event stands aside.")
    elif found.next_cursor is not None:
        shown = f"{len(found.dead_letters)} of {found.total}"
        out.note(f"{shown}; more with --cursor {found.next_cursor}")
    return 0


async def run_show(place: Place, out: Output, *, subscriber: str, event_id: str) -> int:
    wanted = parsed_event(event_id)
    async with place.reached() as reached:
        letter = await reached.client.dead_letter(subscriber, wanted)
    if out.as_json:
        out.document(letter)
        return 0
    pairs = _facts(letter)
    if out.for_person:
        out.person(facts(pairs))
        return 0
    for name, value in pairs:
        out.line(f"{name}: {value}")
    return 0


async def run_redrive(
    place: Place, out: Output, *, subscriber: str, event_ids: Sequence[str], everything: bool
) -> int:
    """Exit code 1 where one of them failed again; the others are done all the same."""
    wanted = _wanted(event_ids, everything)
    failed = 0
    done = []
    async with place.reached() as reached:
        client = reached.client
        async for event_id in _each(client, subscriber, wanted):
            try:
                done.append(await client.redrive(subscriber, event_id))
            except Refused as exc:
                # Where it was all that was asked, the problem is the answer.
                if exc.code != "redrive_failed" or len(wanted) == 1:
                    raise
                failed += 1
                out.error(exc.problem.detail)
            else:
                _tell(out, done[-1])
    _sum_up(out, done, "redriven", failed)
    return 1 if failed else 0


async def run_drop(
    place: Place, out: Output, *, subscriber: str, event_ids: Sequence[str], everything: bool
) -> int:
    wanted = _wanted(event_ids, everything)
    done = []
    async with place.reached() as reached:
        async for event_id in _each(reached.client, subscriber, wanted):
            done.append(await reached.client.drop_dead_letter(subscriber, event_id))
            _tell(out, done[-1])
    _sum_up(out, done, "dropped", 0)
    return 0


def parsed_event(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise WrongUsage(
            f"{text!r} is no event id; `limner dead-letters list` names subscriber and event"
        ) from None


def _wanted(event_ids: Sequence[str], everything: bool) -> list[UUID]:
    if bool(event_ids) is everything:
        raise WrongUsage("name the events, or --all for every one of the subscriber")
    return [parsed_event(one) for one in event_ids]


async def _each(client: Client, subscriber: str, wanted: list[UUID]) -> AsyncIterator[UUID]:
    """What is *wanted*, or else every event that stands aside now for *subscriber*."""
    for event_id in wanted:
        yield event_id
    cursor: str | None = ""
    while not wanted and cursor is not None:
        query = {"subscriber": subscriber} | ({"cursor": cursor} if cursor else {})
        page = await client.dead_letters(query)
        cursor = page.next_cursor
        for letter in page.dead_letters:
            yield letter.event_id


def _tell(out: Output, letter: DeadLetterResponse) -> None:
    if not out.as_json:
        out.line(letter.subscriber, letter.event_id)


def _sum_up(out: Output, done: Sequence[DeadLetterResponse], what: str, failed: int) -> None:
    if out.as_json:
        ids = [str(letter.event_id) for letter in done]
        out.document({what: ids, "failed": failed})
        return
    again = f", {failed} failed again" if failed else ""
    out.note(f"{counted(len(done), 'event')} {what}{again}.")


def _facts(letter: DeadLetterDetails) -> list[tuple[str, object]]:
    return [
        ("subscriber", letter.subscriber),
        ("event", letter.event_id),
        ("type", letter.type),
        ("subject", letter.subject),
        ("failures", letter.failures),
        ("put aside", letter.quarantined_at.isoformat()),
        ("error", clean(letter.error)),
        ("as it travelled", clean(json.dumps(letter.event, ensure_ascii=False))),
    ]


def _table(letters: Sequence[DeadLetterResponse]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("subscriber", "event"):
        table.add_column(name, no_wrap=True)
    for name in ("type", "put aside", "error"):
        table.add_column(name, overflow="fold")
    for letter in letters:
        table.add_row(
            clean(letter.subscriber),
            str(letter.event_id),
            clean(letter.type),
            letter.quarantined_at.isoformat()[:19],
            clean(letter.error),
        )
    return table
