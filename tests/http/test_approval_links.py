"""Approval links as their bearer uses them: a page that shows, a button that decides, once."""

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx2
import pytest
import pytest_asyncio

from pipeline.links import Link, Purpose, read, sign
from pipeline.settings import Settings
from tests.service import Here, served

pytestmark = pytest.mark.asyncio(loop_scope="module")

HOSTILE = '"><script>alert(1)</script><img src=x onerror="alert(2)">\'</title></style>'


@dataclass
class Bearer:
    """A service, and somebody who has nothing but a link."""

    here: Here
    http: httpx2.AsyncClient

    async def draft(self, **request: Any) -> str:
        status = await self.here.completed(
            await self.here.submit(**{"quality": "draft", "blog_id": "post"} | request)
        )
        job_id: str = status["job_id"]
        return job_id

    async def links(self, job_id: str, **body: Any) -> dict[str, str]:
        path = f"/api/v1/images/jobs/{job_id}/approval-links"
        reply = await self.http.post(path, json=body or None)
        assert reply.status_code == 200, reply.text
        found: dict[str, str] = reply.json()
        return found


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def bearer(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Bearer]:
    home: Path = tmp_path_factory.mktemp("approval") / "home"
    async with served(Settings(home=home)) as here:
        yield Bearer(here, here.http)


class Page(HTMLParser):
    """What a browser would make of a page."""

    def __init__(self, reply: httpx2.Response) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        assert reply.headers["content-type"] == "text/html; charset=utf-8"
        self.feed(reply.text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.text += data


async def test_looking_shows_the_draft_and_decides_nothing(bearer: Bearer) -> None:
    draft = await bearer.draft(prompt="a lighthouse at dusk", role="hero", alt_text="A tower")
    links = await bearer.links(draft)
    before = bearer.here.stored()
    for _ in range(2):
        reply = await bearer.http.get(links["approve_url"])
        page = Page(reply)
        assert reply.status_code == 200
        for told in ("a lighthouse at dusk", "$0.006", "hero 1 of post", "has decided nothing"):
            assert told in page.text
        assert ("alt", "A tower") in page.attributes
        assert page.tags.count("button") == 1
    assert Page(await bearer.http.get(links["reject_url"])).text.count("$") == 0
    assert bearer.here.stored() == before
    assert (await bearer.here.status(draft))["final_job_id"] is None


@pytest.mark.parametrize("ratio", ["1:1", "9:16", "21:9"])
async def test_the_draft_is_shown_as_wide_as_it_is(bearer: Bearer, ratio: str) -> None:
    draft = await bearer.draft(aspect_ratio=ratio)
    width = (await bearer.here.status(draft))["result"]["images"][0]["width"]
    links = await bearer.links(draft)
    page = Page(await bearer.http.get(links["approve_url"]))
    assert ("width", str(width)) in page.attributes


async def test_the_page_loads_nothing_runs_nothing_and_is_told_to_nobody(bearer: Bearer) -> None:
    links = await bearer.links(await bearer.draft())
    reply = await bearer.http.get(links["approve_url"])
    policy = reply.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; img-src data:; style-src 'sha256-")
    assert "frame-ancestors 'none'" in policy
    assert "script" not in policy
    assert reply.headers["referrer-policy"] == "no-referrer"
    assert "noindex" in reply.headers["x-robots-tag"]
    assert reply.headers["cache-control"] == "no-store"
    page = Page(reply)
    assert "script" not in page.tags
    assert ("lang", "en") in page.attributes
    sources = [value for name, value in page.attributes if name in ("src", "href", "action")]
    assert [value[:23] for value in sources if value] == ["data:image/webp;base64,"]


async def test_approving_buys_one_final_however_often_it_is_done(bearer: Bearer) -> None:
    draft = await bearer.draft()
    links = await bearer.links(draft)
    first = await bearer.http.post(links["approve_url"])
    assert first.status_code == 200
    assert "is approved" in Page(first).text
    final = (await bearer.here.status(draft))["final_job_id"]
    assert final is not None
    await bearer.here.completed(final)
    for reply in (
        await bearer.http.post(links["approve_url"]),
        await bearer.http.get(links["approve_url"]),
        await bearer.http.post(links["reject_url"]),
        await bearer.http.get(links["reject_url"]),
    ):
        page = Page(reply)
        assert reply.status_code == 200
        assert "is approved" in page.text
        assert "decided before" in page.text
        assert "final picture is finished" in page.text
        assert "button" not in page.tags
    assert bearer.here.count("jobs", f"draft_job_id = '{draft.replace('-', '')}'") == 1


async def test_a_rejection_stands_against_a_later_approval(bearer: Bearer) -> None:
    draft = await bearer.draft()
    links = await bearer.links(draft)
    assert "is rejected" in Page(await bearer.http.post(links["reject_url"])).text
    late = Page(await bearer.http.post(links["approve_url"]))
    assert "is rejected" in late.text
    assert "decided before" in late.text
    assert (await bearer.here.status(draft))["final_job_id"] is None


async def test_a_cancelled_final_may_be_bought_again(bearer: Bearer) -> None:
    draft = await bearer.draft()
    links = await bearer.links(draft)
    await bearer.here.limner.dispatching.pause("so that the final waits")
    await bearer.http.post(links["approve_url"])
    final = (await bearer.here.status(draft))["final_job_id"]
    await bearer.http.delete(f"/api/v1/images/jobs/{final}")
    await bearer.here.limner.dispatching.resume()
    assert "button" in Page(await bearer.http.get(links["approve_url"])).tags
    await bearer.http.post(links["approve_url"])
    assert (await bearer.here.status(draft))["final_job_id"] not in (final, None)


async def test_a_hostile_prompt_is_text_and_nothing_else(bearer: Bearer) -> None:
    draft = await bearer.draft(prompt=HOSTILE, alt_text=HOSTILE)
    links = await bearer.links(draft)
    for reply in (
        await bearer.http.get(links["approve_url"]),
        await bearer.http.post(links["reject_url"]),
    ):
        page = Page(reply)
        assert HOSTILE in page.text
        assert ("alt", HOSTILE) in page.attributes
        assert "script" not in page.tags
        assert page.tags.count("img") == 1
        assert not any(name.startswith("on") for name, _ in page.attributes)
        assert re.search(r"<script|onerror=\"", reply.text) is None


async def test_a_link_that_is_not_ours_or_too_old_decides_nothing(bearer: Bearer) -> None:
    draft = await bearer.draft()
    links = await bearer.links(draft)
    before = bearer.here.stored()
    token = links["approve_url"].rpartition("/")[2]
    secret = bearer.here.limner.link_secret
    link = read(token, secret)
    assert link is not None
    now = bearer.here.limner.journal.now().replace(microsecond=0)
    for bad, status in (
        (token[:-5], 404),
        ("x", 404),
        (sign(link, b"another secret of 32 characters!!"), 404),
        (sign(link._replace(job_id=UUID(int=1)), secret), 404),
        (sign(link._replace(tenant="another"), secret), 404),
        (sign(link._replace(expires_at=now), secret), 410),
    ):
        for method in ("GET", "POST"):
            reply = await bearer.http.request(method, f"/approvals/{bad}")
            assert reply.status_code == status
            assert "noindex" in reply.headers["x-robots-tag"]
            assert "button" not in Page(reply).tags
    assert bearer.here.stored() == before
    assert Link(Purpose.APPROVE, "default", UUID(draft), link.expires_at) == link


async def test_a_draft_of_a_deleted_blog_has_nothing_to_decide(bearer: Bearer) -> None:
    links = await bearer.links(await bearer.draft(blog_id="gone"))
    await bearer.here.http.delete("/api/v1/blogs/gone")
    for reply in (
        await bearer.http.get(links["approve_url"]),
        await bearer.http.post(links["approve_url"]),
    ):
        assert (reply.status_code, "button" in Page(reply).tags) == (410, False)


async def test_links_live_as_long_as_was_asked_for(bearer: Bearer) -> None:
    draft = await bearer.draft()
    secret, now = bearer.here.limner.link_secret, bearer.here.limner.journal.now()
    for body, days in (({}, 7), ({"expires_in_seconds": 30 * 86_400}, 30)):
        links = await bearer.links(draft, **body)
        for name in ("approve_url", "reject_url"):
            link = read(links[name].rpartition("/")[2], secret)
            assert link is not None
            assert link.expires_at.isoformat().replace("+00:00", "Z") == links["expires_at"]
            assert abs((link.expires_at - now).total_seconds() - days * 86_400) < 60


async def test_links_are_made_for_completed_drafts_of_the_caller_only(bearer: Bearer) -> None:
    here = bearer.here
    final = await here.completed(await here.submit(quality="standard"))
    draft = await bearer.draft()
    cases: list[tuple[str, Any, int]] = [
        (final["job_id"], None, 409),
        (str(UUID(int=1)), None, 404),
        ("draft", None, 422),
        (draft, {"expires_in_seconds": 31 * 86_400}, 422),
        (draft, {"expires_in_seconds": 0}, 422),
        (draft, {"purpose": "approve"}, 422),
    ]
    for job_id, body, status in cases:
        path = f"/api/v1/images/jobs/{job_id}/approval-links"
        reply = await bearer.http.post(path, json=body)
        assert reply.status_code == status, reply.text
        assert reply.headers["content-type"] == "application/problem+json"
    here.limner.settings.tenant = "another"
    try:
        path = f"/api/v1/images/jobs/{draft}/approval-links"
        assert (await bearer.http.post(path)).status_code == 404
    finally:
        here.limner.settings.tenant = "default"


async def test_links_outlive_a_restart(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home")
    async with served(settings) as here:
        secret = here.limner.link_secret
    async with served(settings) as here:
        assert here.limner.link_secret == secret
    async with served(settings.model_copy(update={"home": tmp_path / "other"})) as here:
        assert here.limner.link_secret != secret
