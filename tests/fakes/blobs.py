"""A blob store in memory, held to the contract of all blob stores."""

import asyncio
import hashlib
from collections.abc import Callable

from adapters.errors import KeyTaken, NoSuchObject
from adapters.keys import key_names
from adapters.ports import StoredObject


class MemoryBlobs:
    """Set `trouble` to a function that may raise, called before every call with its name."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.trouble: Callable[[str, str], None] = lambda call, key: None
        self.free: int | None = None

    async def put(self, key: str, data: bytes, *, content_type: str) -> StoredObject:
        self.trouble("put", key)
        key_names(key)
        await asyncio.sleep(0)  # as every real store, it lets others run meanwhile
        if self.objects.setdefault(key, data) != data:
            raise KeyTaken(key)
        return StoredObject(key, len(data), hashlib.sha256(data).hexdigest(), content_type)

    async def get(self, key: str) -> bytes:
        self.trouble("get", key)
        key_names(key)
        if key not in self.objects:
            raise NoSuchObject(key)
        return self.objects[key]

    async def exists(self, key: str) -> bool:
        key_names(key)
        return key in self.objects

    async def delete(self, key: str) -> None:
        key_names(key)
        self.objects.pop(key, None)

    async def free_bytes(self) -> int | None:
        return self.free

    def location(self, key: str) -> str:
        return "memory:" + "/".join(key_names(key))
