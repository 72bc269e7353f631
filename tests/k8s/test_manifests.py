"""The manifests keep what they promise, whichever components are joined: `make k8s-check`."""

from typing import Any

import kubernetes_validate
import pytest
import yaml

from adapters.gcp.tasks import LONGEST_DEADLINE, SHORTEST_DEADLINE
from pipeline.roles import Role
from pipeline.subscribers import SUBSCRIBERS
from tests.k8s.manifests import (
    ALWAYS,
    K8S,
    MAIN,
    OPTIONAL,
    Manifests,
    every_build,
    overlay,
    production_combinations,
    production_with,
)

# The oldest that has all that is used (preStop: sleep), and the newest whose schemas are known.
VERSIONS = ("1.32", kubernetes_validate.latest_version())
# Kinds that a cluster has only after something was installed in it, by the component that needs it.
CUSTOM = {
    ("gateway.networking.k8s.io/v1", "Gateway"): "gateway",
    ("gateway.networking.k8s.io/v1", "HTTPRoute"): "gateway",
    ("networking.gke.io/v1", "HealthCheckPolicy"): "gateway",
    ("networking.gke.io/v1", "GCPBackendPolicy"): "gateway",
    ("keda.sh/v1alpha1", "ScaledObject"): "keda",
    ("keda.sh/v1alpha1", "TriggerAuthentication"): "keda",
    ("monitoring.googleapis.com/v1", "PodMonitoring"): "telemetry",
    ("monitoring.googleapis.com/v1", "Rules"): "telemetry",
}
CLUSTER_WIDE = {"Namespace"}
# What the journal is given to commit its last steps (`Journal.close`), and some to spare.
CLOSING_SECONDS = 30
SPARE_SECONDS = 5


@pytest.fixture(scope="module", params=range(10))
def built(request: pytest.FixtureRequest) -> Manifests:
    return every_build()[request.param]


@pytest.fixture(scope="module")
def production() -> Manifests:
    return overlay("production")


def names(documents: list[dict[str, Any]]) -> set[str]:
    return {one["metadata"]["name"] for one in documents}


def test_all_overlays_and_combinations_are_looked_at() -> None:
    assert len(every_build()) == 10
    assert {path.name for path in (K8S / "overlays").iterdir()} == {"local", "production"}
    assert {path.name for path in (K8S / "components").iterdir()} == {*ALWAYS, *OPTIONAL}


@pytest.mark.parametrize("version", VERSIONS)
def test_everything_is_valid_to_the_letter(built: Manifests, version: str) -> None:
    for one in built.documents:
        if (one["apiVersion"], one["kind"]) in CUSTOM:
            continue
        # Raises for a kind that is neither Kubernetes' nor named above, and for an unknown field.
        kubernetes_validate.validate(one, version, strict=True)


def test_what_must_be_installed_first_comes_with_its_component_alone() -> None:
    for components in production_combinations():
        found = {
            CUSTOM[kind]
            for one in production_with(components).documents
            if (kind := (one["apiVersion"], one["kind"])) in CUSTOM
        }
        assert found == set(components)


def test_everything_stands_in_our_namespace_once(built: Manifests) -> None:
    seen = set()
    for one in built.documents:
        if one["kind"] not in CLUSTER_WIDE:
            assert one["metadata"]["namespace"] == "limner", one["metadata"]
        key = (one["apiVersion"], one["kind"], one["metadata"]["name"])
        assert key not in seen
        seen.add(key)
    (namespace,) = built.of("Namespace")
    assert namespace["metadata"]["name"] == "limner"


# Pod Security *restricted*, https://kubernetes.io/docs/concepts/security/pod-security-standards/
VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim"}
VOLUMES |= {"projected", "secret"}


def test_every_pod_is_restricted(built: Manifests) -> None:
    (namespace,) = built.of("Namespace")
    for mode in ("enforce", "warn", "audit"):
        assert namespace["metadata"]["labels"][f"pod-security.kubernetes.io/{mode}"] == "restricted"
    for workload in built.workloads:
        pod = workload.pod
        assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()
        security = pod["securityContext"]
        assert security["runAsNonRoot"] is True
        assert security["runAsUser"] > 0
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        assert "sysctls" not in security
        for volume in pod.get("volumes", ()):
            assert volume.keys() - {"name"} <= VOLUMES, volume
        for container in workload.containers:
            asked = container.securityContext
            assert asked["allowPrivilegeEscalation"] is False
            assert asked["readOnlyRootFilesystem"] is True
            assert asked["capabilities"] == {"drop": ["ALL"]}
            assert not asked.keys() & {"privileged", "procMount", "runAsUser", "seccompProfile"}
            assert not any("hostPort" in port for port in container.ports or ())


def test_no_pod_may_speak_to_the_cluster_or_is_told_of_its_services(built: Manifests) -> None:
    for workload in built.workloads:
        assert workload.pod["automountServiceAccountToken"] is False
        # A service named limner would set LIMNER_PORT to something that is no port.
        assert workload.pod["enableServiceLinks"] is False
    assert not built.of("Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding")


def test_every_workload_is_an_account_of_its_own(built: Manifests) -> None:
    used = [one.pod["serviceAccountName"] for one in built.workloads]
    assert sorted(used) == sorted(names(built.of("ServiceAccount")))


def test_every_container_says_what_it_needs_and_may_have(built: Manifests) -> None:
    for workload in built.workloads:
        for container in workload.containers:
            for side in ("requests", "limits"):
                asked = container.resources[side]
                assert asked.keys() == {"cpu", "memory", "ephemeral-storage"}, workload.name


def test_every_image_is_named_to_the_version(built: Manifests) -> None:
    for workload in built.workloads:
        for container in workload.containers:
            image, _, digest = container.image.partition("@")
            if container.name == MAIN:
                assert not image.endswith((":latest", "limner")), image
            else:  # what others build is taken as it was looked at
                assert digest.startswith("sha256:")


def test_no_secret_stands_in_a_manifest(built: Manifests) -> None:
    assert not built.of("Secret")
    secret = ("KEY", "SECRET", "PASSWORD", "DATABASE_URL")
    for workload in built.workloads:
        for container in workload.containers:
            for name, variable in container.variables.items():
                if name.endswith(secret):
                    assert "secretKeyRef" in variable["valueFrom"], name
        if workload.is_ours:
            assert not any(name.endswith(secret) for name in built.config(workload))


def test_every_role_runs_by_its_own_command(production: Manifests) -> None:
    commands = {one.name: (one.main.command, one.main.args) for one in production.ours}
    roles = {
        name: (["limner"], ["serve", "--role", name])
        for name in Role
        if name not in (Role.ALL, Role.SUBSCRIBER)
    }
    subscribers = {
        f"subscriber-{one.name}": (
            ["limner"],
            ["serve", "--role", "subscriber", "--name", one.name],
        )
        for one in SUBSCRIBERS
    }
    assert commands == {**roles, **subscribers, "migrate": (["limner"], ["migrate"])}


def test_the_local_overlay_is_one_process_that_asks_for_a_key_and_needs_no_google() -> None:
    local = overlay("local")
    (pod,) = local.servers
    assert (pod.main.command, pod.main.args) == (["limner"], ["serve", "--role", "all"])
    assert pod.spec["replicas"] == 1
    assert pod.spec["strategy"] == {"type": "Recreate"}
    host = pod.main.variables["LIMNER_HOST"]["valueFrom"]["fieldRef"]["fieldPath"]
    assert host == "status.podIP"
    assert "secretKeyRef" in pod.main.variables["LIMNER_API_KEY"]["valueFrom"]
    assert "LIMNER_CONNECT" not in local.settings(pod)
    assert "google" not in yaml.safe_dump_all(local.documents)
    # What must outlive a pod lies on volumes that do.
    (volume,) = (one for one in pod.pod["volumes"] if one["name"] == "data")
    assert volume["persistentVolumeClaim"]["claimName"] in names(local.of("PersistentVolumeClaim"))
    mount = {"name": "data", "mountPath": local.settings(pod)["LIMNER_HOME"]}
    assert mount in pod.main.volumeMounts


def test_only_who_answers_callers_gets_what_callers_are_known_by(built: Manifests) -> None:
    for workload in built.ours:
        serves = workload.name in ("api", "limner")
        bears = {"LIMNER_API_KEY", "LIMNER_LINK_SECRET"} & workload.main.variables.keys()
        assert bool(bears) is serves, workload.name


def test_the_migration_knows_the_database_and_nothing_else(production: Manifests) -> None:
    migrate = production.workload("migrate")
    assert migrate.main.variables.keys() == {"LIMNER_DATABASE_URL"}


def test_liveness_never_asks_the_database_and_readiness_does(built: Manifests) -> None:
    for workload in built.servers:
        main = workload.main
        paths = {
            probe: getattr(main, f"{probe}Probe")["httpGet"]["path"]
            for probe in ("startup", "readiness", "liveness")
        }
        assert paths == {"startup": "/healthz", "readiness": "/readyz", "liveness": "/healthz"}
        for probe in ("startup", "readiness", "liveness"):
            port = getattr(main, f"{probe}Probe")["httpGet"]["port"]
            assert port in {one["name"] for one in main.ports}
        (port,) = {one["containerPort"] for one in main.ports if one["name"] == "http"}
        assert str(port) == built.settings(workload)["LIMNER_PORT"]
        startup = main.startupProbe
        assert startup["failureThreshold"] * startup["periodSeconds"] >= 60


def test_the_budgets_of_time_rise_as_far_as_the_cluster(built: Manifests) -> None:
    """provider < worker < lease < dispatch deadline < what a pod is given to end."""
    for workload in built.servers:
        told = {
            name.removeprefix("LIMNER_TIMES__").removesuffix("_SECONDS"): float(value)
            for name, value in built.settings(workload).items()
            if name.startswith("LIMNER_TIMES__")
        }
        rising = [told[one] for one in ("PROVIDER", "WORKER", "LEASE", "DISPATCH_DEADLINE")]
        assert rising == sorted(set(rising))
        limits = (SHORTEST_DEADLINE.total_seconds(), LONGEST_DEADLINE.total_seconds())
        assert limits[0] <= told["DISPATCH_DEADLINE"] <= limits[1]
        grace = workload.pod["terminationGracePeriodSeconds"]
        # Where everything is one process, requests, jobs and events are drained in turn.
        drains = 3 if workload.name == "limner" else 1
        needed = workload.pre_stop_seconds + drains * told["DRAIN"] + CLOSING_SECONDS
        assert grace >= needed + SPARE_SECONDS, workload.name
        if workload.name == "worker":
            assert told["DRAIN"] >= told["DISPATCH_DEADLINE"]
            assert grace > told["DISPATCH_DEADLINE"]
        if workload.name == "limner":
            assert told["DRAIN"] > told["WORKER"]


def test_who_is_sent_requests_waits_until_nobody_sends_any(built: Manifests) -> None:
    for service in built.of("Service"):
        for workload in built.behind(service):
            if workload.is_ours:
                assert workload.pre_stop_seconds >= 5, workload.name


def test_an_update_takes_no_pod_before_the_new_one_is_ready(production: Manifests) -> None:
    for workload in production.servers:
        assert workload.spec["strategy"] == {
            "type": "RollingUpdate",
            "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1},
        }
        assert workload.spec["minReadySeconds"] >= 5
        own = workload.spec["selector"]["matchLabels"]
        assert own.items() <= workload.labels.items()


def test_pods_of_a_workload_stand_apart(production: Manifests) -> None:
    for workload in production.servers:
        spread = workload.pod["topologySpreadConstraints"]
        keys = {one["topologyKey"] for one in spread}
        assert keys == {"topology.kubernetes.io/zone", "kubernetes.io/hostname"}
        for one in spread:
            assert (one["maxSkew"], one["whenUnsatisfiable"]) == (1, "ScheduleAnyway")
            assert workload.selected_by(one["labelSelector"])
            assert one["matchLabelKeys"] == ["pod-template-hash"]


def test_a_drained_node_takes_one_pod_of_a_workload_at_a_time(production: Manifests) -> None:
    for workload in production.servers:
        (budget,) = (
            one
            for one in production.of("PodDisruptionBudget")
            if workload.selected_by(one["spec"]["selector"])
        )
        assert budget["spec"]["maxUnavailable"] == 1


def test_servers_alone_are_applied_after_the_migration(production: Manifests) -> None:
    """`kubectl apply -l apply!=after-migration` takes all that the migration needs."""
    later = {
        (one["kind"], one["metadata"]["name"])
        for one in production.documents
        if one["metadata"].get("labels", {}).get("apply") == "after-migration"
    }
    assert later == {("Deployment", one.name) for one in production.servers}


def test_the_migration_ends_and_may_be_applied_again(production: Manifests) -> None:
    migrate = production.workload("migrate")
    assert migrate.kind == "Job"
    assert migrate.pod["restartPolicy"] == "Never"
    assert migrate.spec["ttlSecondsAfterFinished"] <= 3600
    assert migrate.spec["activeDeadlineSeconds"] > 0


def test_a_change_of_settings_replaces_the_pods(built: Manifests) -> None:
    (config,) = (
        one for one in built.of("ConfigMap") if one["metadata"]["name"].startswith("settings-")
    )
    for workload in built.ours:
        (source,) = workload.main.envFrom
        assert source["configMapRef"]["name"] == config["metadata"]["name"]
