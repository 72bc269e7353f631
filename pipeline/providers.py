"""Which providers there are, and which of them paints a request."""

from collections.abc import Mapping
from dataclasses import dataclass

from adapters.ports import ImageProvider
from pipeline.errors import UnknownProvider
from pipeline.policy import UnknownPolicy


@dataclass(frozen=True, slots=True)
class Providers:
    """The providers that are configured, the one that is asked by default, and who stands in."""

    by_name: Mapping[str, ImageProvider]
    default: str
    # name that a request may carry -> provider that paints in its place (local profile only)
    stand_ins: Mapping[str, str]
    # What is done where the answer of one that charges is lost.
    on_unknown: UnknownPolicy = UnknownPolicy()

    def choose(self, name: str | None) -> tuple[ImageProvider, list[str]]:
        """Return the provider for a request and what the caller should be warned of."""
        wanted = name or self.default
        if wanted in self.by_name:
            return self.by_name[wanted], []
        stand_in = self.stand_ins.get(wanted)
        if stand_in is None:
            raise UnknownProvider(wanted, sorted({*self.by_name, *self.stand_ins}))
        return self.by_name[stand_in], [
            f"provider {wanted} is not configured here; {stand_in} paints in its place,"
            " offline and without AI"
        ]
