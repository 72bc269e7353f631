"""How Gemini is reached and what is asked of it.

Environment: `GEMINI_API_KEY`, `GOOGLE_GEMINI_BASE_URL`, the rest `LIMNER_GEMINI__…`.
"""

from importlib.util import find_spec
from typing import Literal, Self

from pydantic import Field, SecretStr, model_validator

from adapters.providers.settings import PainterSettings, section
from schemas.requests import Quality

DEFAULT_BASE_URL = "https://generativelanguage.googleapis.com"
Size = Literal["512", "1K", "2K", "4K"]
DEFAULT_SIZES: dict[Quality, Size] = {
    Quality.DRAFT: "512",
    Quality.STANDARD: "1K",
    Quality.HIGH: "2K",
    Quality.ULTRA: "2K",
}


class GeminiSettings(PainterSettings):
    model_config = section("LIMNER_GEMINI__")

    api_key: SecretStr | None = Field(default=None, validation_alias="GEMINI_API_KEY")
    base_url: str = Field(default=DEFAULT_BASE_URL, validation_alias="GOOGLE_GEMINI_BASE_URL")
    # The version whose reference names image_config.
    api_version: Literal["v1", "v1beta"] = "v1beta"
    # How large the pictures are, by quality; what is left out is the model's own choice.
    sizes: dict[Quality, Size] = DEFAULT_SIZES

    @model_validator(mode="after")
    def _installed(self) -> Self:
        if self.configured and not _has_sdk():
            raise ValueError(
                "GEMINI_API_KEY: it is set, and the SDK is not installed;"
                " install limner with its extra google: pip install 'limner[google]'"
            )
        return self


def _has_sdk() -> bool:
    try:
        return find_spec("google.genai") is not None
    except ModuleNotFoundError:  # not even a package google
        return False
