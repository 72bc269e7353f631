"""How each provider does: whether it paints, why not, since when, and how many jobs wait for it."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from statistics import median

from adapters.store import job_reads, machine_reads
from pipeline.estimates import LEAST_SAMPLES
from pipeline.journal import Journal
from pipeline.key_words import circuit_words, key_rows, pause_words
from pipeline.providers import Providers
from schemas.replies import ProviderHealth, ProviderHealthResponse, ProviderStatus, RetiredModel
from schemas.requests import Quality
from schemas.tables import Circuit, ProviderRow


async def provider_health(
    providers: Providers, tenant: str, journal: Journal
) -> ProviderHealthResponse:
    """Every provider that is configured, that is stood in for, or for which jobs wait.

    Tenants share the keys; of jobs, each is told of its own.
    """
    rows = await key_rows(providers, journal)
    queues = {queue.provider: queue for queue in await journal.read(machine_reads.queues, tenant)}
    spans = await journal.read(machine_reads.recent_spans_by_provider)
    now = journal.now()
    found = []
    for name in sorted({*providers.by_name, *providers.stand_ins, *queues}):
        health = _health(name, rows.get(name), providers, now)
        if health.probe_job_id is not None and not await journal.read(
            job_reads.job, tenant, health.probe_job_id
        ):
            health.probe_job_id = None
        queue = queues.get(name)
        if queue is not None:
            health.queued_jobs, health.waiting_jobs = queue.queued, queue.waiting
        health.p50_seconds = _medians(name, spans)
        found.append(health)
    return ProviderHealthResponse(providers=found)


def _health(
    name: str, row: ProviderRow | None, providers: Providers, now: datetime
) -> ProviderHealth:
    if name not in providers.by_name:
        stand_in = providers.stand_ins.get(name)
        why = f"{name} is not configured here" + (
            f"; {stand_in} paints in its place, offline and without AI. Set its key."
            if stand_in is not None
            else ", and jobs wait for it. Configure it, or cancel them."
        )
        return ProviderHealth(name=name, status=ProviderStatus.NOT_CONFIGURED, detail=why)
    if row is None:
        gated = providers.gate(name) is not None
        status = ProviderStatus.UNKNOWN if gated else ProviderStatus.OK
        words = f"{name} was not asked yet with this key." if gated else None
        return ProviderHealth(name=name, status=status, detail=words)
    health = ProviderHealth(
        name=name,
        status=ProviderStatus.OK,
        key_fingerprint=row.fingerprint,
        retired_models=[
            RetiredModel(model=model, since=datetime.fromisoformat(since))
            for model, since in row.retired.items()
        ],
    )
    if row.circuit is not Circuit.CLOSED:
        health.status, health.reason = ProviderStatus.OPEN, row.reason
        health.detail, health.since = circuit_words(row), row.opened_at
        health.next_probe_at = row.retry_at
        health.probe_job_id = row.probe_job_id
    elif row.paused_until is not None and row.paused_until > now:
        health.status, health.reason = ProviderStatus.PAUSED, "retry_after"
        health.detail, health.paused_until = pause_words(row), row.paused_until
    elif row.retired:
        gone = ", ".join(row.retired)
        health.detail = (
            f"{name} no longer has {gone}. Have other models configured for these qualities, then"
            f" `limner providers reset {name}`."
        )
    return health


def _medians(name: str, spans: Sequence[tuple[str, str, timedelta]]) -> dict[Quality, float]:
    """The measured median of each quality that has samples enough."""
    found = {}
    for quality in Quality:
        seconds = [
            span.total_seconds()
            for provider, of, span in spans
            if provider == name and of == quality.value
        ]
        if len(seconds) >= LEAST_SAMPLES:
            found[quality] = round(median(seconds), 3)
    return found
