import json
import resource
import socket
import statistics
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import psutil
import pytest

from tests.service import Service, command, rows

# Two seconds on an idle machine. What others do on a busy one is not counted: the CPU's time is.
MOST_START_SECONDS = 2.0
# On a slow one, what it takes to import the libraries says how slow it is.
LIBRARIES = "import fastapi, sqlmodel, uvicorn, pydantic_settings, asyncpg, structlog"
MOST_START_PER_IMPORT = 3.0
STARTS = 5


def test_help_names_the_commands() -> None:
    done = command("--help")
    assert done.returncode == 0
    assert all(name in done.stdout for name in ("serve", "demo", "migrate"))


def test_the_version_is_that_of_the_installed_package() -> None:
    done = command("--version")
    assert (done.returncode, done.stdout) == (0, f"limner {version('limner')}\n")


def test_without_a_command_the_help_is_shown_as_wrong_usage() -> None:
    done = command()
    assert done.returncode == 2
    assert "serve" in done.stdout + done.stderr


@pytest.mark.parametrize("arguments", [("paint",), ("serve", "--colour"), ("serve", "--port")])
def test_wrong_usage_is_exit_code_2(arguments: tuple[str, ...]) -> None:
    done = command(*arguments)
    assert done.returncode == 2
    assert arguments[-1] in done.stderr


def test_migrating_twice_is_migrating_once(tmp_path: Path) -> None:
    home = tmp_path / "home"
    first, again = (command("migrate", "--home", str(home), "--json") for _ in range(2))
    assert (first.returncode, again.returncode) == (0, 0)
    assert json.loads(first.stdout) == json.loads(again.stdout)
    assert json.loads(first.stdout)["database"] == f"sqlite:///{home / 'limner.sqlite'}"
    done = command("migrate", "--home", str(home))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"sqlite:///{home / 'limner.sqlite'} is up to date\n"


def test_a_taken_port_is_told_in_one_line_before_any_job_is_touched(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = command("serve", "--port", str(port), "--home", str(home))
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr == (
        f"limner: port {port} is taken by another program. Choose one with --port"
        " (0 takes any free one).\n"
    )
    assert not home.exists()


def test_a_second_service_on_the_same_home_is_refused_and_names_the_first(tmp_path: Path) -> None:
    with Service(tmp_path / "home") as first:
        done = command("serve", "--port", "0", "--home", str(first.home))
        assert done.returncode == 1
        assert done.stdout == ""
        (line,) = done.stderr.splitlines()
        assert line.startswith("limner: another Limner")
        assert f"process {first.process.pid}" in line
        assert str(first.home) in line
        assert "--home" in line
        with first.client as client:
            assert client.get("/readyz").status_code == 200


def test_the_home_of_a_killed_service_is_free_again(tmp_path: Path) -> None:
    with Service(tmp_path / "home") as service:
        service.kill()
        service.start()
        assert service.stop() == 0


@pytest.mark.parametrize(
    ("settings", "place", "words"),
    [
        ({"times__lease_seconds": "soon"}, "times.lease_seconds", "number"),
        ({"times__lease_seconds": "1"}, "times", "provider_seconds < worker_seconds"),
        ({"times__leese_seconds": "1"}, "times.leese_seconds", "no such field"),
        ({"local__concurrent_dispatches": "0"}, "local.concurrent_dispatches", "at least 1"),
        ({"sketch__busy_share": "2"}, "sketch.busy_share", "must be at most 1"),
        ({"port": "70000"}, "port", "65535"),
        ({"connect": "adapters.nowhere.connect"}, "connect", "adapters.nowhere"),
        ({"failpoints": '[{"name": "x", "mode": "explode"}]'}, "failpoints.0.mode", "'kill'"),
        ({"failpoints": "[{"}, "error parsing value for field", '"failpoints"'),
    ],
)
def test_a_bad_setting_is_named(
    tmp_path: Path, settings: dict[str, str], place: str, words: str
) -> None:
    done = command("serve", "--home", str(tmp_path / "home"), **settings)
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"limner: {place}")
    assert words in line
    assert not (tmp_path / "home").exists()


def test_a_home_that_is_a_file_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("not a folder")
    done = command("serve", "--port", "0", "--home", str(tmp_path / "home"))
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("limner: ")
    assert str(tmp_path / "home") in line


def test_every_bad_setting_is_named_at_once(tmp_path: Path) -> None:
    done = command(
        "serve", "--home", str(tmp_path), port="-1", sketch__delay_seconds="-1", max_body_bytes="x"
    )
    assert done.returncode == 2
    told = {line.split(": ")[1] for line in done.stderr.splitlines()}
    assert told == {"port", "sketch.delay_seconds", "max_body_bytes"}


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.10", "example.org"])
def test_the_service_listens_on_no_address_that_others_can_reach(tmp_path: Path, host: str) -> None:
    done = command("serve", "--host", host, "--port", "0", "--home", str(tmp_path / "home"))
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert host in line
    assert "127.0.0.1" in line
    assert not (tmp_path / "home").exists()


def test_migrate_makes_the_database_and_may_be_repeated(tmp_path: Path) -> None:
    database = tmp_path / "home" / "limner.sqlite"
    outputs = []
    for _ in range(2):
        done = command("migrate", "--home", str(database.parent))
        assert (done.returncode, done.stderr) == (0, "")
        outputs.append(done.stdout)
        assert rows(database, "SELECT count(*) FROM alembic_version") == [(1,)]
        triggers = rows(database, "SELECT name FROM sqlite_master WHERE type = 'trigger'")
        assert sorted(triggers) == [("jobs_guard",), ("jobs_guard_insert",)]
    assert outputs[0] == outputs[1]
    assert str(database) in outputs[0]
    assert "up to date" in outputs[0]


def test_a_database_that_cannot_be_reached_is_told_in_one_line(tmp_path: Path) -> None:
    done = command("migrate", database_url="postgresql://nobody@127.0.0.1:1/nothing")
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("limner: PostgreSQL cannot be reached")
    assert not list(tmp_path.iterdir())


def test_a_warm_start_is_ready_soon(tmp_path: Path) -> None:
    seconds = []
    with Service(tmp_path / "home") as service:
        for _ in range(STARTS):
            service.stop()
            service.start()
            spent = psutil.Process(service.process.pid).cpu_times()
            seconds.append(spent.user + spent.system)
    median = statistics.median(seconds)
    imports = statistics.median(import_seconds() for _ in range(STARTS))
    print(f"first 200 on /readyz after {median:.2f} s of CPU, the median of {STARTS}")
    print(f"of which {imports:.2f} s import the libraries")
    assert median <= max(MOST_START_SECONDS, MOST_START_PER_IMPORT * imports), seconds


def import_seconds() -> float:
    """What a new process takes of the CPU to import the libraries."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", LIBRARIES], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
