import asyncio
import os
import select
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path

import psutil
import pytest

from adapters.errors import (
    AdapterError,
    BadPicture,
    CommitUnknown,
    KeyTaken,
    NoSuchObject,
    ProviderBusy,
    ProviderRefused,
    Unavailable,
)
from adapters.local.processes import InlineProcesses, WorkerProcesses
from adapters.ports import Processes
from tests.adapters.work import (
    add,
    die,
    fail,
    hold_on,
    how_signals_are_handled,
    meet,
    own_process_id,
)

PATIENCE_SECONDS = 15
ROOT = Path(__file__).parents[2]


@pytest.fixture(params=["workers", "inline"], scope="module")
def processes(request: pytest.FixtureRequest) -> Iterator[Processes]:
    made: Processes = WorkerProcesses(1) if request.param == "workers" else InlineProcesses()
    yield made
    asyncio.run(made.close())


@pytest.fixture
async def workers() -> AsyncIterator[WorkerProcesses]:
    made = WorkerProcesses(2)
    yield made
    await made.close()


async def test_a_function_is_run_with_its_arguments(processes: Processes) -> None:
    assert await processes.run(add, 2, right=3) == 5


@pytest.mark.parametrize(
    "error",
    [
        BadPicture("truncated", "it ends too early"),
        KeyTaken("a/b"),
        NoSuchObject("a/b"),
        CommitUnknown("ticket"),
        ProviderBusy("later", timedelta(seconds=3)),
        ProviderRefused("moderated", "no"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_an_error_comes_back_with_its_facts(
    processes: Processes, error: AdapterError
) -> None:
    with pytest.raises(type(error)) as caught:
        await processes.run(fail, error)
    assert str(caught.value) == str(error)
    facts = {name: fact for name, fact in vars(caught.value).items() if name[0] != "_"}
    assert facts == {name: fact for name, fact in vars(error).items() if name[0] != "_"}


async def test_nothing_is_started_before_the_first_call() -> None:
    before = children()
    workers = WorkerProcesses(2)
    assert children() == before
    await workers.close()


async def test_functions_run_elsewhere_and_at_the_same_time(
    workers: WorkerProcesses, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "one")
    os.mkfifo(tmp_path / "other")
    async with asyncio.timeout(PATIENCE_SECONDS):
        one, other = await asyncio.gather(
            workers.run(meet, str(tmp_path), "one", "other"),
            workers.run(meet, str(tmp_path), "other", "one"),
        )
    assert len({one, other, os.getpid()}) == 3


async def test_workers_leave_ctrl_c_to_their_parent_and_end_on_sigterm(
    workers: WorkerProcesses,
) -> None:
    assert await workers.run(how_signals_are_handled) == (True, True)


async def test_a_dead_worker_is_unavailable_and_replaced(workers: WorkerProcesses) -> None:
    with pytest.raises(Unavailable):
        await workers.run(die)
    assert await workers.run(add, 1, right=1) == 2


async def test_everyone_who_waits_hears_of_a_dead_worker_and_one_pool_replaces_it(
    workers: WorkerProcesses,
) -> None:
    before = children()
    calls = [workers.run(hold_on), workers.run(die), workers.run(hold_on)]
    answers = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(answer) for answer in answers] == [Unavailable] * 3
    await asyncio.gather(workers.run(add, 1, right=1), workers.run(add, 1, right=1))
    assert len(children() - before) <= 2


async def test_close_ends_the_workers_at_once_and_tells_who_waits() -> None:
    before = children()
    workers = WorkerProcesses(2)
    await workers.run(own_process_id)
    waiting = [asyncio.ensure_future(workers.run(hold_on)) for _ in range(4)]
    await asyncio.sleep(0)
    async with asyncio.timeout(PATIENCE_SECONDS):
        await workers.close()
        answers = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(answer) for answer in answers] == [Unavailable] * 4
    assert children() == before
    with pytest.raises(Unavailable):
        await workers.run(add, 1, right=1)


PARENT = """
import asyncio
from adapters.local.processes import WorkerProcesses
from tests.adapters.work import hold_on, own_process_id

async def main():
    workers = WorkerProcesses(2)
    idle = await workers.run(own_process_id)
    busy = asyncio.ensure_future(workers.run(hold_on))
    print(idle, *{await workers.run(own_process_id) for _ in range(2)}, flush=True)
    await busy

asyncio.run(main())
"""


def test_no_worker_outlives_a_killed_parent() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT], stdout=subprocess.PIPE, cwd=ROOT
    ) as parent:
        assert parent.stdout is not None
        assert select.select([parent.stdout], [], [], PATIENCE_SECONDS)[0]
        assert parent.stdout.readline()
        family = psutil.Process(parent.pid).children(recursive=True)
        parent.kill()
    busy_and_idle = [one for one in family if one.pid != parent.pid]
    assert len(busy_and_idle) >= 2
    _, alive = psutil.wait_procs(family, timeout=PATIENCE_SECONDS)
    for one in alive:
        one.kill()
    assert alive == []


def children() -> set[int]:
    """This process's children, but for the tracker that multiprocessing starts once for good."""
    found = psutil.Process().children(recursive=True)
    return {one.pid for one in found if "resource_tracker" not in " ".join(one.cmdline())}
