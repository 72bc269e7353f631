"""What must exist outside of the program, as it is found there.

Without it `limner provision` and `limner doctor` would each have an idea of their own of it.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol


class Standing(StrEnum):
    FITS = "fits"
    CREATE = "create"
    UPDATE = "update"
    # Only a person can mend it: nothing that holds messages or pictures is deleted or replaced.
    STUCK = "stuck"
    # It could not be looked at.
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Part:
    """One thing that must exist. *command* is the vendor's own that equals `make`."""

    name: str
    standing: Standing
    details: tuple[str, ...] = ()
    command: str | None = None
    remedy: str | None = None
    make: Callable[[], Awaitable[None]] | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Right:
    """Something that somebody must be allowed; *held* is None where that cannot be told."""

    name: str
    held: bool | None
    remedy: str | None = None
    detail: str = ""


class Site(Protocol):
    """The services around one installation."""

    @property
    def grants(self) -> Sequence[str]:
        """The commands that grant all rights; a person gives them."""

    async def look(self) -> Sequence[Part]:
        """Every part, in the order in which they can be made. Nothing is changed."""

    async def rights(self) -> Sequence[Right]:
        """What whoever runs this program is allowed, and what the services are among themselves."""
