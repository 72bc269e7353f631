"""What the three examples do about events: keep a gallery of finished pictures, and say where each
job stands. Bringing the events is up to `pull.py`, `push.py` and `webhook.py`.
"""

import os
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from adapters.kit import Event, Subscriber, metadata
from schemas.event_data import JobCompleted, JobData

engine = sa.create_engine(os.environ.get("GALLERY_DATABASE_URL", "sqlite:///gallery.sqlite"))
tables = sa.MetaData()
pictures = sa.Table(
    "pictures",
    tables,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("job_id", sa.Uuid, index=True),
    sa.Column("key", sa.Text),
    sa.Column("alt_text", sa.Text),
)
jobs = sa.Table(
    "jobs",
    tables,
    sa.Column("job_id", sa.Uuid, primary_key=True),
    sa.Column("state", sa.Text),
)

gallery = Subscriber("gallery", engine)


def open_gallery() -> Subscriber:
    tables.create_all(engine)
    metadata.create_all(engine)  # the memory of what was handled, beside our tables
    return gallery


# Every completion counts: called once for each, whatever comes twice or late.
@gallery.on("image.job.completed")
def hang_up(event: Event[JobCompleted], connection: sa.Connection) -> None:
    for image in event.data.images:
        row = {"job_id": event.data.job_id, "key": image.key, "alt_text": event.data.alt_text}
        connection.execute(pictures.insert().values(row))


# Only the present counts: an event that was overtaken by a later one is passed over.
@gallery.on(
    "image.job.queued",
    "image.job.started",
    "image.job.completed",
    "image.job.failed",
    "image.job.cancelled",
    newest_only=True,
)
def show_state(event: Event[JobData], connection: sa.Connection) -> None:
    job_id, state = event.data.job_id, event.data.state.value
    known = connection.execute(
        jobs.update().where(jobs.c.job_id == job_id).values(state=state)
    ).rowcount
    if not known:
        connection.execute(jobs.insert().values(job_id=job_id, state=state))


def effects(subject: str) -> dict[str, Any]:
    """What came of the events of one job; `limner conformance` looks at it."""
    try:
        job_id = UUID(subject)
    except ValueError:
        return {}
    with engine.connect() as connection:
        found = connection.execute(
            sa.select(pictures.c.key, pictures.c.alt_text)
            .where(pictures.c.job_id == job_id)
            .order_by(pictures.c.key)
        ).all()
        state = connection.execute(sa.select(jobs.c.state).where(jobs.c.job_id == job_id)).scalar()
    return {"pictures": [list(row) for row in found], "state": state}
