"""Traces: without them nobody could see the way of one job through queue, worker and bus.

A job's id is the id of its trace (W3C trace context), so that every task and event of it belongs
together, whichever process sends it and however often, and nothing has to be stored. The request
that created the job may belong to a trace of its caller's; the two are linked.

Where no tracer is in use a span costs one look at a variable.
"""

import hashlib
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from uuid import UUID

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    StatusCode,
    TraceFlags,
    Tracer,
)

from schemas.events import CloudEvent
from schemas.tasks import ImageTask

SAMPLED = "01"
Attributes = Mapping[str, str | int | float | bool]

# Which ids the next span is given, so that whoever only knows the job, the task or the event can
# name that span as its parent. Read by the id generator of `pipeline.telemetry.start`.
next_ids: ContextVar[tuple[int, int] | None] = ContextVar("next_ids", default=None)

_tracer: Tracer | None = None


def use(tracer: Tracer | None) -> None:
    """Make spans by *tracer* from now on, in all of the process; by none where it is None."""
    global _tracer  # noqa: PLW0603  # as logging is: who tells of its work is not handed a tracer
    _tracer = tracer


def enabled() -> bool:
    return _tracer is not None


def span(
    name: str,
    parent: str | None = None,
    *,
    kind: SpanKind = SpanKind.INTERNAL,
    attributes: Attributes | None = None,
) -> AbstractContextManager[Span | None]:
    """A span around what is done inside: below the current one, or in the trace of *parent*.

    *parent* is a traceparent: where the current span is of another trace, the new one is below it,
    and linked to the current one. Errors are told by their type alone: their texts may hold what a
    caller has written.
    """
    return _NO_SPAN if _tracer is None else _span(_tracer, name, parent, kind, attributes)


def span_of_task(task: ImageTask) -> AbstractContextManager[Span | None]:
    """A span around the work that *task* asks for, below its sending."""
    if _tracer is None:
        return _NO_SPAN
    return _span(_tracer, "process image task", task_traceparent(task), SpanKind.CONSUMER, None)


def span_of_delivery(event: CloudEvent, subscriber: str) -> AbstractContextManager[Span | None]:
    """A span around what *subscriber* does about *event*, below its publication."""
    if _tracer is None:
        return _NO_SPAN
    name, told = f"handle event by {subscriber}", {"limner.event_type": event.type}
    return _span(_tracer, name, event_traceparent(event), SpanKind.CONSUMER, told)


_NO_SPAN: AbstractContextManager[Span | None] = nullcontext()


@contextmanager
def _span(
    tracer: Tracer, name: str, parent: str | None, kind: SpanKind, attributes: Attributes | None
) -> Iterator[Span | None]:
    current = trace.get_current_span().get_span_context()
    context, links = None, None
    if parent is not None and f"{current.trace_id:032x}" != parent.split("-")[1]:
        context = _context(parent)
        links = [Link(current)] if current.is_valid else None
    with tracer.start_as_current_span(
        name,
        context,
        kind=kind,
        attributes=attributes,
        links=links,
        record_exception=False,
        set_status_on_exception=False,
    ) as made:
        try:
            yield made
        except BaseException as exc:
            failed(made, type(exc).__name__)
            raise


def failed(made: Span | None, error: str) -> None:
    """Say of a span that it failed by *error*, a name."""
    if made is not None:
        made.set_attribute("error.type", error)
        made.set_status(StatusCode.ERROR)


@dataclass(frozen=True, slots=True)
class Asked:
    """Who asks for jobs, and since when."""

    span: Span
    begun_ns: int


def asked() -> Asked | None:
    """Whoever asks now; None where no tracer is in use."""
    return Asked(trace.get_current_span(), time.time_ns()) if _tracer is not None else None


def tell_created(job_id: UUID, asked: Asked, attributes: Attributes) -> None:
    """The first span of a job's trace; it and the span that asked for the job name each other."""
    if _tracer is None:
        return
    origin = asked.span.get_span_context()
    links = [Link(origin)] if origin.is_valid else None
    name, root = "create image job", _root(job_id)
    made = _named(job_id.int, root, name, None, links, asked.begun_ns, attributes)
    asked.span.add_link(made.get_span_context())
    made.end()


def tell_sent(task: ImageTask, begun_ns: int) -> None:
    """That *task* was given to the queue, since *begun_ns*."""
    if _tracer is not None:
        parent = _context(_traceparent(task.job_id, f"{_root(task.job_id):016x}"))
        told: Attributes = {"messaging.operation.type": "send", "limner.attempt": task.attempt}
        span_id = int(task.name[:16], 16)
        _named(task.job_id.int, span_id, "send image task", parent, None, begun_ns, told).end()


def tell_published(event: CloudEvent, begun_ns: int) -> None:
    """That *event* was given to the bus, since *begun_ns*."""
    if _tracer is not None:
        traced = _traced(event)
        parent = _context(_traceparent(traced, f"{_root(traced):016x}"))
        told: Attributes = {"messaging.operation.type": "send", "limner.event_type": event.type}
        span_id = int(event.id.hex[-16:], 16)
        _named(traced.int, span_id, "publish event", parent, None, begun_ns, told).end()


def task_traceparent(task: ImageTask) -> str:
    return _traceparent(task.job_id, task.name[:16])


def event_traceparent(event: CloudEvent) -> str:
    """The trace of the event's job; of an event without one, its own."""
    return _traceparent(_traced(event), event.id.hex[-16:])


def _traced(event: CloudEvent) -> UUID:
    try:
        return UUID(str(event.data.get("job_id") or event.data.get("batch_id") or event.id))
    except ValueError:
        return event.id


def _traceparent(trace_id: UUID, span_id: str) -> str:
    return f"00-{trace_id.hex}-{span_id}-{SAMPLED}"


def _root(trace_id: UUID) -> int:
    """The id of the first span of a job's trace."""
    return int.from_bytes(hashlib.sha256(trace_id.bytes).digest()[:8])


def _context(traceparent: str) -> Context:
    _, trace_id, span_id, _ = traceparent.split("-")
    parent = SpanContext(
        int(trace_id, 16), int(span_id, 16), is_remote=True, trace_flags=TraceFlags(1)
    )
    return trace.set_span_in_context(NonRecordingSpan(parent), Context())


def _named(
    trace_id: int,
    span_id: int,
    name: str,
    parent: Context | None,
    links: list[Link] | None,
    begun_ns: int,
    attributes: Attributes,
) -> Span:
    assert _tracer is not None
    token = next_ids.set((trace_id, span_id))
    try:
        return _tracer.start_span(
            name,
            parent if parent is not None else Context(),
            kind=SpanKind.PRODUCER,
            links=links,
            start_time=begun_ns,
            attributes=attributes,
        )
    finally:
        next_ids.reset(token)
