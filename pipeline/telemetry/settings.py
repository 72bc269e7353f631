"""What a process tells of itself beside its log: `LIMNER_TELEMETRY__…`."""

from pydantic import BaseModel, ConfigDict, Field


class TelemetrySettings(BaseModel):
    """Nothing is told unless a port or an address is set. Both need the extra `telemetry`."""

    model_config = ConfigDict(extra="forbid")

    # Where Prometheus finds `/metrics`, at the address that the service listens on; 0 = any.
    metrics_port: int | None = Field(default=None, ge=0, le=65535)
    # Where spans go by OTLP over HTTP, such as http://collector:4318/v1/traces.
    traces_endpoint: str | None = Field(default=None, pattern=r"^https?://[^\s/]+(/\S*)?$")
    # The share of jobs whose traces are kept; a job is kept whole or not at all.
    traces_ratio: float = Field(default=1.0, ge=0, le=1)
