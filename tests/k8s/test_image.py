"""The image: its recipe is clean, and its stages' commands make a program that needs nothing else.

No container engine is needed: the commands run in a clean folder, with what the recipe copies.
"""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.k8s.manifests import ROOT
from tests.service import environment

DOCKERFILE = ROOT / "Dockerfile"
# Where the program lies in the image.
INSTALLED = "/opt/limner"
# As whom it runs there: the manifests name no other.
USER = 10001


@dataclass
class Stage:
    base: str
    steps: list[tuple[str, str]] = field(default_factory=list)

    def told(self, instruction: str) -> list[str]:
        return [words for kind, words in self.steps if kind == instruction]

    @property
    def environment(self) -> dict[str, str]:
        pairs = re.findall(r"(\w+)=(\S+)", " ".join(self.told("ENV")))
        return dict(pairs)


def stages() -> list[Stage]:
    text = re.sub(r"^\s*#.*\n", "", DOCKERFILE.read_text(), flags=re.M).replace("\\\n", " ")
    found: list[Stage] = []
    for line in filter(None, map(str.strip, text.splitlines())):
        instruction, _, words = line.partition(" ")
        if instruction == "FROM":
            found.append(Stage(words.split()[0]))
        elif found:
            found[-1].steps.append((instruction, " ".join(words.split())))
    return found


def test_the_recipe_is_clean() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([hadolint, DOCKERFILE], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_every_stage_begins_with_the_same_pinned_base() -> None:
    assert {one.base for one in stages()} == {"python@${PYTHON_DIGEST}"}
    assert re.search(r"^ARG PYTHON_DIGEST=sha256:[0-9a-f]{64}$", DOCKERFILE.read_text(), re.M)


def test_the_image_runs_as_nobody_and_by_the_program_itself() -> None:
    last = stages()[-1]
    assert last.told("USER") == [f"{USER}:{USER}"]
    assert last.told("ENTRYPOINT") == ['["limner"]']
    assert last.told("CMD") == ['["serve"]']
    assert not last.told("RUN")
    assert last.told("COPY") == [f"--from=build {INSTALLED} {INSTALLED}"]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the first stage installs, made by its own commands of its own files."""
    uv = os.environ.get("UV") or shutil.which("uv") or ROOT / ".tools/bin/uv"
    build, _ = stages()
    folder = tmp_path_factory.mktemp("image")
    own = {name: value for name, value in build.environment.items() if name.startswith("UV_")}
    # What makes the image start faster would take most of the test's time.
    own |= {"UV_COMPILE_BYTECODE": "0", "UV_LINK_MODE": "hardlink"}
    own["UV_PROJECT_ENVIRONMENT"] = str(folder / "installed")
    own["UV_PYTHON"] = sys.executable
    work = folder / "build"
    work.mkdir()
    for instruction, words in build.steps:
        if instruction == "COPY":
            *sources, target = words.split()
            for source in sources:
                _copy(ROOT / source, work / target, into=target.endswith("/"))
        elif instruction == "RUN" and words.startswith("uv "):
            # Here the wheels that were fetched for the tests serve as well.
            command = words.replace(" --no-cache", "").replace("uv ", f"{uv} ", 1)
            done = subprocess.run(
                command.split(),
                cwd=work,
                env=os.environ | own,
                capture_output=True,
                text=True,
                check=False,
                timeout=110,
            )
            assert done.returncode == 0, done.stderr
    shutil.rmtree(work)
    return folder / "installed"


def _copy(source: Path, target: Path, *, into: bool) -> None:
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copy(source, target / source.name if into else target)


def test_what_the_recipe_copies_is_what_reaches_the_engine() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in lines
    let_in = {line[1:] for line in lines if line.startswith("!")}
    copied = {one for words in stages()[0].told("COPY") for one in words.split()[:-1]}
    assert let_in == copied


def test_the_installed_program_needs_nothing_beside_itself_and_writes_nothing_there(
    built: Path, tmp_path: Path
) -> None:
    before = _files(built)
    run = "from pipeline.cli import main; main()"
    programs = [
        ([run, "migrate", "--json"], 0, '"revision"'),
        ([run, "serve", "--role", "worker"], 1, "one process is the whole service"),
        (["import pipeline, adapters.gcp.connect; print(pipeline.__file__)"], 0, str(built)),
    ]
    for arguments, code, told in programs:
        done = subprocess.run(
            [built / "bin" / "python", "-c", *arguments],
            env=environment(home=str(tmp_path / "data"), PYTHONDONTWRITEBYTECODE="1"),
            cwd="/",
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == code, done.stderr
        assert told in done.stdout + done.stderr
    assert (tmp_path / "data" / "limner.sqlite").exists()
    assert _files(built) == before


def _files(folder: Path) -> dict[str, int]:
    return {str(path): path.lstat().st_mtime_ns for path in folder.rglob("*")}
