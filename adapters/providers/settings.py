"""The settings that every provider has that is asked by HTTP and answers at once."""

from decimal import Decimal
from typing import Annotated, Self

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from adapters.http import fits_header, is_plain_loopback
from schemas.requests import MONEY_DIGITS, MONEY_PLACES, Quality

Usd = Annotated[Decimal, Field(ge=0, max_digits=MONEY_DIGITS, decimal_places=MONEY_PLACES)]
ModelName = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[A-Za-z0-9][\w.:/@-]*$")]


def section(prefix: str) -> SettingsConfigDict:
    """The configuration of a section whose variables begin with *prefix*."""
    return SettingsConfigDict(
        env_prefix=prefix,
        extra="forbid",
        validate_by_name=True,
        validate_by_alias=True,
        # An error must not repeat a key that was put into the wrong variable.
        hide_input_in_errors=True,
    )


class PainterSettings(BaseSettings):
    """A section names its own variables for *api_key* and *base_url*, by `validation_alias`."""

    # Without it the provider is not there.
    api_key: SecretStr | None = None
    base_url: str
    # Plain http to other machines: prompts, pictures and the key are then open to the network.
    allow_http: bool = False
    # Other models than the usual ones, by quality.
    models: dict[Quality, ModelName] = {}
    # What a picture costs in US dollars, by quality, where the book does not know or is wrong.
    usd: dict[Quality, Usd] = {}
    # What the service admits for one key; shared by all processes that use it.
    rate_requests: int = Field(default=60, ge=1)
    rate_window_seconds: float = Field(default=60, gt=0, le=3600)
    # A longer reply is cut off, and its outcome unknown.
    max_reply_bytes: int = Field(default=64 * 2**20, ge=2**20)

    @property
    def configured(self) -> bool:
        return self.api_key is not None

    @property
    def secret(self) -> str:
        return self.api_key.get_secret_value() if self.api_key is not None else ""

    @classmethod
    def variable(cls, field: str) -> str:
        alias = cls.model_fields[field].validation_alias
        return alias if isinstance(alias, str) else f"{cls.model_config['env_prefix']}{field}"

    @model_validator(mode="after")
    def _reachable(self) -> Self:
        if self.api_key is not None and not fits_header(self.secret):
            name = self.variable("api_key")
            raise ValueError(f"{name}: it must be printable ASCII without spaces")
        url, name = self.base_url, self.variable("base_url")
        plain = is_plain_loopback(url) or (self.allow_http and url.startswith("http://"))
        if not (url.startswith("https://") or plain):
            allow = f"{type(self).model_config['env_prefix']}ALLOW_HTTP=true"
            raise ValueError(
                f"{name}: it must begin with https:// (or be on this machine, or {allow} be set)"
            )
        if "@" in url:
            raise ValueError(f"{name}: it must carry no user and password")
        self.base_url = url.rstrip("/")
        return self
