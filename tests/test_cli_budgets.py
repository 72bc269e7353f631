"""`limner budgets` and `limner submit --quote`, without a server."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.test_cli_commands import done_well, here, one_line


@pytest.fixture
def home(tmp_path: Path) -> str:
    return str(tmp_path / "home")


def ran(home: str, *arguments: str, **settings: str) -> Any:
    # Port 0: no server is looked for.
    return here(*arguments, "--home", home, port="0", **settings)


def test_budgets_are_set_shown_enforced_and_removed(home: str) -> None:
    assert done_well(ran(home, "budgets", "set", "0.01")) == "-\ttotal\t$0.01\t$0\t$0\t$0.01\n"
    told = json.loads(
        done_well(ran(home, "budgets", "set", "2", "--blog", "post", "--per-day", "--json"))
    )
    assert (told["blog_id"], told["period"], told["left"]) == ("post", "day", "2")
    ran(home, "submit", "a lake", "--quality", "high", "--blog-id", "post")
    refused = ran(home, "submit", "a lake", "--quality", "high", "--json")
    assert refused.returncode == 1
    assert json.loads(refused.stdout)["code"] == "budget_exceeded"
    assert "has $0.004 left" in refused.stderr
    lines = done_well(ran(home, "budgets", "show")).splitlines()
    assert lines == [
        "-\ttotal\t$0.01\t$0\t$0.006\t$0.004",
        f"post\t{told['day']}\t$2\t$0\t$0.006\t$1.994",
    ]
    assert done_well(ran(home, "budgets", "remove")) == ""
    shown = json.loads(done_well(ran(home, "budgets", "show", "--json")))
    assert [one["blog_id"] for one in shown["budgets"]] == ["post"]
    again = ran(home, "budgets", "remove")
    assert (again.returncode, again.stdout) == (1, "")
    assert "no budget of the period total" in again.stderr


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["set", "much"], "LIMIT: it must be an amount such as '12.50'"),
        (["set", "--", "-1"], "LIMIT: it must be at least 0"),
        (["set", "1", "--blog", "a/b"], "--blog-id: it must have no spaces"),
    ],
)
def test_a_bad_option_is_named_and_nothing_is_made(
    home: str, arguments: list[str], told: str
) -> None:
    options = ["--home", home]
    done = here("budgets", arguments[0], *options, *arguments[1:], port="0")
    assert told in one_line(done, 2)
    assert not Path(home).exists()


def test_a_quote_tells_what_a_picture_would_cost_and_asks_for_nothing(home: str) -> None:
    ran(home, "budgets", "set", "0.005")
    quoted = ran(home, "submit", "a lake", "--quality", "high", "--aspect-ratio", "4:3", "--quote")
    assert quoted.returncode == 0
    told = dict(line.split(": ", 1) for line in quoted.stdout.splitlines())
    assert told["price"] == "$0.006"
    assert told["price book"] == "document-1.3.4"
    assert told["painted by"] == "sketch, sketch-1"
    assert told["budget"] == "everything: $0.005 left, -$0.001 afterwards"
    assert told["allowed"] == "no"
    assert "has $0.005 left" in quoted.stderr
    document = json.loads(done_well(ran(home, "submit", "a lake", "--quote", "--json")))
    assert (document["price_usd"], document["allowed"]) == ("0.004", True)
    listed = json.loads(done_well(ran(home, "jobs", "list", "--json")))
    assert listed["jobs"] == []
