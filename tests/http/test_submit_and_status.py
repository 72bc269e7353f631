import asyncio
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from pipeline.settings import Settings
from schemas.replies import ImageJobStatusResponse
from tests.service import GENERATE, JOBS, Here, idle_settings, served

# The examples of the requirements document 1.3.4, word for word.
DOCUMENT_REQUEST = {
    "prompt": "A futuristic cityscape at sunset",
    "quality": "draft",
    "provider": "stability_ai",
    "style": "photographic",
    "aspect_ratio": "16:9",
    "blog_id": "optional-blog-id",
    "blog_job_id": "optional-blog-job-id",
}
DOCUMENT_CREATED: dict[str, Any] = {
    "job_id": "uuid",
    "status": "queued",
    "message": "Image generation job queued successfully",
    "estimated_completion_time": 5,
    "is_draft": True,
}
DOCUMENT_STATUS: dict[str, Any] = {
    "job_id": "uuid",
    "status": "completed",
    "progress_percentage": 100.0,
    "current_stage": "processing_result",
    "created_at": "2025-11-20T10:00:00Z",
    "started_at": "2025-11-20T10:00:01Z",
    "completed_at": "2025-11-20T10:00:06Z",
    "result": {
        "success": True,
        "images": [{"url": "https://...", "width": 1024, "height": 1024}],
        "generation_time_seconds": 5.2,
        "provider": "stability_ai",
        "model": "stable-diffusion-xl-turbo",
        "cost": 0.002,
    },
    "is_draft": True,
    "final_job_id": None,
}
# Fields that existing clients also read.
ALSO_READ = {
    "error_message",
    "error_details",
    "queued_at",
    "retry_count",
    "estimated_time_remaining",
    "blog_id",
    "blog_job_id",
    "draft_job_id",
}
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")


@pytest.fixture
async def painting(tmp_path: Path) -> AsyncIterator[Here]:
    async with served(Settings(home=tmp_path / "home")) as here:
        yield here


@pytest.fixture
async def idle(tmp_path: Path) -> AsyncIterator[Here]:
    async with served(idle_settings(tmp_path / "home")) as here:
        yield here


def assert_like(example: Any, ours: Any, where: str = "reply") -> None:
    """Every field of the document's example is in our reply, with the example's type."""
    if isinstance(example, dict):
        assert example.keys() <= ours.keys(), where
        for name, value in example.items():
            assert_like(value, ours[name], f"{where}.{name}")
    elif isinstance(example, list):
        assert len(ours) >= 1, where
        for one in ours:
            assert_like(example[0], one, f"{where}[]")
    elif isinstance(example, str) and TIME.fullmatch(example):
        assert TIME.fullmatch(ours), where
    elif example is not None:
        assert type(ours) is type(example), where


async def test_the_documents_request_gets_the_documents_replies(painting: Here) -> None:
    before = datetime.now(UTC)
    reply = await painting.http.post(GENERATE, json=DOCUMENT_REQUEST)
    created = reply.json()
    assert reply.status_code == 202
    assert reply.headers["content-type"] == "application/json"
    assert_like(DOCUMENT_CREATED, created)
    assert created == DOCUMENT_CREATED | {
        "job_id": created["job_id"],
        "warnings": created["warnings"],
        "draft_job_id": None,
        "strategy": None,
        "operation": None,
    }
    assert UUID(created["job_id"]).version == 7
    assert reply.headers["location"] == f"{JOBS}/{created['job_id']}"

    status = await painting.completed(created["job_id"])
    assert_like(DOCUMENT_STATUS, status)
    assert status.keys() >= ALSO_READ
    assert status == status | {
        "status": "completed",
        "progress_percentage": 100.0,
        "current_stage": "processing_result",
        "is_draft": True,
        "final_job_id": None,
        "draft_job_id": None,
        "blog_id": "optional-blog-id",
        "blog_job_id": "optional-blog-job-id",
        "role": "inline",
        "position": 1,
        "quality": "draft",
        "attempt": 1,
        "retry_count": 0,
        "error_message": None,
        "error_details": None,
        "estimated_time_remaining": None,
    }
    times = [status[f"{name}_at"] for name in ("created", "queued", "started", "completed")]
    assert [datetime.fromisoformat(time) for time in times] == sorted(
        datetime.fromisoformat(time) for time in times
    )
    assert before <= datetime.fromisoformat(times[0]) <= datetime.now(UTC)
    result = status["result"]
    assert result["cost"] == 0.002
    assert result["requested_model"] == "stable-diffusion-xl-turbo"
    (image,) = result["images"]
    assert image["url"].startswith("http://127.0.0.1/")
    assert abs(image["width"] / image["height"] - 16 / 9) < 0.05


async def test_the_reply_has_no_field_that_the_published_model_has_not(painting: Here) -> None:
    status = await painting.completed(await painting.submit(quality="draft"))
    assert status.keys() == ImageJobStatusResponse.model_fields.keys()


async def test_the_document_provider_is_stood_in_for_with_a_warning(painting: Here) -> None:
    reply = await painting.http.post(GENERATE, json=DOCUMENT_REQUEST)
    (warning,) = reply.json()["warnings"]
    assert "stability_ai" in warning
    assert "sketch" in warning
    status = await painting.completed(reply.json()["job_id"])
    assert status["provider"] == status["result"]["provider"] == "sketch"
    assert status["warnings"] == [warning]


async def test_who_asks_for_a_later_start_is_told_a_later_end(tmp_path: Path) -> None:
    hour = {"not_before": (datetime.now(UTC) + timedelta(hours=1)).isoformat()}
    single, batch = {"prompt": "a mill"} | hour, {"images": [{"prompt": "a mill"} | hour]}
    async with served(idle_settings(tmp_path / "home")) as here:
        for path, body in ((GENERATE, single), ("/api/v1/images/batch-generate", batch)):
            reply = (await here.http.post(path, json=body)).json()
            assert 3590 < reply["estimated_completion_time"] < 3630


@pytest.mark.parametrize("place", [{"role": "hero"}, {"position": 3}])
async def test_a_place_without_a_blog_is_accepted_with_a_warning(
    painting: Here, place: dict[str, Any]
) -> None:
    reply = await painting.http.post(GENERATE, json={"prompt": "a mill"} | place)
    (warning,) = reply.json()["warnings"]
    assert "no blog_id was given" in warning


@pytest.mark.parametrize(
    ("quality", "seconds", "is_draft", "model"),
    [
        ("draft", 5, True, "stable-diffusion-xl-turbo"),
        ("standard", 15, False, "stable-diffusion-xl-1024-v1-0"),
        ("high", 20, False, "stable-diffusion-xl-1024-v1-0"),
        ("ultra", 30, False, "stable-diffusion-3.5-large"),
    ],
)
async def test_each_quality_has_its_estimate_and_its_model(
    idle: Here, quality: str, seconds: int, is_draft: bool, model: str
) -> None:
    reply = await idle.http.post(GENERATE, json={"prompt": "a mill", "quality": quality})
    assert reply.json()["estimated_completion_time"] == seconds
    assert reply.json()["is_draft"] is is_draft
    ((request,),) = idle.rows("SELECT request ->> '$.requested_model' FROM jobs")
    assert request == model


async def test_a_job_that_works_says_how_far_it_is_and_has_no_result_yet(idle: Here) -> None:
    job_id = await idle.submit()
    await idle.until(lambda: idle.count("jobs", "state = 'running'") == 1, "running")
    status = await idle.status(job_id)
    assert status["status"] == status["current_stage"] == "running"
    assert 10.0 <= status["progress_percentage"] < 80.0
    assert 1 <= status["estimated_time_remaining"] <= 15
    assert status["result"] is None
    assert status["completed_at"] is None
    assert TIME.fullmatch(status["started_at"])


@pytest.mark.parametrize(
    ("method", "path"), [("POST", f"{JOBS}/{{}}/cancel"), ("DELETE", f"{JOBS}/{{}}")]
)
async def test_a_job_is_cancelled_by_both_ways_and_once_only(
    idle: Here, method: str, path: str
) -> None:
    job_id = await idle.submit(blog_id="post")
    await idle.until(lambda: idle.count("jobs", "state = 'running'") == 1, "running")
    first = await idle.http.request(method, path.format(job_id))
    again = await idle.http.request(method, path.format(job_id))
    assert (first.status_code, again.status_code) == (200, 200)
    assert first.json()["status"] == again.json()["status"] == "cancelled"
    assert again.json()["completed_at"] == first.json()["completed_at"] is not None
    assert first.json()["current_stage"] == "running"
    assert (await idle.status(job_id))["status"] == "cancelled"
    assert idle.count("events", "type = 'image.job.cancelled'") == 1


async def test_a_queued_job_is_cancelled_before_anybody_is_asked_to_paint_it(
    tmp_path: Path,
) -> None:
    async with served(idle_settings(tmp_path / "home", local={"concurrent_dispatches": 1})) as here:
        await here.submit()
        waiting = await here.submit()
        await here.until(lambda: here.count("jobs", "state = 'running'") == 1, "running")
        reply = await here.http.post(f"{JOBS}/{waiting}/cancel")
        assert reply.json()["current_stage"] == "queued"
        assert here.count("provider_calls") == 1


@pytest.mark.parametrize(
    ("method", "path"), [("POST", f"{JOBS}/{{}}/cancel"), ("DELETE", f"{JOBS}/{{}}")]
)
async def test_a_completed_job_cannot_be_cancelled(painting: Here, method: str, path: str) -> None:
    job_id = await painting.submit(quality="draft")
    before = await painting.completed(job_id)
    reply = await painting.http.request(method, path.format(job_id))
    problem = reply.json()
    assert reply.status_code == 409
    assert reply.headers["content-type"] == "application/problem+json"
    assert problem["code"] == "cannot_cancel"
    assert problem["job_status"] == "completed"
    assert "completed" in problem["detail"]
    assert await painting.status(job_id) == before


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", f"{JOBS}/{{}}"),
        ("POST", f"{JOBS}/{{}}/cancel"),
        ("DELETE", f"{JOBS}/{{}}"),
    ],
)
async def test_an_unknown_job_is_a_404_problem_that_repeats_the_id(
    idle: Here, method: str, path: str
) -> None:
    job_id = str(uuid4())
    reply = await idle.http.request(method, path.format(job_id))
    assert reply.status_code == 404
    assert reply.headers["content-type"] == "application/problem+json"
    assert reply.json()["code"] == "no_such_job"
    assert job_id in reply.json()["detail"]


async def test_the_same_key_and_body_get_the_first_reply_again(idle: Here) -> None:
    body = {"prompt": "a mill", "blog_id": "post"}
    key = {"Idempotency-Key": "the-one"}
    first = await idle.http.post(GENERATE, json=body, headers=key)
    again = await idle.http.post(GENERATE, json=body, headers=key)
    assert (first.status_code, again.status_code) == (202, 202)
    assert again.json() == first.json()
    assert again.headers["location"] == first.headers["location"]
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"
    assert idle.count("jobs") == 1


async def test_the_same_body_spelled_otherwise_is_the_same_request(idle: Here) -> None:
    key = {"Idempotency-Key": "the-one"}
    bodies = [
        {"prompt": "a mill", "quality": "standard", "blog_id": "post"},
        {"blog_id": "post", "prompt": " a mill "},
    ]
    replies = [await idle.http.post(GENERATE, json=body, headers=key) for body in bodies]
    replies.append(
        await idle.http.post(
            GENERATE, json={"prompt": "a mill"}, params={"blog_id": "post"}, headers=key
        )
    )
    assert len({reply.json()["job_id"] for reply in replies}) == 1


@pytest.mark.parametrize(
    "other", [{"prompt": "a tower"}, {"prompt": "a mill", "seed": 1}, {"prompt": "A mill"}]
)
async def test_the_same_key_with_another_body_is_a_422_problem(
    idle: Here, other: dict[str, Any]
) -> None:
    key = {"Idempotency-Key": "the-one"}
    await idle.http.post(GENERATE, json={"prompt": "a mill"}, headers=key)
    reply = await idle.http.post(GENERATE, json=other, headers=key)
    assert reply.status_code == 422
    assert reply.headers["content-type"] == "application/problem+json"
    assert reply.json()["code"] == "idempotency_key_reused"
    assert reply.json()["field"] == "Idempotency-Key"
    assert "new key" in reply.json()["detail"]
    assert (idle.count("jobs"), idle.count("idempotency_keys")) == (1, 1)


async def test_without_a_key_every_request_is_a_job(idle: Here) -> None:
    assert await idle.submit() != await idle.submit()
    assert idle.count("jobs") == 2


async def test_fifty_equal_posts_at_once_are_one_job_each_round(idle: Here) -> None:
    rounds = 5
    for number in range(rounds):
        replies = await asyncio.gather(
            *(
                idle.http.post(
                    GENERATE,
                    json={"prompt": "a mill", "blog_id": f"post-{number}"},
                    headers={"Idempotency-Key": f"round-{number}"},
                )
                for _ in range(50)
            )
        )
        assert {reply.status_code for reply in replies} == {202}
        assert len({reply.text for reply in replies}) == 1
        replayed = [reply for reply in replies if "idempotency-replayed" in reply.headers]
        assert len(replayed) == 49
    assert idle.count("jobs") == idle.count("idempotency_keys") == rounds
    assert idle.count("events", "type = 'image.job.queued'") == rounds
    assert idle.rows("SELECT DISTINCT last_inline FROM blogs") == [(1,)]


async def test_fifty_posts_at_once_with_one_key_and_many_bodies_are_one_job(idle: Here) -> None:
    replies = await asyncio.gather(
        *(
            idle.http.post(
                GENERATE, json={"prompt": f"mill {n}"}, headers={"Idempotency-Key": "the-one"}
            )
            for n in range(50)
        )
    )
    assert sorted(reply.status_code for reply in replies) == [202] + [422] * 49
    assert idle.count("jobs") == 1


async def test_the_blog_may_be_named_in_the_query(idle: Here) -> None:
    reply = await idle.http.post(
        GENERATE, json={"prompt": "a mill"}, params={"blog_id": "from-the-query"}
    )
    assert reply.status_code == 202
    assert (await idle.status(reply.json()["job_id"]))["blog_id"] == "from-the-query"


async def test_the_blog_may_be_named_twice_but_not_differently(idle: Here) -> None:
    body = {"prompt": "a mill", "blog_id": "one"}
    agreed = await idle.http.post(GENERATE, json=body, params={"blog_id": "one"})
    assert agreed.status_code == 202
    await idle.until(lambda: idle.count("jobs", "state = 'running'") == 1, "running")
    before = idle.stored()
    refused = await idle.http.post(GENERATE, json=body, params={"blog_id": "other"})
    assert refused.status_code == 400
    assert refused.headers["content-type"] == "application/problem+json"
    assert refused.json()["code"] == "blog_ids_disagree"
    assert refused.json()["field"] == "blog_id"
    assert idle.stored() == before


async def test_inline_pictures_get_the_next_free_position_others_the_first(idle: Here) -> None:
    asked: list[dict[str, Any]] = [
        {},
        {"position": 5},
        {},
        {"role": "inline", "position": 2},
        {},
        {"role": "hero"},
        {"role": "hero"},
        {"role": "og", "position": 3},
    ]
    places = []
    for request in asked:
        status = await idle.status(await idle.submit(blog_id="post", **request))
        places.append((status["role"], status["position"]))
    assert places == [
        ("inline", 1),
        ("inline", 5),
        ("inline", 6),
        ("inline", 2),
        ("inline", 7),
        ("hero", 1),
        ("hero", 1),
        ("og", 3),
    ]


async def test_positions_given_at_once_are_all_different(idle: Here) -> None:
    ids = await asyncio.gather(*(idle.submit(blog_id="post") for _ in range(40)))
    places = [(await idle.status(job_id))["position"] for job_id in ids]
    assert sorted(places) == list(range(1, 41))


async def test_a_request_that_names_no_seed_gets_one_and_a_named_one_is_kept(
    painting: Here,
) -> None:
    named = await painting.completed(await painting.submit(quality="draft", seed=4_294_967_294))
    chosen = await painting.completed(await painting.submit(quality="draft"))
    assert named["result"]["seed"] == 4_294_967_294
    assert 1 <= chosen["result"]["seed"] <= 4_294_967_294


async def test_texts_of_the_request_stay_as_they_were_sent(painting: Here) -> None:
    alt, caption = 'A "mill" & <b>\u2028', "Zürich, 🏔, \u202e\u0301"
    await painting.completed(
        await painting.submit(quality="draft", blog_id="post", alt_text=alt, caption=caption)
    )
    reply = await painting.http.get("/api/v1/blogs/post/images")
    (slot,) = reply.json()["images"]
    assert (slot["alt_text"], slot["caption"]) == (alt, caption)
