"""How many sent pictures are in the process at a time: each takes room on disk, then in memory."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field

from pipeline.errors import PipelineError

# Forms on the temporary disk; with the largest forms that are taken, less than a pod's disk has.
RECEIVED_AT_ONCE = 16
# Forms whose pictures are in memory.
READ_AT_ONCE = 4
PATIENCE_SECONDS = 120.0


class TooManyUploads(PipelineError):
    status, code, title = 503, "too_many_uploads", "Too many pictures are being sent"
    retry_after_seconds = 5

    def __init__(self, most: int) -> None:
        super().__init__(
            f"{most} forms are being received already. Nothing was stored and nothing charged. Send"
            " it again in a few seconds, or name a picture of this service: that needs no form."
        )


class UploadTooSlow(PipelineError):
    status, code, title = 408, "upload_too_slow", "The form did not arrive in time"

    def __init__(self, seconds: float) -> None:
        super().__init__(
            f"The whole form was not here within {seconds:g} s. Nothing was stored and nothing"
            " charged. Send a smaller picture, or over a faster line."
        )


@dataclass(slots=True)
class Uploads:
    most: int = RECEIVED_AT_ONCE
    patience_seconds: float = PATIENCE_SECONDS
    # Whoever has the bytes of a form in memory holds it.
    _reading: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(READ_AT_ONCE))
    _received: int = 0

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Room for one form in memory. Raises `TooManyUploads` where it does not come in time."""
        try:
            async with asyncio.timeout(self.patience_seconds):
                await self._reading.acquire()
        except TimeoutError as exc:
            raise TooManyUploads(self.most) from exc
        try:
            yield
        finally:
            self._reading.release()

    @contextmanager
    def place(self) -> Iterator[None]:
        """Room for one form on the disk. Raises `TooManyUploads`; nobody waits for room."""
        if self._received >= self.most:
            raise TooManyUploads(self.most)
        self._received += 1
        try:
            yield
        finally:
            self._received -= 1
