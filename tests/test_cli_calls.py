"""`limner calls` and `limner costs`, without a server."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.test_cli_commands import done_well, here, one_line


@pytest.fixture
def home(tmp_path: Path) -> str:
    return str(tmp_path / "home")


def ran(home: str, *arguments: str) -> Any:
    # Port 0: no server is looked for.
    return here(*arguments, "--home", home, port="0")


def test_nothing_is_lost_at_first_and_a_day_is_told(home: str) -> None:
    done_well(ran(home, "submit", "a lake", "--wait"))
    assert done_well(ran(home, "calls", "unknown")) == ""
    costs = json.loads(done_well(ran(home, "costs", "--json")))
    assert (costs["calls"], costs["by_provider"][0]["provider"]) == (1, "sketch")
    (line,) = done_well(ran(home, "costs")).splitlines()
    assert line.split("\t")[0] == "sketch"
    job_id = json.loads(done_well(ran(home, "jobs", "list", "--json")))["jobs"][0]["job_id"]
    refused = ran(home, "calls", "resolve", f"{job_id}.1", "--not-charged")
    assert refused.returncode == 1
    assert "the provider's answer says so. Nothing was changed." in refused.stderr
    gone = ran(home, "calls", "resolve", f"{job_id}.7", "--charged", "--json")
    assert json.loads(gone.stdout)["code"] == "no_such_call"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["calls", "resolve", "x.1", "--charged"], "x.1 is no call; `limner calls unknown`"),
        (["calls", "resolve", "x.1"], "--charged or --not-charged"),
        (["calls", "resolve", "x.1", "--charged", "--not-charged"], "--charged or --not-charged"),
        (["costs", "--day", "yesterday"], "yesterday is no day such as 2026-01-31"),
    ],
)
def test_a_bad_argument_is_named_and_nothing_is_made(
    home: str, arguments: list[str], told: str
) -> None:
    assert told in one_line(here(*arguments, "--home", home, port="0"), 2)
    assert not Path(home).exists()
