"""Every role as its manifest runs it, as processes of this machine: the same command, environment
and probes, read from what kubectl builds; PostgreSQL, and doubles of Google and the provider.
"""

import asyncio
import itertools
import os
import random
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from time import monotonic, sleep
from typing import Any, Self
from uuid import uuid4

import asyncpg
import httpx2
import pytest
from sqlalchemy.engine import make_url

from pipeline.subscribers import SUBSCRIBERS
from tests.fakes.google.cloud import KEY, Cloud
from tests.fakes.stability import KEY as STABILITY_KEY
from tests.fakes.stability import Misbehaviour, StabilityDouble
from tests.k8s.manifests import Manifests, Workload, overlay
from tests.service import GENERATE, JOBS, LIMNER, POLL_SECONDS, environment

PATIENCE_SECONDS = 60.0
BATCH = "/api/v1/images/batch-generate"
WORKER = "/api/v1/images/worker"
MANIFESTS = overlay("production")
# Where things are, instead of what they are: on this machine the doubles are elsewhere.
PLACES = (
    "LIMNER_GCP__BUCKET", "LIMNER_GCP__TOPIC", "LIMNER_GCP__SUBSCRIPTION_PREFIX",
    "LIMNER_GCP__SERVICE_ACCOUNT", "LIMNER_GCP__JWKS_URL", "LIMNER_GCP__TASKS_EMULATOR_HOST",
    "PUBSUB_EMULATOR_HOST", "STORAGE_EMULATOR_HOST", "GOOGLE_APPLICATION_CREDENTIALS",
    "GOOGLE_CLOUD_PROJECT", "CLOUD_TASKS_QUEUE_LOCATION", "CLOUD_TASKS_IMAGE_QUEUE_NAME",
    "STABILITY_AI_BASE_URL",
)  # fmt: skip


class Cluster:
    """What the manifests expect around their pods."""

    def __init__(
        self,
        secrets: Mapping[str, str],
        places: Mapping[str, str],
        manifests: Manifests = MANIFESTS,
    ) -> None:
        self.manifests = manifests
        self.secrets = secrets
        self.places = places
        # Every pod has an address of its own, and listens on the same port.
        first, second = random.SystemRandom().choices(range(1, 250), k=2)
        self._addresses = (f"127.{first}.{second}.{n}" for n in itertools.count(1))

    def variables(self, workload: Workload, address: str) -> dict[str, str]:
        """The environment of a pod's container, as a cluster makes it."""
        found = self.manifests.config(workload)
        for name, one in workload.main.variables.items():
            source = one.get("valueFrom", {})
            match next(iter(source), None):
                case None:
                    found[name] = one["value"]
                case "fieldRef":
                    assert source["fieldRef"]["fieldPath"] == "status.podIP"
                    found[name] = address
                case "resourceFieldRef":
                    assert source["resourceFieldRef"]["resource"] == "limits.cpu"
                    found[name] = str(workload.main.resources["limits"]["cpu"])
                case "secretKeyRef":
                    reference = source["secretKeyRef"]
                    if reference["key"] in self.secrets or not reference.get("optional"):
                        found[name] = self.secrets[reference["key"]]
                case other:
                    raise AssertionError(other)
        return found | self.places

    def pod(self, name: str) -> "Pod":
        return Pod(self, self.manifests.workload(name), next(self._addresses))


class Pod:
    """The container of the program, as a process; entered it runs, left it is gone."""

    def __init__(self, cluster: Cluster, workload: Workload, address: str) -> None:
        self.workload = workload
        variables = cluster.variables(workload, address)
        self.url = f"http://{address}:{variables['LIMNER_PORT']}"
        command = [*workload.main.command, *workload.main.args]
        assert command[0] == LIMNER.name
        self.log: list[str] = []
        self.process = subprocess.Popen(
            [LIMNER, *command[1:]],
            env=environment(**variables),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            cwd="/",  # nothing may be written beside what is mounted
            process_group=0,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(PATIENCE_SECONDS)
        self._reader.join(PATIENCE_SECONDS)
        if kind is not None:
            print(f"--- {self.workload.name}", *self.log[-20:], sep="\n")

    def probe(self, kind: str) -> bool:
        told = getattr(self.workload.main, f"{kind}Probe")
        try:
            reply = httpx2.get(self.url + told["httpGet"]["path"], timeout=told["timeoutSeconds"])
        except httpx2.HTTPError:
            return False
        return 200 <= reply.status_code < 400

    def started(self) -> None:
        """Return when startup, readiness and liveness have succeeded, as far as they allow it."""
        told = self.workload.main.startupProbe
        most = told["failureThreshold"] * told["periodSeconds"]
        until(lambda: self._lives() and self.probe("startup"), f"{self.workload.name} starts", most)
        until(lambda: self._lives() and self.probe("readiness"), f"{self.workload.name} is ready")
        assert self.probe("liveness")

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    def ended(self) -> int:
        """The exit code, within what the manifest gives a pod to end."""
        pod = self.workload.pod
        grace = pod.get("terminationGracePeriodSeconds", 30) - self.workload.pre_stop_seconds
        return self.process.wait(min(grace, PATIENCE_SECONDS))

    def _lives(self) -> bool:
        assert self.process.poll() is None, f"{self.workload.name} ended: {self.log[-3:]}"
        return True

    def _read(self) -> None:
        assert self.process.stderr is not None
        with self.process.stderr as lines:
            self.log.extend(line.rstrip("\n") for line in lines)


def until(holds: Callable[[], bool], what: str, seconds: float = PATIENCE_SECONDS) -> None:
    deadline = monotonic() + seconds
    while not holds():
        assert monotonic() < deadline, f"not within {seconds:.0f} s: {what}"
        sleep(POLL_SECONDS)


@pytest.fixture
def database_url(postgres_server: str) -> Iterator[str]:
    """An empty database: the migration has to come first."""
    name = f"limner_{uuid4().hex}"

    async def run(statement: str) -> None:
        connection = await asyncpg.connect(postgres_server)
        await connection.execute(statement)
        await connection.close()

    asyncio.run(run(f"CREATE DATABASE {name}"))
    url = make_url(postgres_server).set(database=name, drivername="postgresql")
    yield url.render_as_string(hide_password=False)
    asyncio.run(run(f"DROP DATABASE {name} WITH (FORCE)"))


class Caller:
    """Somebody outside, who knows the address of `api` and the key."""

    def __init__(self, http: httpx2.Client) -> None:
        self._http = http
        self.url = str(http.base_url).rstrip("/")

    def json(self, method: str, path: str, **request: Any) -> dict[str, Any]:
        reply = self._http.request(method, path, **request)
        assert reply.is_success, reply.text
        told: dict[str, Any] = reply.json()
        return told

    def status(self, job_id: str) -> dict[str, Any]:
        return self.json("GET", f"{JOBS}/{job_id}")

    def place(self, blog_id: str) -> dict[str, Any]:
        slots = self.json("GET", f"/api/v1/blogs/{blog_id}/images")["images"]
        return slots[0] if slots else {}


# Eight starts of the program and an emulator, on whatever machine is at hand.
@pytest.mark.timeout(300)
def test_every_role_runs_as_its_manifest_says_and_together_they_illustrate_a_post(
    tmp_path: Path, database_url: str
) -> None:
    with ExitStack() as stack:
        provider = stack.enter_context(StabilityDouble())
        cloud = stack.enter_context(Cloud(tmp_path))
        for subscriber in SUBSCRIBERS:
            cloud.subscribe(subscriber.name)
        secrets = {
            "database-url": database_url,
            "api-key": KEY,
            "link-secret": "a-secret-that-all-processes-share-here",
            "stability-api-key": STABILITY_KEY,
        }
        told = environment(**cloud.settings("")) | {"STABILITY_AI_BASE_URL": provider.url}
        cluster = Cluster(secrets, {name: told[name] for name in PLACES})
        start = cluster.pod

        # A pod of the new version does not serve before the migration has been.
        with start("api") as early:
            assert early.ended() == 1
            assert "run `limner migrate`" in early.log[-1]
        with start("migrate") as migrate:
            assert migrate.ended() == 0, migrate.log

        pods = {one.name: stack.enter_context(start(one.name)) for one in MANIFESTS.servers}
        with ThreadPoolExecutor(len(pods)) as together:
            list(together.map(Pod.started, pods.values()))
        cloud.service = pods["worker"].url

        each_answers_what_is_its_own(pods)
        key = {"Authorization": f"Bearer {KEY}"}
        http = stack.enter_context(
            httpx2.Client(base_url=pods["api"].url, headers=key, timeout=PATIENCE_SECONDS)
        )
        caller = Caller(http)
        a_draft_is_approved_and_its_final_stands_in_the_post(caller)
        a_batch_gets_its_finals_by_itself(caller)
        old, pods["worker"] = pods["worker"], stack.enter_context(start("worker"))
        what_is_being_painted_survives_an_update(caller, provider, cloud, old, pods["worker"])

        for pod in pods.values():
            pod.terminate()
        assert {name: pod.ended() for name, pod in pods.items()} == dict.fromkeys(pods, 0)


def each_answers_what_is_its_own(pods: Mapping[str, Pod]) -> None:
    """Not even who bears the key finds more."""
    key = {"Authorization": f"Bearer {KEY}"}
    owners = {GENERATE: "api", BATCH: "api", WORKER: "worker"}
    for name, pod in pods.items():
        for path, owner in owners.items():
            code = httpx2.post(pod.url + path, headers=key, json={}).status_code
            # The worker wants Google's token; a pod without callers knows nobody's key.
            expected = {"api": {404, 405}}.get(name, {401})
            if owner == name == "api":
                expected = {422}
            assert code in expected, (name, path, code)
    for subscriber in SUBSCRIBERS:
        path = f"/api/v1/events/{subscriber.name}"
        assert httpx2.post(pods["api"].url + path, headers=key).status_code in (404, 405)


def a_draft_is_approved_and_its_final_stands_in_the_post(caller: Caller) -> None:
    request = {"prompt": "a lighthouse", "quality": "draft", "blog_id": "post", "role": "hero"}
    draft = caller.json("POST", GENERATE, json=request)["job_id"]
    until(lambda: bool(caller.place("post").get("preview")), "the draft is the preview")
    assert caller.status(draft)["provider"] == "stability_ai"
    final = caller.json("POST", f"{JOBS}/{draft}/promote")["job_id"]
    until(lambda: caller.place("post").get("image_id") is not None, "the final stands")
    place = caller.place("post")
    assert place["job_id"] == final
    assert [one["job_id"] for one in place["candidates"]] == [final, draft]
    public = MANIFESTS.settings(MANIFESTS.workload("api"))["LIMNER_PUBLIC_URL"]
    assert place["url"].startswith(public)
    seen = httpx2.get(caller.url + place["url"].removeprefix(public), follow_redirects=True)
    assert (seen.status_code, seen.headers["content-type"]) == (200, "image/png")


def a_batch_gets_its_finals_by_itself(caller: Caller) -> None:
    request = {
        "images": [{"prompt": f"harbour {n}", "quality": "draft"} for n in range(3)],
        "blog_id": "other",
        "workflow": "draft_then_final",
    }
    batch = caller.json("POST", BATCH, json=request)["batch_id"]

    path = f"/api/v1/images/batches/{batch}"
    until(lambda: caller.json("GET", path)["status"] == "completed", "it owes nothing")

    def linked() -> bool:
        slots = caller.json("GET", "/api/v1/blogs/other/images")["images"]
        return len(slots) == 3 and all(one["image_id"] for one in slots)

    until(linked, "all finals stand")


def what_is_being_painted_survives_an_update(
    caller: Caller, provider: StabilityDouble, cloud: Cloud, old: Pod, new: Pod
) -> None:
    """The new worker is there; the old one is told to end in the middle of a paid call."""
    provider.script.append(Misbehaviour.SLOW)
    request = {"prompt": "a harbour at night", "quality": "high"}
    job_id = caller.json("POST", GENERATE, json=request)["job_id"]
    assert provider.slow_came.wait(PATIENCE_SECONDS)
    paid = len(provider.paid)
    new.started()
    cloud.service = new.url
    old.terminate()
    until(lambda: not old.probe("readiness"), "the old one takes nothing more")
    assert old.process.poll() is None
    other = caller.json("POST", GENERATE, json=request)["job_id"]
    until(lambda: caller.status(other)["status"] == "completed", "the new one works")
    assert caller.status(job_id)["status"] == "running"
    provider.release.set()
    assert old.ended() == 0
    status = caller.status(job_id)
    assert (status["status"], status["retry_count"]) == ("completed", 0)
    assert len(provider.paid) == paid + 1


def test_the_local_overlay_illustrates_a_post_alone(tmp_path: Path, database_url: str) -> None:
    secrets = {"database-url": database_url, "api-key": KEY, "link-secret": "s" * 32}
    # Where the volume is mounted.
    cluster = Cluster(secrets, {"LIMNER_HOME": str(tmp_path / "data")}, overlay("local"))
    with cluster.pod("limner") as pod:
        pod.started()
        assert httpx2.get(pod.url + JOBS).status_code == 401
        key = {"Authorization": f"Bearer {KEY}"}
        with httpx2.Client(base_url=pod.url, headers=key, timeout=PATIENCE_SECONDS) as http:
            caller = Caller(http)
            request = {"prompt": "a lighthouse", "quality": "draft", "blog_id": "post"}
            draft = caller.json("POST", GENERATE, json=request)["job_id"]
            until(lambda: bool(caller.place("post").get("preview")), "the draft is the preview")
            final = caller.json("POST", f"{JOBS}/{draft}/promote")["job_id"]
            until(lambda: caller.place("post").get("job_id") == final, "the final stands")
        pod.terminate()
        assert pod.ended() == 0
