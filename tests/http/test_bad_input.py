import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio

from tests.service import GENERATE, JOBS, Here, idle_settings, served

pytestmark = pytest.mark.asyncio(loop_scope="module")

MEGABYTE = 1024 * 1024
GOOD: dict[str, Any] = {"prompt": "a lighthouse", "quality": "draft", "blog_id": "post"}


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def service(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Here]:
    home: Path = tmp_path_factory.mktemp("bad_input") / "home"
    async with served(idle_settings(home)) as running:
        yield running


@pytest.fixture
def here(service: Here) -> Iterator[Here]:
    """The service, of which no test of this module may make a row."""
    before = service.stored()
    yield service
    assert service.stored() == before


def assert_problem(reply: Any, status: int, code: str) -> dict[str, Any]:
    assert reply.status_code == status, reply.text
    assert reply.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = reply.json()
    assert problem["status"] == status
    assert problem["code"] == code
    assert problem["type"] == "urn:limner:problem:" + code.replace("_", "-")
    assert problem["title"]
    assert problem["detail"]
    return problem


async def test_the_body_that_the_cases_spoil_is_a_good_one(tmp_path: Path) -> None:
    async with served(idle_settings(tmp_path / "home")) as here:
        await here.submit(**GOOD)
        assert here.count("jobs") == 1


# field that is named, what it is sent as, a part of the remedy
FIELDS: list[tuple[str, Any, str]] = [
    ("colour", "red", "remove it or correct its name"),
    ("tenant", "other", "remove it or correct its name"),
    ("quality", "best", "'draft', 'standard', 'high' or 'ultra'"),
    ("quality", "Draft", "'draft', 'standard', 'high' or 'ultra'"),
    ("quality", None, "'draft', 'standard', 'high' or 'ultra'"),
    ("prompt", "", "must not be empty"),
    ("prompt", " \n\t ", "must not be empty"),
    ("prompt", "x" * 20_000, "at most 10000 characters are allowed"),
    ("prompt", None, "must be text"),
    ("prompt", ["a mill"], "must be text"),
    ("prompt", "a\x00b", "NUL"),
    ("prompt", "a\ud800b", "surrogate"),
    ("negative_prompt", "x" * 20_000, "at most 10000 characters are allowed"),
    ("negative_prompt", "a\x00b", "NUL"),
    ("aspect_ratio", "7:5", "'16:9'"),
    ("aspect_ratio", "16x9", "'16:9'"),
    ("aspect_ratio", 1.5, "'16:9'"),
    ("seed", -1, "at least 0"),
    ("seed", 4_294_967_295, "at most 4294967294"),
    ("seed", 10**30, "at most 4294967294"),
    ("seed", "42", "must be a whole number"),
    ("seed", 1.5, "must be a whole number"),
    ("seed", True, "must be a whole number"),
    ("seed", None, "must be a whole number"),
    ("position", 0, "at least 1"),
    ("position", -3, "at least 1"),
    ("position", 10_001, "at most 10000"),
    ("position", "2", "must be a whole number"),
    ("role", "banner", "'hero', 'featured', 'inline', 'og' or 'thumbnail'"),
    ("blog_id", "", "must not be empty"),
    ("blog_id", "a/b", "no spaces and none of / ? #"),
    ("blog_id", "a b", "no spaces and none of / ? #"),
    ("blog_id", "a\x00", "NUL"),
    ("blog_id", "x" * 201, "at most 200 characters are allowed"),
    ("blog_id", 7, "must be text"),
    ("blog_job_id", "a\udfff", "surrogate"),
    ("alt_text", "x" * 1_001, "at most 1000 characters are allowed"),
    ("caption", "a\x00b", "NUL"),
    ("draft_job_id", "draft", "UUID"),
    ("provider", "", "must not be empty"),
    ("style", "", "must not be empty"),
    ("fallback", "sketch", "must be a list"),
    ("fallback", True, "must be a list"),
]


@pytest.mark.parametrize(
    ("field", "value", "remedy"),
    FIELDS,
    ids=[f"{field}={json.dumps(value)[:14]}" for field, value, _ in FIELDS],
)
async def test_a_bad_field_is_named_with_its_remedy(
    here: Here, field: str, value: Any, remedy: str
) -> None:
    reply = await here.http.post(
        GENERATE,
        content=json.dumps(GOOD | {field: value}),
        headers={"Content-Type": "application/json"},
    )
    problem = assert_problem(reply, 422, "invalid_request")
    assert problem["field"] == field
    assert [error["field"] for error in problem["errors"]] == [field]
    assert remedy in problem["detail"]
    assert "Nothing was stored" in problem["detail"]
    assert len(reply.content) < 2_000, "the value that was refused is not sent back"


async def test_a_parameter_that_nobody_takes_is_answered_with_those_that_are_taken(
    here: Here,
) -> None:
    reply = await here.http.post(GENERATE, json=GOOD | {"cfg_scale": 7})
    problem = assert_problem(reply, 422, "invalid_request")
    assert problem["field"] == "cfg_scale"
    assert "known: prompt, negative_prompt, quality, provider, fallback, style" in problem["detail"]
    body = {"images": [GOOD, GOOD | {"steps": 20}]}
    reply = await here.http.post("/api/v1/images/batch-generate", json=body)
    problem = assert_problem(reply, 422, "invalid_request")
    assert problem["field"] == "images.1.steps"
    assert "known: prompt, negative_prompt" in problem["detail"]


async def test_all_bad_fields_are_listed_at_once(here: Here) -> None:
    reply = await here.http.post(GENERATE, json={"quality": "best", "seed": -1, "colour": 1})
    problem = assert_problem(reply, 422, "invalid_request")
    listed = {error["field"] for error in problem["errors"]}
    assert listed == {"prompt", "quality", "seed", "colour"}
    assert all(error["message"] for error in problem["errors"])


@pytest.mark.parametrize(
    ("field", "code", "known"),
    [("style", "unknown_style", "photographic"), ("provider", "unknown_provider", "sketch")],
)
async def test_an_unknown_name_is_answered_with_the_known_ones(
    here: Here, field: str, code: str, known: str
) -> None:
    reply = await here.http.post(GENERATE, json=GOOD | {field: "vermeer"})
    problem = assert_problem(reply, 422, code)
    assert problem["field"] == field
    assert known in problem["known"]
    assert all(name in problem["detail"] for name in problem["known"])
    assert "vermeer" in problem["detail"]


BODIES: list[tuple[str, bytes, int, str]] = [
    ("cut off", b'{"prompt": "a mill"', 400, "invalid_json"),
    ("single quotes", b"{'prompt': 'a mill'}", 400, "invalid_json"),
    ("a word", b"mill", 400, "invalid_json"),
    ("not UTF-8", b'{"prompt": "\xff\xfe"}', 400, "invalid_json"),
    ("no end of nesting", b"[" * 60_000, 400, "invalid_json"),
    ("a number without end", b'{"prompt": "a", "seed": ' + b"1" * 10_000, 400, "invalid_json"),
    ("nothing", b"", 422, "invalid_request"),
    ("null", b"null", 422, "invalid_request"),
    ("a list", b'[{"prompt": "a mill"}]', 422, "invalid_request"),
    ("a string", b'"a mill"', 422, "invalid_request"),
]


@pytest.mark.parametrize(
    ("body", "status", "code"), [case[1:] for case in BODIES], ids=[case[0] for case in BODIES]
)
async def test_a_body_that_is_no_json_object_is_refused_with_advice(
    here: Here, body: bytes, status: int, code: str
) -> None:
    reply = await here.http.post(
        GENERATE, content=body, headers={"Content-Type": "application/json"}
    )
    problem = assert_problem(reply, status, code)
    assert "Nothing was stored" in problem["detail"]
    if status == 400:
        assert "Send a JSON object" in problem["detail"]
    else:
        assert problem["field"] == "body"
        assert "body: it must be a JSON object, sent with" in problem["detail"]


async def test_a_good_body_of_another_content_type_is_refused(here: Here) -> None:
    reply = await here.http.post(
        GENERATE, content=json.dumps(GOOD), headers={"Content-Type": "text/plain"}
    )
    problem = assert_problem(reply, 422, "invalid_request")
    assert "application/json" in problem["detail"]


def large_body(size: int) -> bytes:
    """A body that would be good, but for the white space that makes it large."""
    return json.dumps(GOOD).encode().ljust(size)


@pytest.mark.parametrize(
    ("length", "most_read"),
    [({"Content-Length": str(MEGABYTE)}, 0), ({}, MEGABYTE // 8)],
    ids=["told", "hidden"],
)
async def test_a_body_of_a_megabyte_is_refused_unread_or_as_it_comes(
    here: Here, length: dict[str, str], most_read: int
) -> None:
    read = 0

    async def pieces() -> AsyncIterator[bytes]:
        nonlocal read
        body = large_body(MEGABYTE)
        for start in range(0, MEGABYTE, 8192):
            read += 8192
            yield body[start : start + 8192]

    headers = {"Content-Type": "application/json"} | length
    reply = await here.http.post(GENERATE, content=pieces(), headers=headers)
    problem = assert_problem(reply, 413, "body_too_large")
    assert "65536 bytes" in problem["detail"]
    assert ("content-length" in reply.request.headers) is bool(length)
    assert read <= most_read


async def test_the_largest_body_that_is_allowed_is_read(here: Here) -> None:
    body = json.dumps(GOOD | {"quality": "best"}).encode().ljust(65_536)
    reply = await here.http.post(
        GENERATE, content=body, headers={"Content-Type": "application/json"}
    )
    assert_problem(reply, 422, "invalid_request")


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:8080", "127.0.0.1.evil.example", "localhost.", "[::1", ""],
)
async def test_a_request_under_a_foreign_host_name_is_refused(here: Here, host: str) -> None:
    reply = await here.http.post(GENERATE, json=GOOD, headers={"Host": host})
    problem = assert_problem(reply, 400, "foreign_host")
    assert problem["field"] == "Host"
    assert "127.0.0.1" in problem["detail"]


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:8080", "localhost:1", "[::1]:8080"])
async def test_our_own_host_names_are_served(here: Here, host: str) -> None:
    assert (await here.http.get("/healthz", headers={"Host": host})).status_code == 200


@pytest.mark.parametrize(
    ("key", "remedy"),
    [
        ("", "must not be empty"),
        ("a b", "visible ASCII characters"),
        ("ü", "visible ASCII characters"),
        ("x" * 201, "at most 200 characters"),
    ],
    ids=["empty", "blank", "ü", "long"],
)
async def test_a_bad_idempotency_key_is_named(here: Here, key: str, remedy: str) -> None:
    reply = await here.http.post(
        GENERATE, json=GOOD, headers={b"Idempotency-Key": key.encode("latin-1")}
    )
    problem = assert_problem(reply, 422, "invalid_request")
    assert problem["field"] == "Idempotency-Key"
    assert remedy in problem["detail"]


@pytest.mark.parametrize("blog_id", ["", "a/b", "a b", "a\x00", "x" * 201])
async def test_a_bad_blog_id_in_the_query_is_named(here: Here, blog_id: str) -> None:
    reply = await here.http.post(GENERATE, json={"prompt": "a"}, params={"blog_id": blog_id})
    assert assert_problem(reply, 422, "invalid_request")["field"] == "blog_id"


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", f"{JOBS}/no-uuid", 422, "invalid_request"),
        ("DELETE", f"{JOBS}/no-uuid", 422, "invalid_request"),
        ("POST", f"{JOBS}/no-uuid/cancel", 422, "invalid_request"),
        ("GET", "/api/v1/images/no-uuid/content", 422, "invalid_request"),
        (
            "GET",
            "/api/v1/images/01900000-0000-7000-8000-000000000000/content",
            404,
            "no_such_image",
        ),
        ("GET", "/api/v1/nothing", 404, "not_found"),
        ("PUT", GENERATE, 405, "method_not_allowed"),
        ("POST", "/healthz", 405, "method_not_allowed"),
    ],
)
async def test_a_bad_address_is_a_problem_too(
    here: Here, method: str, path: str, status: int, code: str
) -> None:
    assert_problem(await here.http.request(method, path), status, code)


async def test_a_task_for_an_unknown_job_is_done_so_that_nobody_sends_it_again(
    here: Here,
) -> None:
    task = {"job_id": str(uuid4()), "attempt": 1}
    reply = await here.http.post("/api/v1/images/worker", json=task)
    assert (reply.status_code, reply.json()["reason"]) == (200, "no such job")
    bad = await here.http.post("/api/v1/images/worker", json=task | {"prompt": "a mill"})
    assert assert_problem(bad, 422, "invalid_request")["field"] == "prompt"
