"""Nothing is paid twice, whatever dies: the program is killed at every point of the paid call.

The service that charges is a double that counts on its own side; at each charge it is noted which
attempt of which job was at work. What nobody can know is listed, priced and settled by policy.
"""

import json
import os
import random
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx2
import pytest

from tests.fakes import upscaler
from tests.fakes.stability import KEY, Call, StabilityDouble
from tests.service import GENERATE, Service
from tests.test_kill import CORES, TIMES, at_rest, manifests

# Printed by a failure; set it to see the same run again.
SEED = int(os.environ.get("KILL_SEED", "20260214"))
JOBS_A_DEATH = 3
MAY_BE_CHARGED = {"answered", "unknown"}
CALLS = "/api/v1/images/calls"


class Noted(list[Call]):
    """The double's paid calls. Whoever charges looks first who is at work, and may kill."""

    def __init__(self) -> None:
        super().__init__()
        self.look: Callable[[Call], None] = lambda _: None

    def append(self, call: Call) -> None:
        super().append(call)
        self.look(call)


@dataclass
class Trial:
    """A service that pays at a double, and what the double saw."""

    service: Service
    double: StabilityDouble
    # (job, attempt) at work at each charge
    charged: list[tuple[str, int]] = field(default_factory=list)
    # The next charge kills the program before it is answered.
    kills: bool = False
    deaths: int = 0
    jobs: int = 0

    def note(self, call: Call) -> None:
        query = "SELECT id, attempt FROM jobs WHERE json_extract(request, '$.prompt') = ?"
        ((job_id, attempt),) = self.service.rows(query, call.fields["prompt"])
        self.charged.append((str(UUID(job_id)), attempt))
        if self.kills:
            self.kills = False
            self.service.process.kill()

    def submit(self, number: int, **asked: Any) -> str:
        body = {"prompt": f"lighthouse {number}", "seed": number + 1} | asked
        with self.service.client as client:
            reply = client.post(GENERATE, json=body)
        assert reply.status_code == 202, reply.text
        job_id: str = reply.json()["job_id"]
        return job_id

    def die_at_work(self, failpoint: str, hit: int, **asked: Any) -> None:
        """Give the program some work, until it kills itself at a point of it."""
        armed = [{"name": failpoint, "mode": "kill", "hit": hit}]
        self.service.settings["failpoints"] = json.dumps(armed)
        if self.service.process.poll() is None:
            self.service.kill()
        # It may die of what it takes over, or of what it accepts.
        with suppress(AssertionError, httpx2.TransportError):
            self.service.start()
            for _ in range(JOBS_A_DEATH):
                self.jobs += 1
                self.submit(self.jobs, quality=("draft", "high")[self.jobs % 2], **asked)
        self.died()

    def died(self) -> None:
        assert self.service.died() == -9, self.service.log[-5:]
        self.service.settings.pop("failpoints", None)
        self.deaths += 1

    def come_to_rest(self) -> None:
        self.service.restart()
        self.service.until(lambda: at_rest(self.service), "at rest", seconds=90)

    def calls(self) -> list[tuple[str, int, str, Decimal]]:
        query = "SELECT job_id, attempt, state, amount FROM provider_calls ORDER BY job_id, attempt"
        rows = self.service.rows(query)
        return [(str(UUID(job)), attempt, state, Decimal(usd)) for job, attempt, state, usd in rows]

    def told(self, path: str) -> dict[str, Any]:
        with self.service.client as client:
            reply = client.get(path)
        assert reply.status_code == 200, reply.text
        found: dict[str, Any] = reply.json()
        return found

    def assert_nothing_was_paid_twice_or_hidden(self) -> None:
        calls = self.calls()
        states = {(job, attempt): state for job, attempt, state, _ in calls}
        assert max(Counter(self.charged).values(), default=0) <= 1, "an attempt was paid twice"
        assert len(self.charged) == len(self.double.paid)
        for call in self.charged:
            assert states[call] in MAY_BE_CHARGED, f"{call} was charged and is {states[call]}"
        answered = {call for call, state in states.items() if state == "answered"}
        assert answered <= set(self.charged)
        assert not {"intent", "accepted"} & set(states.values()), "a call stayed open"
        # What was staged is the answer of its call.
        assert set(manifests(self.service.home)) == answered

        listed = self.told(f"{CALLS}?state=unknown&limit=200")["calls"]
        unknown = {call for call, state in states.items() if state == "unknown"}
        assert {(one["job_id"], one["attempt"]) for one in listed} == unknown
        assert all(Decimal(one["amount"]) > 0 and one["look_for"] for one in listed)

        costs = self.told("/api/v1/images/costs")
        confirmed, possible = Decimal(costs["cost_confirmed"]), Decimal(costs["cost_possible"])
        assert confirmed == sum(usd for *call, usd in calls if call[2] == "answered")
        assert confirmed <= self.double.spent / 100 <= confirmed + possible

    def assert_policies_were_kept(self) -> None:
        query = "SELECT id, state, attempt, json_extract(error, '$.code'), request FROM jobs"
        states = {(job, attempt): state for job, attempt, state, _ in self.calls()}
        for job_id, state, attempt, code, request in self.service.rows(query):
            job = str(UUID(job_id))
            tries = [states.get((job, number)) for number in range(1, attempt + 1)]
            lost = tries.count("unknown")
            policy = json.loads(request)["on_unknown"]
            assert lost <= (2 if policy == "retry_once" else 1)
            if state == "completed":
                assert tries[-1] == "answered"
                assert lost <= (policy == "retry_once")
            else:
                assert (state, code, tries[-1]) == ("failed", "outcome_unknown", "unknown")
                assert lost == (2 if policy == "retry_once" else 1)


def trial(home: Path, **settings: str) -> Trial:
    """Enter its double, then its service."""
    paid = Noted()
    double = StabilityDouble(paid=paid)
    found = Trial(Service(home), double)
    paid.look = found.note
    found.service.settings = {
        **TIMES,
        "local__concurrent_dispatches": str(max(2, CORES)),
        "stability__api_key": KEY,
        **settings,
    }
    return found


PARK = {"provider": "stability_ai", "quality": "high"}
POINTS = {
    "before the request": ("provider.generate.before", 1, "unknown", 0),
    "during the call": (None, 1, "unknown", 1),
    "before the manifest": ("blobs.put.after", 1, "unknown", 1),
    "after the manifest": ("blobs.put.after", 2, "answered", 1),
}


@pytest.mark.parametrize("point", POINTS)
def test_a_death_at_each_point_of_the_paid_call_is_paid_at_most_once(
    tmp_path: Path, point: str
) -> None:
    failpoint, hit, state, paid = POINTS[point]
    run = trial(tmp_path / "home")
    with run.double:
        run.service.settings["stability__base_url"] = run.double.url
        if failpoint is not None:
            armed = [{"name": failpoint, "mode": "kill", "hit": hit}]
            run.service.settings["failpoints"] = json.dumps(armed)
        run.kills = failpoint is None
        with run.service:
            job_id = run.submit(0, **PARK)
            run.died()
            assert [call[2] for call in run.calls()] == ["intent"]
            run.come_to_rest()
            assert [(call[0], call[2]) for call in run.calls()] == [(job_id, state)]
            assert len(run.double.paid) == paid
            run.assert_nothing_was_paid_twice_or_hidden()
            run.assert_policies_were_kept()


# Failpoints, and how often they may be passed before they strike (the seed chooses).
AT_ONCE = [
    ("provider.generate.before", 2),
    ("provider.generate.after", 2),
    ("blobs.put.before", 4),
    ("store.before_commit", 9),
    ("store.before_commit", 9),
    ("store.after_commit", 9),
    ("store.after_commit", 9),
]
LATER = [
    ("provider.generate.before", 1),
    ("provider.generate.after", 2),
    ("provider.poll.before", 3),
    ("provider.poll.after", 3),
    ("blobs.put.after", 3),
    ("store.before_commit", 9),
    ("store.after_commit", 9),
]


@pytest.mark.timeout(240)
@pytest.mark.parametrize("accepted", [False, True], ids=["answered at once", "accepted"])
def test_no_storm_of_deaths_pays_an_attempt_twice_or_leaves_a_call_open(
    tmp_path: Path, accepted: bool
) -> None:
    print(f"KILL_SEED={SEED}")
    chance = random.Random(SEED)
    run = trial(tmp_path / "home")
    asked: dict[str, Any] = {"provider": "stability_ai"}
    if accepted:
        # Its painter is the one of the local world, over HTTP.
        asked = {}
        run.service.settings["connect"] = upscaler.CONNECT
        run.double.polls_in_vain = 1
    with run.double:
        run.service.settings["stability__base_url"] = run.double.url
        with run.service:
            points = list(LATER if accepted else AT_ONCE)
            chance.shuffle(points)
            for name, most in points:
                run.die_at_work(name, chance.randint(1, most), **asked)
            run.come_to_rest()
            assert run.deaths == len(points)
            run.assert_nothing_was_paid_twice_or_hidden()
            run.assert_policies_were_kept()
            states = Counter(state for *_, state, _ in run.calls())
            assert states["answered"] > 0
            assert states["unknown"] > 0
