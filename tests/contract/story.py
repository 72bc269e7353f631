"""A real run in which every type of event is sent at least once."""

from pathlib import Path
from typing import Any

from adapters.providers.sketch.provider import SketchSettings
from pipeline.settings import Settings
from schemas.events import CloudEvent
from tests.fakes.stability import KEY, Misbehaviour, StabilityDouble
from tests.service import JOBS, Here, served

BATCH = "/api/v1/images/batch-generate"
BATCHES = "/api/v1/images/batches"


async def told(home: Path) -> list[CloudEvent]:
    """Run the service, have everything happen, and return all events in their order."""
    with StabilityDouble() as double:
        settings = Settings(
            home=home,
            # Slow enough to delete the post of a picture that is being painted.
            sketch=SketchSettings(delay_seconds=0.1),
            stability={"api_key": KEY, "base_url": double.url},
            times={"drain_seconds": 5, "sweep_interval_seconds": 0.1},
        )
        async with served(settings) as here:
            await _drafts_and_finals(here)
            await _deleted_while_painted(here)
            double.script.append(Misbehaviour.RETIRED)
            await here.submit(provider="stability_ai", quality="draft")
            await _happened(here, "provider.model_retired", 1)
            await _never_painted(here)
            return await _events(here)


async def _drafts_and_finals(here: Here) -> None:
    """A batch: one draft approved and edited, overtaken and unlinked, the other rejected."""
    images = [
        {"prompt": "A lighthouse at sunset", "role": "hero", "alt_text": "A lighthouse"},
        {"prompt": "A harbour in the morning", "caption": "Early"},
    ]
    batch = await _post(
        here,
        BATCH,
        blog_id="my-post",
        approval="required",
        final_quality="standard",
        images=[image | {"quality": "draft"} for image in images],
    )
    approved, rejected = batch["job_ids"]
    await _happened(here, "blog.image.candidate_added", 2)
    await _post(here, f"{JOBS}/{rejected}/reject", reason="not needed")
    await _post(here, f"{JOBS}/{approved}/promote")
    await _happened(here, "blog.image.linked", 1)
    await _happened(here, "image.batch.completed", 2)
    place = "/api/v1/blogs/my-post/images/hero/1"
    focus = {"x": 0.25, "y": 0.5}
    await here.http.patch(place, json={"caption": "Dusk", "focal_point": focus})
    await here.submit(blog_id="my-post", role="hero", position=1, quality="standard")
    await _happened(here, "blog.image.replaced", 1)
    await _post(here, f"{place}/unlink")


async def _deleted_while_painted(here: Here) -> None:
    images = [{"prompt": "A lake at night", "quality": "draft"}]
    await _post(here, BATCH, blog_id="old-post", images=images)
    await here.until(
        lambda: here.count("jobs", "blog_id = 'old-post' AND state = 'running'") == 1, "running"
    )
    assert (await here.http.delete("/api/v1/blogs/old-post")).status_code == 200
    await _happened(here, "image.draft.blocked", 1)


async def _never_painted(here: Here) -> None:
    await _post(here, "/api/v1/dispatch/pause")
    await here.submit(deadline_seconds=1)
    cancelled = await here.submit()
    await _post(here, f"{JOBS}/{cancelled}/cancel")
    await _happened(here, "image.job.failed", 2)


async def _happened(here: Here, event_type: str, times: int) -> None:
    condition = f"type = '{event_type}'"
    await here.until(lambda: here.count("events", condition) >= times, f"{times} {event_type}")


async def _post(here: Here, path: str, **body: Any) -> dict[str, Any]:
    reply = await here.http.post(path, json=body)
    assert reply.is_success, reply.text
    found: dict[str, Any] = reply.json()
    return found


async def _events(here: Here) -> list[CloudEvent]:
    reply = await here.http.get("/api/v1/events", params={"follow": "false"})
    lines = reply.text.splitlines()
    data = [line.removeprefix("data: ") for line in lines if line.startswith("data: ")]
    return [CloudEvent.model_validate_json(one) for one in data]
