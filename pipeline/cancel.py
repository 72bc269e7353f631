"""Cancel a job. What the provider was already asked for is still settled in the ledger."""

from uuid import UUID

from adapters.ports import Ids
from pipeline.errors import CannotCancel, NoSuchJob
from pipeline.journal import Journal
from pipeline.move import job_key, move_job
from pipeline.tally import record_moves
from schemas.step import Look, Step, Writes
from schemas.tables import JobRow
from states.table import OPEN, State, Trigger


async def cancel(job_id: UUID, *, tenant: str, journal: Journal, ids: Ids) -> JobRow:
    """Cancel an open job and return it. A cancelled one is a success; another end is a 409."""
    event_id, now = ids.new(), journal.now()

    def decide(look: Look, writes: Writes) -> JobRow:
        job = look.get(JobRow, job_id)
        if job is None or job.tenant != tenant:
            raise NoSuchJob(job_id)
        if job.state is State.CANCELLED:
            return job
        if job.state not in OPEN:
            raise CannotCancel(job_id, job.state.value)
        return move_job(writes, job, Trigger.CANCEL, at=now, event_id=event_id)

    return await record_moves(journal, Step("cancel", decide, (job_key(job_id),)))
