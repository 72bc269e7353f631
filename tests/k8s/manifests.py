"""What `kubectl kustomize` makes of k8s/, parsed: every overlay, and every combination of the
components that may be left out or put in.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import chain, combinations
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
K8S = ROOT / "k8s"
# What production cannot do without, and what it may have beside it.
ALWAYS = ("google",)
OPTIONAL = ("gateway", "keda", "telemetry")
MAIN = "limner"


def kubectl() -> str:
    """The command: of the development group's wheel, else of the machine."""
    own = Path(sys.executable).with_name("kubectl")
    found = str(own) if own.exists() else shutil.which("kubectl")
    if found is None:
        message = "kubectl is missing: the manifests cannot be built (uv sync installs it)"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    return found


@dataclass(frozen=True)
class Container:
    told: Mapping[str, Any]

    def __getattr__(self, name: str) -> Any:
        return self.told.get(name)

    @property
    def variables(self) -> dict[str, Mapping[str, Any]]:
        return {one["name"]: one for one in self.told.get("env", ())}


@dataclass(frozen=True)
class Workload:
    """A Deployment, StatefulSet or Job."""

    told: Mapping[str, Any]

    @property
    def kind(self) -> str:
        return str(self.told["kind"])

    @property
    def name(self) -> str:
        return str(self.told["metadata"]["name"])

    @property
    def spec(self) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self.told["spec"]
        return found

    @property
    def labels(self) -> Mapping[str, str]:
        found: Mapping[str, str] = self.spec["template"]["metadata"]["labels"]
        return found

    @property
    def pod(self) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self.spec["template"]["spec"]
        return found

    @property
    def containers(self) -> list[Container]:
        return [
            Container(one)
            for one in chain(self.pod.get("initContainers", ()), self.pod["containers"])
        ]

    @property
    def main(self) -> Container:
        """The container of the program."""
        (found,) = (one for one in self.pod["containers"] if one["name"] == MAIN)
        return Container(found)

    @property
    def is_ours(self) -> bool:
        return any(one["name"] == MAIN for one in self.pod["containers"])

    @property
    def pre_stop_seconds(self) -> int:
        lifecycle = self.main.lifecycle or {}
        found: int = lifecycle.get("preStop", {}).get("sleep", {}).get("seconds", 0)
        return found

    def selected_by(self, selector: Mapping[str, Any]) -> bool:
        """Whether a label selector (matchLabels, matchExpressions with In) names its pods."""
        equal = selector.get("matchLabels", {}).items() <= self.labels.items()
        return equal and all(
            self.labels.get(one["key"]) in one["values"]
            for one in selector.get("matchExpressions", ())
        )


class Manifests:
    """All that one build gives."""

    def __init__(self, name: str, documents: list[dict[str, Any]]) -> None:
        self.name = name
        self.documents = documents

    def of(self, *kinds: str) -> list[dict[str, Any]]:
        return [one for one in self.documents if one["kind"] in kinds]

    def one(self, kind: str, name: str) -> dict[str, Any]:
        (found,) = (one for one in self.of(kind) if one["metadata"]["name"] == name)
        return found

    @cached_property
    def workloads(self) -> list[Workload]:
        return [Workload(one) for one in self.of("Deployment", "StatefulSet", "Job", "DaemonSet")]

    @property
    def ours(self) -> list[Workload]:
        return [one for one in self.workloads if one.is_ours]

    @property
    def servers(self) -> list[Workload]:
        return [one for one in self.ours if one.kind == "Deployment"]

    def workload(self, name: str) -> Workload:
        (found,) = (one for one in self.workloads if one.name == name)
        return found

    def config(self, workload: Workload) -> dict[str, str]:
        """What the program gets of ConfigMaps."""
        found: dict[str, str] = {}
        for source in workload.main.envFrom or ():
            found |= self.one("ConfigMap", source["configMapRef"]["name"])["data"]
        return found

    def settings(self, workload: Workload) -> dict[str, str]:
        """What the program gets that needs neither a cluster nor a secret."""
        values = {
            name: one["value"] for name, one in workload.main.variables.items() if "value" in one
        }
        return self.config(workload) | values

    def behind(self, service: Mapping[str, Any]) -> list[Workload]:
        selector = {"matchLabels": service["spec"]["selector"]}
        return [one for one in self.workloads if one.selected_by(selector)]


def kustomize(folder: Path) -> list[dict[str, Any]]:
    done = subprocess.run(
        [kubectl(), "kustomize", folder], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


@cache
def overlay(name: str) -> Manifests:
    return Manifests(name, kustomize(K8S / "overlays" / name))


@cache
def production_with(components: tuple[str, ...]) -> Manifests:
    """The overlay of production with these of the optional components."""
    with TemporaryDirectory() as folder:
        copy = Path(folder) / "k8s"
        shutil.copytree(K8S, copy)
        file = copy / "overlays/production/kustomization.yaml"
        told = yaml.safe_load(file.read_text())
        told["components"] = [f"../../components/{one}" for one in (*ALWAYS, *components)]
        file.write_text(yaml.safe_dump(told))
        return Manifests(f"production+{'+'.join(components)}", kustomize(file.parent))


def production_combinations() -> Iterator[tuple[str, ...]]:
    for size in range(len(OPTIONAL) + 1):
        yield from combinations(OPTIONAL, size)


def every_build() -> list[Manifests]:
    overlays = [overlay(path.name) for path in sorted((K8S / "overlays").iterdir())]
    return overlays + [production_with(one) for one in production_combinations()]
