"""Whether the providers' keys are good, as the service found them when it last asked."""

from adapters.errors import SchemaOutdated, Unavailable
from adapters.store import machine_reads
from adapters.store.database import check_schema, open_store
from pipeline.cli.doctor.report import Report
from pipeline.cli.reach import is_missing
from pipeline.key_words import circuit_words
from pipeline.settings import Settings
from schemas.tables import Circuit, Provider

CHECK = "keys"


async def check_keys(report: Report, settings: Settings) -> None:
    """Read what the database knows; nobody is asked, and no job is tried."""
    if is_missing(settings):
        return
    try:
        await check_schema(settings.database_url)
        store = open_store(settings.database_url)
        try:
            rows = await store.read(machine_reads.provider_keys)
        finally:
            await store.close()
    except (SchemaOutdated, Unavailable):
        return  # what is wrong with the database is told of the database
    for row in rows:
        _tell(report, row)


def _tell(report: Report, row: Provider) -> None:
    key = f"{row.provider}, key {row.fingerprint}"
    remedy = f"Mend it, then run `limner providers reset {row.provider}`."
    if row.circuit is not Circuit.CLOSED:
        told = f"{key}: nothing is begun since {row.opened_at:%Y-%m-%d %H:%M} UTC"
        report.fail(CHECK, f"{told} ({row.reason}). {circuit_words(row)}", remedy)
    elif row.retired:
        gone = ", ".join(row.retired)
        remedy = f"Choose other models, then run `limner providers reset {row.provider}`."
        report.warn(CHECK, f"{key}: it no longer has {gone}", remedy)
    else:
        report.ok(CHECK, f"{key}: good when it was last asked")
