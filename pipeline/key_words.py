"""Why a provider's jobs wait, and what to do: jobs, health and doctor tell it alike."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from uuid import UUID

from adapters.store import machine_reads
from pipeline.journal import Journal
from pipeline.providers import Providers
from schemas.replies import WaitingResponse
from schemas.tables import Circuit, JobRow, ProviderRow, Waiting
from states.table import State

REMEDIES: Mapping[str, str] = {
    "unauthorized": "its API key is refused. Configure a valid one and restart",
    "permission_denied": "its API key lacks a permission. Give it, or configure another key",
    "out_of_credit": "its account has no credit left. Buy some",
}
NOT_CONFIGURED = "provider_not_configured"


def circuit_words(row: ProviderRow) -> str:
    """Why the key's circuit is not closed, and what to do."""
    what = REMEDIES.get(row.reason or "", f"it takes nothing ({row.detail})")
    tried = (
        "a job tries it now"
        if row.circuit is Circuit.HALF_OPEN
        else f"a job tries it at {_time(row.retry_at)}"
    )
    return (
        f"{row.provider}: {what}; `limner providers reset {row.provider}` then starts what waits at"
        f" once. Until then {tried}, and nothing is charged."
    )


def pause_words(row: ProviderRow) -> str:
    return (
        f"{row.provider} asked to be left alone until {_time(row.paused_until)}. Nothing is to be"
        " done: its jobs go on then, one by one."
    )


async def key_rows(providers: Providers, journal: Journal) -> Mapping[str, ProviderRow]:
    """What is known of the present key of each provider, by the provider's name."""
    rows = await journal.read(machine_reads.provider_keys)
    present = {gate.key.key for gate in providers.gates}
    return {row.provider: row for row in rows if (row.provider, row.fingerprint) in present}


async def waits(
    jobs: Sequence[JobRow], journal: Journal, providers: Providers
) -> dict[UUID, WaitingResponse]:
    """Why each of the queued *jobs* waits that could not start now even if its turn had come."""
    queued = [job for job in jobs if job.state is State.QUEUED]
    held = [
        job
        for job in queued
        if job.waiting is not None
        or job.provider not in providers.by_name
        or providers.gate(job.provider) is not None
    ]
    if not held:
        return {}
    rows = await key_rows(providers, journal)
    now = journal.now()
    found = {}
    for job in held:
        why = _why(job, rows.get(job.provider), providers, now)
        if why is not None:
            found[job.id] = why
    return found


def _why(
    job: JobRow, row: ProviderRow | None, providers: Providers, now: datetime
) -> WaitingResponse | None:
    if job.provider not in providers.by_name:
        words = f"{job.provider} is not configured here. Configure it, or cancel the job."
        return WaitingResponse(reason=NOT_CONFIGURED, detail=words, until=None)
    if row is not None and row.circuit is not Circuit.CLOSED:
        words, until = circuit_words(row), row.retry_at
        return WaitingResponse(reason=Waiting.UNUSABLE, detail=words, until=until)
    if row is not None and row.paused_until is not None and row.paused_until > now:
        until = max(row.paused_until, job.not_before or now)
        return WaitingResponse(reason=Waiting.PAUSED, detail=pause_words(row), until=until)
    if job.waiting is None or job.not_before is None or job.not_before <= now:
        return None
    if job.waiting == Waiting.BUSY:
        words = f"{job.provider} did not take it and charged nothing; it is asked again by itself."
        return WaitingResponse(reason=Waiting.BUSY, detail=words, until=job.not_before)
    words = f"{job.provider} is asked as often as it admits; the job stands in line."
    return WaitingResponse(reason=Waiting.RATE_LIMIT, detail=words, until=job.not_before)


def _time(moment: datetime | None) -> str:
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z") if moment else "some time"
