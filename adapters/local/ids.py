"""Ids, secrets, seeds and jitter: without it rows would have no names that sort by age."""

import base64
import os
import random
import struct
import threading
from uuid import UUID

from adapters.ports import Clock
from schemas.ids import id_of

TICK_BITS = 12
TICKS_PER_MS = 1 << TICK_BITS
VERSION_AND_VARIANT = 0x7 << 76 | 0b10 << 62
HIGHEST_SEED = 4_294_967_294
WORD_BITS = 64
PAGE_WORDS = 512


class SystemEntropy(random.SystemRandom):
    """The system's randomness, fetched by the page: a call to the kernel costs more than an id."""

    def __init__(self) -> None:
        super().__init__()
        self._forget()
        # A forked process with the same page would give the same ids and secrets.
        os.register_at_fork(after_in_child=self._forget)

    def _forget(self) -> None:
        self._words: list[int] = []

    def getrandbits(self, k: int, /) -> int:
        if k <= WORD_BITS:
            return self._word() >> WORD_BITS - k
        words, missing = 0, k
        while missing > 0:
            words = words << WORD_BITS | self._word()
            missing -= WORD_BITS
        return words >> -missing

    def _word(self) -> int:
        try:
            return self._words.pop()  # atomic: no two threads get the same
        except IndexError:
            self._words = list(struct.unpack(f"{PAGE_WORDS}Q", os.urandom(PAGE_WORDS * 8)))
            return self._words.pop()


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
        # Exact to the microsecond for the next 150 years: 1e9 seconds need 30 of a float's 53 bits.
        microseconds = round(self._clock.now().timestamp() * 1_000_000)
        with self._lock:
            tick = microseconds * TICKS_PER_MS // 1000
            if tick <= self._tick:
                tick = self._tick + 1
            self._tick = tick
            tail = self._random.getrandbits(62)
        # Milliseconds, version, fraction of the millisecond, variant, randomness.
        fraction = tick & TICKS_PER_MS - 1
        return id_of(tick >> TICK_BITS << 80 | fraction << 64 | VERSION_AND_VARIANT | tail)

    def token(self) -> str:
        secret = self._random.getrandbits(256).to_bytes(32, "big")
        return base64.urlsafe_b64encode(secret).rstrip(b"=").decode()

    def seed(self) -> int:
        return self._random.randint(1, HIGHEST_SEED)

    def jitter(self, seconds: float) -> float:
        return self._random.uniform(seconds / 2, seconds)
