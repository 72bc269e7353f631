"""Every setting that a manifest names exists, and every setting that exists is named."""

import re

import pytest

from pipeline.refusals import check_start
from pipeline.roles import PARTS, Part, Role
from pipeline.settings import Settings
from tests.k8s.manifests import K8S, Manifests, Workload, every_build, overlay
from tests.k8s.variables import variables

KNOWN = {one.name: one for one in variables()}
SETTINGS = K8S / "base" / "settings.env"
# For tests alone: no cluster sets them.
FOR_TESTS = {
    name
    for name in KNOWN
    if name == "LIMNER_FAILPOINTS" or name.startswith("LIMNER_SKETCH__") or "EMULATOR" in name
}


@pytest.fixture(scope="module", params=range(10))
def built(request: pytest.FixtureRequest) -> Manifests:
    return every_build()[request.param]


def named(manifests: Manifests, workload: Workload) -> set[str]:
    return manifests.config(workload).keys() | workload.main.variables.keys()


def written() -> dict[str, tuple[bool, str]]:
    """What base/settings.env says of each setting: whether it is set, and its value."""
    lines = SETTINGS.read_text().splitlines()
    found = [re.fullmatch(r"(#?)([A-Z][A-Z0-9_]+)=(.*)", line) for line in lines]
    return {one[2]: (not one[1], one[3]) for one in found if one}


def test_every_variable_of_a_manifest_is_a_setting(built: Manifests) -> None:
    for workload in built.ours:
        unknown = named(built, workload) - KNOWN.keys()
        assert not unknown, f"{workload.name} sets what the program does not read: {unknown}"
        assert not named(built, workload) & FOR_TESTS


def test_every_setting_is_named_for_clusters() -> None:
    production = overlay("production")
    beside = {name for one in production.servers for name in one.main.variables}
    missing = KNOWN.keys() - FOR_TESTS - beside - written().keys()
    lines = "\n".join(f"#{name}={KNOWN[name].default or ''}" for name in sorted(missing))
    where = SETTINGS.relative_to(K8S.parent)
    assert not missing, f"add to {where}, each with what it does:\n{lines}"
    assert written().keys() <= KNOWN.keys(), "it names settings that are gone"


def test_what_is_said_to_hold_without_a_setting_holds() -> None:
    for name, (is_set, value) in written().items():
        default = KNOWN[name].default
        if not is_set and default is not None:
            assert value == default, f"{name} is {default!r} where nothing is set"


def test_the_variables_are_those_that_the_program_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    """The names come from the settings' fields; that the environment sets them is shown here."""
    monkeypatch.setenv("LIMNER_TIMES__DRAIN_SECONDS", "7")
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "a-project")
    monkeypatch.setenv("LIMNER_GCP__TOPIC", "a-topic")
    monkeypatch.setenv("STABILITY_AI_BASE_URL", "https://stability.example")
    settings = Settings()
    assert settings.times.drain_seconds == 7
    assert (settings.gcp.project, settings.gcp.topic) == ("a-project", "a-topic")
    assert settings.stability.base_url == "https://stability.example"
    assert {"LIMNER_TIMES__DRAIN_SECONDS", "GOOGLE_CLOUD_PROJECT", "LIMNER_GCP__TOPIC"} <= set(
        KNOWN
    )


def test_production_lacks_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """With what its manifest sets, and any secret, no role has a reason to refuse its start."""
    production = overlay("production")
    secrets = {
        "LIMNER_DATABASE_URL": "postgresql://limner:x@127.0.0.1/limner",
        "LIMNER_API_KEY": "k" * 32,
        "LIMNER_LINK_SECRET": "s" * 32,
        "STABILITY_AI_API_KEY": "sk-x",
    }
    for workload in production.servers:
        with monkeypatch.context() as environment:
            told = production.settings(workload)
            told |= {n: v for n, v in secrets.items() if n in workload.main.variables}
            for name, value in told.items():
                environment.setenv(name, value)
            settings = Settings()
            role = Role(workload.name.partition("-")[0])
            world = settings.connect(settings)
            parts = PARTS[role] if role is not Role.SUBSCRIBER else Part.NONE
            check_start(settings, world, parts)
            assert not world.alone
