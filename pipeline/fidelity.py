"""Hold a final against its draft; without it a final that became another picture goes unnoticed."""

import structlog

from adapters.errors import AdapterError, NoSuchObject
from adapters.ports import BlobStore, Pictures
from adapters.store import picture_reads
from pipeline.journal import Journal
from schemas.fidelity import Fidelity
from schemas.tables import JobRow

log = structlog.get_logger(__name__)


async def compare_with_draft(
    job: JobRow, final: bytes, *, journal: Journal, blobs: BlobStore, pictures: Pictures
) -> Fidelity | None:
    """Compare *final* with its draft's first picture; None for a job without a draft.

    None as well where the draft's picture is gone or cannot be read: a final that is paid for
    never waits for a figure, nor fails by it. Raises `StoreUnavailable` only.
    """
    if job.draft_job_id is None:
        return None
    images = await journal.read(picture_reads.images_of_jobs, job.tenant, [job.draft_job_id])
    draft = next((image for image in images if image.index == 0), None)
    if draft is None:
        log.info("final_not_compared", job_id=str(job.id), reason="the draft's picture was deleted")
        return None
    try:
        return await pictures.compare(await blobs.get(draft.key), final)
    except NoSuchObject as exc:  # deleted a moment ago
        log.info("final_not_compared", job_id=str(job.id), reason=str(exc))
    except AdapterError as exc:
        log.warning("final_not_compared", job_id=str(job.id), reason=str(exc))
    except Exception:
        log.exception("final_not_compared", job_id=str(job.id))
    return None
