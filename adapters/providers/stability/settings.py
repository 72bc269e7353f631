"""How Stability AI is reached and what is asked of it.

Environment: `STABILITY_AI_API_KEY`, `STABILITY_AI_BASE_URL`, the rest `LIMNER_STABILITY__…`.
"""

from decimal import Decimal
from typing import Annotated, Self

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from adapters.http import fits_header, is_plain_loopback
from adapters.providers.stability.models import MODELS, Profile
from schemas.operations import Operation
from schemas.prices import PRICE_BOOKS, STABILITY_2026_11
from schemas.requests import Quality

DEFAULT_BASE_URL = "https://api.stability.ai"
# What has a price: models that paint, and what is done to pictures.
PRICED = (
    *MODELS,
    *(operation.value for operation in Operation if operation is not Operation.VARIATION),
)
Share = Annotated[Decimal, Field(ge=0, le=1)]


class StabilitySettings(BaseSettings):
    model_config = SettingsConfigDict(
        env_prefix="LIMNER_STABILITY__",
        extra="forbid",
        validate_by_name=True,
        validate_by_alias=True,
        # An error must not repeat a key that was put into the wrong variable.
        hide_input_in_errors=True,
    )

    # Without it the provider is not there.
    api_key: SecretStr | None = Field(default=None, validation_alias="STABILITY_AI_API_KEY")
    base_url: str = Field(default=DEFAULT_BASE_URL, validation_alias="STABILITY_AI_BASE_URL")
    # `legacy-v1` paints standard and high by the v1 engine that the document names.
    profile: Profile = Profile.V2BETA
    # Other models than the profile's, by quality.
    models: dict[Quality, str] = {}
    # How far image_to_image may leave the draft: 0 keeps it, 1 forgets it.
    strength: Share = Decimal("0.35")
    price_book: str = STABILITY_2026_11.version
    # Prices that moved since the book was written, by model.
    credits: dict[str, Annotated[Decimal, Field(ge=0)]] = {}
    # What the service admits for one key; shared by all processes that use it.
    rate_requests: int = Field(default=150, ge=1)
    rate_window_seconds: float = Field(default=10, gt=0, le=3600)
    # A longer reply is cut off, and its outcome unknown.
    max_reply_bytes: int = Field(default=32 * 2**20, ge=2**20)

    @property
    def configured(self) -> bool:
        return self.api_key is not None

    @model_validator(mode="after")
    def _known(self) -> Self:
        if self.api_key is not None and not fits_header(self.api_key.get_secret_value()):
            raise ValueError("STABILITY_AI_API_KEY: it must be printable ASCII without spaces")
        if not (self.base_url.startswith("https://") or is_plain_loopback(self.base_url)):
            raise ValueError(
                "STABILITY_AI_BASE_URL: it must begin with https:// (or be on this machine)"
            )
        if "@" in self.base_url:
            raise ValueError("STABILITY_AI_BASE_URL: it must carry no user and password")
        self.base_url = self.base_url.rstrip("/")
        for quality, model in self.models.items():
            if model not in MODELS:
                known = ", ".join(MODELS)
                raise ValueError(f"models.{quality.value}: {model!r} is not one of {known}")
        if self.price_book not in PRICE_BOOKS:
            raise ValueError(f"price_book: it is not one of {', '.join(PRICE_BOOKS)}")
        for model in self.credits:
            if model not in PRICED:
                raise ValueError(f"credits: {model!r} is not one of {', '.join(PRICED)}")
        if self.credits and PRICE_BOOKS[self.price_book].usd_per_credit is None:
            raise ValueError(f"credits: the price book {self.price_book} does not count in credits")
        return self
