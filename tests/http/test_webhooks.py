"""Webhooks as callers use them: routes, commands, and what they are told of what goes wrong."""

import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio
from standardwebhooks import Webhook

from pipeline.settings import Settings
from tests.fakes.receiver import Answer, Receiver
from tests.http.test_bad_input import assert_problem
from tests.service import Here, served

pytestmark = pytest.mark.asyncio(loop_scope="module")

WEBHOOKS = "/api/v1/webhooks"
COMPLETED = "image.job.completed"


@pytest.fixture(scope="module")
def receivers() -> Iterator[tuple[Receiver, Receiver]]:
    with Receiver() as one, Receiver() as other:
        yield one, other


@pytest.fixture
def receiver(receivers: tuple[Receiver, Receiver]) -> Receiver:
    one, _ = receivers
    one.received.clear()
    one.script.clear()
    return one


def guard(*receivers: Receiver) -> dict[str, Any]:
    return {
        "allow_http": True,
        "ports": [one.port for one in receivers],
        "allowed_networks": ["127.0.0.0/8"],
    }


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def here(
    tmp_path_factory: pytest.TempPathFactory, receivers: tuple[Receiver, Receiver]
) -> AsyncIterator[Here]:
    home: Path = tmp_path_factory.mktemp("webhooks") / "home"
    async with served(Settings(home=home, guard=guard(*receivers))) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def clean(here: Here) -> AsyncIterator[Here]:
    """The service without the webhooks of other tests."""
    yield here
    for one in (await here.http.get(WEBHOOKS)).json()["webhooks"]:
        await here.http.delete(f"{WEBHOOKS}/{one['webhook_id']}")


async def registered(here: Here, receiver: Receiver, **asked: Any) -> dict[str, Any]:
    reply = await here.http.post(WEBHOOKS, json={"url": receiver.url, "types": [COMPLETED]} | asked)
    assert reply.status_code == 201, reply.text
    told: dict[str, Any] = reply.json()
    return told


async def arrived(here: Here, number: int) -> None:
    """Return when so many messages of webhooks that are there were delivered."""

    def enough() -> bool:
        query = (
            "SELECT count(*) FROM deliveries JOIN webhooks ON id = target_id"
            " WHERE state = 'delivered' AND deleted_at IS NULL"
        )
        return bool(here.rows(query)[0][0] >= number)

    await here.until(enough, f"{number} delivered")


async def test_a_completed_job_is_told_signed_and_logged(clean: Here, receiver: Receiver) -> None:
    told = await registered(clean, receiver, description="my site")
    assert (told["enabled"], told["types"], told["message"]) == (True, [COMPLETED], None)
    job_id = await clean.submit(quality="draft")
    await arrived(clean, 1)
    (came,) = receiver.received
    event: Any = Webhook(told["secret"]).verify(came.body, came.headers)
    assert (event["type"], event["subject"]) == (COMPLETED, job_id)
    assert event["id"] == came.webhook_id
    one = f"{WEBHOOKS}/{told['webhook_id']}"
    (logged,) = (await clean.http.get(f"{one}/deliveries")).json()["deliveries"]
    assert (logged["delivery_id"], logged["status"], logged["attempts"]) == (
        came.webhook_id, "delivered", 1,
    )  # fmt: skip
    assert logged["tries"][0]["status"] == 200
    assert logged["next_attempt_at"] is None


async def test_the_secret_is_told_once_and_never_again(clean: Here, receiver: Receiver) -> None:
    told = await registered(clean, receiver)
    key = told["secret"].removeprefix("whsec_")
    one = f"{WEBHOOKS}/{told['webhook_id']}"
    for method, path in (
        ("GET", WEBHOOKS), ("GET", one), ("GET", f"{one}/deliveries"), ("POST", f"{one}/test"),
    ):  # fmt: skip
        assert key not in (await clean.http.request(method, path)).text
    assert key not in (await clean.http.patch(one, json={"description": "x"})).text
    fresh = (await clean.http.post(f"{one}/secret")).json()
    assert fresh["secret"] not in (told["secret"], "")
    assert len(fresh["secrets"]) == 2
    assert fresh["secrets"][0]["ends_at"] is None
    assert key not in json.dumps(fresh)
    now = (await clean.http.post(f"{one}/secret", json={"overlap_seconds": 0})).json()
    assert len(now["secrets"]) == 1


async def test_both_secrets_sign_what_is_sent_after_a_rotation(
    clean: Here, receiver: Receiver
) -> None:
    told = await registered(clean, receiver)
    one = f"{WEBHOOKS}/{told['webhook_id']}"
    fresh = (await clean.http.post(f"{one}/secret", json={"overlap_seconds": 60})).json()
    assert (await clean.http.post(f"{one}/test")).json()["status"] == "delivered"
    (came,) = receiver.received
    for secret in (told["secret"], fresh["secret"]):
        Webhook(secret).verify(came.body, came.headers)


async def test_a_test_says_what_came_of_it_and_harms_nothing(
    clean: Here, receiver: Receiver
) -> None:
    told = await registered(clean, receiver)
    one = f"{WEBHOOKS}/{told['webhook_id']}"
    receiver.script = [Answer.GONE, Answer.BROKEN]
    for status in (410, 500):
        tried = (await clean.http.post(f"{one}/test")).json()
        assert (tried["status"], tried["type"]) == ("failed", "limner.webhook.test")
        assert tried["tries"][0]["status"] == status
    after = (await clean.http.get(one)).json()
    assert (after["enabled"], after["failing_since"]) == (True, None)
    await clean.http.patch(one, json={"enabled": False})
    assert (await clean.http.post(f"{one}/test")).json()["status"] == "delivered"


async def test_what_was_sent_can_be_sent_again(clean: Here, receiver: Receiver) -> None:
    told = await registered(clean, receiver)
    one = f"{WEBHOOKS}/{told['webhook_id']}"
    receiver.script = [Answer.BROKEN]
    failed = (await clean.http.post(f"{one}/test")).json()
    again = await clean.http.post(f"{one}/deliveries/{failed['delivery_id']}/redeliver")
    assert again.status_code == 202
    assert again.json()["status"] == "pending"
    await arrived(clean, 1)
    receiver.script = [Answer.BROKEN] * 2
    for _ in range(2):
        await clean.http.post(f"{one}/test")
    query = {"state": "failed"}
    listed = (await clean.http.get(f"{one}/deliveries", params=query)).json()
    assert len(listed["deliveries"]) == 2
    all_of_them = await clean.http.post(f"{one}/deliveries/redeliver")
    assert (all_of_them.status_code, all_of_them.json()) == (202, {"redelivered": 2})
    await arrived(clean, 3)
    assert len(receiver.ids) == 6
    assert len(set(receiver.ids)) == 3


async def test_the_log_goes_on_after_its_cursor(clean: Here, receiver: Receiver) -> None:
    told = await registered(clean, receiver)
    path = f"{WEBHOOKS}/{told['webhook_id']}/deliveries"
    for _ in range(3):
        await clean.http.post(f"{WEBHOOKS}/{told['webhook_id']}/test")
    first = (await clean.http.get(path, params={"limit": 2})).json()
    query = {"limit": 2, "cursor": first["next_cursor"]}
    second = (await clean.http.get(path, params=query)).json()
    ids = [one["delivery_id"] for one in first["deliveries"] + second["deliveries"]]
    assert ids == receiver.ids[::-1]
    assert second["next_cursor"] is None


async def test_a_disabled_webhook_says_so_and_is_not_redelivered_to(
    clean: Here, receiver: Receiver
) -> None:
    told = await registered(clean, receiver)
    one = f"{WEBHOOKS}/{told['webhook_id']}"
    tried = (await clean.http.post(f"{one}/test")).json()
    disabled = (await clean.http.patch(one, json={"enabled": False})).json()
    assert (disabled["enabled"], disabled["disabled_because"]) == (False, "person")
    assert "Enable it" in disabled["message"]
    for path in (f"deliveries/{tried['delivery_id']}/redeliver", "deliveries/redeliver"):
        reply = await clean.http.post(f"{one}/{path}")
        assert "enable the webhook" in assert_problem(reply, 409, "webhook_disabled")["detail"]
    again = (await clean.http.patch(one, json={"enabled": False})).json()
    assert again["disabled_at"] == disabled["disabled_at"]
    enabled = (await clean.http.patch(one, json={"enabled": True})).json()
    assert (enabled["enabled"], enabled["message"]) == (True, None)


async def test_another_address_begins_with_a_clean_slate(
    clean: Here, receivers: tuple[Receiver, Receiver], receiver: Receiver
) -> None:
    told = await registered(clean, receiver)
    one = f"{WEBHOOKS}/{told['webhook_id']}"
    receiver.script = [Answer.BROKEN]
    job_id = await clean.submit(quality="draft")
    await clean.until(lambda: clean.count("webhooks", "failing_since IS NOT NULL") == 1, "failing")
    failing = (await clean.http.get(one)).json()
    assert "Attempts fail since" in failing["message"]
    moved = (await clean.http.patch(one, json={"url": receivers[1].url, "types": []})).json()
    assert (moved["failing_since"], moved["types"], moved["message"]) == (None, [], None)
    (waiting,) = (await clean.http.get(f"{one}/deliveries")).json()["deliveries"]
    await clean.http.post(f"{one}/deliveries/{waiting['delivery_id']}/redeliver")
    await arrived(clean, 1)
    assert receivers[1].ids[0] == receiver.ids[0] == waiting["delivery_id"]
    assert waiting["subject"] == job_id


async def test_a_removed_webhook_is_absent_everywhere(clean: Here, receiver: Receiver) -> None:
    told = await registered(clean, receiver)
    one = f"{WEBHOOKS}/{told['webhook_id']}"
    reply = await clean.http.delete(one)
    assert (reply.status_code, reply.content) == (204, b"")
    assert (await clean.http.get(WEBHOOKS)).json() == {"webhooks": []}
    for method, path, body in each_route(told["webhook_id"]):
        reply = await clean.http.request(method, path, json=body)
        assert_problem(reply, 404, "no_such_webhook")


def each_route(webhook_id: str) -> list[tuple[str, str, Any]]:
    one = f"{WEBHOOKS}/{webhook_id}"
    return [
        ("GET", one, None),
        ("PATCH", one, {"description": "x"}),
        ("DELETE", one, None),
        ("POST", f"{one}/secret", {}),
        ("POST", f"{one}/test", None),
        ("GET", f"{one}/deliveries", None),
        ("POST", f"{one}/deliveries/{uuid4()}/redeliver", None),
        ("POST", f"{one}/deliveries/redeliver", None),
    ]


async def test_a_foreign_tenants_webhook_answers_as_an_absent_one(
    clean: Here, receiver: Receiver
) -> None:
    told = await registered(clean, receiver)
    settings = clean.limner.settings
    mine, settings.tenant = settings.tenant, "other"
    try:
        assert (await clean.http.get(WEBHOOKS)).json() == {"webhooks": []}
        before = clean.stored()
        for own, unknown in zip(each_route(told["webhook_id"]), each_route(ABSENT), strict=True):
            foreign = await clean.http.request(own[0], own[1], json=own[2])
            absent = await clean.http.request(unknown[0], unknown[1], json=unknown[2])
            assert foreign.status_code == absent.status_code == 404
            said = foreign.text.replace(told["webhook_id"], ABSENT)
            assert said == absent.text
        assert clean.stored() == before
    finally:
        settings.tenant = mine
    assert (await clean.http.get(f"{WEBHOOKS}/{told['webhook_id']}")).json()["enabled"]
    assert receiver.received == []


ABSENT = "019b76da-a800-7003-8601-cba335bf992d"

BAD_BODIES: list[tuple[Any, str, str]] = [
    ({}, "url", "required"),
    ({"url": ""}, "url", "must not be empty"),
    ({"url": 7}, "url", "must be text"),
    ({"url": "https://example.com/\x00"}, "url", "NUL"),
    ({"url": "https://example.com/", "types": ["image.job.done"]}, "types.0", "'image.job.queued'"),
    ({"url": "https://example.com/", "types": "image.job.completed"}, "types", "must be a list"),
    ({"url": "https://example.com/", "blog_id": "a b"}, "blog_id", "no spaces"),
    ({"url": "https://example.com/", "secret": "whsec_"}, "secret", "there is no such field"),
]


@pytest.mark.parametrize(("body", "field", "remedy"), BAD_BODIES)
async def test_a_bad_registration_is_told_by_its_field(
    clean: Here, body: Any, field: str, remedy: str
) -> None:
    problem = assert_problem(await clean.http.post(WEBHOOKS, json=body), 422, "invalid_request")
    assert problem["field"] == field
    assert remedy in problem["detail"]
    assert (await clean.http.get(WEBHOOKS)).json() == {"webhooks": []}


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://10.0.0.1/", "port 80 is not among"),
        ("ftp://example.com/", "must begin with https://"),
        (
            "https://169.254.169.254:{port}/latest/meta-data/",
            "does not lead to the public internet",
        ),
        ("http://me:pass@127.0.0.1:{port}/", "no user name or password"),
        ("http://127.0.0.1:{port}/#x", "no fragment"),
        ("http://0x7f000001:{port}/", "four plain decimal numbers"),
        ("no url", "spaces"),
    ],
)
async def test_an_address_that_may_not_be_connected_to_is_refused_with_the_reason(
    clean: Here, receiver: Receiver, url: str, why: str
) -> None:
    url = url.format(port=receiver.port)
    problem = assert_problem(await clean.http.post(WEBHOOKS, json={"url": url}), 422, "url_refused")
    assert (problem["field"], why in problem["detail"]) == ("url", True), problem["detail"]
    told = await registered(clean, receiver)
    one = f"{WEBHOOKS}/{told['webhook_id']}"
    assert_problem(await clean.http.patch(one, json={"url": url}), 422, "url_refused")
    assert (await clean.http.get(one)).json()["url"] == receiver.url


@pytest.mark.parametrize(
    ("body", "field"),
    [({}, "body"), ({"url": None}, "url"), ({"enabled": "yes"}, "enabled"),
     ({"enabled": None}, "enabled"), ({"types": None}, "types"), ({"secret": "x"}, "secret")],
)  # fmt: skip
async def test_a_bad_change_changes_nothing(
    clean: Here, receiver: Receiver, body: Any, field: str
) -> None:
    told = await registered(clean, receiver)
    one = f"{WEBHOOKS}/{told['webhook_id']}"
    before = (await clean.http.get(one)).json()
    problem = assert_problem(await clean.http.patch(one, json=body), 422, "invalid_request")
    assert problem["field"] == field
    assert (await clean.http.get(one)).json() == before


async def test_an_id_that_is_none_and_a_delivery_that_is_not_there(
    clean: Here, receiver: Receiver
) -> None:
    assert_problem(await clean.http.get(f"{WEBHOOKS}/mine"), 422, "invalid_request")
    one = f"{WEBHOOKS}/{(await registered(clean, receiver))['webhook_id']}"
    reply = await clean.http.post(f"{one}/deliveries/{ABSENT}/redeliver")
    assert_problem(reply, 404, "no_such_delivery")
    for query in ({"state": "lost"}, {"limit": "0"}, {"cursor": "x"}, {"page": "2"}):
        reply = await clean.http.get(f"{one}/deliveries", params=query)
        assert_problem(reply, 422, "invalid_request")
    reply = await clean.http.post(f"{one}/secret", json={"overlap_seconds": 700_000})
    assert_problem(reply, 422, "invalid_request")


async def test_there_is_an_end_to_the_number_of_webhooks(clean: Here, receiver: Receiver) -> None:
    for _ in range(100):
        await registered(clean, receiver)
    reply = await clean.http.post(WEBHOOKS, json={"url": receiver.url})
    assert_problem(reply, 409, "too_many_webhooks")
