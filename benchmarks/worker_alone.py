"""What the worker alone takes of W1 on PostgreSQL: jobs are submitted first, then worked off.

`python worker_alone.py [N]` in the yardstick's environment, with its folder on PYTHONPATH; prints
one JSON line. Times scatter on a busy machine; instructions do not:

    COUNT=1 valgrind --tool=callgrind --instr-atstart=no python worker_alone.py 400

counts those of the worker's part (`I refs`, by the number of jobs).
"""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from functools import partial

import asyncpg
from common import DSN, PG, YARD_SQL, arun, gather_bounded, new_ids
from on_sqlite import cpu_seconds
from peer_limner import SUBMITTED_AT_ONCE, at_work, post, posts, setup

from adapters.local.clock import SystemClock
from adapters.local.ids import RandomIds, SystemEntropy
from adapters.store.database import open_store
from pipeline.journal import Journal
from schemas.step import Writes
from schemas.tables import InboxRow


async def make_database() -> None:
    name = DSN.rsplit("/", 1)[1]
    connection = await asyncpg.connect(f"{PG}/postgres")
    await connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
    await connection.execute(f"CREATE DATABASE {name}")
    await connection.close()
    connection = await asyncpg.connect(DSN)
    await connection.execute(YARD_SQL)
    await connection.close()


async def measure(jobs: int) -> dict[str, object]:
    store, clock = open_store(DSN), SystemClock()
    await store.prepare()
    others = open_store(DSN)  # as if by another process: this one knows no row of them
    submitting = Journal(others, clock, RandomIds(clock, SystemEntropy()))
    await submitting.start()
    await gather_bounded(SUBMITTED_AT_ONCE, posts(new_ids(jobs)), partial(post, submitting))
    await submitting.close()
    await others.close()
    done, effects = asyncio.Event(), 0

    def count(committed: Sequence[Writes]) -> None:
        nonlocal effects
        effects += sum(key.row is InboxRow for writes in committed for key, _ in writes.inserts)
        if effects == 2 * jobs:
            done.set()

    async with at_work(store, 100) as (sweep, journal):
        journal.subscribe(count)
        count_instructions("on")
        began, cpu, groups, steps = (
            time.perf_counter(),
            cpu_seconds(),
            journal.groups,
            journal.steps,
        )
        sweeping = asyncio.create_task(sweep.run())
        await done.wait()
        found = {
            "work": "w1, the worker alone",
            "n": jobs,
            "us_wall": round((time.perf_counter() - began) / jobs * 1e6),
            "us_cpu": round((cpu_seconds() - cpu) / jobs * 1e6),
            "groups": round((journal.groups - groups) / jobs, 4),
            "steps": round((journal.steps - steps) / jobs, 2),
        }
        count_instructions("off")
        sweeping.cancel()
        await asyncio.gather(sweeping, return_exceptions=True)
    await store.close()
    return found


def count_instructions(switch: str) -> None:
    if "COUNT" in os.environ:
        command = ["callgrind_control", "-i", switch, str(os.getpid())]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    asyncio.run(make_database())
    setup()
    print(json.dumps(arun(measure(int(sys.argv[1]) if len(sys.argv) > 1 else 2_000))))
