"""One event, handled by one subscriber as the bus would have it handled."""

from adapters.ports import Ids
from pipeline.journal import Journal
from pipeline.subscribers import blog_linking
from schemas.events import CloudEvent


async def link(event: CloudEvent, journal: Journal, ids: Ids) -> None:
    """Offer a picture to its slot; raises why that could not be."""
    (failure,) = await blog_linking.link([event], journal, ids)
    if failure is not None:
        raise failure
