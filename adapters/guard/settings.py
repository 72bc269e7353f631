"""Where requests to addresses that callers name may go: `LIMNER_GUARD__…`, `LIMNER_FETCH__…`."""

from ipaddress import IPv4Network, IPv6Network

from pydantic import BaseModel, ConfigDict, Field


class GuardSettings(BaseModel):
    """Public addresses, by https, as long as nothing else is set."""

    model_config = ConfigDict(extra="forbid")

    # Unencrypted as well: for receivers on this machine, or in a network of one's own.
    allow_http: bool = False
    ports: frozenset[int] = Field(default=frozenset({443, 8443}), min_length=1)
    # Networks that are not public and may be reached all the same, such as 127.0.0.0/8.
    allowed_networks: tuple[IPv4Network | IPv6Network, ...] = ()


class FetchSettings(GuardSettings):
    """Taking pictures from callers' URLs, which has a guard of its own: where webhooks may be sent,
    nobody may read."""

    enabled: bool = False
    ports: frozenset[int] = Field(default=frozenset({443}), min_length=1)
    max_bytes: int = Field(default=32 << 20, ge=1024, le=32 << 20)
    # For the whole of it, name and connection included.
    seconds: float = Field(default=20, gt=0, le=60)
