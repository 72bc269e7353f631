"""A blob store in memory, or in one file, held to the contract of all blob stores."""

import asyncio
import hashlib
import pickle
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

from adapters.errors import KeyTaken, NoSuchObject
from adapters.keys import key_names
from adapters.ports import StoredObject


class MemoryBlobs:
    """Set `trouble` to a function that may raise, called before every call with its name."""

    def __init__(self, objects: MutableMapping[str, bytes] | None = None) -> None:
        self.objects = {} if objects is None else objects
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

    async def signed_url(self, key: str, lifetime: timedelta) -> str | None:
        key_names(key)
        return None


class OneFile(MutableMapping[str, bytes]):
    """Objects that outlive the process, for tests that kill it, and are shared by all who open it.

    In files of their own, a thousand pictures would take a third of such a test's time.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: dict[str, bytes] = {}
        self._read_bytes = 0
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()

    def __getitem__(self, key: str) -> bytes:
        return self._read_on()[key]

    def __setitem__(self, key: str, data: bytes) -> None:
        self._write(key, data)

    def __delitem__(self, key: str) -> None:
        self[key]  # raises where there is none
        self._write(key, None)

    def __iter__(self) -> Iterator[str]:
        return iter(self._read_on())

    def __len__(self) -> int:
        return len(self._read_on())

    def _write(self, key: str, data: bytes | None) -> None:
        # Unbuffered: a record is one call of the system, which a SIGKILL does not part.
        with self._path.open("ab", buffering=0) as file:
            file.write(pickle.dumps((key, data)))

    def _read_on(self) -> dict[str, bytes]:
        with self._path.open("rb") as file, suppress(EOFError):
            file.seek(self._read_bytes)
            while True:
                key, data = pickle.load(file)
                self._read_bytes = file.tell()
                self._known.pop(key, None)
                if data is not None:
                    self._known[key] = data
        return self._known
