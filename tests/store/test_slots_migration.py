"""A database of the release before: what stood in places is kept, drafts become previews."""

import json
from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import sqlalchemy as sa
from alembic import command
from alembic.script import ScriptDirectory
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import create_async_engine
from sqlmodel import SQLModel

from adapters.store import picture_reads
from adapters.store.database import open_store
from schemas.migrations.run import config, upgrade
from schemas.tables import BlogSlot, Event, Inbox
from states.slots import Rank
from tests.jobs import NOW

OURS = "0004"
DRAFT, FINAL, UNTOLD = uuid4(), uuid4(), uuid4()


async def test_a_place_of_the_release_before_gets_its_candidates_and_history(
    database_url: str,
) -> None:
    await _on(database_url, _as_it_was)
    await _on(database_url, upgrade)
    store = open_store(database_url)
    try:
        hero, inline = await store.read(picture_reads.slots, "default", "post")
        assert (hero.job_id, hero.rank, hero.alt_text) == (FINAL, Rank.FINAL, None)
        assert (inline.job_id, inline.image_id, inline.rank) == (None, None, 0)
        offered = await store.read(picture_reads.slot_candidates, "default", "post")
        # One whose event was not handled yet is still to be offered.
        assert [(one.job_id, one.rank, one.alt_text) for one in offered] == [
            (FINAL, Rank.FINAL, "as requested"),
            (DRAFT, Rank.DRAFT, "as requested"),
        ]
        (change,) = await store.read(picture_reads.slot_changes, "default", "post")
        assert (change.version, change.change, change.job_id) == (1, "blog.image.linked", FINAL)
    finally:
        await store.close()


def _as_it_was(connection: sa.Connection) -> None:
    """The schema of the release before, with a final in the hero and a draft inline."""
    SQLModel.metadata.drop_all(connection)
    connection.execute(sa.text("DROP TABLE alembic_version"))
    before = ScriptDirectory.from_config(config()).get_revision(OURS).down_revision
    command.upgrade(config(connection), str(before))
    slots = sa.table(
        "blog_slots",
        *(
            sa.column(one.name, one.type)
            for one in BlogSlot.__table__.columns  # type: ignore[attr-defined]  # SQLModel sets it
            if one.name != "focal_point"
        ),
    )
    for job_id, role, rank in ((FINAL, "hero", Rank.FINAL), (DRAFT, "inline", Rank.DRAFT)):
        connection.execute(
            sa.insert(slots).values(
                tenant="default", blog_id="post", role=role, position=1, version=1,
                image_id=_picture(job_id), job_id=job_id, rank=rank, seq=4,
                alt_text="as requested", updated_at=NOW,
            )
        )  # fmt: skip
    for event in _events():
        connection.execute(sa.insert(Event).values(**event))
        if event["type"] == "image.job.completed" and event["stream_id"] != str(UNTOLD):
            connection.execute(
                sa.insert(Inbox).values(
                    subscriber="blog-linking", event_id=event["event_id"], handled_at=NOW
                )
            )


def _events() -> Iterator[dict[str, Any]]:
    for job_id, role, is_draft in (
        (DRAFT, "inline", True), (FINAL, "hero", False), (UNTOLD, "hero", False),
    ):  # fmt: skip
        facts = {
            "blog_id": "post", "role": role, "position": 1, "job_id": str(job_id),
            "is_draft": is_draft, "alt_text": "as requested", "caption": None,
            "image_id": str(_picture(job_id)), "images": [{"image_id": str(_picture(job_id))}],
        }  # fmt: skip
        shared = {"tenant": "default", "data": json.dumps(facts), "occurred_at": NOW}
        yield shared | {
            "stream_kind": "job", "stream_id": str(job_id), "seq": 4, "event_id": uuid4(),
            "type": "image.job.completed", "blog_id": "post",
        }  # fmt: skip
        if job_id != UNTOLD:
            yield shared | {
                "stream_kind": "slot", "stream_id": f"post/{role}/1", "seq": 1,
                "event_id": uuid4(), "type": "blog.image.linked", "blog_id": "post",
            }  # fmt: skip


def _picture(job_id: UUID) -> UUID:
    return UUID(int=job_id.int ^ 1)


async def _on(url: str, work: Any) -> None:
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        engine = sa.create_engine(parsed)
        with engine.begin() as connection:
            work(connection)
        engine.dispose()
        return
    asynchronous = create_async_engine(parsed.set(drivername="postgresql+asyncpg"))
    async with asynchronous.begin() as opened:
        await opened.run_sync(work)
    await asynchronous.dispose()
