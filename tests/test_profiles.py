"""The same story in every profile: a picture that was asked for is painted and stands in its post,
a draft gets its final, and a program that is killed goes on where it was.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx2
import pytest

from pipeline.subscribers import SUBSCRIBERS
from tests.fakes.google.cloud import Cloud
from tests.service import GENERATE, JOBS, Service

BATCH = "/api/v1/images/batch-generate"
TIMES = {
    "times__provider_seconds": "8",
    "times__worker_seconds": "9",
    "times__lease_seconds": "10",
    "times__dispatch_deadline_seconds": "15",
    "times__sweep_interval_seconds": "0.5",
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

    def place(self, blog_id: str) -> dict[str, Any]:
        """What stands in the only place of a post."""
        slots = self.json("GET", f"/api/v1/blogs/{blog_id}/images")["images"]
        return slots[0] if slots else {}


@pytest.fixture(scope="session")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    with Cloud(tmp_path_factory.mktemp("cloud")) as running:
        yield running


@pytest.fixture(params=["embedded", "google"])
def profile(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Profile]:
    with ExitStack() as stack:
        if request.param == "embedded":
            profile = Profile(stack.enter_context(Service(tmp_path / "home", **TIMES)), None)
        else:
            cloud: Cloud = request.getfixturevalue("cloud")
            settings = cloud.settings(request.getfixturevalue("postgres_url"), **TIMES)
            for one in SUBSCRIBERS:
                cloud.subscribe(one.name)
            service = stack.enter_context(Service(tmp_path / "home", **settings))
            cloud.service = service.address
            for one in SUBSCRIBERS:
                home = tmp_path / one.name
                stack.enter_context(Service(home, subscriber=one.name, **settings))
            profile = Profile(service, cloud)
        yield profile


def test_a_picture_that_was_asked_for_stands_in_its_post(profile: Profile) -> None:
    request = {"prompt": "a lighthouse", "quality": "standard", "blog_id": "post", "role": "hero"}
    job_id = profile.json("POST", GENERATE, json=request)["job_id"]
    profile.until(lambda: bool(profile.place("post").get("image_id")), "linked")
    status = profile.json("GET", f"{JOBS}/{job_id}")
    assert status["status"] == "completed"
    image = status["result"]["images"][0]
    assert profile.place("post")["image_id"] == image["image_id"]
    picture = httpx2.get(image["url"], follow_redirects=True)
    assert picture.status_code == 200
    assert picture.headers["content-type"] == image["content_type"]
    assert len(picture.content) == image["size_bytes"]


def test_a_draft_gets_its_final_by_itself_and_the_final_takes_its_place(profile: Profile) -> None:
    request = {
        "images": [{"prompt": "a lighthouse", "quality": "draft", "role": "hero"}],
        "blog_id": "post",
        "workflow": "draft_then_final",
    }
    (draft_id,) = profile.json("POST", BATCH, json=request)["job_ids"]
    profile.until(lambda: profile.place("post").get("image_id") is not None, "the final stands")
    draft = profile.json("GET", f"{JOBS}/{draft_id}")
    final = profile.json("GET", f"{JOBS}/{draft['final_job_id']}")
    assert (final["status"], final["draft_job_id"]) == ("completed", draft_id)
    place = profile.place("post")
    assert place["job_id"] == final["job_id"]
    assert [one["job_id"] for one in place["candidates"]] == [final["job_id"], draft_id]


def test_a_killed_program_goes_on_where_it_was(profile: Profile) -> None:
    request = {"prompt": "a lighthouse", "quality": "draft"}
    posts = [f"post-{number}" for number in range(4)]
    for post in posts:
        profile.json("POST", GENERATE, json=request | {"blog_id": post, "role": "hero"})
    jobs = profile.json("GET", JOBS)["jobs"]
    assert len(jobs) == 4
    assert any(one["status"] != "completed" for one in jobs), "nothing is left to be gone on with"
    profile.service.kill()
    profile.start()
    profile.until(lambda: all(_previewed(profile, post) for post in posts), "all linked")
    for one in profile.json("GET", JOBS)["jobs"]:
        assert (one["status"], one["retry_count"]) == ("completed", 0)


def _previewed(profile: Profile, post: str) -> bool:
    preview = profile.place(post).get("preview")
    return preview is not None and preview["image_id"] is not None
