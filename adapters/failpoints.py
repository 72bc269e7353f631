"""Places where a test may break the program: round every port call and every commit.

A proxy that wiring wraps round each port makes "every port call" hold by construction. Switched
off (the default) nothing is wrapped and `NO_FAILPOINTS` does nothing.
"""

import inspect
import os
import signal
from collections import Counter
from collections.abc import Callable
from typing import Any, Literal, TypeVar, cast

from pydantic import BaseModel, ConfigDict, Field

T = TypeVar("T")
Mode = Literal["kill", "raise"]


class Armed(BaseModel):
    """What shall happen at a failpoint, from its *hit*-th passing on, *times* times."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    mode: Mode
    hit: int = Field(default=1, ge=1)
    times: int = Field(default=1, ge=1)


class FailpointError(Exception):
    """Raised by a failpoint in mode `raise`, where no error of its own was given."""


class Failpoints:
    """Counts the passings of every failpoint and strikes where one is armed."""

    def __init__(
        self,
        armed: list[Armed] | None = None,
        errors: dict[str, Callable[[], Exception]] | None = None,
    ) -> None:
        self._armed = {one.name: one for one in armed or []}
        self._errors = errors or {}
        self.hits: Counter[str] = Counter()

    def arm(
        self,
        name: str,
        mode: Mode = "raise",
        *,
        hit: int = 1,
        times: int = 1,
        error: Callable[[], Exception] | None = None,
    ) -> None:
        """Arm *name* for its *hit*-th passing from now on."""
        self._armed[name] = Armed(name=name, mode=mode, hit=self.hits[name] + hit, times=times)
        if error is not None:
            self._errors[name] = error

    def passing(self, name: str) -> None:
        self.hits[name] += 1
        armed = self._armed.get(name)
        if armed is None or not armed.hit <= self.hits[name] < armed.hit + armed.times:
            return
        if armed.mode == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        make = self._errors.get(name)
        raise make() if make else FailpointError(name)


class _Nothing(Failpoints):
    def passing(self, name: str) -> None:
        return


NO_FAILPOINTS = _Nothing()


class _Guarded:
    def __init__(self, port: Any, name: str, failpoints: Failpoints) -> None:
        self._port, self._name, self._failpoints = port, name, failpoints

    def __getattr__(self, attribute: str) -> Any:
        value = getattr(self._port, attribute)
        if not inspect.iscoroutinefunction(value):
            return value
        before, after = (f"{self._name}.{attribute}.{side}" for side in ("before", "after"))

        async def call(*args: Any, **kwargs: Any) -> Any:
            self._failpoints.passing(before)
            answer = await value(*args, **kwargs)
            self._failpoints.passing(after)
            return answer

        return call


def guarded(port: T, name: str, failpoints: Failpoints) -> T:
    """Return *port* with a failpoint before and after each of its async methods."""
    if failpoints is NO_FAILPOINTS:
        return port
    return cast(T, _Guarded(port, name, failpoints))
