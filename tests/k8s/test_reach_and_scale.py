"""How the manifests scale, who reaches whom, and what they are on Google Cloud."""

from collections.abc import Mapping
from typing import Any

import pytest
import yaml

from tests.k8s.manifests import Manifests, Workload, every_build, overlay, production_with

WORKER_PATH = "/api/v1/images/worker"


@pytest.fixture(scope="module", params=range(10))
def built(request: pytest.FixtureRequest) -> Manifests:
    return every_build()[request.param]


@pytest.fixture(scope="module")
def production() -> Manifests:
    return overlay("production")


@pytest.mark.parametrize("components", [(), ("keda",)])
def test_everything_scales_by_one_hand_but_what_a_few_can_do(components: tuple[str, ...]) -> None:
    manifests = production_with(components)
    scaled: dict[str, str] = {}
    for one in manifests.of("HorizontalPodAutoscaler", "ScaledObject"):
        target = one["spec"]["scaleTargetRef"]["name"]
        assert target not in scaled, "two hands"
        scaled[target] = one["kind"]
        least = one["spec"].get("minReplicas") or one["spec"]["minReplicaCount"]
        most = one["spec"].get("maxReplicas") or one["spec"]["maxReplicaCount"]
        assert 2 <= least < most
        assert "replicas" not in manifests.workload(target).spec
    fixed = {"sweep": 1, "webhooks": 2}
    assert scaled.keys() == {one.name for one in manifests.servers} - fixed.keys()
    by_keda = {name for name, kind in scaled.items() if kind == "ScaledObject"}
    assert by_keda == (scaled.keys() - {"api"} if components else set())
    for name, replicas in fixed.items():
        assert manifests.workload(name).spec["replicas"] == replicas


def test_keda_looks_at_our_own_queue_and_subscriptions() -> None:
    manifests = production_with(("keda",))
    for one in manifests.of("ScaledObject"):
        name = one["spec"]["scaleTargetRef"]["name"]
        told = manifests.settings(manifests.workload(name))
        (trigger,) = one["spec"]["triggers"]
        # KEDA's own scalers of Google Cloud are deprecated.
        assert trigger["type"] == "prometheus"
        server = trigger["metadata"]["serverAddress"]
        assert f"/projects/{told['GOOGLE_CLOUD_PROJECT']}/" in server
        query = trigger["metadata"]["query"]
        if name == "worker":
            assert f'queue_id="{told["CLOUD_TASKS_IMAGE_QUEUE_NAME"]}"' in query
        else:
            prefix = told.get("LIMNER_GCP__SUBSCRIPTION_PREFIX", "limner-")
            subscription = prefix + name.removeprefix("subscriber-")
            assert f'subscription_id="{subscription}"' in query
            assert "num_undelivered_messages" in query
        reference = trigger["authenticationRef"]["name"]
        assert manifests.one("TriggerAuthentication", reference)["spec"] == {
            "podIdentity": {"provider": "gcp"}
        }


def policies(manifests: Manifests, workload: Workload, direction: str) -> list[Mapping[str, Any]]:
    """The rules of all policies that hold for the pods of *workload*."""
    return [
        rule
        for one in manifests.of("NetworkPolicy")
        if workload.selected_by(one["spec"]["podSelector"])
        and direction in one["spec"]["policyTypes"]
        for rule in one["spec"].get(direction.lower(), ())
    ]


def ports(rules: list[Mapping[str, Any]]) -> set[int]:
    assert all(rule.get("ports") for rule in rules), "a rule without ports opens all"
    return {one["port"] for rule in rules for one in rule["ports"]}


def test_nothing_goes_in_or_out_but_what_is_named(built: Manifests) -> None:
    deny = built.one("NetworkPolicy", "default-deny")["spec"]
    assert deny == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    entered = {"api": {8080}, "worker": {8080}, "limner": {8080}, "postgres": {5432}}
    if built.name != "production" and "gateway" not in built.name:
        del entered["worker"]
    metrics = {9464} if "telemetry" in built.name else set()
    for workload in built.workloads:
        expected = entered.get(workload.name, set()) | (metrics if workload.is_ours else set())
        assert ports(policies(built, workload, "Ingress")) == expected


def test_a_pod_reaches_what_it_needs_and_no_more(production: Manifests) -> None:
    # Names, the metadata server twice, Google's APIs, Cloud SQL by its proxy.
    shared = {53, 80, 988, 443, 3307}
    for workload in production.workloads:
        rules = policies(production, workload, "Egress")
        endpoints = {8443} if workload.name == "webhooks" else set()
        assert ports(rules) == shared | endpoints, workload.name
        for rule in rules:
            if 443 in {one["port"] for one in rule["ports"]}:
                for to in rule["to"]:
                    inside = set(to["ipBlock"]["except"])
                    assert inside >= {"10.0.0.0/8", "169.254.0.0/16"} or "fc00::/7" in inside
    local = overlay("local")
    assert ports(policies(local, local.workload("limner"), "Egress")) == {53, 443, 5432}
    assert ports(policies(local, local.workload("postgres"), "Egress")) == {53}


def test_the_public_address_leads_to_no_internal_route(production: Manifests) -> None:
    routes = {}
    for one in production.of("HTTPRoute"):
        (rule,) = one["spec"]["rules"]
        (match,) = rule["matches"]
        (backend,) = rule["backendRefs"]
        path = (match["path"]["type"], match["path"]["value"])
        (host,) = one["spec"]["hostnames"]
        routes[backend["name"]] = (host, path)
        service = production.one("Service", backend["name"])
        assert backend["port"] in {port["port"] for port in service["spec"]["ports"]}
        assert [pod.name for pod in production.behind(service)] == [backend["name"]]
    told = production.settings(production.workload("api"))
    assert routes == {
        "api": (told["CLOUD_RUN_SERVICE_URL"].split("/")[2], ("PathPrefix", "/")),
        "worker": (told["CLOUD_RUN_WORKER_URL"].split("/")[2], ("Exact", WORKER_PATH)),
    }
    assert routes["api"][0] != routes["worker"][0]
    assert told["CLOUD_RUN_WORKER_URL"].endswith(WORKER_PATH)
    (gateway,) = production.of("Gateway")
    assert {one["protocol"] for one in gateway["spec"]["listeners"]} == {"HTTPS"}


def test_the_balancer_gives_up_after_cloud_tasks_and_lets_requests_end(
    production: Manifests,
) -> None:
    for name in ("api", "worker"):
        workload = production.workload(name)
        told = production.settings(workload)
        policy = production.one("GCPBackendPolicy", name)["spec"]["default"]
        draining = policy["connectionDraining"]["drainingTimeoutSec"]
        assert draining >= float(told["LIMNER_TIMES__DRAIN_SECONDS"])
        if name == "worker":
            assert policy["timeoutSec"] > float(told["LIMNER_TIMES__DISPATCH_DEADLINE_SECONDS"])
        health = production.one("HealthCheckPolicy", name)["spec"]["default"]
        assert health["config"]["httpHealthCheck"] == {"port": 8080, "requestPath": "/readyz"}
        noticed = health["checkIntervalSec"] * health["unhealthyThreshold"]
        assert workload.pre_stop_seconds >= noticed


def test_every_workload_of_google_cloud_has_an_identity_and_a_way_to_the_database(
    production: Manifests,
) -> None:
    settings = production.settings(production.workload("api"))
    domain = settings["LIMNER_GCP__SERVICE_ACCOUNT"].partition("@")[2]
    assert domain.startswith(settings["GOOGLE_CLOUD_PROJECT"])
    instance = f"{settings['GOOGLE_CLOUD_PROJECT']}:{settings['CLOUD_TASKS_QUEUE_LOCATION']}:limner"
    for workload in production.ours:
        account = production.one("ServiceAccount", workload.pod["serviceAccountName"])
        identity = account["metadata"]["annotations"]["iam.gke.io/gcp-service-account"]
        role = workload.name.partition("-")[0]
        assert identity == f"limner-{role}@{domain}"
        (proxy,) = workload.pod["initContainers"]
        # A sidecar: there before the program and after it, and no hindrance to a job's end.
        assert proxy["restartPolicy"] == "Always"
        assert proxy["args"][-1] == instance
        assert "startupProbe" in proxy
    leftover = yaml.safe_dump_all(production.documents)
    for placeholder in ("PROJECT:REGION", "/PROJECT/", "@DOMAIN", "API-HOST", "WORKER-HOST"):
        assert placeholder not in leftover
