"""Hostile bytes, as an upload comes in (`take_in` of whatever somebody sent) and as a provider's
reply: nothing of them is stored as a picture, and the worker that saw them goes on."""

import sys
from dataclasses import replace

import pytest
from PIL import Image

from adapters.errors import BadPicture, Unavailable
from adapters.local.processes import InlineProcesses, WorkerProcesses
from adapters.pictures.limits import Limits
from adapters.pictures.worker import PillowPictures
from adapters.ports import PaintedPicture, Painting, PaintRequest
from pipeline.generate import generate
from schemas.tasks import ImageTask
from states.table import State
from tests.adapters.work import deaf, most_memory, own_process_id, start_measuring_memory
from tests.fakes.provider import COST, Answer
from tests.hostile import DEFUSED, LUGGAGE, REFUSED, breaks_off, with_scans
from tests.pictures import opened, painting, saved
from tests.world import world_on

MOST_GROWTH_BYTES = 256 << 20
linux = pytest.mark.skipif(sys.platform != "linux", reason="memory is limited on Linux")


def test_the_corpus_is_as_large_as_promised() -> None:
    made = {make() for _, make in REFUSED.values()}
    assert len(made) == len(REFUSED) >= 30


@linux
async def test_no_hostile_picture_takes_much_memory_or_ends_its_worker() -> None:
    processes = WorkerProcesses(1)
    pictures = PillowPictures(processes)
    sound = saved(painting(), "PNG")
    taken = await pictures.take_in(sound)
    worker = await processes.run(own_process_id)
    for name, (reason, make) in REFUSED.items():
        data = make()
        before = await processes.run(start_measuring_memory)
        with pytest.raises(BadPicture) as refused:
            await pictures.take_in(data)
        assert refused.value.reason == reason
        growth = await processes.run(most_memory) - before
        assert growth < MOST_GROWTH_BYTES, f"{name} takes {growth >> 20} MiB"
    assert await pictures.take_in(sound) == taken
    assert await processes.run(own_process_id) == worker
    await processes.close()


@pytest.mark.parametrize("name", DEFUSED)
async def test_of_a_picture_with_luggage_only_the_picture_is_left(name: str) -> None:
    data = DEFUSED[name]()
    taken = await PillowPictures(InlineProcesses()).take_in(data)
    assert LUGGAGE in data
    for left in (taken.data, *(one.data for one in taken.variants)):
        assert LUGGAGE not in left
        assert b"PK\x03\x04" not in left
    assert opened(taken.data).tobytes() == opened(data).tobytes()


async def test_no_hostile_reply_becomes_a_picture_and_the_next_job_is_done(
    database_url: str,
) -> None:
    """Every reply is paid for: its job says so, and its bytes are kept for whoever asks."""
    async with world_on(database_url) as world:
        worker = replace(world.worker, pictures=PillowPictures(InlineProcesses()))
        # Replies without a byte are the provider's business.
        replies = {name: make() for name, (_, make) in REFUSED.items() if name != "nothing"}
        world.provider.script = [delivers(data) for data in replies.values()]
        for name in replies:
            job_id = await world.submit()
            await generate(ImageTask(job_id=job_id, attempt=1), worker)
            job = await world.job(job_id)
            assert job.error is not None, name
            told = (job.state, job.error["code"], job.error["details"]["reason"])
            assert told == (State.FAILED, "bad_picture", REFUSED[name][0]), name
        assert not any(key.startswith("images/") for key in world.blobs.objects)
        assert set(replies.values()) <= set(world.blobs.objects.values())
        world.provider.script = [delivers(saved(painting(), "PNG"))]
        job_id = await world.submit()
        await generate(ImageTask(job_id=job_id, attempt=1), worker)
        assert (await world.job(job_id)).state is State.COMPLETED


def delivers(data: bytes) -> Answer:
    async def answer(request: PaintRequest) -> Painting:
        return Painting((PaintedPicture(data, "image/png", request.seed),), "paid-1", COST)

    return answer


@linux
async def test_a_picture_that_needs_more_memory_than_it_may_have_is_refused() -> None:
    processes = WorkerProcesses(1)
    worker = await processes.run(own_process_id)
    large = breaks_off(4_000, 4_000)
    tight = PillowPictures(processes, Limits(memory_bytes=32 << 20))
    with pytest.raises(BadPicture, match="more than 32 MiB of memory") as refused:
        await tight.take_in(large)
    assert refused.value.reason == "too_costly"
    # The limit is that of one picture, and gone with it.
    with pytest.raises(BadPicture) as refused:
        await PillowPictures(processes).take_in(large)
    assert refused.value.reason == "undecodable"
    assert await processes.run(own_process_id) == worker
    await processes.close()


async def test_a_picture_that_needs_more_time_than_it_may_have_is_refused() -> None:
    processes = WorkerProcesses(1)
    worker = await processes.run(own_process_id)
    slow = with_scans(90, size=(1_500, 1_500))
    await PillowPictures(processes).take_in(saved(painting(), "PNG"))
    hasty = PillowPictures(processes, Limits(cpu_seconds=0.05))
    with pytest.raises(BadPicture, match=r"more than 0\.05 s of a processor") as refused:
        await hasty.take_in(slow)
    assert refused.value.reason == "too_costly"
    assert (await hasty.take_in(saved(painting(), "PNG"))).width == painting().width
    assert await processes.run(own_process_id) == worker
    await processes.close()


async def test_a_decoder_that_hears_nobody_ends_with_its_process() -> None:
    processes = WorkerProcesses(1)
    with pytest.raises(Unavailable):
        await processes.run(deaf, Limits(cpu_seconds=0.1))
    assert (await PillowPictures(processes).take_in(saved(painting(), "PNG"))).width
    await processes.close()


@linux
@pytest.mark.parametrize(
    ("kind", "size", "options"),
    [
        ("PNG", (8_000, 5_000), {"compress_level": 1}),
        ("WEBP", (5_000, 5_000), {"lossless": True, "quality": 0, "method": 0}),
    ],
)
async def test_the_largest_sound_picture_keeps_to_the_limits(
    kind: str, size: tuple[int, int], options: dict[str, object]
) -> None:
    processes = WorkerProcesses(1)
    data = saved(Image.new("RGBA", size, (9, 99, 199, 77)), kind, **options)
    taken = await PillowPictures(processes).take_in(data)
    assert (taken.width, taken.height) == size
    await processes.close()
