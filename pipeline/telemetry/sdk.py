"""The OpenTelemetry SDK, as Limner uses it; needs the extra `telemetry`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Span, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.id_generator import IdGenerator, RandomIdGenerator
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult
from opentelemetry.trace import Link, SpanKind, TraceState
from opentelemetry.util.types import Attributes
from prometheus_client import CollectorRegistry, start_http_server

from adapters.traces import next_ids
from pipeline.links import APPROVALS
from pipeline.telemetry.metrics import Metrics

# A job's id is a UUID, of which these bits are random in every version.
RANDOM_BITS = 62
METER = "limner"


class Ids(IdGenerator):
    """Random ids, but where the next span is to be found by a job, a task or an event."""

    def __init__(self) -> None:
        self._random = RandomIdGenerator()

    def generate_trace_id(self) -> int:
        named = next_ids.get()
        return named[0] if named is not None else self._random.generate_trace_id()

    def generate_span_id(self) -> int:
        named = next_ids.get()
        return named[1] if named is not None else self._random.generate_span_id()


class WholeTraces(Sampler):
    """Keeps a share of all traces by their ids: every process decides alike, without a flag."""

    def __init__(self, ratio: float) -> None:
        self._bound = round(ratio * 2**RANDOM_BITS)

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        kept = trace_id & (2**RANDOM_BITS - 1) < self._bound
        return SamplingResult(Decision.RECORD_AND_SAMPLE if kept else Decision.DROP, attributes)

    def get_description(self) -> str:
        return f"WholeTraces({self._bound / 2**RANDOM_BITS})"


class Redacted(SpanProcessor):
    """Takes secrets out of a request's address: an approval's token, a picture's signature."""

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        told = span.attributes or {}
        if "url.query" in told:
            span.set_attribute("url.query", "REDACTED")
        if str(told.get("url.path", "")).startswith(f"{APPROVALS}/"):
            span.set_attribute("url.path", f"{APPROVALS}/REDACTED")


def tracer_provider(
    about: Mapping[str, str], ratio: float, *, endpoint: str | None, exporter: SpanExporter | None
) -> TracerProvider:
    """Sends spans to *endpoint* in the background, or gives each to *exporter* at once."""
    provider = TracerProvider(
        WholeTraces(ratio), Resource.create(dict(about)), shutdown_on_exit=False, id_generator=Ids()
    )
    provider.add_span_processor(Redacted())
    if exporter is not None:
        provider.add_span_processor(SimpleSpanProcessor(exporter))
    else:
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint)))
    return provider


@dataclass(slots=True)
class Served:
    provider: MeterProvider
    metrics: Metrics
    port: int
    _stop: "list[object]"

    def close(self) -> None:
        server, thread = self._stop
        server.shutdown()  # type: ignore[attr-defined]
        server.server_close()  # type: ignore[attr-defined]
        thread.join()  # type: ignore[attr-defined]
        self.provider.shutdown()


def serve_metrics(about: Mapping[str, str], host: str, port: int) -> Served:
    """Answer `/metrics` on *host* and *port*, from a thread of its own. Raises `OSError`."""
    registry = CollectorRegistry()
    reader = PrometheusMetricReader(scope_info_enabled=False, registry=registry)
    provider = MeterProvider([reader], Resource.create(dict(about)), shutdown_on_exit=False)
    server, thread = start_http_server(port, host, registry)
    metrics = Metrics(provider.get_meter(METER))
    return Served(provider, metrics, server.server_port, [server, thread])
