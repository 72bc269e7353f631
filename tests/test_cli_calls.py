"""`limner calls` and `limner costs`, as a person and as a script use them."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.stability import KEY, Misbehaviour, StabilityDouble
from tests.service import GENERATE, JOBS, Service
from tests.test_cli_commands import ask, done_well, one_line

ASKED = {"prompt": "a lighthouse", "quality": "high", "provider": "stability_ai"}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A server with two calls whose answer was lost."""
    home: Path = tmp_path_factory.mktemp("service") / "home"
    with (
        StabilityDouble([Misbehaviour.RESET_AFTER] * 2) as double,
        Service(home, stability__api_key=KEY, stability__base_url=double.url) as running,
    ):
        with running.client as client:
            for _ in range(2):
                assert client.post(GENERATE, json=ASKED).status_code == 202
        running.until(lambda: running.count("jobs", "state = 'failed'") == 2, "parked")
        yield running


def printed(service: Service, *arguments: str) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(done_well(ask(service, *arguments, "--json")))
    return told


def test_a_person_finds_what_is_unknown_and_records_what_was_found_out(service: Service) -> None:
    lines = [line.split("\t") for line in done_well(ask(service, "calls", "unknown")).splitlines()]
    assert [line[1:4] for line in lines] == [["stability_ai", "sd3.5-large-turbo", "$0.04"]] * 2
    assert all("a charge of $0.04 for sd3.5-large-turbo" in line[5] for line in lines)
    told = printed(service, "calls", "unknown")["calls"]
    assert [f"{call['job_id']}/{call['attempt']}" for call in told] == [line[0] for line in lines]
    assert "lighthouse" not in json.dumps(told)
    costs = done_well(ask(service, "costs")).splitlines()
    assert costs[1:] == [
        "calls: 2", "cost: $0", "possible besides: $0.08",
        "stability_ai\tsd3.5-large-turbo\t2\t0\t0.08\t0",
    ]  # fmt: skip

    (first, *_), (second, *_) = lines
    for _ in range(2):
        done = ask(service, "calls", "resolve", first, "--charged", "--amount", "0.05")
        assert (done.returncode, done.stdout) == (0, f"{first}\tanswered\t$0.05\tfailed\n")
        assert "stays failed until somebody retries it" in done.stderr
    refused = ask(service, "calls", "resolve", first, "--not-charged")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "was resolved as charged, $0.05 before" in refused.stderr
    # The id of a job with one such call will do, before and after.
    for _ in range(2):
        job_id = second.partition("/")[0]
        resolved = printed(service, "calls", "resolve", job_id, "--not-charged")
        assert (resolved["state"], resolved["attempt"]) == ("not_charged", 1)
    assert printed(service, "calls", "unknown") == {"calls": []}
    assert done_well(ask(service, "calls", "unknown")) == ""
    spent = printed(service, "costs")
    assert (spent["calls"], spent["cost_confirmed"], spent["cost_possible"]) == (1, "0.05", "0")
    assert "cost: $0.05" in done_well(ask(service, "jobs", "show", first.partition("/")[0]))


def test_a_day_is_named_as_people_write_it(service: Service) -> None:
    assert printed(service, "costs", "--day", "2020-02-29")["calls"] == 0
    assert "is no day" in one_line(ask(service, "costs", "--day", "yesterday"), 2)


@pytest.mark.parametrize(
    ("arguments", "code", "why"),
    [
        (("no-id", "--charged"), 2, "names no call"),
        (("01a2092c-6fdb-759d-b0af-1a1c80689790/x", "--charged"), 2, "names no call"),
        (("01a2092c-6fdb-759d-b0af-1a1c80689790/1", "--charged"), 1, "There is no such call"),
        (("01a2092c-6fdb-759d-b0af-1a1c80689790", "--charged"), 1, "whose outcome is unknown"),
        (
            ("01a2092c-6fdb-759d-b0af-1a1c80689790/1", "--charged", "--amount", "much"),
            2,
            "amount",
        ),
        (
            ("01a2092c-6fdb-759d-b0af-1a1c80689790/1", "--not-charged", "--amount", "1"),
            2,
            "belongs to --charged",
        ),
    ],
)
def test_what_is_wrong_is_told(
    service: Service, arguments: tuple[str, ...], code: int, why: str
) -> None:
    done = ask(service, "calls", "resolve", *arguments)
    assert (done.returncode, done.stdout) == (code, "")
    assert why in done.stderr


def test_a_job_tells_what_it_is_promised_and_takes_other_promises(service: Service) -> None:
    done = ask(service, "submit", "x", "--quality", "draft", "--provider", "stability_ai",
               "--on-unknown", "park")  # fmt: skip
    job_id = done_well(done).strip()
    assert "on unknown: park" in done_well(ask(service, "jobs", "show", job_id))
    with service.client as client:
        assert client.get(f"{JOBS}/{job_id}").json()["on_unknown"] == "park"
    why = one_line(ask(service, "submit", "x", "--on-unknown", "hope"), 2)
    assert "'park' or 'retry_once'" in why
