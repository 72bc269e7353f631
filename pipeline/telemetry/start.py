"""Starts and ends what sends spans and answers `/metrics`; imports the SDK only for them."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import structlog

from adapters import traces
from pipeline.settings import Misconfigured, Settings

if TYPE_CHECKING:
    from fastapi.telemetry import TelemetryConfig
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import TracerProvider

    from pipeline.telemetry.metrics import Metrics

log = structlog.get_logger(__name__)

NAME = "limner"


@dataclass(slots=True)
class Telemetry:
    """What of it is switched on; None where it is not."""

    tracer_provider: "TracerProvider | None" = None
    meter_provider: "MeterProvider | None" = None
    metrics: "Metrics | None" = None
    # Where `/metrics` answers.
    metrics_port: int | None = None
    _close: list[Callable[[], object]] = field(default_factory=list)

    def close(self) -> None:
        """Send what was not sent, then stop."""
        for close in reversed(self._close):
            close()
        self._close.clear()


def start_telemetry(settings: Settings, *, exporter: Any = None) -> Telemetry:
    """Switch on what the settings ask for. *exporter* takes the spans instead of an address."""
    asked = settings.telemetry
    telemetry = Telemetry()
    if asked.metrics_port is None and asked.traces_endpoint is None and exporter is None:
        return telemetry
    try:
        from pipeline.telemetry import sdk
    except ImportError as exc:
        raise Misconfigured(
            f"LIMNER_TELEMETRY__…: {exc.name} is not installed; install limner[telemetry]"
        ) from None
    about = {"service.name": NAME, "service.version": version(NAME)}
    if asked.traces_endpoint is not None or exporter is not None:
        provider = sdk.tracer_provider(
            about, asked.traces_ratio, endpoint=asked.traces_endpoint, exporter=exporter
        )
        traces.use(provider.get_tracer(NAME, about["service.version"]))
        telemetry._close += [provider.shutdown, partial(traces.use, None)]
        telemetry.tracer_provider = provider
    if asked.metrics_port is not None:
        try:
            served = sdk.serve_metrics(about, settings.host, asked.metrics_port)
        except OSError as exc:
            telemetry.close()
            variable = "LIMNER_TELEMETRY__METRICS_PORT"
            why = f"{variable}: {asked.metrics_port} on {settings.host}: {exc.strerror}"
            raise Misconfigured(why, variable=variable) from None
        telemetry.meter_provider, telemetry.metrics = served.provider, served.metrics
        telemetry.metrics_port = served.port
        telemetry._close.append(served.close)
        log.info("metrics_served", host=settings.host, port=served.port)
    return telemetry


# Nothing that the environment says may send a request's address to anybody.
SILENT: "TelemetryConfig" = {
    "tracing": False,
    "metrics": False,
    "logs": False,
    "auto_configure": False,
}


def measured(telemetry: Telemetry) -> "TelemetryConfig":
    """What FastAPI traces and measures its routes with."""
    return {
        **SILENT,
        "operation_spans": False,
        "tracing": telemetry.tracer_provider is not None,
        "metrics": telemetry.meter_provider is not None,
        "tracer_provider": telemetry.tracer_provider,
        "meter_provider": telemetry.meter_provider,
    }
