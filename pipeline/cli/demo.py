"""`limner demo`: the main job, seen from outside: a blog post gets drafts, then its pictures."""

import asyncio
import json
import os
import sys
import time
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import httpx2
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from adapters.store import event_reads, picture_reads
from pipeline.cli.reach import authorization
from pipeline.cli.sample_post import SECTIONS, Section, write_page
from pipeline.cli.serve import serving, until_stopped
from pipeline.cli.start import CommandFailed
from pipeline.settings import Settings
from pipeline.telemetry.logs import configure_logging
from pipeline.wiring import Limner

POLL_SECONDS = 0.1
PATIENCE_SECONDS = 80.0
AT_REST = ("completed", "failed", "cancelled")


@dataclass(slots=True)
class Illustration:
    """One section of the post with its draft, its final and what stands in the post."""

    section: Section
    draft: dict[str, Any] = field(default_factory=dict)
    final: dict[str, Any] = field(default_factory=dict)
    slot: dict[str, Any] = field(default_factory=dict)
    path: str = ""


async def run_demo(settings: Settings, *, leave: bool, as_json: bool) -> int:
    # Progress goes where JSON does not; the log goes to a file, so that the bars stay whole.
    console = Console(file=sys.stderr if as_json else sys.stdout)
    try:
        settings.home.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise CommandFailed(
            f"the folder {settings.home} cannot be made ({exc.strerror}): choose another with"
            " --home"
        ) from exc
    log_path = settings.home / "limner.log"
    with log_path.open("a", buffering=1) as log_file:
        configure_logging(log_file, as_json=True)
        async with serving(settings) as (limner, address, stop):
            show = _Demo(limner, address, console)
            work = asyncio.create_task(show.run())
            stopped = asyncio.create_task(stop.wait())
            await asyncio.wait({work, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                work.cancel()
                console.print("Stopped. What was accepted is kept: the next start goes on with it.")
                return 130
            stopped.cancel()
            summary = work.result()
            page = write_page(settings.home / "post.html", show.illustrations)
            _print_result(
                console, show.illustrations, summary, str(page), str(log_path), leave=leave
            )
            if as_json:
                print(json.dumps(summary), flush=True)
            good = summary["completed"] == summary["jobs"] and summary["linked"] == len(SECTIONS)
            if leave or not good:
                return 0 if good else 1
            console.print(f"\nServing on [bold]{address}[/]. Ctrl-C stops.")
            return await until_stopped(limner, stop)


class _Demo:
    def __init__(self, limner: Limner, address: str, console: Console) -> None:
        self._limner = limner
        self._tenant = limner.settings.tenant
        self._console = console
        self._client = httpx2.AsyncClient(base_url=address, timeout=30, headers=authorization())
        self._blog_id = f"sample-post-{uuid4().hex[:8]}"
        self.illustrations = [Illustration(section) for section in SECTIONS]

    async def run(self) -> dict[str, Any]:
        """Illustrate the post over HTTP, as any program would; return the summary."""
        began = time.monotonic()
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                drafts = await self._batch()
                with self._progress() as progress:
                    await asyncio.gather(
                        *(
                            self._one(one, draft_id, progress)
                            for one, draft_id in zip(self.illustrations, drafts, strict=True)
                        )
                    )
                await self._linked()
        except TimeoutError:
            self._console.print(
                f"The post is not finished after {PATIENCE_SECONDS:.0f} s; the log says why."
            )
        finally:
            await self._client.aclose()
        return await self._summary(time.monotonic() - began)

    def _progress(self) -> Progress:
        return Progress(
            TextColumn("{task.description:<28}"),
            BarColumn(bar_width=30),
            TextColumn("{task.percentage:>3.0f} %"),
            TextColumn("{task.fields[state]:<17}"),
            TimeElapsedColumn(),
            console=self._console,
        )

    async def _batch(self) -> list[str]:
        """Ask for all pictures of the post at once; the ids of their drafts."""
        reply = await self._client.post(
            "/api/v1/images/batch-generate",
            json={
                "blog_id": self._blog_id,
                "workflow": "draft_then_final",
                "images": [
                    {
                        "prompt": one.section.prompt,
                        "aspect_ratio": one.section.aspect_ratio,
                        "role": one.section.role,
                        "position": one.section.position,
                        "alt_text": one.section.alt_text,
                    }
                    for one in self.illustrations
                ],
            },
            headers={"Idempotency-Key": self._blog_id},
        )
        if reply.status_code != 202:
            raise CommandFailed(f"the service refused the request: {reply.text}")
        return list(reply.json()["job_ids"])

    async def _one(self, one: Illustration, draft_id: str, progress: Progress) -> None:
        """Watch a draft, and then the final that takes its place."""
        title = one.section.title
        one.draft = await self._watched(progress, f"{title}, draft", draft_id)
        while one.draft["status"] == "completed" and not one.draft["final_job_id"]:
            one.draft = await self._status(draft_id)
            await asyncio.sleep(POLL_SECONDS)
        if one.draft["final_job_id"]:
            one.final = await self._watched(progress, f"{title}, final", one.draft["final_job_id"])

    async def _watched(self, progress: Progress, title: str, job_id: str) -> dict[str, Any]:
        bar: TaskID = progress.add_task(title, total=100, state="queued")
        while True:
            status = await self._status(job_id)
            progress.update(bar, completed=status["progress_percentage"], state=status["status"])
            if status["status"] in AT_REST:
                return status
            await asyncio.sleep(POLL_SECONDS)

    async def _status(self, job_id: str) -> dict[str, Any]:
        return dict((await self._client.get(f"/api/v1/images/jobs/{job_id}")).json())

    async def _linked(self) -> None:
        """Wait until every final stands in its place."""
        while True:
            await self._look_at_blog()
            finals = [one for one in self.illustrations if one.final.get("status") == "completed"]
            if all(one.slot.get("job_id") == one.final["job_id"] for one in finals):
                return
            await asyncio.sleep(POLL_SECONDS)

    async def _look_at_blog(self) -> None:
        reply = (await self._client.get(f"/api/v1/blogs/{self._blog_id}/images")).json()
        places = {(slot["role"], slot["position"]): slot for slot in reply["images"]}
        for one in self.illustrations:
            one.slot = places.get((one.section.role, one.section.position), {})

    async def _summary(self, seconds: float) -> dict[str, Any]:
        jobs = [job for one in self.illustrations for job in (one.draft, one.final) if job]
        done = [job for job in jobs if job["status"] == "completed"]
        linked = [
            one
            for one in self.illustrations
            if one.final and one.slot.get("job_id") == one.final["job_id"]
        ]
        journal = self._limner.journal
        for one in linked:
            image = await journal.read(
                picture_reads.image, self._tenant, UUID(one.slot["image_id"])
            )
            assert image is not None
            one.path = _shown(self._limner.blobs.location(image.key))
        return {
            "jobs": 2 * len(self.illustrations),
            "completed": len(done),
            "drafts": sum(job["is_draft"] for job in done),
            "finals": sum(not job["is_draft"] for job in done),
            "linked": len(linked),
            "events": await journal.read(event_reads.event_count, self._tenant, self._blog_id),
            "seconds": round(seconds, 2),
            "images": [one.path for one in linked],
        }


def _print_result(
    console: Console,
    illustrations: list[Illustration],
    summary: dict[str, Any],
    page: str,
    log_path: str,
    *,
    leave: bool,
) -> None:
    console.print()
    for one in illustrations:
        if not one.path:
            job = one.final or one.draft
            console.print(
                f"[red]{one.section.title}[/]: {job.get('status', 'not made')}"
                f" {job.get('error_message') or ''}"
            )
            continue
        console.print(f"[bold]{one.section.title}[/] ({one.section.role} {one.section.position})")
        console.print(f"  {one.path}", soft_wrap=True, highlight=False)
        console.print(f"  {one.slot['url']}", soft_wrap=True, highlight=False)
    console.print(
        f"\n{summary['completed']} of {summary['jobs']} jobs completed, {summary['linked']}"
        f" pictures linked, {summary['events']} events, {summary['seconds']} s."
    )
    if leave:
        console.print("The addresses answer while `limner serve` runs on this folder.")
    console.print(f"The illustrated post: {_shown(page)}", soft_wrap=True, highlight=False)
    console.print(f"The log: {_shown(log_path)}", soft_wrap=True, highlight=False)


def _shown(path: str) -> str:
    """A path as short as it can be said from here."""
    return os.path.relpath(path)
