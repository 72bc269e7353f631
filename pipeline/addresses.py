"""Where callers fetch pictures: without it a reply could not say how to see what it tells of."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class BaseUrl:
    """Where this service is reached.

    *sign* makes the query under which a path may be read without a key; None where none is needed.
    """

    address: str
    sign: Callable[[str], str] | None = None

    def __str__(self) -> str:
        return self.address

    def readable(self, path: str) -> str:
        """The address of *path*, for whoever gets it, for some minutes where it is signed."""
        return f"{self.address}{path}?{self.sign(path)}" if self.sign else f"{self.address}{path}"
