"""The yardstick's W1 on SQLite, in one process: submission, worker and both effects.

`python on_sqlite.py [N]`, with the yardstick's folder on PYTHONPATH; prints one JSON line.
"""

import asyncio
import json
import resource
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from common import arun, gather_bounded, new_ids
from peer_limner import SUBMITTED_AT_ONCE, at_work, post, posts

from adapters.store.database import migrate, open_store
from schemas.step import Writes
from schemas.tables import InboxRow


async def measure(jobs: int, folder: Path) -> dict[str, object]:
    url = f"sqlite:///{folder / 'w1.sqlite'}"
    await migrate(url)
    store = open_store(url)
    async with at_work(store, 100) as (_, journal):
        done = asyncio.Event()
        effects = 0

        def count(committed: Sequence[Writes]) -> None:
            nonlocal effects
            effects += sum(key.row is InboxRow for writes in committed for key, _ in writes.inserts)
            if effects == 2 * jobs:
                done.set()

        journal.subscribe(count)
        began, cpu, commits = time.perf_counter(), cpu_seconds(), store.commits

        async def one_post(job_ids: list[str]) -> None:
            await post(journal, job_ids)

        await gather_bounded(SUBMITTED_AT_ONCE, posts(new_ids(jobs)), one_post)
        await done.wait()
        seconds = time.perf_counter() - began
        found = {
            "work": "w1 on SQLite (FULL)",
            "n": jobs,
            "per_s": round(jobs / seconds),
            "us_cpu": round((cpu_seconds() - cpu) / jobs * 1e6),
            "commits": round((store.commits - commits) / jobs, 3),
        }
    await store.close()
    return found


def cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    with TemporaryDirectory() as folder:
        jobs = int(sys.argv[1]) if len(sys.argv) > 1 else 2_000
        print(json.dumps(arun(measure(jobs, Path(folder)))))
