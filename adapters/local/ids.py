"""Ids, secrets, seeds and jitter: without it rows would have no names that sort by age."""

import base64
import os
import random
import threading
from datetime import UTC, datetime
from uuid import UUID

from adapters.ports import Clock

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
TICKS_PER_MS = 1 << 12
VERSION_7 = 0x7 << 76
RFC_VARIANT = 0b10 << 62
HIGHEST_SEED = 4_294_967_294
POOL_BYTES = 4096


class SystemEntropy(random.SystemRandom):
    """The system's randomness, fetched by the page: a call to the kernel costs more than an id."""

    def __init__(self) -> None:
        super().__init__()
        self._pool_lock = threading.Lock()
        self._forget()
        # A forked process with the same page would give the same ids and secrets.
        os.register_at_fork(after_in_child=self._forget)

    def _forget(self) -> None:
        self._pool = b""
        self._taken = 0

    def getrandbits(self, k: int, /) -> int:
        size = (k + 7) // 8
        with self._pool_lock:
            if self._taken + size > len(self._pool):
                self._pool = os.urandom(max(POOL_BYTES, size))
                self._taken = 0
            chunk = self._pool[self._taken : self._taken + size]
            self._taken += size
        return int.from_bytes(chunk, "big") >> (size * 8 - k)


class RandomIds:
    """Ids that rise strictly within one process, whatever the clock does.

    The 12 bits after the millisecond hold its fraction (RFC 9562, method 3). Where the clock
    stands still or goes back, the tick last given is raised by one instead.
    """

    def __init__(self, clock: Clock, source: random.Random | None = None) -> None:
        self._clock = clock
        self._random = source or SystemEntropy()
        self._tick = 0
        self._lock = threading.Lock()

    def new(self) -> UUID:
        since = self._clock.now() - EPOCH
        microseconds = (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
        with self._lock:
            self._tick = tick = max(microseconds * TICKS_PER_MS // 1000, self._tick + 1)
            tail = self._random.getrandbits(62)
        ms, fraction = divmod(tick, TICKS_PER_MS)
        return UUID(int=ms << 80 | VERSION_7 | fraction << 64 | RFC_VARIANT | tail)

    def token(self) -> str:
        secret = self._random.getrandbits(256).to_bytes(32, "big")
        return base64.urlsafe_b64encode(secret).rstrip(b"=").decode()

    def seed(self) -> int:
        return self._random.randint(1, HIGHEST_SEED)

    def jitter(self, seconds: float) -> float:
        return self._random.uniform(seconds / 2, seconds)
