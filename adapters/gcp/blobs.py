"""Cloud Storage: without it a paid picture would live on the disk of one machine.

Objects are created under generation match 0, so no upload replaces another. obstore is called in
threads: its async interface has aborted the interpreter at exit.
"""

import asyncio
import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import TYPE_CHECKING, ParamSpec, TypeVar

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, PreconditionError
from obstore.store import GCSStore

from adapters.errors import BlobStoreUnavailable, KeyTaken, NoSuchObject
from adapters.keys import key_names
from adapters.ports import StoredObject

if TYPE_CHECKING:
    from obstore.store import GCSConfig

P = ParamSpec("P")
T = TypeVar("T")

# An upload that is repeated after a lost reply finds its own object, which counts as a success.
MOST_RETRIES = 3
LONGEST_SIGNATURE = timedelta(minutes=15)
# Why there is no object, as the reply's body says; HEAD has none.
NO_BUCKET = "<Code>NoSuchBucket</Code>"


class CloudBlobStore:
    """Objects of one bucket."""

    def __init__(
        self,
        bucket: str,
        *,
        call_seconds: float,
        emulator: str | None = None,
        threads: int = 16,
    ) -> None:
        """*emulator* is the address of a double of Cloud Storage, such as http://127.0.0.1:4443.

        Credentials are found as Google's own libraries find them.
        """
        self._bucket = bucket
        self._no_bucket = f"there is no bucket {bucket}; LIMNER_GCP__BUCKET names it"
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="blobs")
        timeout = timedelta(seconds=call_seconds)
        config: GCSConfig = {"base_url": emulator} if emulator else {}
        self._store = GCSStore(
            bucket,
            config=config,
            client_options={"timeout": timeout, "allow_http": emulator is not None},
            retry_config={"max_retries": MOST_RETRIES, "retry_timeout": timeout * MOST_RETRIES},
        )

    async def put(self, key: str, data: bytes, *, content_type: str) -> StoredObject:
        key_names(key)
        sha256 = hashlib.sha256(data).hexdigest()
        try:
            await self._in_thread(
                key,
                obstore.put,
                self._store,
                key,
                data,
                attributes={"Content-Type": content_type},
                mode="create",
                use_multipart=False,
            )
        except KeyTaken:
            if await self.get(key) != data:
                raise
        except NoSuchObject as exc:
            raise BlobStoreUnavailable(self._no_bucket) from exc
        return StoredObject(key, len(data), sha256, content_type)

    async def get(self, key: str) -> bytes:
        key_names(key)
        return await self._in_thread(key, self._get, key)

    async def exists(self, key: str) -> bool:
        key_names(key)
        try:
            await self._in_thread(key, self._look, key)
        except NoSuchObject:
            return False
        return True

    async def delete(self, key: str) -> None:
        key_names(key)
        try:
            await self._in_thread(key, obstore.delete, self._store, key)
        except NoSuchObject:
            return

    async def free_bytes(self) -> int | None:
        return None

    def location(self, key: str) -> str:
        return f"gs://{self._bucket}/{'/'.join(key_names(key))}"

    async def signed_url(self, key: str, lifetime: timedelta) -> str | None:
        key_names(key)
        lifetime = min(lifetime, LONGEST_SIGNATURE)
        return await self._in_thread(key, obstore.sign, self._store, "GET", key, lifetime)

    async def close(self) -> None:
        await asyncio.to_thread(self._threads.shutdown)

    def _get(self, key: str) -> bytes:
        return bytes(obstore.get(self._store, key).bytes())

    def _look(self, key: str) -> None:
        try:
            obstore.head(self._store, key)
        except FileNotFoundError:
            self._get(key)  # which says whether it is the object or the bucket that is not there

    async def _in_thread(
        self, key: str, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Do blocking *work* on *key*, and tell its failures in the port's words."""

        def call() -> T:
            return work(*args, **kwargs)

        try:
            return await asyncio.wrap_future(self._threads.submit(call))
        except FileNotFoundError as exc:
            if NO_BUCKET in str(exc):
                raise BlobStoreUnavailable(self._no_bucket) from exc
            raise NoSuchObject(key) from exc
        except (AlreadyExistsError, PreconditionError) as exc:
            raise KeyTaken(key) from exc
        except (BaseError, OSError) as exc:
            # Its text goes on for pages; the first line says what happened.
            raise BlobStoreUnavailable(str(exc).partition("\n")[0]) from exc
