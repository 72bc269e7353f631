"""The same story in every profile: a picture that was asked for is painted and stands in its post,
a draft gets its final, and a program that is killed goes on where it was.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from hashlib import sha256
from typing import Any
from uuid import uuid4

import asyncpg
import httpx2
import pytest
from sqlalchemy.engine import make_url

from adapters.store.database import migrate
from pipeline.subscribers import SUBSCRIBERS
from tests.fakes.google.cloud import Cloud
from tests.fakes.instant import CONNECT, CONNECT_GOOGLE
from tests.service import GENERATE, JOBS, Service

BATCH = "/api/v1/images/batch-generate"
TIMES = {
    "times__provider_seconds": "5",
    "times__worker_seconds": "6",
    "times__lease_seconds": "7",
    "times__dispatch_deadline_seconds": "15",
    "times__sweep_interval_seconds": "0.5",
    # Long enough that a kill finds work under way.
    "sketch__delay_seconds": "0.3",
}


class Profile:
    """The program, with all processes that it has in its profile."""

    def __init__(self, service: Service, cloud: Cloud | None) -> None:
        self.service = service
        self._cloud = cloud

    def start(self) -> None:
        self.service.start()
        if self._cloud is not None:
            self._cloud.service = self.service.address

    def json(self, method: str, path: str, **request: Any) -> dict[str, Any]:
        with self.service.client as client:
            reply = client.request(method, path, **request)
        assert reply.is_success, reply.text
        told: dict[str, Any] = reply.json()
        return told

    def until(self, condition: Callable[[], bool], what: str) -> None:
        self.service.until(condition, what)

    def jobs_of(self, blog_id: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.json("GET", JOBS, params={"blog_id": blog_id})["jobs"]
        return found

    def place(self, blog_id: str) -> dict[str, Any]:
        """What stands in the only place of a post."""
        slots = self.json("GET", f"/api/v1/blogs/{blog_id}/images")["images"]
        return slots[0] if slots else {}


@pytest.fixture(scope="module", params=["embedded", "google", "google by push"])
def profile(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Profile]:
    """Started once for all of its tests: in the cloud it is several processes and an emulator.

    Google's emulator pushes without a token, so what is pushed comes from our own double.
    """
    folder = tmp_path_factory.mktemp("profile")
    with ExitStack() as stack:
        if request.param == "embedded":
            service = stack.enter_context(Service(folder / "home", connect=CONNECT, **TIMES))
            yield Profile(service, None)
            return
        pushed = request.param == "google by push"
        database_url: str = request.getfixturevalue("own_postgres_url")
        cloud = stack.enter_context(Cloud(folder, emulated=not pushed))
        settings = cloud.settings(database_url, connect=CONNECT_GOOGLE, **TIMES)
        service = stack.enter_context(Service(folder / "home", **settings))
        cloud.service = service.address
        for one in SUBSCRIBERS:
            cloud.subscribe(one.name, push=pushed)
            if not pushed:
                stack.enter_context(Service(folder / one.name, subscriber=one.name, **settings))
        yield Profile(service, cloud)


@pytest.fixture(scope="module")
def own_postgres_url(postgres_server: str) -> str:
    name = f"limner_{uuid4().hex}"

    async def make() -> str:
        connection = await asyncpg.connect(postgres_server)
        await connection.execute(f"CREATE DATABASE {name}")
        await connection.close()
        parts = make_url(postgres_server).set(database=name, drivername="postgresql")
        url = parts.render_as_string(hide_password=False)
        await migrate(url)
        return url

    return asyncio.run(make())


@pytest.fixture
def post() -> str:
    """A post of the test's own."""
    return f"post-{uuid4().hex[:8]}"


def test_a_picture_that_was_asked_for_stands_in_its_post(profile: Profile, post: str) -> None:
    request = {"prompt": "a lighthouse", "quality": "standard", "blog_id": post, "role": "hero"}
    job_id = profile.json("POST", GENERATE, json=request)["job_id"]
    profile.until(lambda: bool(profile.place(post).get("image_id")), "linked")
    status = profile.json("GET", f"{JOBS}/{job_id}")
    assert status["status"] == "completed"
    image = status["result"]["images"][0]
    assert profile.place(post)["image_id"] == image["image_id"]
    picture = httpx2.get(image["url"], follow_redirects=True)  # a browser has no key
    assert picture.status_code == 200
    assert picture.headers["content-type"] == image["content_type"]
    assert sha256(picture.content).hexdigest() == image["sha256"]


def test_a_draft_gets_its_final_by_itself_and_the_final_takes_its_place(
    profile: Profile, post: str
) -> None:
    request = {
        "images": [{"prompt": "a lighthouse", "quality": "draft", "role": "hero"}],
        "blog_id": post,
        "workflow": "draft_then_final",
    }
    (draft_id,) = profile.json("POST", BATCH, json=request)["job_ids"]
    profile.until(lambda: profile.place(post).get("image_id") is not None, "the final stands")
    draft = profile.json("GET", f"{JOBS}/{draft_id}")
    final = profile.json("GET", f"{JOBS}/{draft['final_job_id']}")
    assert (final["status"], final["draft_job_id"]) == ("completed", draft_id)
    place = profile.place(post)
    assert place["job_id"] == final["job_id"]
    assert [one["job_id"] for one in place["candidates"]] == [final["job_id"], draft_id]


def test_a_killed_program_goes_on_where_it_was(profile: Profile, post: str) -> None:
    request = {"prompt": "a lighthouse", "quality": "draft", "blog_id": post}
    for _ in range(4):
        profile.json("POST", GENERATE, json=request)
    before = profile.jobs_of(post)
    profile.service.kill()
    assert any(one["status"] != "completed" for one in before), "nothing is left to go on with"
    profile.start()

    def all_shown() -> bool:
        places = profile.json("GET", f"/api/v1/blogs/{post}/images")["images"]
        return len(places) == 4 and all(one["preview"] for one in places)

    profile.until(all_shown, "all are linked")
    jobs = profile.jobs_of(post)
    assert {one["job_id"] for one in jobs} == {one["job_id"] for one in before}
    assert {(one["status"], one["retry_count"]) for one in jobs} == {("completed", 0)}
