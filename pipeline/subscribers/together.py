"""React to several events at once: without it each would pay for a task of its own."""

from collections.abc import Callable, Sequence

from pipeline.journal import Journal
from schemas.events import CloudEvent
from schemas.step import Step


async def record_steps(
    events: Sequence[CloudEvent],
    steps: Sequence[Step[str] | None],
    journal: Journal,
    tell: Callable[[CloudEvent, str], None],
) -> list[Exception | None]:
    """Record the step of each event, if it has one; answer for each None, or what that lost by.

    *tell* hears of what was done about an event.
    """
    answers = await journal.record_all([step for step in steps if step is not None])
    coming = iter(answers)
    failures: list[Exception | None] = []
    for event, step in zip(events, steps, strict=True):
        answer = next(coming) if step is not None else None
        if isinstance(answer, str):
            tell(event, answer)
        failures.append(answer if isinstance(answer, Exception) else None)
    return failures
