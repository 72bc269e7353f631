"""What was accepted is done, whatever dies: the program is killed at seeded moments of its work."""

import json
import os
import random
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from uuid import UUID

import httpx2
import pytest

from tests.service import GENERATE, Service

# Printed by a failure; set it to see the same run again.
SEED = int(os.environ.get("KILL_SEED", "20260214"))
JOBS = 50
BLOGS = 5
OBSERVED_KILLS = 10
WORKING = {"queued", "running", "processing_result"}
# A painting takes some tenths of a second; budgets rise as they must.
TIMES = {
    "times__provider_seconds": "8",
    "times__worker_seconds": "9",
    "times__lease_seconds": "10",
    "times__dispatch_deadline_seconds": "12",
    "times__sweep_interval_seconds": "0.5",
}
CORES = len(os.sched_getaffinity(0))

# Failpoints, and how often they may be passed before they strike (the seed chooses).
FAILPOINTS: list[tuple[str, int]] = [
    ("pictures.take_in.before", 3),
    ("pictures.take_in.after", 3),
    ("provider.generate.after", 3),
    ("blobs.put.before", 8),
    ("blobs.put.after", 8),
    ("queue.create_image_generation_task.after", 6),
    ("store.before_commit", 12),
    ("store.after_commit", 12),
    ("bus.publish.before", 4),
    ("bus.publish.after", 4),
]
# While requests are taken, so that replies are lost.
WHILE_ACCEPTING = ("store.after_commit", 17)


@dataclass
class Witness:
    """What was seen at each death, directly in the database and on the disk."""

    service: Service
    states: Counter[str] = field(default_factory=Counter)
    kills: int = 0
    # (job, attempt) of every result that was staged when the program died
    staged: set[tuple[str, int]] = field(default_factory=set)

    def saw_a_death(self) -> None:
        self.kills += 1
        self.states.update(
            state for (state,) in self.service.rows("SELECT DISTINCT state FROM jobs")
        )
        self.staged |= set(manifests(self.service.home))


def manifests(home: Path) -> Iterator[tuple[str, int]]:
    for path in (home / "pictures" / "jobs").glob("*/*/manifest.json"):
        yield path.parts[-3], int(path.parts[-2])


def request(number: int) -> dict[str, object]:
    return {
        "prompt": f"a lighthouse, number {number}",
        "quality": "draft",
        "blog_id": f"blog-{number % BLOGS}",
        "position": number // BLOGS + 1,
        "seed": number + 1,
    }


def accept(client: httpx2.Client, number: int) -> str:
    key = {"Idempotency-Key": f"request-{number}"}
    reply = client.post(GENERATE, json=request(number), headers=key)
    assert reply.status_code == 202, reply.text
    job_id: str = reply.json()["job_id"]
    return job_id


def accept_all(service: Service, witness: Witness) -> list[str]:
    """Have all requests accepted by a program that dies of it once; the ids of their jobs."""
    answered: dict[int, str] = {}
    with service.client as client, suppress(httpx2.TransportError):
        for number in range(JOBS):
            answered[number] = accept(client, number)
    assert service.died() == -9
    assert 0 < len(answered) < JOBS
    witness.saw_a_death()
    service.settings.pop("failpoints")
    service.start()
    with service.client as client:
        again = {number: accept(client, number) for number in range(JOBS)}
    assert answered.items() <= again.items(), "an accepted job was lost, or done anew"
    assert service.count("jobs") == len(set(again.values())) == JOBS
    return list(again.values())


def kill_at_a_seen_moment(service: Service, chance: random.Random) -> None:
    """SIGKILL as soon as the database shows what the seed chose."""
    moments: list[tuple[str, Callable[[], bool]]] = [
        ("waiting", lambda: service.count("jobs", "state = 'queued'") > 0),
        ("running", lambda: service.count("jobs", "state = 'running'") > 0),
        ("received", lambda: service.count("jobs", "state = 'processing_result'") > 0),
        ("two running", lambda: service.count("jobs", "state = 'running'") >= min(2, CORES)),
    ]
    wanted = service.count("jobs", "state = 'completed'") + chance.randint(1, 4)
    moments += [
        ("some more done", lambda: service.count("jobs", "state = 'completed'") >= wanted),
    ] * 2
    name, moment = chance.choice(moments)
    # A state may pass unseen; no choice lets the work run out.
    latest = service.count("jobs", "state = 'completed'") + 4
    service.until(lambda: moment() or service.count("jobs", "state = 'completed'") >= latest, name)
    service.kill()


def die_at(service: Service, failpoint: str, hit: int) -> None:
    """Run until the program kills itself."""
    if service.alive:
        service.kill()
    service.settings["failpoints"] = json.dumps([{"name": failpoint, "mode": "kill", "hit": hit}])
    service.start(ready=False)
    assert service.died() == -9, service.log[-5:]
    service.settings.pop("failpoints")


@pytest.mark.timeout(300)
def test_every_accepted_job_is_done_once_however_often_the_program_is_killed(
    tmp_path: Path,
) -> None:
    print(f"KILL_SEED={SEED}")
    chance = random.Random(SEED)
    name, hit = WHILE_ACCEPTING
    service = Service(
        tmp_path / "home",
        **TIMES,
        local__concurrent_dispatches=str(CORES),
        sketch__delay_seconds="0.05",
        failpoints=json.dumps([{"name": name, "mode": "kill", "hit": hit}]),
    )
    with service:
        witness = Witness(service)
        accepted = accept_all(service, witness)

        deaths: list[tuple[str, int] | None] = [None] * OBSERVED_KILLS
        deaths += [(name, chance.randint(1, most)) for name, most in FAILPOINTS]
        chance.shuffle(deaths)
        for death in deaths:
            assert service.count("jobs", "ended_at IS NULL") > 0, "nothing is left to be killed"
            if death is None:
                if not service.alive:
                    service.start()
                kill_at_a_seen_moment(service, chance)
            else:
                die_at(service, *death)
            witness.saw_a_death()

        service.start()
        service.until(lambda: at_rest(service), "at rest", seconds=90)
        assert service.stop() == 0
        assert witness.kills >= 20
        assert witness.states.keys() >= WORKING, witness.states
        assert_all_completed(service, accepted)
        assert_nothing_was_generated_again(service, witness)
        assert_every_slot_was_linked_once(service, accepted)


def at_rest(service: Service) -> bool:
    """Nothing is left to be done: all jobs ended and all events dealt with."""
    return service.count("jobs", "ended_at IS NULL") == 0 and service.count("outbox") == 0


def assert_all_completed(service: Service, accepted: list[str]) -> None:
    jobs = service.rows("SELECT id, state, version, blog_id, role, position FROM jobs")
    assert {str(UUID(job_id)) for job_id, *_ in jobs} == set(accepted)
    assert {state for _, state, *_ in jobs} == {"completed"}
    places = {str(UUID(job_id)): tuple(place) for job_id, _, _, *place in jobs}
    for number, job_id in enumerate(accepted):
        asked = request(number)
        assert places[job_id] == (asked["blog_id"], "inline", asked["position"])
    for job_id, _, version, *_ in jobs:
        seqs = service.rows(
            "SELECT seq FROM events WHERE stream_kind = 'job' AND stream_id = ? ORDER BY seq",
            str(UUID(job_id)),
        )
        assert [seq for (seq,) in seqs] == list(range(1, version + 1))
    images = service.rows("SELECT job_id, key, sha256 FROM images")
    assert {str(UUID(job_id)) for job_id, *_ in images} == set(accepted)
    assert len(images) == JOBS
    for _, key, digest in images:
        data = (service.home / "pictures" / key).read_bytes()
        assert sha256(data).hexdigest() == digest


def assert_nothing_was_generated_again(service: Service, witness: Witness) -> None:
    kept = dict(manifests(service.home))
    assert len(kept) == len(list(manifests(service.home))) == JOBS, "one result for each job"
    for job_id, staged in service.rows("SELECT id, staged FROM jobs"):
        job = str(UUID(job_id))
        assert staged == f"jobs/{job}/{kept[job]}/manifest.json"
        calls = service.rows(
            "SELECT attempt, state, surplus FROM provider_calls WHERE job_id = ? ORDER BY attempt",
            job_id,
        )
        # The last call is the one that was staged; nothing came of those before it.
        assert calls.pop() == (kept[job], "answered", 0)
        assert {state for _, state, _ in calls} <= {"not_charged"}
    # Whatever lay there at a death is what the job ended with.
    assert witness.staged
    assert witness.staged <= set(kept.items())


def assert_every_slot_was_linked_once(service: Service, accepted: list[str]) -> None:
    offered = service.rows("SELECT job_id FROM slot_candidates")
    assert sorted(str(UUID(job_id)) for (job_id,) in offered) == sorted(accepted)
    slots = service.rows("SELECT version FROM blog_slots")
    assert slots == [(1,)] * JOBS
    events = service.rows("SELECT stream_id, type, seq FROM events WHERE stream_kind = 'slot'")
    assert len({stream_id for stream_id, *_ in events}) == len(events) == JOBS
    assert {tuple(rest) for _, *rest in events} == {("blog.image.candidate_added", 1)}
    completed = service.rows("SELECT event_id FROM events WHERE type = 'image.job.completed'")
    assert len(completed) == JOBS
    handled = service.rows("SELECT event_id FROM inbox WHERE subscriber = 'blog-linking'")
    assert sorted(handled) == sorted(completed)
    assert service.count("inbox") == JOBS
    assert service.count("dead_letters") == 0


def working(home: Path, **settings: str) -> Service:
    return Service(home, **TIMES, local__concurrent_dispatches="2", **settings)


@pytest.mark.parametrize(
    ("put", "calls"),
    [
        # The picture lies there and nothing says so: its call's outcome is not known.
        (1, [(1, "not_charged"), (2, "answered")]),
        # With the manifest beside it, it is safe before the database knows of it.
        (2, [(1, "answered")]),
    ],
    ids=["before the manifest", "after the manifest"],
)
def test_a_result_is_safe_from_the_moment_its_manifest_lies_there(
    tmp_path: Path, put: int, calls: list[tuple[int, str]]
) -> None:
    killed = json.dumps([{"name": "blobs.put.after", "mode": "kill", "hit": put}])
    with working(tmp_path / "home", failpoints=killed) as service:
        with service.client as client:
            job_id = accept(client, 0)
        assert service.died() == -9
        assert service.rows("SELECT state FROM jobs") == [("running",)]
        staged = list(manifests(service.home))
        assert staged == [(job_id, 1)] * (put - 1)

        service.settings.pop("failpoints")
        service.start()
        service.until(lambda: at_rest(service), "at rest")
        assert service.rows("SELECT attempt, state FROM provider_calls") == calls
        assert list(manifests(service.home)) == [(job_id, calls[-1][0])]
        assert service.count("blog_slots", "version = 1") == 1


def test_sigterm_lets_running_jobs_end_and_a_restart_does_the_rest(tmp_path: Path) -> None:
    with working(tmp_path / "home", sketch__delay_seconds="0.5") as service:
        with service.client as client:
            accepted = [accept(client, number) for number in range(6)]
        service.until(lambda: service.count("jobs", "state = 'running'") == 2, "running")
        running = service.rows("SELECT id FROM jobs WHERE state = 'running'")
        assert service.stop(within_seconds=15) == 0
        for (job_id,) in running:
            assert service.count("jobs", f"id = '{job_id}' AND state = 'completed'") == 1
        states = {state for (state,) in service.rows("SELECT DISTINCT state FROM jobs")}
        assert states == {"completed", "queued"}, "no new work was begun"
        assert service.count("provider_calls", "state = 'intent'") == 0

        service.start()
        service.until(lambda: at_rest(service), "at rest")
        assert service.count("jobs", "state = 'completed'") == len(accepted)
        assert service.count("jobs", "attempt = 1") == len(accepted)


def test_sigterm_ends_in_time_and_a_restart_does_what_was_cut_off(tmp_path: Path) -> None:
    with working(
        tmp_path / "home", sketch__delay_seconds="6", times__drain_seconds="0.2"
    ) as service:
        with service.client as client:
            accepted = [accept(client, number) for number in range(3)]
        service.until(lambda: service.count("jobs", "state = 'running'") == 2, "running")
        assert service.stop(within_seconds=5) == 0
        assert service.count("jobs", "state = 'completed'") == 0

        service.settings["sketch__delay_seconds"] = "0"
        service.start()
        service.until(lambda: at_rest(service), "at rest")
        assert service.count("jobs", "state = 'completed'") == len(accepted)
        assert service.count("blog_slots", "version = 1") == len(accepted)
        assert service.count("provider_calls", "state = 'answered'") == len(accepted)


def test_a_service_that_stops_takes_no_new_connection_while_it_drains(tmp_path: Path) -> None:
    with working(tmp_path / "home", sketch__delay_seconds="2") as service:
        with service.client as client:
            accept(client, 0)
        service.until(lambda: service.count("jobs", "state = 'running'") == 1, "running")
        service.process.terminate()
        service.wait_for_log("limner_stopping")
        with service.client as client, pytest.raises(httpx2.ConnectError):
            client.get("/readyz")
        assert service.alive
        assert service.stop() == 0
        assert service.count("jobs", "state = 'completed'") == 1
