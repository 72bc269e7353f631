"""The profile of Google Cloud says all that it lacks at once, and costs the local one nothing."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from adapters.gcp.settings import GcpSettings
from tests.service import command, environment

CONNECT = "adapters.gcp.connect.connect"
WHOLE = {
    "GOOGLE_CLOUD_PROJECT": "my-project",
    "CLOUD_TASKS_QUEUE_LOCATION": "europe-west1",
    "CLOUD_TASKS_IMAGE_QUEUE_NAME": "images",
    "CLOUD_RUN_SERVICE_URL": "https://limner.example/",
    "LIMNER_GCP__BUCKET": "pictures",
    "LIMNER_GCP__SERVICE_ACCOUNT": "calls@my-project.iam.gserviceaccount.com",
}


def test_the_local_profile_loads_nothing_of_google() -> None:
    program = (
        "import sys, pipeline.cli.app, pipeline.routes.app\n"
        "from pipeline.settings import Settings; Settings()\n"
        "foreign = ('google', 'grpc', 'obstore', 'jwt')\n"
        "print([name for name in sys.modules if name.partition('.')[0] in foreign])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "[]\n"


def test_a_start_names_everything_that_is_missing(tmp_path: Path) -> None:
    done = command(
        "serve", home=str(tmp_path), connect=CONNECT, times__dispatch_deadline_seconds="2000",
        failpoints='[{"name": "store.commit.before", "mode": "kill"}]',
    )  # fmt: skip
    assert done.returncode == 2
    named = [line.removeprefix("limner: ").partition(":")[0] for line in done.stderr.splitlines()]
    assert named == [
        "GOOGLE_CLOUD_PROJECT",
        "CLOUD_TASKS_QUEUE_LOCATION",
        "CLOUD_RUN_SERVICE_URL",
        "LIMNER_GCP__BUCKET",
        "LIMNER_GCP__SERVICE_ACCOUNT",
        "LIMNER_TIMES__DISPATCH_DEADLINE_SECONDS",
        "LIMNER_API_KEY",
        "LIMNER_LINK_SECRET",
        "LIMNER_FAILPOINTS",
        "LIMNER_DATABASE_URL",
    ]
    assert list(tmp_path.iterdir()) == []


def test_the_documents_names_are_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in WHOLE.items():
        monkeypatch.setenv(name, value)
    settings = GcpSettings()
    assert list(settings.missing()) == []
    assert settings.queue_path == "projects/my-project/locations/europe-west1/queues/images"
    assert settings.worker_url == "https://limner.example/api/v1/images/worker"
    assert settings.worker_audience == settings.worker_url
    assert settings.push_audience == "https://limner.example/api/v1/events"
    assert settings.push_service_account == settings.service_account
    assert settings.topic_path == "projects/my-project/topics/limner-events"
    path = settings.subscription_path("blog-linking")
    assert path == "projects/my-project/subscriptions/limner-blog-linking"
    monkeypatch.setenv("CLOUD_RUN_WORKER_URL", "https://worker.example/api/v1/images/worker")
    assert GcpSettings().worker_audience == "https://worker.example/api/v1/images/worker"


@pytest.mark.parametrize(
    "changes",
    [
        {"service_url": "http://limner.example"},
        {"service_url": "limner.example"},
        {"service_url": "https://user:secret@limner.example"},
        {"worker_url": "ftp://limner.example"},
        {"jwks_url": "http://keys.example"},
        {"project": "../other"},
        {"queue": ""},
        {"bucket": "a/b"},
        {"service_account": "nobody"},
        {"call_seconds": 0},
        {"retry_seconds": 61},
        {"delivery_attempts": 5},
        {"dead_letter_topic": "limner-events"},
        {"unknown": 1},
    ],
)
def test_a_setting_that_leads_elsewhere_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(changes))[:3]):
        GcpSettings(**changes)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("subscriber", "nobody"), "no such subscriber; known: blog-linking, draft-promotion"),
        (("serve", "--role", "worker", "--name", "blog-linking"), "--name goes with --role"),
        (("serve", "--name", "blog-linking"), "--name goes with --role subscriber"),
        (("serve", "--role", "other"), "is not one of"),
    ],
)
def test_a_role_that_there_is_not_is_wrong_usage(
    tmp_path: Path, arguments: tuple[str, ...], told: str
) -> None:
    done = command(*arguments, home=str(tmp_path / "home"))
    assert done.returncode == 2
    assert told in " ".join(done.stderr.replace("│", "").split())


@pytest.mark.parametrize(
    "role", ["api", "worker", "sweep", "subscriber", "subscriber --name blog-linking"]
)
def test_the_local_profile_has_no_roles(tmp_path: Path, role: str) -> None:
    home = tmp_path / "home"
    done = command("serve", "--role", *role.split(), home=str(home))
    assert (done.returncode, "one process is the whole service" in done.stderr) == (1, True)
    assert not home.exists()


@pytest.mark.parametrize(
    ("role", "lacking"),
    [
        ("all", {"LIMNER_API_KEY", "LIMNER_LINK_SECRET"}),
        ("api", {"LIMNER_API_KEY", "LIMNER_LINK_SECRET"}),
    ]
    + [(role, set[str]()) for role in ("worker", "subscriber", "sweep")],
)
def test_only_who_answers_callers_needs_what_callers_are_known_by(
    tmp_path: Path, role: str, lacking: set[str]
) -> None:
    done = command("serve", "--role", role, home=str(tmp_path), connect=CONNECT, **WHOLE)
    assert done.returncode == 2
    named = {line.removeprefix("limner: ").partition(":")[0] for line in done.stderr.splitlines()}
    assert named == {"LIMNER_DATABASE_URL"} | lacking


def test_doctor_asks_for_the_providers_without_google(tmp_path: Path) -> None:
    done = command(
        "doctor", "--json", home=str(tmp_path), port="0", connect=CONNECT,
        database_url="postgresql://nobody@127.0.0.1:1/nothing",
    )  # fmt: skip
    found = {one["check"]: one for one in json.loads(done.stdout)["findings"]}
    assert found["providers"]["level"] == "ok"
    assert "sketch, the default" in found["providers"]["detail"]
