"""The commands, used as a person and as a script use them: with a server, and without one."""

import json
import os
import pty
import re
import signal
import sqlite3
import subprocess
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx2
import pytest
import typer.main
from typer.testing import CliRunner

from pipeline.cli.app import app
from tests.service import GENERATE, JOBS, LIMNER, PATIENCE_SECONDS, Service, command, environment

CLICK: Any = typer.main.get_command(app)
Done = subprocess.CompletedProcess[str]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with Service(tmp_path_factory.mktemp("service") / "home") as running:
        yield running


def here(*arguments: str, **settings: str) -> Done:
    """A command in this process: half a second sooner than one of its own has imported itself."""
    told = CliRunner().invoke(app, arguments, env={**_NOTHING, **environment(**settings)})
    assert told.exception is None or isinstance(told.exception, SystemExit), told.exception
    return Done(arguments, told.exit_code, told.stdout, told.stderr)


# The runner adds to the environment; None takes away.
_NOTHING: dict[str, str | None] = {name: None for name in os.environ if name.startswith("LIMNER_")}


def ask(service: Service, *arguments: str) -> Done:
    """A command that was told its server by the environment."""
    return here(*arguments, server=service.address)


def submitted(service: Service, **request: Any) -> str:
    body = {"prompt": "a lighthouse", "quality": "draft"} | request
    with service.client as client:
        job_id: str = client.post(GENERATE, json=body).json()["job_id"]
    return job_id


def status(service: Service, job_id: str) -> dict[str, Any]:
    with service.client as client:
        told: dict[str, Any] = client.get(f"{JOBS}/{job_id}").json()
    return told


def done_well(done: Done) -> str:
    """What a command that went well printed, plain and without anything beside it."""
    assert (done.returncode, done.stderr) == (0, "")
    assert "\x1b" not in done.stdout
    return done.stdout


def one_line(done: Done, code: int) -> str:
    """Why a command did not go well; nothing else was printed."""
    assert (done.returncode, done.stdout) == (code, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("limner: ")
    return line


# --- with a server


def test_the_help_names_every_command_and_the_exit_codes() -> None:
    text = done_well(command("--help"))
    for word in ("submit", "jobs", "events", "pause", "resume", "doctor", "Exit codes", "130"):
        assert word in text


def commands_of(group: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, found in group.commands.items():
        if hasattr(found, "commands"):
            yield from commands_of(found, (*path, name))
        else:
            yield (*path, name)


@pytest.mark.parametrize("path", list(commands_of(CLICK)), ids=" ".join)
def test_every_help_shows_what_a_command_does_where_nothing_is_said(path: tuple[str, ...]) -> None:
    found: Any = CLICK
    for name in path:
        found = found.commands[name]
    defaults = re.findall(r"\[[^\]]+\]", " ".join(one.help or "" for one in found.params))
    shown = " ".join(here(*path, "--help").stdout.replace("\u2502", " ").split())
    assert [one for one in defaults if one not in shown] == []


def test_a_piped_submit_prints_the_id_that_show_takes(service: Service) -> None:
    submit, show = ("submit", "a lighthouse", "--quality", "draft"), ("jobs", "show")
    job_id = done_well(command(*submit, server=service.address)).strip()
    service.until(lambda: status(service, job_id)["status"] == "completed", "completed")
    lines = done_well(command(*show, job_id, server=service.address)).splitlines()
    assert lines[:3] == [f"job: {job_id}", "state: completed", "quality: draft"]
    (picture,) = [line.split()[1] for line in lines if line.startswith("picture: ")]
    assert httpx2.get(picture).headers["content-type"] == "image/png"


def test_who_waits_is_given_the_picture_with_every_option_kept(service: Service) -> None:
    options = {
        "--quality": "draft", "--aspect-ratio": "3:2", "--style": "line-art", "--seed": "7",
        "--negative-prompt": "people", "--blog-id": "kept", "--role": "hero", "--position": "1",
        "--alt-text": "A tower", "--caption": "[red]Dusk[/]", "--idempotency-key": "kept-1",
    }  # fmt: skip
    arguments = [word for pair in options.items() for word in pair]
    job_id, picture = done_well(ask(service, "submit", "tower", *arguments, "--wait")).splitlines()
    assert picture.startswith(service.address)
    ((request,),) = service.rows("SELECT request FROM jobs WHERE id = ?", UUID(job_id).hex)
    asked = json.loads(request)
    for option, value in options.items():
        name = option.removeprefix("--").replace("-", "_")
        assert name == "idempotency_key" or str(asked[name]) == value
    again = json.loads(done_well(ask(service, "submit", "tower", *arguments, "--wait", "--json")))
    assert (again["job_id"], again["status"]) == (job_id, "completed")


def test_a_job_may_be_told_when_to_begin_and_by_when(service: Service) -> None:
    begin = (datetime.now(UTC) + timedelta(hours=1)).isoformat(timespec="seconds")
    asked = ("--not-before", begin, "--deadline-seconds", "86400")
    job_id = done_well(ask(service, "submit", "a mill", *asked, "--provider", "sketch")).strip()
    shown = done_well(ask(service, "jobs", "show", job_id)).splitlines()
    assert f"not before: {begin.replace('+00:00', 'Z')}" in shown
    assert any(line.startswith("deadline: ") for line in shown)
    ask(service, "jobs", "cancel", job_id)


def test_a_final_takes_the_place_of_its_draft(service: Service) -> None:
    draft = submitted(service, blog_id="pair", role="hero")
    service.until(lambda: status(service, draft)["status"] == "completed", "completed")
    asked = ("submit", "a lighthouse", "--draft-job-id", draft, "--strategy", "regenerate")
    told = json.loads(done_well(ask(service, *asked, "--wait", "--json")))
    assert (told["is_draft"], told["role"]) == (False, "hero")
    final = done_well(ask(service, "jobs", "show", told["job_id"])).splitlines()
    assert {f"draft: {draft}", "strategy: regenerate"} <= set(final)
    assert any(line.startswith("fidelity: same_composition (SSIM 0.") for line in final)
    shown = done_well(ask(service, "jobs", "show", draft)).splitlines()
    assert {"decision: approved", f"final: {told['job_id']}"} <= set(shown)


def test_drafts_are_decided_about_and_batches_looked_at(service: Service) -> None:
    request = {"images": [{"prompt": "a mill"}, {"prompt": "a barn"}], "approval": "required"}
    with service.client as client:
        batch = client.post("/api/v1/images/batch-generate", json=request).json()
    mill, barn = batch["job_ids"]

    def shown() -> Any:
        return json.loads(ask(service, "batches", "show", batch["batch_id"], "--json").stdout)

    service.until(lambda: len(shown()["waiting_for_approval"]) == 2, "waiting for approval")
    promoted = ask(service, "jobs", "promote", mill, "--quality", "standard")
    final, state = promoted.stdout.strip().split("\t")
    assert (promoted.returncode, state) == (0, "queued")
    assert ask(service, "jobs", "promote", mill).stdout.startswith(final)
    rejected = ask(service, "jobs", "reject", barn, "--reason", "too red")
    assert rejected.stdout == f"{barn}\trejected\n"
    again = ask(service, "jobs", "promote", barn)
    assert (again.returncode, "was rejected" in again.stderr) == (1, True)
    service.until(lambda: shown()["status"] == "completed", "completed")
    piped = ask(service, "batches", "show", batch["batch_id"])
    assert f"{mill} completed\tapproved\t{final} completed\n" in piped.stdout
    assert f"{barn} completed\trejected\t-\n" in piped.stdout
    retried = ask(service, "batches", "retry", batch["batch_id"])
    assert (retried.returncode, retried.stdout) == (0, "")
    cancelled = ask(service, "batches", "cancel", batch["batch_id"])
    assert (cancelled.returncode, "can no longer be cancelled" in cancelled.stderr) == (1, True)
    assert ask(service, "batches", "show", "mine").returncode == 2
    listed = done_well(ask(service, "jobs", "list", "--batch-id", batch["batch_id"])).splitlines()
    assert [line.split("\t")[0] for line in listed] == [final, barn, mill]
    told = done_well(ask(service, "events", "--batch-id", batch["batch_id"])).splitlines()
    assert {line.split("\t")[2] for line in told} == {batch["batch_id"], mill, barn, final}
    assert f"batch: {batch['batch_id']}\n" in ask(service, "jobs", "show", barn).stdout


def test_a_blog_tells_what_its_places_show_and_what_they_cost(service: Service) -> None:
    blog_id = f"shown-{uuid4().hex[:8]}"
    draft = submitted(service, blog_id=blog_id, role="hero", alt_text="A [red]tower[/]")
    where = f"stream_id = '{blog_id}/hero/1'"
    service.until(lambda: service.count("events", where) == 1, "offered")
    show, costs = ("blogs", "show", blog_id), ("blogs", "costs", blog_id)
    role, position, shows, candidates, url = done_well(ask(service, *show)).strip().split("\t")
    assert (role, position, shows, candidates) == ("hero", "1", "preview", "1")
    assert httpx2.get(url).headers["content-type"] == "image/png"
    (place,) = json.loads(done_well(ask(service, *show, "--json")))["images"]
    assert (place["preview"]["job_id"], place["alt_text"]) == (draft, "A [red]tower[/]")
    assert done_well(ask(service, *costs)).splitlines()[:2] == [
        "spent: $0.002",
        "draft: $0.002 (1 job)",
    ]
    assert json.loads(done_well(ask(service, *costs, "--json")))["cost_confirmed"] == "0.002"
    absent = ask(service, "blogs", "costs", "unheard-of")
    assert (absent.returncode, absent.stdout) == (1, "")
    assert ask(service, "blogs", "show", "a/b").returncode == 2


def test_the_list_is_filtered_and_goes_on_after_its_cursor(service: Service) -> None:
    blog_id = f"list-{uuid4().hex[:8]}"
    ids = [submitted(service, blog_id=blog_id) for _ in range(3)]
    service.until(
        lambda: all(status(service, one)["status"] == "completed" for one in ids), "completed"
    )
    filters = (
        "jobs",
        "list",
        "--blog-id",
        blog_id,
        "--quality",
        "draft",
        "--limit",
        "2",
        "--since",
        "2026-01-31",
    )
    first = ask(service, *filters, "--state", "completed", "--state", "failed")
    assert first.returncode == 0
    rows = [line.split("\t") for line in first.stdout.splitlines()]
    assert [row[:4] for row in rows] == [
        [job_id, "completed", "draft", f"{blog_id} inline {position}"]
        for job_id, position in ((ids[2], 3), (ids[1], 2))
    ]
    cursor = first.stderr.split()[-1]
    page = json.loads(done_well(ask(service, *filters, "--cursor", cursor, "--json")))
    assert ([job["job_id"] for job in page["jobs"]], page["next_cursor"]) == ([ids[0]], None)


def test_a_paused_service_begins_nothing_until_it_is_resumed(service: Service) -> None:
    try:
        paused = json.loads(done_well(ask(service, "pause", "--reason", "out of ink", "--json")))
        assert (paused["paused"], paused["reason"]) == (True, "out of ink")
        job_id = submitted(service)
        assert done_well(ask(service, "jobs", "cancel", job_id)) == f"{job_id}\tcancelled\n"
        back = json.loads(done_well(ask(service, "jobs", "retry", job_id, "--json")))
        assert (back["status"], back["attempt"]) == ("queued", 2)

        # Who waits is told why, and may stop waiting.
        arguments = [str(LIMNER), "submit", "a lake", "--quality", "draft", "--wait"]
        with subprocess.Popen(
            arguments, env=environment(server=service.address),
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        ) as waiting:  # fmt: skip
            assert waiting.stderr is not None
            assert "paused (out of ink)" in waiting.stderr.readline()
            waiting.send_signal(signal.SIGINT)
            told = waiting.stderr.read()
            assert waiting.wait(PATIENCE_SECONDS) == 130
        assert "Stopped waiting" in told
        assert len(told.splitlines()) == 1
    finally:
        assert done_well(ask(service, "resume")) == "running\n"
    service.until(lambda: status(service, job_id)["status"] == "completed", "completed")


def test_events_are_printed_from_the_first_or_after_a_cursor(service: Service) -> None:
    blog_id = f"events-{uuid4().hex[:8]}"
    job_id = submitted(service, blog_id=blog_id)
    service.until(lambda: status(service, job_id)["status"] == "completed", "completed")
    chosen = ("events", "--blog-id", blog_id, "--type", "image.job.queued")
    both = (*chosen, "--type", "image.job.completed")
    told = [json.loads(line) for line in done_well(ask(service, *both, "--json")).splitlines()]
    assert [(one["type"], one["subject"]) for one in told] == [
        ("image.job.queued", job_id),
        ("image.job.completed", job_id),
    ]
    after = done_well(ask(service, *both, "--since-id", told[0]["cursor"]))
    (row,) = (line.split("\t") for line in after.splitlines())
    assert row[1:3] == ["image.job.completed", job_id]
    assert row[4] == told[1]["cursor"]

    unknown = ask(service, "events", "--type", "image.job.lost")
    assert (unknown.returncode, unknown.stdout) == (2, "")
    assert "type: it must be 'image.job.queued'" in unknown.stderr

    foreign = ask(service, *chosen, "--since-id", "of-another-database", "--json")
    assert (foreign.returncode, json.loads(foreign.stdout)["type"]) == (1, "reset")
    assert "not of this database" in foreign.stderr


def test_a_follower_goes_on_where_a_killed_server_stopped(tmp_path: Path, free_port: str) -> None:
    address = f"http://127.0.0.1:{free_port}"

    def completed(job_id: str) -> list[dict[str, Any]]:
        """What the follower prints, up to the end of a job."""
        seen: list[dict[str, Any]] = []
        while not seen or (seen[-1]["type"], seen[-1]["subject"]) != (
            "image.job.completed",
            job_id,
        ):
            seen.append(json.loads(follower.stdout.readline()))  # type: ignore[union-attr]
        return seen

    def submit() -> str:
        reply = httpx2.post(address + GENERATE, json={"prompt": "sea", "quality": "draft"})
        job_id: str = reply.json()["job_id"]
        return job_id

    with serving(tmp_path / "home", free_port):
        first = json.loads(done_well(here("submit", "x", "--wait", "--json", server=address)))
        lines = done_well(here("events", "--json", server=address)).splitlines()
        cursor = json.loads(lines[0])["cursor"]
        follower = subprocess.Popen(
            [LIMNER, "events", "--follow", "--json", "--since-id", cursor],
            env=environment(server=address),
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        seen = completed(first["job_id"])
    with follower, serving(tmp_path / "home", free_port):
        seen += completed(submit())
        follower.send_signal(signal.SIGINT)
        assert follower.wait(PATIENCE_SECONDS) == 130
    assert [json.loads(line)["id"] for line in lines[1:]] == [one["id"] for one in seen[:3]]
    assert [one["sequence"] for one in seen[3:]] == [f"{number:010}" for number in (1, 2, 3, 4)]


@contextmanager
def serving(home: Path, port: str) -> Iterator[None]:
    """`limner serve` on a port that stays the same over a restart; killed on leaving."""
    with subprocess.Popen(
        [LIMNER, "serve", "--port", port, "--home", home],
        env=environment(), stderr=subprocess.PIPE, text=True,
    ) as server:  # fmt: skip
        assert server.stderr is not None
        assert any('"listening"' in line for line in server.stderr)
        yield
        server.kill()


def test_a_person_sees_colours_and_no_pipe_does(service: Service) -> None:
    for _ in range(2):  # so that one is left for the next page
        submitted(service)
    ours, theirs = pty.openpty()
    done = subprocess.run(
        [LIMNER, "jobs", "list", "--limit", "1"],
        env=environment(server=service.address)
        | {"TERM": "xterm-256color", "NO_COLOR": "", "COLUMNS": "140"},
        stdout=theirs, stderr=subprocess.PIPE, timeout=PATIENCE_SECONDS, check=True,
    )  # fmt: skip
    os.close(theirs)
    with open(ours, "rb", buffering=0) as terminal:
        shown = terminal.read(65536)
    assert b"\x1b[" in shown
    assert b"requested" in shown
    assert done.stderr.count(b"\n") == 1  # the next page's cursor


# --- what goes wrong


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("jobs", "show", "01a2"), ("'01a2' is no job id",)),
        (("jobs", "list", "--state", "done", "--limit", "900"), ("--state", "--limit")),
        (("jobs", "list", "--since", "yesterday"), ("--since",)),
        (("submit", "a mill", "--not-before", "soon"), ("--not-before",)),
        (("submit", "a mill", "--deadline-seconds", "0"), ("--deadline-seconds",)),
        (("submit", " ", "--quality", "best", "--seed", "-1"), ("PROMPT", "--quality", "--seed")),
        (("pause", "--server", "ftp://127.0.0.1"), ("--server",)),
    ],
)
def test_wrong_usage_names_every_option_before_anything_is_reached(
    arguments: tuple[str, ...], words: tuple[str, ...], free_port: str
) -> None:
    done = here(*arguments, "--json", port=free_port)
    assert (done.returncode, done.stdout) == (2, "")
    lines = done.stderr.splitlines()
    assert len(lines) == len(words)
    for line, word in zip(lines, words, strict=True):
        assert line.startswith(f"limner: {word}")


def test_a_problem_is_its_title_and_its_detail(service: Service) -> None:
    job_id = str(uuid4())
    done = ask(service, "jobs", "retry", job_id)
    assert (done.returncode, done.stdout) == (1, "")
    title, detail = done.stderr.splitlines()
    assert title == "limner: There is no such job"
    assert job_id in detail
    same = ask(service, "jobs", "retry", job_id, "--json")
    assert (same.returncode, same.stderr) == (1, done.stderr)
    problem = json.loads(same.stdout)
    assert (problem["status"], problem["code"]) == (404, "no_such_job")


def test_a_named_server_that_is_not_there_is_no_reason_to_use_the_database(
    tmp_path: Path, free_port: str
) -> None:
    address = f"http://127.0.0.1:{free_port}"
    arguments = ("submit", "a lake", "--server", address, "--home", str(tmp_path / "home"))
    line = one_line(command(*arguments), 1)
    assert f"nothing answers on {address}" in line
    assert "limner serve" in line
    told = json.loads(here(*arguments, "--json").stdout)
    assert told["detail"] == line.removeprefix("limner: ")
    assert not list(tmp_path.iterdir())


class _Other(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"<h1>It works!</h1>")

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def other_program() -> Iterator[str]:
    """The port of a web server that is not Limner."""
    with HTTPServer(("127.0.0.1", 0), _Other) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield str(server.server_port)
        server.shutdown()
        thread.join()


def test_a_server_that_is_not_limner_is_told_in_one_line(other_program: str) -> None:
    address = f"http://127.0.0.1:{other_program}"
    line = one_line(here("jobs", "list", port=other_program), 1)
    assert f"what answers on {address} is not Limner" in line
    assert "--server" in line


# --- without a server


def test_without_a_server_of_the_named_home_a_job_is_stored_there_for_the_next_one(
    service: Service, tmp_path: Path, free_port: str
) -> None:
    home = tmp_path / "home"
    before = service.count("jobs")
    # A server answers there, but it has another home.
    port = str(httpx2.URL(service.address).port)
    stored = command("submit", "sea", "--quality", "draft", "--home", str(home), port=port)
    job_id = stored.stdout.strip()
    assert stored.returncode == 0
    assert "next `limner serve`" in stored.stderr
    assert service.count("jobs") == before
    told = json.loads(done_well(command("events", "--json", home=str(home), port=free_port)))
    assert (told["type"], told["subject"]) == ("image.job.queued", job_id)
    with Service(home) as next_one:
        next_one.until(lambda: status(next_one, job_id)["status"] == "completed", "completed")
        held = one_line(here("jobs", "list", home=str(home), port=free_port), 1)
        assert f"process {next_one.process.pid}" in held
        assert f"nothing answers on http://127.0.0.1:{free_port}" in held
        assert "--server" in held


def test_without_a_server_who_waits_is_told_of_a_failure(tmp_path: Path, free_port: str) -> None:
    settings = {"home": str(tmp_path / "home"), "port": free_port, "sketch__refuse_share": "1"}
    done = command("submit", "sea", "--quality", "draft", "--wait", "--json", **settings)
    job = json.loads(done.stdout)
    assert (done.returncode, job["status"]) == (1, "failed")
    (line,) = done.stderr.splitlines()
    assert line == f"limner: the job failed: {job['error_message']}"


def test_looking_makes_no_database(tmp_path: Path, free_port: str) -> None:
    home = tmp_path / "home"
    line = one_line(here("jobs", "list", home=str(home), port=free_port), 1)
    assert str(home) in line
    assert "limner serve" in line
    follow = one_line(here("events", "--follow", home=str(home), port=free_port), 1)
    assert "limner serve" in follow
    assert not home.exists()


# --- doctor


def findings(done: Done) -> dict[str, list[dict[str, str]]]:
    """What `doctor --json` found, by check; whatever is not well has a remedy."""
    told = json.loads(done.stdout)
    found: dict[str, list[dict[str, str]]] = {}
    for one in told["findings"]:
        assert (one["level"] == "ok") == (one["remedy"] is None), one
        found.setdefault(one["check"], []).append(one)
    levels = {one["level"] for one in told["findings"]}
    assert told["healthy"] == ("fail" not in levels)
    assert done.returncode == (0 if told["healthy"] else 1)
    assert done.stderr == ""
    return found


def test_doctor_finds_nothing_on_a_fresh_machine_and_leaves_nothing(
    tmp_path: Path, free_port: str
) -> None:
    home = tmp_path / "home"
    lines = done_well(command("doctor", "--home", str(home), port=free_port)).splitlines()
    assert all(line.startswith("ok    ") for line in lines), lines
    checks = [line.removeprefix("ok    ").partition(":")[0] for line in lines]
    assert checks == [
        "python", "settings", "home", "room", "pictures", "port", "database", "worker",
        "providers", "providers",
    ]  # fmt: skip
    assert not list(tmp_path.iterdir())


def test_doctor_sees_the_server_and_who_holds_the_database(service: Service) -> None:
    port = str(httpx2.URL(service.address).port)
    found = findings(command("doctor", "--json", "--home", str(service.home), port=port))
    assert found["port"][0]["detail"] == f"Limner answers on {service.address}"
    assert f"process {service.process.pid}" in found["lock"][0]["detail"]


@pytest.mark.parametrize(
    ("revision", "level", "remedy"),
    [("0000", "warn", "limner migrate"), ("9999", "fail", "newer Limner")],
)
def test_doctor_knows_an_old_schema_from_a_new_one_and_names_every_bad_setting_at_once(
    tmp_path: Path, sqlite_url: str, free_port: str, revision: str, level: str, remedy: str
) -> None:
    with closing(sqlite3.connect(tmp_path / "limner.sqlite")) as database, database:
        database.execute("UPDATE alembic_version SET version_num = ?", (revision,))
        database.execute("UPDATE lineage SET serves = ?", (revision,))
    settings = {
        "database_url": "mysql://me:secret@host/pictures",
        "times__lease_seconds": "1",
        "failpoints": "[{",
        "stability__api_key": "a secret with spaces",
        "prot": "9090",
        "port": free_port,
    }
    done = command("doctor", "--json", "--home", str(tmp_path), **settings)
    assert "secret" not in done.stdout
    found = findings(done)
    told = {one["detail"].partition(":")[0]: one for one in found["settings"]}
    for name in ("LIMNER_DATABASE_URL", "LIMNER_TIMES", "LIMNER_FAILPOINTS"):
        assert told[name]["level"] == "fail"
        assert name in told[name]["remedy"]
    assert "LIMNER_STABILITY__API_KEY" in told["STABILITY_AI_API_KEY"]["remedy"]
    assert "sqlite:///PATH" in told["LIMNER_DATABASE_URL"]["detail"]
    assert "LIMNER_TIMES__LEASE_SECONDS" in told["LIMNER_TIMES"]["remedy"]
    assert told["LIMNER_PROT"]["level"] == "warn"
    assert "LIMNER_PORT" in told["LIMNER_PROT"]["remedy"]
    # In the place of what is wrong the defaults are looked at.
    (database_told,) = found["database"]
    assert database_told["level"] == level
    assert f"at revision {revision}" in database_told["detail"]
    assert remedy in database_told["remedy"]


def test_doctor_says_that_nobody_may_listen_where_others_reach_it_without_a_key(
    tmp_path: Path, free_port: str
) -> None:
    done = command("doctor", "--json", home=str(tmp_path), port=free_port, host="0.0.0.0")
    (told,) = findings(done)["settings"]
    assert told["level"] == "fail"
    assert "LIMNER_API_KEY" in told["detail"]


def test_doctor_names_what_the_world_lacks(tmp_path: Path, other_program: str) -> None:
    home = tmp_path / "home"
    home.write_text("not a folder")
    found = findings(
        command(
            "doctor", "--json", home=str(home), port=other_program, default_provider="dalle",
            database_url="postgresql://nobody@127.0.0.1:1/nothing",
        )
    )  # fmt: skip
    faults = {check: one for check, told in found.items() for one in told if one["level"] == "fail"}
    assert faults.keys() == {"home", "port", "database", "providers"}
    for check, fact, remedy in (
        ("home", str(home), "LIMNER_HOME"),
        ("port", other_program, "LIMNER_PORT"),
        ("database", "cannot be reached", "LIMNER_DATABASE_URL"),
        ("providers", "'dalle'; known: sketch", "LIMNER_DEFAULT_PROVIDER"),
    ):
        assert fact in faults[check]["detail"]
        assert remedy in faults[check]["remedy"]
