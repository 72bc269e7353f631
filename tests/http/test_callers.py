"""Who may call what: a key for the API, a token for those who deliver tasks and events."""

import base64
import json
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx2
import pytest
from structlog.testing import capture_logs

from adapters.gcp.oidc import KeySet, OidcCheck
from adapters.local.connect import LocalWorld
from adapters.ports import CallerCheck
from adapters.providers.sketch.provider import SketchSettings
from pipeline.links import sign_picture
from pipeline.settings import Settings
from schemas.events import cloud_event
from tests.adapters.test_event_bus_contract import event
from tests.fakes.google.login import Login
from tests.service import GENERATE, JOBS, Here, served

KEY = "a-key-of-at-least-thirty-two-characters"
AUTHORIZED = {"Authorization": f"Bearer {KEY}"}
EMAIL = "calls@project.iam.gserviceaccount.com"
WORKER, PUSH = "/api/v1/images/worker", "/api/v1/events/blog-linking"
SUBSCRIPTION = "projects/project/subscriptions/limner-blog-linking"
OPEN = {("GET", "/healthz"), ("GET", "/readyz")}


class TokenWorld(LocalWorld):
    """The local world, its tasks and events delivered by callers who bear Google's tokens."""

    keys: KeySet

    def _check(self, audience: str) -> CallerCheck:
        return OidcCheck(self.keys, self.clock, audience=audience, email=EMAIL)

    @property
    def worker_caller(self) -> CallerCheck:  # type: ignore[override]  # there is one here
        return self._check("worker")

    @property
    def push_caller(self) -> CallerCheck:  # type: ignore[override]  # there is one here
        return self._check("push")

    def subscription_path(self, subscriber: str) -> str:
        return f"projects/project/subscriptions/limner-{subscriber}"


@pytest.fixture
def login() -> Iterator[Login]:
    with Login() as running:
        yield running


@asynccontextmanager
async def guarded(home: Path, login: Login, **changes: Any) -> AsyncIterator[Here]:
    def connect(settings: Settings) -> TokenWorld:
        world = TokenWorld(settings.home, settings.local)
        world.keys = KeySet(login.url, world.clock, 5)
        return world

    settings = Settings(
        home=home,
        api_key=KEY,
        connect=connect,
        sketch=SketchSettings(delay_seconds=3600),
        times={"drain_seconds": 0},
        **changes,
    )
    async with served(settings) as here:
        yield here
        await here.limner.world.keys.close()  # type: ignore[attr-defined]  # TokenWorld's


@pytest.fixture
async def here(tmp_path: Path, login: Login) -> AsyncIterator[Here]:
    async with guarded(tmp_path / "home", login) as running:
        yield running


def token(login: Login, audience: str, **changes: Any) -> dict[str, str]:
    bearer = login.token(**{"email": EMAIL, "audience": audience} | changes)
    return {"Authorization": f"Bearer {bearer}"}


PARTS = {"role": "hero", "position": "1", "subscriber": "blog-linking"}


def every_route(here: Here) -> list[tuple[str, str]]:
    described = here.http._transport.app.openapi()["paths"]  # type: ignore[attr-defined]  # ASGI
    return [
        (
            method.upper(),
            re.sub(r"{(\w+)}", lambda part: PARTS.get(part[1], str(UUID(int=1))), path),
        )
        for path, methods in described.items()
        for method in methods
    ]


def assert_refused(reply: httpx2.Response) -> None:
    assert reply.status_code == 401, reply.text
    assert reply.headers["www-authenticate"] == "Bearer"
    assert reply.headers["content-type"] == "application/problem+json"
    assert reply.json()["code"] == "unauthorized"
    assert "Nothing was stored" in reply.json()["detail"]


async def test_every_route_needs_a_caller_who_is_known(here: Here, login: Login) -> None:
    """What is not named as open is closed: a new route too."""
    stored = here.stored()
    wrong = [{}, {"Authorization": f"Bearer {KEY}x"}, {"Authorization": f"Basic {KEY}"}]
    routes = every_route(here)
    assert len(routes) > 25
    for method, path in [*routes, ("GET", "/nothing"), ("OPTIONS", GENERATE), ("GET", "/docs")]:
        if (method, path) in OPEN:
            assert (await here.http.request(method, path)).status_code == 200
            continue
        for headers in wrong:
            reply = await here.http.request(method, path, headers=headers, content=b"{")
            assert_refused(reply)
    assert here.stored() == stored


async def test_the_key_opens_the_api_and_not_what_google_delivers(here: Here) -> None:
    reply = await here.http.post(GENERATE, json={"prompt": "a lighthouse"}, headers=AUTHORIZED)
    assert reply.status_code == 202
    job_id = reply.json()["job_id"]
    assert (await here.http.get(f"{JOBS}/{job_id}", headers=AUTHORIZED)).status_code == 200
    for path in (WORKER, PUSH):
        reply = await here.http.post(path, headers=AUTHORIZED, json={})
        assert_refused(reply)


async def test_what_came_with_two_keys_is_refused(here: Here) -> None:
    both = [("Authorization", f"Bearer {KEY}"), ("Authorization", "Bearer other")]
    assert_refused(await here.http.get(JOBS, headers=both))


async def test_a_refusal_tells_the_log_and_repeats_no_key(here: Here) -> None:
    with capture_logs() as logs:
        await here.http.get(JOBS, headers={"Authorization": f"Bearer {KEY}x"})
    assert [one["event"] for one in logs] == ["caller_refused"]
    assert KEY not in json.dumps(logs, default=str)


async def test_any_host_name_is_ours_where_callers_need_a_key(here: Here) -> None:
    named = AUTHORIZED | {"Host": "limner.example"}
    assert (await here.http.get(JOBS, headers=named)).status_code == 200


async def test_a_task_is_taken_from_whom_google_vouches_for_alone(here: Here, login: Login) -> None:
    task = {"job_id": str(uuid4()), "attempt": 1}
    assert_refused(await here.http.post(WORKER, json=task))
    assert_refused(await here.http.post(WORKER, json=task, headers=token(login, "push")))
    other = token(login, "worker", email="other@project.iam.gserviceaccount.com")
    assert_refused(await here.http.post(WORKER, json=task, headers=other))
    reply = await here.http.post(WORKER, json=task, headers=token(login, "worker"))
    assert (reply.status_code, reply.json()["done"]) == (200, True)


async def test_the_headers_of_cloud_tasks_prove_nothing_and_change_nothing(
    here: Here, login: Login
) -> None:
    reply = await here.http.post(GENERATE, json={"prompt": "a lighthouse"}, headers=AUTHORIZED)
    job_id = reply.json()["job_id"]
    await here.until(lambda: here.count("provider_calls") == 1, "it is being painted")
    forged = {
        "User-Agent": "Google-Cloud-Tasks",
        "X-CloudTasks-QueueName": "images",
        "X-CloudTasks-TaskName": "forged",
        "X-CloudTasks-TaskRetryCount": "99999999999999999999",
        "X-AppEngine-QueueName": "images",
    }
    task = {"job_id": job_id, "attempt": 1}
    assert_refused(await here.http.post(WORKER, json=task, headers=forged))
    before = here.stored()
    replies = [
        await here.http.post(WORKER, json=task, headers=token(login, "worker") | more)
        for more in ({}, forged)
    ]
    assert {(one.status_code, one.text) for one in replies} == {(200, replies[0].text)}
    assert here.stored() == before


async def test_while_keys_cannot_be_fetched_tasks_are_to_come_again(
    here: Here, login: Login
) -> None:
    login.down = True
    task = {"job_id": str(uuid4()), "attempt": 1}
    reply = await here.http.post(WORKER, json=task, headers=token(login, "worker"))
    assert (reply.status_code, reply.json()["code"]) == (503, "unavailable")
    assert int(reply.headers["retry-after"]) >= 1


def envelope(data: bytes, subscription: str = SUBSCRIPTION) -> dict[str, Any]:
    message = {"data": base64.b64encode(data).decode(), "messageId": "1", "attributes": {}}
    return {"message": message, "subscription": subscription}


def completed(number: int, **facts: Any) -> bytes:
    row = event(number)
    told = {
        "blog_id": "post",
        "job_id": str(UUID(int=7)),
        "role": "hero",
        "position": 1,
        "is_draft": False,
        "alt_text": None,
        "caption": None,
        "images": [{"image_id": str(UUID(int=9))}],
    }
    row.data = json.dumps(told | facts)
    return cloud_event(row).model_dump_json().encode()


async def test_a_pushed_event_is_acknowledged_when_its_effect_is_stored(
    here: Here, login: Login
) -> None:
    body = envelope(completed(1))
    assert_refused(await here.http.post(PUSH, json=body))
    assert_refused(await here.http.post(PUSH, json=body, headers=token(login, "worker")))
    assert here.count("inbox") == 0
    for _ in range(3):
        reply = await here.http.post(PUSH, json=body, headers=token(login, "push"))
        assert (reply.status_code, reply.content) == (204, b"")
    assert here.count("inbox", "subscriber = 'blog-linking'") == 1


async def test_an_event_that_cannot_be_digested_is_put_aside_and_acknowledged(
    here: Here, login: Login
) -> None:
    body = envelope(completed(1, images=[]))
    reply = await here.http.post(PUSH, json=body, headers=token(login, "push"))
    assert reply.status_code == 204
    (letter,) = here.rows("SELECT subscriber, failures, error FROM dead_letters")
    assert letter == ("blog-linking", 5, "IndexError: list index out of range")


GARBAGE: list[bytes] = [
    b"",
    b"{",
    b"null",
    b"[]",
    b'"text"',
    b"\xff\xfe",
    b"{}",
    b'{"message": null, "subscription": null}',
    b'{"message": {"data": 7}, "subscription": "x"}',
    json.dumps({"message": {"data": "not base64!"}, "subscription": SUBSCRIPTION}).encode(),
    json.dumps({"message": {"data": "ünicode"}, "subscription": SUBSCRIPTION}).encode(),
    json.dumps({"message": {}, "subscription": SUBSCRIPTION}).encode(),
    json.dumps(envelope(b"")).encode(),
    json.dumps(envelope(b"no json")).encode(),
    json.dumps(envelope(b'{"id": "1"}')).encode(),
    json.dumps(envelope(completed(1).replace(b'"post"', b'"po\\u0000st"'))).encode(),
    json.dumps(envelope(completed(1).replace(b'"0000000001"', b'"one"'))).encode(),
    json.dumps(envelope(completed(1).replace(b'"0000000001"', b'"' + b"9" * 5000 + b'"'))).encode(),
    json.dumps(envelope(b"[" * 20_000)).encode(),
    json.dumps(envelope(completed(1), "projects/project/subscriptions/other")).encode(),
    json.dumps(envelope(completed(1), "limner-blog-linking")).encode(),
]


async def test_garbage_is_refused_counted_and_stores_nothing(here: Here, login: Login) -> None:
    stored = here.stored()
    headers = token(login, "push") | {"Content-Type": "application/json"}
    for number, body in enumerate(GARBAGE):
        reply = await here.http.post(PUSH, content=body, headers=headers)
        assert (reply.status_code, reply.json()["code"]) == (400, "event_refused"), body[:80]
        assert here.limner.consumers["blog-linking"].refused == number + 1
    reply = await here.http.post(PUSH, content=b"x" * 100_000, headers=headers)
    assert reply.status_code == 413
    assert here.stored() == stored


async def test_only_a_subscriber_of_ours_takes_events(here: Here, login: Login) -> None:
    for name in ("other", "blog-linking/x", "%00"):
        reply = await here.http.post(
            f"/api/v1/events/{name}", json=envelope(completed(1)), headers=token(login, "push")
        )
        assert reply.status_code in (404, 405), name


async def test_in_the_local_profile_nobody_pushes_events(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home", times={"drain_seconds": 0})
    async with served(settings) as here:
        reply = await here.http.post(PUSH, json=envelope(completed(1), "blog-linking"))
        assert (reply.status_code, reply.json()["code"]) == (404, "no_such_subscriber")
        assert here.count("inbox") == 0


async def test_a_browser_sees_a_picture_by_its_address_alone_and_for_a_while(
    tmp_path: Path,
) -> None:
    settings = Settings(home=tmp_path / "home", api_key=KEY, times={"drain_seconds": 0})
    async with served(settings) as here:
        here.http.headers.update(AUTHORIZED)
        status = await here.completed(await here.submit(blog_id="post", role="hero"))
        del here.http.headers["Authorization"]
        image = status["result"]["images"][0]
        for address in (image["url"], image["variants"][0]["url"]):
            path, _, query = address.partition("?")
            seen = await here.http.get(address)
            assert seen.status_code == 200
            assert_refused(await here.http.get(path))
            assert_refused(await here.http.get(address + "x"))
            assert_refused(await here.http.delete(address))
            longer = query.replace("expires=1", "expires=2")
            assert longer != query
            assert_refused(await here.http.get(f"{path}?{longer}"))
        other = image["variants"][1]["url"].partition("?")[0]
        query = image["url"].partition("?")[2]
        assert_refused(await here.http.get(f"{other}?{query}"))
        path = image["url"].partition("?")[0].removeprefix("http://127.0.0.1")
        past = here.limner.journal.now().replace(year=2025)
        expired = sign_picture(path, here.limner.link_secret, past)
        assert_refused(await here.http.get(f"{path}?{expired}"))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"api_key": "short"}, "at least 32"),
        ({"api_key": "x" * 31 + "\n" + "y"}, "printable"),
        ({"api_key": "x" * 32 + " " + "y"}, "no spaces"),
        ({"api_key_file": "/nothing/there"}, "cannot be read"),
        ({"api_key": KEY, "api_key_file": "/dev/null"}, "both set"),
        ({"api_key_file": "/dev/null"}, "at least 32"),
    ],
)
def test_a_key_that_would_protect_nobody_is_no_setting(
    tmp_path: Path, changes: dict[str, Any], told: str
) -> None:
    with pytest.raises(ValueError, match=told) as caught:
        Settings(home=tmp_path, **changes)
    assert KEY not in str(caught.value)


def test_a_key_may_lie_in_a_file_and_lets_the_service_listen_anywhere(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text(KEY + "\n")
    settings = Settings(home=tmp_path, api_key_file=file, host="0.0.0.0")
    assert settings.api_key is not None
    assert settings.api_key.get_secret_value() == KEY
    assert KEY not in repr(settings)
