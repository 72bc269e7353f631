"""Which providers there are, and which of them paints a request."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from adapters.ports import ImageProvider
from pipeline.errors import UnknownProvider
from pipeline.gate import Gate, gate_of
from schemas.step import RowKey


@dataclass(frozen=True, slots=True)
class Providers:
    """The providers that are configured, the one that is asked by default, and who stands in."""

    by_name: Mapping[str, ImageProvider]
    default: str
    # name that a request may carry -> provider that paints in its place (local profile only)
    stand_ins: Mapping[str, str]
    # Who paints, in order, where the default provider cannot and nothing was charged.
    fallback: tuple[str, ...] = ()
    # How long a provider may be busy before another one is asked.
    fallback_after: timedelta = timedelta(minutes=5)

    @property
    def known(self) -> list[str]:
        """The names that a request may carry."""
        return sorted({*self.by_name, *self.stand_ins})

    def gate(self, name: str) -> Gate | None:
        """The gate of the key of provider *name*; None where it has none, or is not there."""
        provider = self.by_name.get(name)
        return gate_of(provider) if provider is not None else None

    @property
    def gates(self) -> list[Gate]:
        """Of all providers that have one."""
        found = (gate_of(provider) for provider in self.by_name.values())
        return [gate for gate in found if gate is not None]

    @property
    def likely_gate(self) -> tuple[RowKey, ...]:
        """What a start names before it knows its job's provider: the default one's gate."""
        gate = self.gate(self.stand_ins.get(self.default, self.default))
        return (gate.key,) if gate is not None else ()

    def choose(self, name: str | None) -> tuple[ImageProvider, list[str]]:
        """Return the provider for a request and what the caller should be warned of."""
        wanted = name or self.default
        if wanted in self.by_name:
            return self.by_name[wanted], []
        stand_in = self.stand_ins.get(wanted)
        if stand_in is None:
            raise UnknownProvider(wanted, self.known)
        return self.by_name[stand_in], [
            f"provider {wanted} is not configured here; {stand_in} paints in its place,"
            " offline and without AI"
        ]
