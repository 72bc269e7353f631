"""README does what it says: its commands run, in order, as a stranger would type them."""

import json
import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from pipeline.publish import published, stale
from schemas.tables import CallState
from tests.service import Service

ROOT = Path(__file__).parent.parent
# The command that runs this test; running it here would run it for ever.
OURSELVES = "make test"


def blocks(language: str) -> list[str]:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return [found.strip() for found in re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)]


def test_readme_names_the_two_commands_first() -> None:
    first, second, *others = blocks("sh")
    assert first.startswith("make run")
    assert second == OURSELVES
    assert all(other.startswith("curl") for other in others)


def test_the_first_command_illustrates_the_sample_post(tmp_path: Path) -> None:
    """`make run` in a fresh copy of the project, with an empty HOME."""
    copy, home = tmp_path / "limner", tmp_path / "home"
    home.mkdir()
    tracked = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip
    for name in tracked:
        if (ROOT / name).exists():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, copy / name)
    command = blocks("sh")[0].replace('ARGS="--exit"', 'ARGS="--exit --json --port 0"')
    assert "--port 0" in command
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("LIMNER_", "VIRTUAL_ENV", "UV_PROJECT", "MAKE", "MFLAGS"))
    }
    # The packages that were downloaded once, and the machine's own ways to them, are kept.
    environment["UV_CACHE_DIR"] = os.environ.get("UV_CACHE_DIR", str(Path.home() / ".cache/uv"))
    done = subprocess.run(
        shlex.split(command),
        cwd=copy, env=environment | {"HOME": str(home)}, capture_output=True, text=True,
        timeout=110, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    summary = json.loads(done.stdout.strip().splitlines()[-1])
    assert (summary["jobs"], summary["completed"], summary["linked"]) == (6, 6, 3)
    assert (summary["drafts"], summary["finals"]) == (3, 3)
    assert len(summary["images"]) == 3
    assert all((copy / image).stat().st_size > 10_000 for image in summary["images"])
    post = (copy / ".limner" / "post.html").read_text()
    assert post.count("<img ") == 3
    assert "<title>Three days along the lighthouse coast</title>" in post


@pytest.mark.skipif(shutil.which("curl") is None, reason="README's examples use curl")
def test_the_examples_ask_for_a_picture_and_show_it_in_the_post(tmp_path: Path) -> None:
    ask, look, batch = blocks("sh")[2:]
    with Service(tmp_path / ".limner") as service:
        replies = [_typed(ask, service) for _ in range(2)]
        assert replies[0]["status"] == "queued"
        assert replies[0] == replies[1]
        service.until(lambda: bool(_typed(look, service)["images"]), "illustrated")
        (slot,) = _typed(look, service)["images"]  # type: ignore[misc]  # JSON
        assert (slot["role"], slot["alt_text"]) == ("hero", "A lighthouse at dusk")
        accepted = [_typed(batch, service) for _ in range(2)]
        assert accepted[0]["total_images"] == 2
        assert accepted[0] == accepted[1]


def _typed(command: str, service: Service) -> dict[str, object]:
    asked = command.replace("http://127.0.0.1:8080", service.address)
    assert asked != command
    done = subprocess.run(
        ["sh", "-c", asked], capture_output=True, text=True, timeout=30, check=True
    )
    reply: dict[str, object] = json.loads(done.stdout)
    return reply


def test_the_page_of_the_ledger_is_found_and_names_every_state_of_a_call() -> None:
    assert "(docs/ledger.md)" in (ROOT / "README.md").read_text(encoding="utf-8")
    page = (ROOT / "docs" / "ledger.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)
    assert rows == [state.value for state in CallState]
    drawn = re.findall(r"^    (\S+) --> (\w+): ", page, re.MULTILINE)
    assert {state for pair in drawn for state in pair} == {"[*]", *CallState}


def test_what_is_generated_is_what_the_code_says() -> None:
    assert stale() == []
    names = {path.relative_to(ROOT).as_posix() for path in published()}
    assert names >= {"README.md", "docs/events.md", "schemas/published/asyncapi.yaml"}
