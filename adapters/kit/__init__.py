"""Write a subscriber for Limner's events in Python: handlers, with an inbox on your own database.

    from adapters.kit import Event, Subscriber, metadata
    from schemas.event_data import JobCompleted

    engine = sqlalchemy.create_engine("sqlite:///newsletter.sqlite")
    metadata.create_all(engine)  # the kit's two tables, beside yours
    newsletter = Subscriber("newsletter", engine)

    @newsletter.on("image.job.completed")
    def add_picture(event: Event[JobCompleted], connection: Connection) -> None:
        connection.execute(pictures.insert().values(job_id=event.data.job_id))

`pull`, `push` and `webhook` bring events to it; `conformance` tells whether a subscriber, whoever
wrote it, keeps to what is promised of events. docs/events.md tells the promises.
"""

from adapters.delivery import Verdict
from adapters.kit.inbox import metadata
from adapters.kit.subscriber import Event, Subscriber

__all__ = ["Event", "Subscriber", "Verdict", "metadata"]
