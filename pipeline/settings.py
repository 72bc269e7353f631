"""The settings, composed of the sections beside the adapters. Environment: `LIMNER_…`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, ImportString, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from adapters.failpoints import Armed
from adapters.gcp.settings import GcpSettings
from adapters.guard.settings import FetchSettings, GuardSettings
from adapters.local.connect import LocalSettings
from adapters.providers.registry import ProviderSections
from adapters.providers.sketch.provider import SketchSettings
from adapters.store.database import unknown_database
from pipeline.links import LEAST_SECRET_BYTES
from pipeline.policy import UnknownPolicy
from pipeline.telemetry.settings import TelemetrySettings
from schemas.retention import RetentionSettings

MAX_BODY_BYTES = 64 * 1024
MAX_UPLOAD_BYTES = 24 * 1024 * 1024
LEAST_KEY_CHARACTERS = 32
LOCAL_CONNECT = "adapters.local.connect.connect"


class Misconfigured(Exception):
    """Settings that only show to be wrong when the parts are joined; each line names its own."""

    def __init__(self, *reasons: str, variable: str = "") -> None:
        super().__init__(*reasons)
        self.variable = variable


class TimeSettings(BaseModel):
    """Budgets of time in seconds; they must rise in this order."""

    model_config = ConfigDict(extra="forbid")

    provider_seconds: float = Field(default=90, gt=0)
    worker_seconds: float = Field(default=120, gt=0)
    lease_seconds: float = Field(default=150, gt=0)
    dispatch_deadline_seconds: float = Field(default=180, gt=0)
    # How long a provider may work on a request that it has accepted and not answered.
    accepted_seconds: float = Field(default=3600, gt=0)
    # How long a stopping process lets running work end.
    drain_seconds: float = Field(default=10, ge=0)
    sweep_interval_seconds: float = Field(default=5, gt=0)
    # What one attempt to send a webhook may take.
    webhook_seconds: float = Field(default=15, gt=0, le=25)

    @model_validator(mode="after")
    def _rising(self) -> Self:
        if not (
            self.provider_seconds
            < self.worker_seconds
            < self.lease_seconds
            < self.dispatch_deadline_seconds
        ):
            raise ValueError(
                "the budgets must rise: provider_seconds < worker_seconds < lease_seconds"
                " < dispatch_deadline_seconds"
            )
        return self


class Settings(ProviderSections, BaseSettings):
    """Everything that can be set. `LIMNER_TIMES__LEASE_SECONDS=30` sets `times.lease_seconds`.

    The sections of providers come from their registry.
    """

    model_config = SettingsConfigDict(
        env_prefix="LIMNER_",
        env_nested_delimiter="__",
        extra="forbid",
        # A section that is wrong is not repeated: it may hold a key.
        hide_input_in_errors=True,
    )

    home: Path = Path(".limner")
    database_url: str = ""
    host: str = "127.0.0.1"
    port: int = Field(default=8080, ge=0, le=65535)
    # How callers reach this service, when not under the address they called.
    public_url: str | None = None
    # Signs approval links; another one voids all that were given. The local profile makes its own.
    link_secret: SecretStr | None = Field(default=None, min_length=LEAST_SECRET_BYTES)
    # What callers of the API must bear. Without one the service listens on this machine only.
    api_key: SecretStr | None = None
    # The file that holds it instead, as Kubernetes mounts a secret.
    api_key_file: Path | None = None
    # How fast `limner replay` sends stored events again.
    replay_events_per_second: float = Field(default=200, gt=0)
    # The tenant of every caller until there are keys that name one.
    tenant: str = "default"
    connect: ImportString[Callable[..., Any]] = Field(default=LOCAL_CONNECT, validate_default=True)
    default_provider: str = "sketch"
    # Who paints, in order, where the default provider cannot and charged nothing.
    provider_fallback: list[str] = []
    # How long a provider may be busy before another one of the job's list is asked.
    fallback_after_seconds: float = Field(default=300, ge=0)
    # What is done where the answer of a paid call is lost: `park` or `retry_once`.
    on_unknown: UnknownPolicy = UnknownPolicy()
    max_batch_images: int = Field(default=20, ge=1, le=100)
    max_body_bytes: int = Field(default=MAX_BODY_BYTES, ge=1024)
    # Of a form with pictures.
    max_upload_bytes: int = Field(default=MAX_UPLOAD_BYTES, ge=1024)
    times: TimeSettings = TimeSettings()
    local: LocalSettings = Field(default_factory=LocalSettings)
    # Where requests to addresses that callers name may go.
    guard: GuardSettings = GuardSettings()
    # Which pictures are taken from such addresses: none, unless it is enabled.
    fetch: FetchSettings = FetchSettings()
    sketch: SketchSettings = SketchSettings()
    gcp: GcpSettings = Field(default_factory=GcpSettings)
    # How long things are kept.
    retention: RetentionSettings = RetentionSettings()
    # What the process tells of itself beside its log.
    telemetry: TelemetrySettings = TelemetrySettings()
    # For fault tests only.
    failpoints: list[Armed] = []

    @model_validator(mode="after")
    def _complete(self) -> Self:
        self.home = self.home.absolute()
        if not self.database_url:
            self.database_url = f"sqlite:///{self.home / 'limner.sqlite'}"
        if (reason := unknown_database(self.database_url)) is not None:
            raise ValueError(f"database_url: {reason}")
        self.api_key = _api_key(self.api_key, self.api_key_file)
        return self


def _api_key(key: SecretStr | None, file: Path | None) -> SecretStr | None:
    if key is not None and file is not None:
        raise ValueError("api_key: LIMNER_API_KEY and LIMNER_API_KEY_FILE are both set; keep one")
    name = "api_key"
    if file is not None:
        name = "api_key_file"
        try:
            key = SecretStr(file.read_text(encoding="utf-8").strip())
        except (OSError, UnicodeError) as exc:
            reason = getattr(exc, "strerror", None) or "it is no text"
            raise ValueError(f"api_key_file: {file} cannot be read: {reason}") from None
    if key is None:
        return None
    secret = key.get_secret_value()
    if len(secret) < LEAST_KEY_CHARACTERS or not (secret.isascii() and secret.isprintable()):
        raise ValueError(
            f"{name}: the key must have at least {LEAST_KEY_CHARACTERS} printable ASCII characters"
        )
    if " " in secret:
        raise ValueError(f"{name}: the key must have no spaces")
    return key
