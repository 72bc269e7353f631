"""Every provider that charges: its section of the settings, and who speaks for it.

A provider that does not stand here is not there. sketch, which is free, comes with the profile.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from typing import Any

from pydantic import Field
from pydantic_settings import BaseSettings

from adapters.ports import ImageProvider, Processes
from adapters.providers.gemini.provider import GeminiProvider
from adapters.providers.gemini.settings import GeminiSettings
from adapters.providers.openai.provider import OpenAIProvider
from adapters.providers.openai.settings import OpenAISettings
from adapters.providers.stability.provider import StabilityProvider
from adapters.providers.stability.settings import StabilitySettings

Opening = Callable[[Any, Processes, timedelta], AbstractAsyncContextManager[ImageProvider]]


class ProviderSections(BaseSettings):
    """One section a provider, told by variables of the section's own names."""

    stability: StabilitySettings = Field(default_factory=StabilitySettings)
    gemini: GeminiSettings = Field(default_factory=GeminiSettings)
    openai: OpenAISettings = Field(default_factory=OpenAISettings)


# section -> who is opened where that section is configured
PROVIDERS: Mapping[str, Opening] = {
    "stability": StabilityProvider,
    "gemini": GeminiProvider,
    "openai": OpenAIProvider,
}


def configured(
    settings: ProviderSections, processes: Processes, within: timedelta
) -> Iterator[AbstractAsyncContextManager[ImageProvider]]:
    """The providers that can be asked, each to be entered; *within* is the time of one painting."""
    for section, opening in PROVIDERS.items():
        own = getattr(settings, section)
        if own.configured:
            yield opening(own, processes, within)


def own_variables() -> dict[str, tuple[str, ...]]:
    """By section, the variables whose names are the services' and not ours."""
    found = {}
    for section in PROVIDERS:
        model = ProviderSections.model_fields[section].annotation
        assert isinstance(model, type)
        assert issubclass(model, BaseSettings)
        aliases = (field.validation_alias for field in model.model_fields.values())
        found[section] = tuple(alias for alias in aliases if isinstance(alias, str))
    return found
