"""`limner provision` and `limner doctor --profile gcp`, as whoever sets up a cloud runs them."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.google.cloud import BUCKET, PROJECT, QUEUE, Cloud
from tests.service import command

CREATED = 5


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[Cloud]:
    with Cloud(tmp_path) as one:
        yield one


def test_what_is_planned_is_made_once_and_then_found_well(
    cloud: Cloud, tmp_path: Path, postgres_url: str
) -> None:
    settings = cloud.settings(postgres_url, home=str(tmp_path / "home"), port="0")
    before = command("doctor", "--profile", "gcp", "--json", **settings)
    assert before.returncode == 1

    planned = command("provision", "--dry-run", **settings)
    assert planned.returncode == 0, planned.stderr
    assert f"create   queue {QUEUE}" in planned.stdout.splitlines()
    commands = [line.strip() for line in planned.stdout.splitlines() if " gcloud " in line]
    assert all(f"--project={PROJECT}" in one or "storage buckets" in one for one in commands)
    made = [one for one in commands if " create " in one]
    assert len(made) == CREATED
    assert [one for one in commands if "add-iam-policy-binding" in one]
    assert cloud.queues.queues == {}

    done = command("provision", "--json", **settings)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    outcomes = {one["name"]: one["outcome"] for one in told["parts"]}
    assert sorted(outcomes.values()) == ["created"] * CREATED + ["fits"] * 2
    assert outcomes[f"bucket {BUCKET}"] == "fits"
    assert [one["command"] for one in told["parts"] if one["command"]] == made
    again = command("provision", **settings)
    assert again.returncode == 0
    assert {line.split()[0] for line in again.stdout.splitlines()} == {"fits"}

    after = command("doctor", "--profile", "gcp", "--json", **settings)
    found = json.loads(after.stdout)
    levels: dict[str, set[str]] = {}
    for one in found["findings"]:
        levels.setdefault(one["check"], set()).add(one["level"])
    assert found["healthy"], found
    assert levels["cloud"] == {"ok"}
    assert "ok" in levels["rights"]
    assert levels["profile"] == {"warn"}  # sketch paints
    assert "home" not in levels
    assert "lock" not in levels
    missing = [one for one in json.loads(before.stdout)["findings"] if one["level"] == "fail"]
    assert len([one for one in missing if one["check"] == "cloud"]) == CREATED
    assert all("limner provision" in one["remedy"] for one in missing if one["check"] == "cloud")


def test_what_a_person_must_do_is_a_failure_that_says_it(cloud: Cloud, tmp_path: Path) -> None:
    settings = cloud.settings("postgresql://x/y", home=str(tmp_path), gcp__bucket="absent")
    done = command("provision", **settings)
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    at = lines.index("stuck    bucket absent")
    assert "gcloud storage buckets create gs://absent" in lines[at + 2]
    assert len(cloud.queues.queues) == 1  # the rest is made


def test_what_google_refuses_is_told_with_the_command_and_the_rest_is_made(
    cloud: Cloud, tmp_path: Path
) -> None:
    cloud.queues.allowed.remove("cloudtasks.queues.create")
    done = command("provision", **cloud.settings("postgresql://x/y", home=str(tmp_path)))
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    at = lines.index(f"failed   queue {QUEUE}")
    assert "lacks cloudtasks.queues.create" in lines[at + 1]
    assert "gcloud tasks queues create" in lines[at + 2]
    assert len([line for line in lines if line.startswith("created ")]) == CREATED - 1
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("connect", "told"),
    [
        ("adapters.local.connect.connect", "nothing must exist outside"),
        ("adapters.gcp.connect.connect", "GOOGLE_CLOUD_PROJECT: it is not set"),
    ],
)
def test_without_a_cloud_there_is_nothing_to_provision(
    tmp_path: Path, connect: str, told: str
) -> None:
    done = command("provision", home=str(tmp_path), connect=connect)
    assert (done.returncode, done.stdout) == (2, "")
    assert told in done.stderr
    assert list(tmp_path.iterdir()) == []
