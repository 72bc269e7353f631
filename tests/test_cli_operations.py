"""`limner vary`, `upscale` and `edit`, as a person and as a script use them."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests.http.test_uploads import mask, png
from tests.service import Service
from tests.test_cli_commands import ask, done_well, here, status, submitted


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with Service(tmp_path_factory.mktemp("service") / "home") as running:
        yield running


@pytest.fixture
def photo(tmp_path: Path) -> str:
    file = tmp_path / "photo.png"
    file.write_bytes(png())
    return str(file)


def completed(service: Service, job_id: str) -> dict[str, Any]:
    service.until(lambda: status(service, job_id)["status"] == "completed", "completed")
    return status(service, job_id)


def test_a_file_is_edited_and_its_address_printed(
    service: Service, photo: str, tmp_path: Path
) -> None:
    (tmp_path / "mask.png").write_bytes(mask())
    arguments = ("edit", "inpaint", photo, "--mask", str(tmp_path / "mask.png"))
    words = ("--prompt", "a mill", "--seed", "7", "--blog-id", "post", "--role", "hero")
    job_id, picture = done_well(ask(service, *arguments, *words, "--wait")).splitlines()
    job = completed(service, job_id)
    assert (job["operation"], job["blog_id"], job["role"]) == ("inpaint", "post", "hero")
    (image,) = job["result"]["images"]
    assert (image["url"], image["width"], job["result"]["seed"]) == (picture, 256, 7)


def test_a_picture_is_named_by_its_job_its_id_or_its_address(service: Service) -> None:
    draft = submitted(service)
    (image,) = completed(service, draft)["result"]["images"]
    for named in (draft, image["image_id"], image["url"]):
        told = done_well(ask(service, "upscale", named, "--scale", "4")).strip()
        job = completed(service, told)
        assert job["source_image_id"] == image["image_id"]
        assert job["result"]["images"][0]["width"] == 4 * image["width"]
    like = json.loads(
        done_well(ask(service, "vary", draft, "--keep", "style", "--strength", "0.5", "--json"))
    )
    assert like["operation"] == "control-style"


def test_the_same_under_its_key_is_done_once_also_when_it_is_done(
    service: Service, photo: str
) -> None:
    command = ("upscale", photo, "--idempotency-key", "once")
    first = done_well(ask(service, *command)).strip()
    completed(service, first)
    again = json.loads(done_well(ask(service, *command, "--json")))
    assert (again["job_id"], again["status"]) == (first, "completed")


def test_a_quote_stores_nothing(service: Service, photo: str) -> None:
    before = service.count("jobs")
    lines = done_well(ask(service, "edit", "remove-background", photo, "--quote")).splitlines()
    assert "price: $0.004" in lines
    assert "operation: remove-background" in lines
    assert service.count("jobs") == before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("upscale", "{photo}", "--scale", "3", "--mode", "best"), ("--scale", "--mode")),
        (("upscale", "{photo}.gone"), ("PICTURE: ",)),
        (("upscale", "01a2"), ("PICTURE: 01a2: ",)),
        (("vary", "{photo}", "--strength", "2"), ("--strength",)),
        (("vary", "{photo}", "--quality", "draft"), ("--quality",)),
        (("edit", "paint", "{photo}"), ("OPERATION",)),
        (("edit", "outpaint", "{photo}"), ("outpaint needs",)),
        (("edit", "erase", "{photo}", "--mask", "nowhere.png"), ("--mask: ",)),
    ],
)
def test_wrong_usage_is_told_before_anything_is_reached(
    arguments: tuple[str, ...], words: tuple[str, ...], photo: str, free_port: str
) -> None:
    done = here(*(word.format(photo=photo) for word in arguments), port=free_port)
    assert (done.returncode, done.stdout) == (2, "")
    lines = done.stderr.splitlines()
    assert len(lines) == len(words)
    for line, word in zip(lines, words, strict=True):
        assert line.startswith(f"limner: {word}")


def test_what_the_service_refuses_is_told_as_it_says_it(service: Service, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no picture")
    for arguments, title in (
        (("upscale", str(uuid4())), "The picture cannot be taken"),
        (("upscale", str(tmp_path / "notes.txt")), "What was sent is no usable picture"),
    ):
        done = ask(service, *arguments)
        assert (done.returncode, done.stdout) == (1, "")
        first, detail = done.stderr.splitlines()
        assert first == f"limner: {title}"
        assert "Nothing was stored and nothing charged" in detail


def test_without_a_server_the_command_does_it_itself(
    photo: str, tmp_path: Path, free_port: str
) -> None:
    home = str(tmp_path / "home")
    done = here("upscale", photo, "--wait", "--json", "--home", home, port=free_port)
    told = json.loads(done.stdout)
    assert (told["status"], told["operation"]) == ("completed", "upscale-fast")
