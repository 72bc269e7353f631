"""Logs: structlog events with fields, as JSON for Cloud Logging or as lines for a person."""

import logging
import os
import sys
from collections.abc import Mapping, MutableMapping
from contextlib import suppress
from typing import Any, TextIO, cast

import structlog
from opentelemetry import trace

TRACE = "logging.googleapis.com/trace"
SPAN = "logging.googleapis.com/spanId"
TRACE_SAMPLED = "logging.googleapis.com/trace_sampled"
_SEVERITY: Mapping[str, str] = {"warn": "WARNING", "exception": "ERROR"}


def _with_severity(
    _: Any, method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    event["severity"] = _SEVERITY.get(method, method.upper())
    event["message"] = event.pop("event")
    return event


class _Traced:
    """Names the trace of a line, as Cloud Logging joins them: the job's, whoever logs."""

    def __init__(self, project: str | None) -> None:
        self._prefix = f"projects/{project}/traces/" if project else ""

    def __call__(
        self, _: Any, __: str, event: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        current = trace.get_current_span().get_span_context()
        job_id = str(event.get("job_id", "")).replace("-", "")
        if current.is_valid and job_id in ("", f"{current.trace_id:032x}"):
            event[SPAN] = f"{current.span_id:016x}"
            event[TRACE] = f"{self._prefix}{current.trace_id:032x}"
            event[TRACE_SAMPLED] = current.trace_flags.sampled
        elif job_id:
            event[TRACE] = self._prefix + job_id
        return event


class _Unbreakable:
    """A stream whose reader may go away: no log line is worth a job."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        with suppress(OSError, ValueError):
            self._stream.write(text)

    def flush(self) -> None:
        with suppress(OSError, ValueError):
            self._stream.flush()


def configure_logging(
    stream: TextIO | None = None, *, as_json: bool | None = None, for_good: bool = False
) -> None:
    """Send log events to *stream* (stderr); as JSON unless *stream* is a terminal.

    *for_good*: loggers that were used once are kept, and see no other configuration any more.
    """
    stream = stream or sys.stderr
    if as_json is None:
        as_json = not stream.isatty()
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
    ]
    last: list[Any] = (
        [
            _with_severity,
            _Traced(os.environ.get("GOOGLE_CLOUD_PROJECT")),
            # Locals may hold prompts and keys.
            structlog.processors.ExceptionRenderer(
                structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
            ),
            structlog.processors.JSONRenderer(),
        ]
        if as_json
        else [
            structlog.processors.add_log_level,
            structlog.dev.ConsoleRenderer(
                colors=stream.isatty(),
                timestamp_key="time",
                # Locals may hold prompts and keys.
                exception_formatter=structlog.dev.plain_traceback,
            ),
        ]
    )
    structlog.configure(
        processors=shared + last,
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(cast(TextIO, _Unbreakable(stream))),
        cache_logger_on_first_use=for_good,
    )
