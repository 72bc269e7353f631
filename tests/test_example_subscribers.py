"""The subscribers of examples/, as a stranger starts them, pass the conformance kit."""

import base64
import json
import os
import random
import secrets
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import grpc
import pytest
from google.pubsub_v1 import PublisherAsyncClient
from google.pubsub_v1.services.publisher.transports import PublisherGrpcAsyncIOTransport
from google.pubsub_v1.types import PubsubMessage

from adapters.kit.conformance.checks import CHECKS
from adapters.kit.conformance.stories import STORIES, garbage, story
from tests.fakes.google.cloud import Cloud
from tests.service import PATIENCE_SECONDS
from tests.test_cli_commands import Done, here, one_line

EXAMPLES = Path(__file__).parent.parent / "examples" / "subscribers"
SECRET = "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()


@contextmanager
def started(home: Path, name: str, *arguments: str, **settings: str) -> Iterator[str]:
    """An example with a gallery of its own in *home*; the last word of its first line."""
    said = home / "said"
    with (
        said.open("wb") as out,
        subprocess.Popen(
            [sys.executable, EXAMPLES / name, *arguments],
            cwd=home,
            env={"PATH": os.environ["PATH"]} | settings,
            stdout=out,
            stderr=out,
        ) as process,
    ):
        try:
            until(lambda: b"\n" in said.read_bytes() or process.poll() is not None)
            assert process.poll() is None, said.read_text("utf-8")
            yield said.read_text("utf-8").splitlines()[0].split()[-1]
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(PATIENCE_SECONDS)
            finally:
                process.kill()


def examined(address: str, *options: str) -> dict[str, str]:
    """What each check came to, as the command tells it."""
    base = address.removesuffix("/events").rstrip("/")
    effects = f"{base}/effects?subject={{subject}}"
    done = here("conformance", address, "--effects", effects, "--json", *options)
    told = json.loads(done.stdout)
    found = {one["check"]: one["result"] for one in told["findings"]}
    assert list(found) == list(CHECKS)
    details = [one for one in told["findings"] if one["result"] == "failed"]
    assert (done.returncode, told["passed"]) == (1 if details else 0, not details), details
    return found


def test_the_webhook_passes(tmp_path: Path) -> None:
    with started(tmp_path, "webhook.py", "0", WEBHOOK_SECRET=SECRET) as address:
        found = examined(address, "--secret", SECRET)
        assert set(found.values()) == {"ok"}
        forged = here("conformance", address, "--secret", SECRET[:-8] + "AAAAAAA=")
        assert forged.returncode == 1
        assert "answered HTTP 401" in forged.stdout


def test_the_push_endpoint_passes(tmp_path: Path) -> None:
    name = "projects/p/subscriptions/gallery"
    with started(tmp_path, "push.py", "0", PUSH_SUBSCRIPTION=name) as address:
        found = examined(address, "--form", "push", "--subscription", name)
        assert {check for check, result in found.items() if result != "ok"} == {"forgery"}
        other = here("conformance", address, "--form", "push", "--subscription", "other")
        assert other.returncode == 1
        assert "answered HTTP 400" in other.stdout


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[Cloud]:
    with Cloud(tmp_path) as running:
        yield running


def test_what_is_pulled_has_its_effect_once(tmp_path: Path, cloud: Cloud) -> None:
    """Every event three times, shuffled, with garbage between."""
    cloud.subscribe("gallery")
    stories = [story(name) for name in STORIES for _ in range(3)]
    bodies = [json.dumps(event).encode() for told in stories for event in told.events] * 3
    spoilt = garbage(stories[0].events[-1])
    bodies += [spoilt["no JSON"], spoilt["data without its members"]]
    random.Random(1).shuffle(bodies)
    name, host = cloud.subscription("gallery"), cloud.pubsub_host
    with started(tmp_path, "pull.py", name, PUBSUB_EMULATOR_HOST=host):
        publish(cloud, bodies)
        wanted = {"image.job.queued", "image.job.started", "image.job.completed",
                  "image.job.failed", "image.job.cancelled"}  # fmt: skip
        events = [event for told in stories for event in told.events]
        handled = [event["id"] for event in events if event["type"] in wanted]
        until(lambda: len(rows(tmp_path, "SELECT * FROM limner_inbox")) == len(handled))
    assert "stopped; what was handled is acknowledged" in (tmp_path / "said").read_text("utf-8")
    finished = [
        told.subject
        for told in stories
        if any(event["type"] == "image.job.completed" for event in told.events)
    ]
    pictures = Counter(job_id for (job_id,) in rows(tmp_path, "SELECT job_id FROM pictures"))
    assert pictures == {subject.replace("-", ""): 1 for subject in finished}
    states = dict(rows(tmp_path, "SELECT job_id, state FROM jobs"))
    assert {states[subject.replace("-", "")] for subject in finished} == {"completed"}
    assert set(Counter(states.values())) == {"completed", "cancelled"}


def publish(cloud: Cloud, bodies: list[bytes]) -> None:
    async def work() -> None:
        async with grpc.aio.insecure_channel(cloud.pubsub_host) as channel:
            transport = PublisherGrpcAsyncIOTransport(channel=channel)
            publisher = PublisherAsyncClient(transport=transport)
            messages = [PubsubMessage(data=body) for body in bodies]
            await publisher.publish(topic=cloud.topic, messages=messages)

    cloud.run(work())


def rows(home: Path, query: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(f"file:{home / 'gallery.sqlite'}?mode=ro", uri=True)) as found:
        return found.execute(query).fetchall()


def until(condition: Any) -> None:
    deadline = monotonic() + PATIENCE_SECONDS
    while not condition():
        assert monotonic() < deadline
        sleep(0.05)


@pytest.mark.parametrize("name", ["webhook.py", "pull.py"])
def test_an_example_that_lacks_something_says_what(tmp_path: Path, name: str) -> None:
    done = subprocess.run(
        [sys.executable, EXAMPLES / name], env={"PATH": os.environ["PATH"]}, cwd=tmp_path,
        capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (1, "")
    assert "WEBHOOK_SECRET" in done.stderr or "projects/PROJECT/subscriptions/NAME" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere"], "URL: 'nowhere' is no address"),
        (["http://127.0.0.1:9", "--effects", "x{subject}"], "--effects: 'x{subject}' is no"),
        (["http://127.0.0.1:9", "--effects", "http://127.0.0.1:9"], "it must have {subject}"),
        (["http://127.0.0.1:9", "--form", "mail"], "--form: it must be webhook or push"),
        (["http://127.0.0.1:9", "--secret", "ä"], "--secret: a secret is whsec_ and base64"),
    ],
)
def test_a_conformance_that_makes_no_sense_is_refused(arguments: list[str], words: str) -> None:
    assert words in one_line(here("conformance", *arguments), 2)


def test_nobody_at_the_address_is_said_in_one_line() -> None:
    done: Done = here("conformance", "http://127.0.0.1:9/")
    assert "nobody answers at http://127.0.0.1:9/" in one_line(done, 1)
