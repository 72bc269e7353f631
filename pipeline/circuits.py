"""Close a key's circuit once it is mended, and wake the jobs that it held.

A probe's success closes it too. Held jobs are woken by whoever closes it and by every sweep, so
that none is forgotten when the process that closed it dies.
"""

from collections.abc import Sequence
from uuid import UUID

import structlog

from adapters.store import machine_reads
from pipeline.errors import NoSuchProvider
from pipeline.gate import Gate, closed, line_up, look_at, store
from pipeline.journal import Journal
from pipeline.key_words import key_rows
from pipeline.move import first_wake, job_key
from pipeline.providers import Providers
from schemas.step import Look, Step, Writes
from schemas.tables import Circuit, JobRow, ProviderRow, Waiting
from states.table import State

log = structlog.get_logger(__name__)

WOKEN_AT_ONCE = 500


async def reset(name: str, providers: Providers, journal: Journal) -> None:
    """Close the circuit of provider *name* by a person's word, and forget which models were gone.

    Its held jobs stand in the line at once; a pause that the provider asked for stays. Resetting
    what is closed changes nothing. Raises `NoSuchProvider`.
    """
    if name not in providers.by_name:
        raise NoSuchProvider(name, sorted(providers.by_name))
    gate = providers.gate(name)
    if gate is None:
        return
    now = journal.now()

    def decide(look: Look, writes: Writes) -> None:
        row = look_at(gate, look)
        if row.circuit is not Circuit.CLOSED:
            row = closed(row, now)
        if look.get(ProviderRow, *gate.key.key) is not None:
            store(row.changed(retired={}), look, writes)

    await journal.record(Step("reset_provider", decide, shared=(gate.key,)))
    log.info("provider_reset", provider=name)
    await _wake(gate, journal)


async def wake_held(providers: Providers, journal: Journal) -> None:
    """Wake the jobs of every key whose circuit is closed."""
    if not providers.gates:
        return
    rows = await key_rows(providers, journal)
    for gate in providers.gates:
        row = rows.get(gate.key.key[0])
        if row is None or row.circuit is Circuit.CLOSED:
            await _wake(gate, journal)


async def _wake(gate: Gate, journal: Journal) -> None:
    name = gate.key.key[0]
    while held := await journal.read(
        machine_reads.waiting_jobs, name, Waiting.UNUSABLE.value, WOKEN_AT_ONCE
    ):
        if not await journal.record(_waking(gate, held, journal)):
            return
        log.info("held_jobs_woken", provider=name, jobs=len(held))


def _waking(gate: Gate, held: Sequence[UUID], journal: Journal) -> Step[bool]:
    """The step that gives *held* jobs their places; False where the circuit is open again."""
    now = journal.now()

    def decide(look: Look, writes: Writes) -> bool:
        row = look_at(gate, look)
        if row.circuit is not Circuit.CLOSED:
            return False
        for job_id in held:
            job = look.get(JobRow, job_id)
            if job is None or job.state is not State.QUEUED or job.waiting != Waiting.UNUSABLE:
                continue
            place = line_up(row, gate.limits, now)
            row = place.row
            woken = job.changed(
                dispatch=job.dispatch + 1,
                dispatched_to=None,
                not_before=place.until,
                wake_at=first_wake(now, place.until, job.deadline_at),
                waiting=place.why.value,
            )
            writes.update(woken, job_id)
        store(row, look, writes)
        return True

    keys = tuple(job_key(job_id) for job_id in held)
    return Step("wake_held", decide, keys, (gate.key,))
