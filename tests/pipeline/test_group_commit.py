"""Under load the steps of many jobs share their commits."""

import asyncio

from adapters.local.clock import SystemClock
from adapters.store import picture_reads
from states.table import State
from tests.world import TENANT, world_on

JOBS = 200


async def test_two_hundred_concurrent_jobs_need_at_most_0_3_commits_each(
    database_url: str,
) -> None:
    async with world_on(database_url, clock=SystemClock(), run=True) as world:
        linked = asyncio.Event()
        slots = set()

        def watch(committed: object) -> None:
            for writes in committed:  # type: ignore[attr-defined]  # a sequence of Writes
                for key, _ in writes.inserts:
                    if key.row.__name__ == "BlogSlotRow":
                        slots.add(key.key)
            if len(slots) == JOBS:
                linked.set()

        world.journal.subscribe(watch)
        ids = await asyncio.gather(*(world.submit(blog_id=f"post-{n % 10}") for n in range(JOBS)))
        await asyncio.wait_for(linked.wait(), 60)
        for job_id in ids:
            assert (await world.job(job_id)).state is State.COMPLETED
        assert set(world.provider.calls.values()) == {1}
        positions = [
            [
                slot.position
                for slot in await world.store.read(picture_reads.slots, TENANT, f"post-{n}")
            ]
            for n in range(10)
        ]
        assert positions == [list(range(1, 21))] * 10
        commits_per_job = world.store.commits / JOBS
    assert commits_per_job <= 0.3, f"{commits_per_job} commits a job"
