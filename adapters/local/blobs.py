"""Pictures on a local disk: without it a paid picture would live in memory only."""

import asyncio
import contextlib
import hashlib
import os
import secrets
import shutil
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import ParamSpec, Self, TypeVar

from adapters.errors import BlobStoreUnavailable, KeyTaken, NoSuchObject
from adapters.keys import key_names
from adapters.ports import StoredObject

P = ParamSpec("P")
T = TypeVar("T")

# All unfinished writing lies in one folder, so that clearing it never walks through the objects.
STAGING = ".staging"
ABANDONED_SECONDS = 3600.0
MOST_FOLDERS_KNOWN = 10_000


class DiskBlobStore:
    """Objects as files below *root*, on one file system that has hard links.

    An object's bytes are on the disk before its name exists, and its name is on the disk before
    `put` returns. Names are made by `link`, which never replaces what is there.
    """

    def __init__(
        self, root: Path, *, threads: int = 8, sync: Callable[[int], None] = os.fsync
    ) -> None:
        """*sync* makes an open file or folder durable, given its descriptor."""
        self._root = root.absolute()
        self._staging = self._root / STAGING
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="blobs")
        self._sync = sync
        self._durable_folders: set[Path] = set()

    @classmethod
    async def open(
        cls, root: Path, *, threads: int = 8, sync: Callable[[int], None] = os.fsync
    ) -> Self:
        """Make the folder where it is missing, and clear away what a killed process left."""
        store = cls(root, threads=threads, sync=sync)
        await store._in_thread(store._make_root)
        await store.clean()
        return store

    async def put(self, key: str, data: bytes, *, content_type: str) -> StoredObject:
        path = self._path(key)
        sha256 = await self._in_thread(self._put, key, path, data)
        return StoredObject(key, len(data), sha256, content_type)

    async def get(self, key: str) -> bytes:
        path = self._path(key)
        try:
            return await self._in_thread(path.read_bytes)
        except _Absent as error:
            raise NoSuchObject(key) from error

    async def exists(self, key: str) -> bool:
        return await self._in_thread(self._path(key).is_file)

    async def delete(self, key: str) -> None:
        """Remove an object; its folders stay, for a `put` into them may be under way."""
        with contextlib.suppress(_Absent):
            await self._in_thread(self._delete, self._path(key))

    async def free_bytes(self) -> int | None:
        return (await self._in_thread(shutil.disk_usage, self._root)).free

    def location(self, key: str) -> str:
        return str(self._path(key))

    async def signed_url(self, key: str, lifetime: timedelta) -> str | None:
        key_names(key)
        return None

    async def clean(self, older_than_seconds: float = ABANDONED_SECONDS) -> None:
        """Remove unfinished files that nobody can still be writing."""
        await self._in_thread(self._clean, time.time() - older_than_seconds)

    async def _in_thread(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Do blocking *work*, and tell its failures in the port's words."""
        try:
            return await asyncio.wrap_future(self._threads.submit(work, *args, **kwargs))
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
            raise _Absent(str(error)) from error
        except OSError as error:
            raise BlobStoreUnavailable(str(error)) from error

    def _path(self, key: str) -> Path:
        """Where *key* lies. Whatever could lead out of the root or into the staging is refused."""
        return self._root.joinpath(*key_names(key))

    def _make_root(self) -> None:
        made = [folder for folder in (self._root, *self._root.parents) if not folder.exists()]
        self._staging.mkdir(parents=True, exist_ok=True)
        for folder in made:
            self._sync_folder(folder.parent)
        self._sync_folder(self._root)

    def _put(self, key: str, path: Path, data: bytes) -> str:
        sha256 = hashlib.sha256(data).hexdigest()
        staged = self._staging / secrets.token_hex(16)
        try:
            self._make_folder(path.parent)
            if not path.exists():
                self._write(staged, data)
                with contextlib.suppress(FileExistsError):
                    os.link(staged, path)
                    self._sync_folder(path.parent)
                    return sha256
        except (FileExistsError, NotADirectoryError) as error:
            raise KeyTaken(key) from error  # an object lies where the key needs a folder
        finally:
            staged.unlink(missing_ok=True)
        self._check_equal(key, path, data)
        # Whoever linked it may not have come this far.
        self._sync_folder(path.parent)
        return sha256

    def _check_equal(self, key: str, path: Path, data: bytes) -> None:
        try:
            taken = path.read_bytes()
        except IsADirectoryError as error:
            raise KeyTaken(key) from error
        if taken != data:
            raise KeyTaken(key)

    def _make_folder(self, folder: Path) -> None:
        """Make *folder* and those above it, each one durable in the one above."""
        if folder == self._root or (folder in self._durable_folders and folder.is_dir()):
            return
        self._make_folder(folder.parent)
        with contextlib.suppress(FileExistsError):
            folder.mkdir()
        if not folder.is_dir():
            raise NotADirectoryError(str(folder))
        # Also when it was there: another process may have made it a moment ago.
        self._sync_folder(folder.parent)
        if len(self._durable_folders) >= MOST_FOLDERS_KNOWN:
            self._durable_folders.clear()
        self._durable_folders.add(folder)

    def _write(self, path: Path, data: bytes) -> None:
        with path.open("xb") as file:
            file.write(data)
            file.flush()
            self._sync(file.fileno())

    def _sync_folder(self, folder: Path) -> None:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            self._sync(descriptor)
        finally:
            os.close(descriptor)

    def _delete(self, path: Path) -> None:
        path.unlink()
        self._sync_folder(path.parent)

    def _clean(self, before: float) -> None:
        for path in self._staging.iterdir():
            # A file may vanish meanwhile: its writer has finished.
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_mtime < before:
                    path.unlink()


class _Absent(BlobStoreUnavailable):
    """A path is not there. Where that has no meaning of its own, the root was removed."""
