"""How OpenAI, or a server that speaks its images API, is reached and what is asked of it.

Environment: `OPENAI_API_KEY`, `OPENAI_BASE_URL`, the rest `LIMNER_OPENAI__…`.
"""

from enum import StrEnum
from typing import Annotated, Self

from pydantic import Field, JsonValue, SecretStr, StringConstraints, model_validator

from adapters.providers.settings import PainterSettings, section
from schemas.requests import AspectRatio

DEFAULT_BASE_URL = "https://api.openai.com/v1"
Size = Annotated[str, StringConstraints(pattern=r"^[1-9]\d{1,4}x[1-9]\d{1,4}$")]
DEFAULT_SIZES = {
    AspectRatio.R1_1: "1024x1024",
    AspectRatio.R3_2: "1536x1024",
    AspectRatio.R2_3: "1024x1536",
}


class Extra(StrEnum):
    """Fields of a request that some servers take and others refuse."""

    QUALITY = "quality"
    OUTPUT_FORMAT = "output_format"
    RESPONSE_FORMAT = "response_format"
    SEED = "seed"
    NEGATIVE_PROMPT = "negative_prompt"


# Said by the adapter itself, whatever the settings say.
OWN_FIELDS = {"model", "prompt", "n", "size", "image", "stream", *Extra}


class OpenAISettings(PainterSettings):
    model_config = section("LIMNER_OPENAI__")

    # Without it the provider is there only where another server than OpenAI's is named.
    api_key: SecretStr | None = Field(default=None, validation_alias="OPENAI_API_KEY")
    base_url: str = Field(default=DEFAULT_BASE_URL, validation_alias="OPENAI_BASE_URL")
    # Which pictures are asked for; another aspect ratio is cut of the nearest one.
    sizes: dict[AspectRatio, Size] = DEFAULT_SIZES
    # Which fields are sent beside model, prompt, n and size.
    fields: frozenset[Extra] = frozenset({Extra.QUALITY, Extra.OUTPUT_FORMAT})
    # Further fields as the server wants them, such as {"step": 20}.
    extra: dict[str, JsonValue] = Field(default={})
    # Whether the server has /images/edits, so that finals can be made of their drafts' pictures.
    edits: bool = True
    rate_requests: int = Field(default=20, ge=1)

    @property
    def of_openai(self) -> bool:
        return self.base_url == DEFAULT_BASE_URL

    @property
    def configured(self) -> bool:
        return self.api_key is not None or not self.of_openai

    @model_validator(mode="after")
    def _known(self) -> Self:
        if not self.sizes:
            raise ValueError("sizes: at least one aspect ratio must have a size")
        if taken := sorted(OWN_FIELDS & self.extra.keys()):
            named = ", ".join(taken)
            raise ValueError(f"extra: {named} must not stand in it; see models and fields")
        return self
