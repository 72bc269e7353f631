"""The pages on deployment name what the manifests and the program name."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from pipeline.roles import Role
from pipeline.subscribers import SUBSCRIBERS
from tests.k8s.manifests import ROOT, overlay
from tests.k8s.variables import variables

DOCS = ROOT / "docs"
GKE = (DOCS / "deploy-gke.md").read_text()
CLOUD_RUN = (DOCS / "deploy-cloud-run.md").read_text()
CAPACITY = (DOCS / "capacity.md").read_text()
PAGES = ("deploy-gke", "deploy-cloud-run", "upgrade", "backup", "capacity", "google-cloud")
# What one process may hold: one that writes, SQLAlchemy's pool of 5 with 10 more for readers.
CONNECTIONS = 16
PRODUCTION = overlay("production")


def blocks(page: str, language: str) -> Iterator[str]:
    for found in re.finditer(rf"^( *)```{language}\n(.*?)^\1```", page, re.S | re.M):
        yield found[2]


def shell(page: str) -> str:
    return "\n".join(blocks(page, "sh")).replace("\\\n", " ")


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    text = (DOCS / f"{page}.md").read_text()
    for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", text):
        if not target.startswith("http"):
            assert (DOCS / target).exists(), target


@pytest.mark.parametrize("page", PAGES)
def test_pages_name_no_setting_that_there_is_not(page: str) -> None:
    text = (DOCS / f"{page}.md").read_text()
    known = {one.name for one in variables()} | {"LIMNER_SERVER"}
    named = set(re.findall(r"\b(LIMNER_[A-Z][A-Z0-9_]*[A-Z0-9])\b(?!…)", text))
    assert {one for one in named if not any(k.startswith(one) for k in known)} == set()


def test_every_account_and_binding_of_the_manifests_is_made() -> None:
    commands = shell(GKE)
    (made,) = re.findall(
        r"for NAME in ([a-z ]+); do\s+gcloud iam service-accounts create", commands
    )
    names = {"api", "worker", "subscriber", "sweep", "webhooks", "migrate", "calls"}
    assert set(made.split()) == names
    annotated = {
        one["metadata"]["annotations"]["iam.gke.io/gcp-service-account"].partition("@")[0]
        for one in PRODUCTION.of("ServiceAccount")
    }
    assert annotated == {f"limner-{name}" for name in made.split()} - {"limner-calls"}
    (bound,) = re.findall(r"for NAME in ([a-z ]+); do bind \$NAME \$NAME", commands)
    (subscribers,) = re.findall(r"for SUBSCRIBER in ([a-z -]+); do bind", commands)
    accounts = set(bound.split()) | {f"subscriber-{one}" for one in subscribers.split()}
    assert accounts == {one["metadata"]["name"] for one in PRODUCTION.of("ServiceAccount")}


def test_every_secret_that_a_pod_wants_is_made() -> None:
    wanted = {
        (source["name"], source["key"])
        for workload in PRODUCTION.ours
        for variable in workload.main.variables.values()
        if (source := variable.get("valueFrom", {}).get("secretKeyRef"))
    }
    assert {name for name, _ in wanted} == {"limner"}
    (command,) = re.findall(r"create secret generic limner (.*)", shell(GKE))
    assert set(re.findall(r"--from-literal=([a-z-]+)=", command)) == {key for _, key in wanted}


@pytest.mark.parametrize("page", [GKE, CLOUD_RUN])
def test_every_subscriber_gets_its_subscription(page: str) -> None:
    (names,) = set(
        re.findall(
            r"for SUBSCRIBER in ([a-z -]+); do\s+gcloud pubsub subscriptions create", shell(page)
        )
    )
    assert set(names.split()) == {one.name for one in SUBSCRIBERS}
    filters = set(re.findall(r"attributes\.type = \"([a-z.]+)\"", page))
    assert filters == {kind for one in SUBSCRIBERS for kind in one.types}


def test_what_is_made_is_what_the_settings_name() -> None:
    told = PRODUCTION.settings(PRODUCTION.workload("api"))
    commands = shell(GKE)
    assert f"gcloud tasks queues create {told['CLOUD_TASKS_IMAGE_QUEUE_NAME']} " in commands
    assert "gcloud pubsub topics create limner-events " in commands
    bucket = told["LIMNER_GCP__BUCKET"].replace(told["GOOGLE_CLOUD_PROJECT"], "$PROJECT")
    assert f"BUCKET={bucket}" in commands
    assert "gcloud sql instances create limner " in commands
    deadline = float(told["LIMNER_TIMES__DISPATCH_DEADLINE_SECONDS"])
    assert 15 <= deadline <= 1800


def test_the_editing_of_settings_reaches_every_name() -> None:
    """The page's own sed commands, done here: no example name is left over."""
    text = (ROOT / "k8s/overlays/production/settings.env").read_text()
    values = {"PROJECT": "p-1", "REGION": "r-1", "API_HOST": "a.test", "WORKER_HOST": "w.test"}
    (script,) = re.findall(r'sed -i "(s/my-project.*?)" settings\.env', GKE, re.S)
    for command in filter(None, map(str.strip, re.split(r";\s*", script))):
        _, pattern, replacement, _ = command.split("/")
        value = values[replacement.removeprefix("$")]
        # As sed does without g: once a line.
        text = "\n".join(re.sub(pattern, value, line, count=1) for line in text.split("\n"))
    assert "example" not in text
    assert "my-project" not in text
    assert "CLOUD_RUN_WORKER_URL=https://w.test/api/v1/images/worker" in text
    assert "LIMNER_GCP__SERVICE_ACCOUNT=limner-calls@p-1.iam.gserviceaccount.com" in text


def test_the_database_has_room_for_every_connection() -> None:
    (limit,) = re.findall(r"max_connections=(\d+)", GKE)
    most = {
        one["spec"]["scaleTargetRef"]["name"]: one["spec"]["maxReplicas"]
        for one in PRODUCTION.of("HorizontalPodAutoscaler")
    }
    pods = {
        one.name: most.get(one.name, one.spec.get("replicas", 1))
        + one.spec["strategy"]["rollingUpdate"]["maxSurge"]
        for one in PRODUCTION.servers
    }
    needed = sum(pods.values()) * CONNECTIONS + pods["api"] + pods["webhooks"]  # who listens
    assert needed < int(limit)
    (told,) = re.findall(r"= (\d+)\n", CAPACITY)
    assert int(told) == needed


def services() -> list[dict[str, Any]]:
    return [yaml.safe_load(one) for one in blocks(CLOUD_RUN, "yaml")]


def test_the_services_of_cloud_run_start_by_the_same_image() -> None:
    (api,) = services()
    (container,) = api["spec"]["template"]["spec"]["containers"]
    assert (container["command"], container["args"]) == (["limner"], ["serve", "--role", "api"])
    roles = set(re.findall(r"`\[serve, --role, ([a-z]+)\]`", CLOUD_RUN)) | {container["args"][-1]}
    assert roles == {role.value for role in Role} - {"all"}
    known = {one.name for one in variables()}
    told = {one["name"]: one.get("value") for one in container["env"]}
    assert told.keys() <= known
    assert {"LIMNER_API_KEY", "LIMNER_LINK_SECRET"} == set(list(told)[-2:])
    on_gke = PRODUCTION.settings(PRODUCTION.workload("api"))
    for name in ("LIMNER_CONNECT", "LIMNER_DEFAULT_PROVIDER", "CLOUD_TASKS_IMAGE_QUEUE_NAME"):
        assert told[name] == on_gke[name]
    # Cloud Run gives 10 seconds to end.
    assert float(told["LIMNER_TIMES__DRAIN_SECONDS"] or 0) < 10
    gke = PRODUCTION.workload("api").main
    for probe in ("startupProbe", "livenessProbe"):
        other = getattr(gke, probe)
        assert container[probe]["httpGet"]["path"] == other["httpGet"]["path"]
        assert container[probe]["failureThreshold"] == other["failureThreshold"]
