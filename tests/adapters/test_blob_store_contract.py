"""What every blob store promises. An adapter joins by a maker in `STORES`."""

import asyncio
import errno
import hashlib
import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from datetime import timedelta
from pathlib import Path

import httpx2
import pytest

from adapters.errors import BlobStoreUnavailable, KeyTaken, NoSuchObject
from adapters.gcp.blobs import CloudBlobStore
from adapters.local.blobs import STAGING, DiskBlobStore
from adapters.ports import BlobStore, StoredObject
from tests.fakes.blobs import MemoryBlobs, OneFile
from tests.fakes.google.storage import CloudStorage

ROOT = Path(__file__).parents[2]
KEY = "jobs/0190/1/0.png"
Make = Callable[[Path], Awaitable[BlobStore]]


async def disk(root: Path) -> BlobStore:
    return await DiskBlobStore.open(root, threads=20)


_memories: dict[Path, MemoryBlobs] = {}


async def memory(root: Path) -> BlobStore:
    return _memories.setdefault(root, MemoryBlobs())


async def one_file(root: Path) -> BlobStore:
    return MemoryBlobs(OneFile(root / "objects"))


# A bucket for each root, all in one double of the service.
_storage = CloudStorage()


async def cloud(root: Path) -> BlobStore:
    bucket = hashlib.sha256(str(root).encode()).hexdigest()[:32]
    _storage.buckets.setdefault(bucket, {})
    return CloudBlobStore(bucket, call_seconds=10, emulator=_storage.url)


@pytest.fixture(scope="module", autouse=True)
def _served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with _storage, pytest.MonkeyPatch.context() as patch:
        credentials = _storage.credentials(tmp_path_factory.mktemp("google"))
        patch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(credentials))
        yield


STORES: dict[str, Make] = {"disk": disk, "memory": memory, "one file": one_file, "cloud": cloud}


@pytest.fixture(params=STORES)
def make(request: pytest.FixtureRequest) -> Make:
    return STORES[request.param]


@pytest.fixture
async def store(make: Make, tmp_path: Path) -> BlobStore:
    return await make(tmp_path / "objects")


async def put(store: BlobStore, data: bytes, key: str = KEY) -> StoredObject:
    return await store.put(key, data, content_type="image/png")


async def test_what_was_put_is_got_and_described(store: BlobStore) -> None:
    stored = await put(store, b"bytes")
    assert stored == StoredObject(KEY, 5, hashlib.sha256(b"bytes").hexdigest(), "image/png")
    assert await store.get(KEY) == b"bytes"
    assert await store.exists(KEY)


async def test_what_was_put_is_found_by_the_next_process(make: Make, tmp_path: Path) -> None:
    await put(await make(tmp_path), b"bytes")
    assert await (await make(tmp_path)).get(KEY) == b"bytes"


async def test_an_absent_object_is_told_apart_from_an_empty_one(store: BlobStore) -> None:
    await put(store, b"", "empty")
    assert await store.get("empty") == b""
    assert not await store.exists("absent")
    with pytest.raises(NoSuchObject) as caught:
        await store.get("absent")
    assert caught.value.key == "absent"


async def test_the_same_bytes_under_a_taken_key_are_a_success(store: BlobStore) -> None:
    assert await put(store, b"bytes") == await put(store, b"bytes")


async def test_other_bytes_never_replace_an_object(store: BlobStore) -> None:
    await put(store, b"bytes")
    for other in (b"BYTES", b"", b"bytes and more"):
        with pytest.raises(KeyTaken):
            await put(store, other)
    assert await store.get(KEY) == b"bytes"


async def test_of_twenty_racing_writers_one_wins_and_all_others_learn_of_it(
    make: Make, tmp_path: Path
) -> None:
    stores = [await make(tmp_path) for _ in range(4)]
    for race in range(10):
        key = f"race/{race}"
        bodies = [bytes([number]) * 50_000 for number in range(20)]
        puts = [put(stores[number % 4], bodies[number], key) for number in range(20)]
        answers = await asyncio.gather(*puts, return_exceptions=True)
        (winner,) = (number for number in range(20) if isinstance(answers[number], StoredObject))
        assert sum(isinstance(answer, KeyTaken) for answer in answers) == 19
        assert await stores[0].get(key) == bodies[winner]


async def test_twenty_racing_writers_of_the_same_bytes_all_succeed(
    make: Make, tmp_path: Path
) -> None:
    stores = [await make(tmp_path) for _ in range(4)]
    answers = await asyncio.gather(*(put(stores[n % 4], b"same" * 10_000) for n in range(20)))
    assert len(set(answers)) == 1


async def test_an_object_is_visible_only_when_complete(store: BlobStore) -> None:
    data = os.urandom(1 << 20) * 16
    writing = asyncio.ensure_future(put(store, data))
    looks = 0
    while not writing.done():
        looks += 1
        await asyncio.sleep(0)
        if await store.exists(KEY):
            assert await store.get(KEY) == data
    assert looks
    await writing


async def test_a_deleted_object_is_gone_and_an_absent_one_is_a_success(store: BlobStore) -> None:
    await put(store, b"bytes")
    await store.delete(KEY)
    await store.delete(KEY)
    await store.delete("never/was")
    assert not await store.exists(KEY)
    await put(store, b"others")
    assert await store.get(KEY) == b"others"


@pytest.mark.parametrize(
    "key",
    [
        "",
        "/",
        "/etc/passwd",
        "..",
        "../x",
        "a/../../x",
        "a/./x",
        "a//x",
        "a/",
        "a\0b",
        f"{STAGING}/x",
        "x" * 256,
        "/".join(["x" * 100] * 11),
    ],
)
async def test_a_key_that_could_lead_elsewhere_is_refused(store: BlobStore, key: str) -> None:
    with pytest.raises(ValueError, match="not a key"):
        await put(store, b"bytes", key)
    for use in (store.get, store.exists, store.delete):
        with pytest.raises(ValueError, match="not a key"):
            await use(key)
    with pytest.raises(ValueError, match="not a key"):
        store.location(key)


async def test_only_a_store_that_can_sign_gives_addresses(make: Make, tmp_path: Path) -> None:
    store = await make(tmp_path)
    await put(store, b"bytes")
    address = await store.signed_url(KEY, timedelta(minutes=5))
    assert (address is not None) == (make is cloud)


class TestCloud:
    @pytest.fixture
    async def store(self, tmp_path: Path) -> BlobStore:
        return await cloud(tmp_path)

    async def test_anybody_may_fetch_a_signed_address_and_gets_the_mime_type(
        self, store: BlobStore
    ) -> None:
        await put(store, b"bytes")
        address = await store.signed_url(KEY, timedelta(minutes=5))
        async with httpx2.AsyncClient() as http:
            reply = await http.get(str(address))
            assert (reply.status_code, reply.content) == (200, b"bytes")
            assert reply.headers["content-type"] == "image/png"
            longer = str(address).replace("X-Goog-Expires=300", "X-Goog-Expires=3000")
            assert (await http.get(longer)).status_code == 403
            assert (await http.put(str(address), content=b"others")).status_code == 403
            assert (await http.get(str(address).partition("?")[0])).status_code == 401
        assert await store.get(KEY) == b"bytes"

    async def test_no_address_is_good_for_more_than_15_minutes(self, store: BlobStore) -> None:
        address = await store.signed_url(KEY, timedelta(days=1))
        assert "X-Goog-Expires=900&" in str(address)

    async def test_a_service_that_is_away_may_be_tried_again(
        self, store: BlobStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await put(store, b"bytes")
        with monkeypatch.context() as patch:
            patch.setattr(_storage, "down", True)
            for call in (put(store, b"b", "k"), store.get(KEY), store.exists(KEY)):
                with pytest.raises(BlobStoreUnavailable) as caught:
                    await call
                assert "503" in str(caught.value)
                assert "\n" not in str(caught.value)
        assert await store.get(KEY) == b"bytes"

    async def test_a_bucket_that_is_not_there_is_no_picture_that_is_not_there(self) -> None:
        store = CloudBlobStore("absent", call_seconds=10, emulator=_storage.url)
        calls = (put(store, b"bytes"), store.get(KEY), store.exists(KEY), store.delete(KEY))
        for call in calls:
            with pytest.raises(BlobStoreUnavailable, match=r"no bucket absent.*LIMNER_GCP"):
                await call

    async def test_the_location_is_the_objects_gs_address(self, store: BlobStore) -> None:
        location = store.location(KEY)
        assert location.startswith("gs://")
        assert location.endswith(f"/{KEY}")


class TestDisk:
    async def test_the_location_is_the_file(self, tmp_path: Path) -> None:
        store = await DiskBlobStore.open(tmp_path)
        await put(store, b"bytes")
        assert Path(store.location(KEY)).read_bytes() == b"bytes"  # noqa: ASYNC240  # a small file

    async def test_the_room_left_is_the_file_systems(self, tmp_path: Path) -> None:
        free = await (await DiskBlobStore.open(tmp_path)).free_bytes()
        assert free == pytest.approx(shutil.disk_usage(tmp_path).free, rel=0.05)

    async def test_the_bytes_are_durable_before_their_name_and_both_before_put_returns(
        self, tmp_path: Path
    ) -> None:
        synced: list[tuple[str, bool]] = []

        def sync(descriptor: int) -> None:
            path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
            content = path.read_bytes().decode() if path.is_file() else str(path)
            synced.append((content.removeprefix(str(tmp_path)), (tmp_path / KEY).exists()))

        store = await DiskBlobStore.open(tmp_path, sync=sync)
        synced.clear()
        await put(store, b"bytes")
        assert synced == [
            *((folder, False) for folder in ("", "/jobs", "/jobs/0190")),
            ("bytes", False),
            ("/jobs/0190/1", True),
        ]
        synced.clear()
        await put(store, b"bytes")
        assert synced == [("/jobs/0190/1", True)], "another writer may not have come so far"
        synced.clear()
        await store.delete(KEY)
        assert synced == [("/jobs/0190/1", False)]

    @pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS])
    async def test_a_disk_that_fails_leaves_nothing_and_may_be_tried_again(
        self, tmp_path: Path, number: int
    ) -> None:
        failing = True

        def sync(descriptor: int) -> None:
            if failing and STAGING in os.readlink(f"/proc/self/fd/{descriptor}"):
                raise OSError(number, os.strerror(number))

        store = await DiskBlobStore.open(tmp_path, sync=sync)
        with pytest.raises(BlobStoreUnavailable) as caught:
            await put(store, b"bytes")
        assert isinstance(caught.value.__cause__, OSError)
        assert files_below(tmp_path) == []
        failing = False
        await put(store, b"bytes")
        assert await store.get(KEY) == b"bytes"

    async def test_a_file_that_may_grow_no_further_leaves_nothing(self, tmp_path: Path) -> None:
        store = await DiskBlobStore.open(tmp_path)
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, limits[1]))
        try:
            with pytest.raises(BlobStoreUnavailable):
                await put(store, bytes(4 << 20))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert files_below(tmp_path) == []
        await put(store, bytes(4 << 20))

    async def test_a_root_that_was_taken_away_is_unavailable(self, tmp_path: Path) -> None:
        store = await DiskBlobStore.open(tmp_path / "objects")
        shutil.rmtree(tmp_path / "objects")
        with pytest.raises(BlobStoreUnavailable):
            await put(store, b"bytes")

    async def test_folders_that_were_removed_are_made_again(self, tmp_path: Path) -> None:
        store = await DiskBlobStore.open(tmp_path)
        await put(store, b"bytes")
        shutil.rmtree(tmp_path / "jobs")
        await put(store, b"others")
        assert await store.get(KEY) == b"others"

    async def test_an_object_and_a_folder_do_not_share_a_name(self, tmp_path: Path) -> None:
        store = await DiskBlobStore.open(tmp_path)
        await put(store, b"bytes", "a/b")
        for key in ("a", "a/b/c", "a/b/c/d"):
            with pytest.raises(KeyTaken):
                await put(store, b"bytes", key)
            assert not await store.exists(key)
            with pytest.raises(NoSuchObject):
                await store.get(key)

    def test_a_writer_killed_before_the_bytes_are_durable_leaves_no_object(
        self, tmp_path: Path
    ) -> None:
        assert put_and_die(tmp_path, at_sync_of="bytes") == -signal.SIGKILL
        assert [path.parent.name for path in files_below(tmp_path)] == [STAGING]

    def test_a_writer_killed_after_the_name_is_there_leaves_the_whole_object(
        self, tmp_path: Path
    ) -> None:
        assert put_and_die(tmp_path, at_sync_of="name") == -signal.SIGKILL
        assert (tmp_path / "key").read_bytes() == b"bytes" * 1000

    async def test_what_a_killed_writer_left_is_cleared_away_after_an_hour(
        self, tmp_path: Path
    ) -> None:
        put_and_die(tmp_path, at_sync_of="bytes")
        (abandoned,) = files_below(tmp_path)
        await DiskBlobStore.open(tmp_path)
        assert files_below(tmp_path) == [abandoned], "its writer may be alive"
        made = abandoned.stat().st_mtime
        os.utime(abandoned, (made - 3700, made - 3700))
        store = await DiskBlobStore.open(tmp_path)
        assert files_below(tmp_path) == []
        await put(store, b"other bytes", "key")


WRITER = """
import asyncio, os, signal, sys
from pathlib import Path
from adapters.gcp.blobs import CloudBlobStore
from adapters.local.blobs import DiskBlobStore

root, at = Path(sys.argv[1]), sys.argv[2]

def sync(descriptor):
    named = (root / "key").exists()
    if named if at == "name" else Path(f"/proc/self/fd/{descriptor}").is_file():
        os.kill(os.getpid(), signal.SIGKILL)

async def main():
    store = await DiskBlobStore.open(root, sync=sync)
    await store.put("key", b"bytes" * 1000, content_type="image/png")

asyncio.run(main())
"""


def put_and_die(root: Path, *, at_sync_of: str) -> int:
    """Put an object in another process, which is killed on the way; return its exit code."""
    command = [sys.executable, "-c", WRITER, str(root), at_sync_of]
    return subprocess.run(command, cwd=ROOT, check=False, timeout=30).returncode


def files_below(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if path.is_file()]
