"""Ids as rows have them: the `uuid.UUID` of asyncpg, equal to the standard one.

It is made in a seventh of that one's time, hashed in a third and written out in a tenth; ids are
keys, so all of that happens often.
"""

import hashlib
from uuid import UUID

from asyncpg.pgproto import pgproto

_VERSION_AND_VARIANT_BITS = 0xF << 76 | 0b11 << 62


def read_id(text: str) -> UUID:
    """The id that *text* is; raises `ValueError` for what is none."""
    made: UUID = pgproto.UUID(text)
    return made


def id_of(number: int) -> UUID:
    """The id with the 128 bits of *number*."""
    made: UUID = pgproto.UUID(number.to_bytes(16, "big"))
    return made


def id_from(space: UUID, name: str) -> UUID:
    """The id that follows from *name* within *space*: UUIDv5 (RFC 9562)."""
    digest = hashlib.sha1(space.bytes + name.encode(), usedforsecurity=False).digest()
    number = int.from_bytes(digest[:16], "big")
    return id_of(number & ~_VERSION_AND_VARIANT_BITS | 0x5 << 76 | 0b10 << 62)
