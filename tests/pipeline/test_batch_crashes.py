"""A batch ends as it should whichever of its commits its process dies at."""

import asyncio
from datetime import timedelta
from uuid import UUID

from adapters.errors import StoreUnavailable
from adapters.failpoints import Failpoints
from adapters.store import job_reads
from schemas.events import cloud_event
from schemas.replies import BatchImageGenerationResponse
from states.table import State
from tests.batches import ask, batch, decisions, final_of, handle, told
from tests.fakes.blobs import MemoryBlobs
from tests.fakes.clock import START, FakeClock
from tests.world import TENANT, World, world_on

# Creating it; then start, receive and complete of two drafts and two finals, and two promotions.
COMMITS = 1 + 3 * 4 + 2
FOR_EVER = 1_000_000


async def work(world: World, batch_id: UUID) -> None:
    """Do what queue and bus would bring, until there is nothing left."""
    while True:
        jobs = await world.store.read(job_reads.jobs_of_batch, TENANT, batch_id)
        waiting = [job for job in jobs if job.state in (State.QUEUED, State.PROCESSING_RESULT)]
        for job in waiting:
            await world.deliver(job.id, job.attempt)
        drafts = [job.id for job in jobs if job.is_draft]
        decided = await world.store.read(job_reads.promotions_of, TENANT, drafts)
        for draft_id in drafts:
            for event in await world.history("job", str(draft_id)):
                if event.type == "image.job.completed":
                    await handle(world, cloud_event(event))
        if not waiting and len(decided) == len(drafts):
            return


def hours_later(hours: float) -> FakeClock:
    """Ids follow from the clock, so that no two processes make the same ones."""
    return FakeClock(START + timedelta(hours=hours))


async def asked_and_worked(world: World, made: list[BatchImageGenerationResponse]) -> None:
    made.append(await ask(world, {}, {}, blog_id="post"))
    await work(world, made[0].batch_id)


async def dies_at(url: str, blobs: MemoryBlobs, commit: int) -> BatchImageGenerationResponse | None:
    """Run a batch in a process that dies before its *commit*-th commit; None if it was not born.

    From that commit on nothing is written any more, and whoever works is stopped.
    """
    died, loop = asyncio.Event(), asyncio.get_running_loop()

    def error() -> Exception:
        loop.call_soon_threadsafe(died.set)  # SQLite commits in a thread of its own
        return StoreUnavailable("the process is dead")

    failpoints = Failpoints()
    failpoints.arm("store.before_commit", hit=commit, times=FOR_EVER, error=error)
    made: list[BatchImageGenerationResponse] = []
    async with world_on(
        url, clock=hours_later(commit), blobs=blobs, repeatable=True, failpoints=failpoints
    ) as world:
        working = asyncio.create_task(asked_and_worked(world, made))
        death = asyncio.create_task(died.wait())
        await asyncio.wait({working, death}, return_when=asyncio.FIRST_COMPLETED)
        assert died.is_set(), f"it made fewer than {commit} commits"
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)
    return made[0] if made else None


async def test_a_batch_is_done_once_whichever_commit_its_process_dies_at(
    database_url: str,
) -> None:
    blobs = MemoryBlobs()
    # SQLite takes the whole way; the steps are the same on PostgreSQL, where some of it will do.
    commits = range(1, COMMITS + 1, 1 if database_url.startswith("sqlite") else 4)
    for commit in commits:
        reply = await dies_at(database_url, blobs, commit)
        if commit == 1:
            assert reply is None, "nothing was promised"
            continue
        assert reply is not None
        async with world_on(
            database_url, clock=hours_later(commit + 0.5), blobs=blobs, repeatable=True
        ) as world:
            await world.sweep.take_over()
            await work(world, reply.batch_id)
            found = await batch(world, reply.batch_id)
            assert (found.owed, found.completed, found.finals) == (0, 4, 2), commit
            assert await told(world, reply.batch_id) == ["created", "completed"]
            for draft_id in reply.job_ids:
                assert len(await decisions(world, draft_id)) == 1
                final = await world.job(await final_of(world, draft_id))
                assert (final.state, final.draft_job_id) == (State.COMPLETED, draft_id)
    async with world_on(database_url, blobs=blobs) as world:
        jobs = await world.store.read(job_reads.jobs_page, TENANT, before=None, limit=200)
        assert len(jobs) == 4 * (len(commits) - 1)
