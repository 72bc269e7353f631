import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio

from adapters.pictures import codec, xmp
from pipeline.settings import Settings
from tests.service import GENERATE, LOCAL, Here, client_of, idle_settings, served

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def here(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Here]:
    home: Path = tmp_path_factory.mktemp("pictures") / "home"
    async with served(Settings(home=home)) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def image(here: Here) -> dict[str, Any]:
    """A finished picture, as its job's status tells of it."""
    status = await here.completed(await here.submit(quality="draft", aspect_ratio="16:9"))
    found: dict[str, Any] = status["result"]["images"][0]
    return found


async def draft_of(here: Here, blog_id: str | None, **request: Any) -> dict[str, Any]:
    return await here.completed(await here.submit(quality="draft", blog_id=blog_id, **request))


async def slots(here: Here, blog_id: str) -> list[dict[str, Any]]:
    reply = await here.http.get(f"/api/v1/blogs/{blog_id}/images")
    assert reply.status_code == 200
    assert reply.json()["blog_id"] == blog_id
    found: list[dict[str, Any]] = reply.json()["images"]
    return found


async def test_a_picture_is_fetched_at_its_address(here: Here, image: dict[str, Any]) -> None:
    reply = await here.http.get(image["url"])
    assert reply.status_code == 200
    assert reply.headers["content-type"] == image["content_type"] == "image/png"
    assert int(reply.headers["content-length"]) == image["size_bytes"] == len(reply.content)
    assert hashlib.sha256(reply.content).hexdigest() == image["sha256"]
    taken, _ = codec.take_in(reply.content)
    assert (taken.width, taken.height) == (image["width"], image["height"])


async def test_the_bytes_are_those_of_the_file(here: Here, image: dict[str, Any]) -> None:
    ((key,),) = here.rows("SELECT key FROM images WHERE id = ?", image["image_id"].replace("-", ""))
    path = here.limner.settings.home / "pictures" / key
    assert (await here.http.get(image["url"])).content == path.read_bytes()


async def test_every_variant_is_fetched_at_its_address(here: Here, image: dict[str, Any]) -> None:
    assert image["variants"]
    widths = [variant["width"] for variant in image["variants"]]
    assert widths == sorted(set(widths))
    for variant in image["variants"]:
        reply = await here.http.get(variant["url"])
        assert reply.status_code == 200
        assert reply.headers["content-type"] == variant["content_type"] == "image/webp"
        taken, _ = codec.take_in(reply.content)
        assert (taken.width, taken.height) == (variant["width"], variant["height"])
        assert variant["url"] == f"{image['url']}/w{variant['width']}"


async def test_a_picture_tells_wherever_it_is_fetched_how_it_came_to_be(
    here: Here, image: dict[str, Any]
) -> None:
    for url in (image["url"], *(variant["url"] for variant in image["variants"])):
        data = (await here.http.get(url)).content
        told = xmp.read(codec.packet_of(data))
        assert told.is_limners
        assert told.digital_source_type == xmp.SOURCE_TYPES + "algorithmicMedia"
        assert (told.ai_system, told.ai_system_version) == ("sketch", "sketch-1")
        assert told.image_guid == f"urn:uuid:{image['image_id']}"
        assert b"lighthouse" not in data


async def test_a_picture_is_kept_by_browsers_and_never_taken_for_anything_else(
    here: Here, image: dict[str, Any]
) -> None:
    headers = (await here.http.get(image["url"])).headers
    assert headers["etag"] == f'"{image["sha256"]}"'
    assert headers["x-content-type-options"] == "nosniff"
    assert "immutable" in headers["cache-control"]
    assert "private" in headers["cache-control"]
    assert headers["content-security-policy"] == "default-src 'none'; sandbox"


@pytest.mark.parametrize("form", ['"{}"', 'W/"{}"', '"another", "{}"', "*"])
async def test_a_known_etag_saves_the_bytes(here: Here, image: dict[str, Any], form: str) -> None:
    offered = form.format(image["sha256"])
    reply = await here.http.get(image["url"], headers={"If-None-Match": offered})
    assert (reply.status_code, reply.content) == (304, b"")
    assert reply.headers["etag"] == f'"{image["sha256"]}"'
    assert "cache-control" in reply.headers


async def test_another_etag_gets_the_bytes(here: Here, image: dict[str, Any]) -> None:
    reply = await here.http.get(image["url"], headers={"If-None-Match": '"another"'})
    assert reply.status_code == 200
    variant = image["variants"][0]["url"]
    own = (await here.http.get(variant)).headers["etag"]
    assert own != f'"{image["sha256"]}"'
    assert (await here.http.get(variant, headers={"If-None-Match": own})).status_code == 304


async def test_head_tells_everything_but_the_bytes(here: Here, image: dict[str, Any]) -> None:
    got, head = await here.http.get(image["url"]), await here.http.head(image["url"])
    assert head.status_code == 200
    assert head.content == b""
    assert dict(head.headers) == dict(got.headers)


@pytest.mark.parametrize("variant", [None, "w320"])
async def test_an_unknown_picture_is_a_404_problem(here: Here, variant: str | None) -> None:
    image_id = str(uuid4())
    path = f"/api/v1/images/{image_id}/content" + (f"/{variant}" if variant else "")
    reply = await here.http.get(path)
    assert reply.status_code == 404
    assert reply.headers["content-type"] == "application/problem+json"
    assert reply.json()["image_id"] == image_id


@pytest.mark.parametrize("variant", ["w1", "original", "..%2f..%2flimner.sqlite", "w320.webp"])
async def test_an_unknown_variant_is_a_404_problem(
    here: Here, image: dict[str, Any], variant: str
) -> None:
    reply = await here.http.get(f"{image['url']}/{variant}")
    assert reply.status_code == 404
    assert reply.headers["content-type"] == "application/problem+json"


async def test_addresses_are_those_that_the_caller_reached_us_by(here: Here) -> None:
    status = await draft_of(here, None)
    reply = await here.http.get(
        f"/api/v1/images/jobs/{status['job_id']}", headers={"Host": "localhost:4711"}
    )
    (image,) = reply.json()["result"]["images"]
    assert image["url"].startswith("http://localhost:4711/api/v1/images/")


async def test_addresses_are_public_ones_where_a_public_url_is_set(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home", public_url="https://pictures.example/")
    async with served(settings) as here:
        status = await here.completed(await here.submit(quality="standard", blog_id="post"))
        (slot,) = await slots(here, "post")
    image = status["result"]["images"][0]
    sources = [source.split()[0] for source in slot["srcset"].split(", ")]
    for url in (image["url"], slot["url"], slot["variants"][0]["url"], *sources):
        assert url.startswith("https://pictures.example/api/v1/images/")


async def test_a_blog_tells_what_stands_in_each_of_its_places(here: Here) -> None:
    jobs = [
        await draft_of(here, "tour", role="hero", alt_text="A hill", caption="Dawn"),
        await draft_of(here, "tour"),
        await draft_of(here, "tour", position=3),
    ]
    await draft_of(here, "another")
    found = await slots(here, "tour")
    assert [(slot["role"], slot["position"]) for slot in found] == [
        ("hero", 1),
        ("inline", 1),
        ("inline", 3),
    ]
    for slot, job in zip(found, jobs, strict=True):
        (image,) = job["result"]["images"]
        names = ("image_id", "url", "width", "height")
        assert {name: slot["preview"][name] for name in names} == {
            name: image[name] for name in names
        }
        assert (slot["image_id"], slot["url"], slot["srcset"], slot["history"]) == (
            None, None, None, [],
        )  # fmt: skip
        assert slot["version"] == 1
    assert (found[0]["alt_text"], found[0]["caption"]) == ("A hill", "Dawn")
    assert (found[1]["alt_text"], found[1]["caption"]) == (None, None)
    assert (await here.http.get(found[0]["preview"]["url"])).status_code == 200


async def test_a_blog_that_nobody_illustrated_has_no_places(here: Here) -> None:
    assert await slots(here, "unheard-of") == []


async def test_a_job_without_a_blog_is_linked_nowhere(here: Here) -> None:
    before = here.count("blog_slots")
    await draft_of(here, None)
    assert here.count("blog_slots") == before


async def test_a_seed_that_is_not_the_drafts_is_left_out_with_a_warning(here: Here) -> None:
    draft = await draft_of(here, None, prompt="a bridge", seed=77)
    asked = {"prompt": "a bridge", "quality": "standard", "draft_job_id": draft["job_id"]}
    reply = await here.http.post(GENERATE, json=asked | {"seed": 9})
    assert reply.json()["warnings"] == ["a final has its draft's seed, 77; 9 is left out"]
    final = await here.completed(reply.json()["job_id"])
    assert final["result"]["seed"] == 77
    same = await here.http.post(GENERATE, json=asked | {"seed": 77, "draft_job_id": None})
    assert same.json()["warnings"] == []


async def test_a_final_takes_the_place_seed_and_texts_of_its_draft(here: Here) -> None:
    draft = await draft_of(
        here,
        "essay",
        prompt="a bridge",
        role="featured",
        position=2,
        seed=77,
        alt_text="A bridge",
        caption="Over the river",
        blog_job_id="writer-1",
    )
    final = await here.completed(
        await here.submit(prompt="a bridge", quality="standard", draft_job_id=draft["job_id"])
    )
    names = ("blog_id", "blog_job_id", "role", "position")
    assert {name: final[name] for name in names} == {
        "blog_id": "essay",
        "blog_job_id": "writer-1",
        "role": "featured",
        "position": 2,
    }
    assert final["result"]["seed"] == 77
    assert final["is_draft"] is False
    assert final["draft_job_id"] == draft["job_id"]
    assert (await here.status(draft["job_id"]))["final_job_id"] == final["job_id"]
    (slot,) = await slots(here, "essay")
    assert slot["job_id"] == final["job_id"]
    assert slot["image_id"] == final["result"]["images"][0]["image_id"]
    assert (slot["is_draft"], slot["version"]) == (False, 2)
    assert (slot["alt_text"], slot["caption"]) == ("A bridge", "Over the river")
    (image,) = final["result"]["images"]
    names = ("url", "width", "height", "variants")
    assert {name: slot[name] for name in names} == {name: image[name] for name in names}
    assert slot["preview"] is None, "the draft was asked for before its final"
    types = here.rows("SELECT type FROM events WHERE stream_id = 'essay/featured/2' ORDER BY seq")
    assert types == [("blog.image.candidate_added",), ("blog.image.linked",)]
    approved = here.rows(
        "SELECT count(*) FROM events WHERE type = 'image.draft.approved' AND stream_id = ?",
        draft["job_id"],
    )
    assert approved == [(1,)]


async def refused_final(here: Here, draft_job_id: str, **request: Any) -> str:
    """Ask for a final that cannot be; check that nothing came of it; the problem's detail."""
    before = here.stored()
    versions = here.rows("SELECT id, version FROM jobs ORDER BY id")
    reply = await here.http.post(
        GENERATE,
        json={"prompt": "a mill", "quality": "high", "draft_job_id": draft_job_id} | request,
    )
    assert reply.status_code == 409, reply.text
    assert reply.headers["content-type"] == "application/problem+json"
    problem = reply.json()
    assert problem["code"] == "draft_not_usable"
    assert problem["field"] == "draft_job_id"
    assert problem["draft_job_id"] == draft_job_id
    assert here.stored() == before
    assert here.rows("SELECT id, version FROM jobs ORDER BY id") == versions
    detail: str = problem["detail"]
    return detail


async def test_a_draft_has_one_final_only(here: Here) -> None:
    draft = await draft_of(here, "only-one")
    final = await here.submit(quality="standard", draft_job_id=draft["job_id"])
    await here.completed(final)
    assert final in await refused_final(here, draft["job_id"])


async def test_a_final_is_not_a_draft_of_another(here: Here) -> None:
    final = await here.completed(await here.submit(quality="standard"))
    assert "not a draft" in await refused_final(here, final["job_id"])


async def test_a_draft_is_not_the_final_of_another(here: Here) -> None:
    draft = await draft_of(here, "chain")
    assert "cannot be the final" in await refused_final(here, draft["job_id"], quality="draft")


async def test_a_draft_of_another_blog_is_not_taken(here: Here) -> None:
    draft = await draft_of(here, "its-own")
    assert "its-own" in await refused_final(here, draft["job_id"], blog_id="foreign")


async def test_an_unknown_draft_is_not_taken(here: Here) -> None:
    assert "no such job" in await refused_final(here, str(uuid4()))


async def test_a_draft_that_is_not_completed_is_not_taken(tmp_path: Path) -> None:
    async with served(idle_settings(tmp_path / "home")) as here:
        draft = await here.submit(quality="draft")
        await here.until(lambda: here.count("jobs", "state = 'running'") == 1, "running")
        assert "running, not completed" in await refused_final(here, draft)
        await here.http.delete(f"/api/v1/images/jobs/{draft}")
        assert "cancelled, not completed" in await refused_final(here, draft)


async def test_another_tenants_jobs_pictures_and_blogs_are_not_there(here: Here) -> None:
    mine = await draft_of(here, "secret")
    (image,) = mine["result"]["images"]
    here.limner.settings.tenant = "another"
    try:
        async with client_of(here.limner) as http:
            path = f"/api/v1/images/jobs/{mine['job_id']}"
            for reply in (
                await http.get(path),
                await http.delete(path),
                await http.post(f"{path}/cancel"),
                await http.get(image["url"].removeprefix(LOCAL)),
            ):
                assert reply.status_code == 404
            assert await slots(here, "secret") == []
            assert "no such job" in await refused_final(here, mine["job_id"])
    finally:
        here.limner.settings.tenant = "default"
