"""Every port call and every commit can be broken, and none is when nothing is switched on."""

import inspect
from typing import Any

import pytest

from adapters import ports
from adapters.errors import BlobStoreUnavailable, StoreUnavailable
from adapters.failpoints import NO_FAILPOINTS, Armed, FailpointError, Failpoints, guarded
from adapters.store.database import open_store
from tests.fakes.blobs import MemoryBlobs
from tests.jobs import create, new_job

PORTS = {
    "store": ports.Store,
    "queue": ports.TaskQueue,
    "bus": ports.EventBus,
    "blobs": ports.BlobStore,
    "pictures": ports.Pictures,
    "provider": ports.ImageProvider,
    "web": ports.Web,
    "fetcher": ports.Fetcher,
}


class Anything:
    """Has every async method that is asked for."""

    def __init__(self, protocol: type[Any]) -> None:
        self.calls = [
            name for name, value in vars(protocol).items() if inspect.iscoroutinefunction(value)
        ]
        for name in self.calls:
            setattr(self, name, self._answer)

    async def _answer(self, *_: object, **__: object) -> str:
        return "answered"


@pytest.mark.parametrize("name", PORTS)
async def test_every_call_of_every_port_passes_two_failpoints(name: str) -> None:
    port, failpoints = Anything(PORTS[name]), Failpoints()
    proxy: Any = guarded(port, name, failpoints)
    assert port.calls
    for call in port.calls:
        assert await getattr(proxy, call)() == "answered"
        points = [f"{name}.{call}.{side}" for side in ("before", "after")]
        assert [failpoints.hits[point] for point in points] == [1, 1]
        for point in points:
            failpoints.arm(point)
            with pytest.raises(FailpointError):
                await getattr(proxy, call)()
            assert await getattr(proxy, call)() == "answered"


def test_switched_off_nothing_is_wrapped() -> None:
    blobs = MemoryBlobs()
    assert guarded(blobs, "blobs", NO_FAILPOINTS) is blobs


async def test_a_failpoint_raises_what_the_port_would() -> None:
    failpoints = Failpoints()
    failpoints.arm("blobs.put.before", hit=2, error=lambda: BlobStoreUnavailable("full"))
    blobs = guarded(MemoryBlobs(), "blobs", failpoints)
    await blobs.put("a", b"1", content_type="image/png")
    with pytest.raises(BlobStoreUnavailable):
        await blobs.put("b", b"2", content_type="image/png")
    assert not await blobs.exists("b")


@pytest.mark.parametrize("point", ["store.before_commit", "store.after_commit"])
async def test_every_commit_passes_a_failpoint_on_each_side(database_url: str, point: str) -> None:
    failpoints = Failpoints([Armed(name=point, mode="raise")])
    store = open_store(database_url, failpoints=failpoints)
    with pytest.raises((FailpointError, StoreUnavailable)):
        await store.commit([create(new_job())])
    assert failpoints.hits[point] == 1
    await store.commit([create(new_job())])
    await store.close()
