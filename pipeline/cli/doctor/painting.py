"""Whether a picture can be painted, and by whom."""

import asyncio
import tempfile
from pathlib import Path

from adapters.errors import Unavailable
from adapters.local.processes import WorkerProcesses
from adapters.providers.sketch.request import Sketch, paint_png
from pipeline.cli.doctor.report import Report
from pipeline.settings import Misconfigured, Settings
from pipeline.wiring import running

PAINTING_SECONDS = 60.0


async def check_painting(report: Report, settings: Settings) -> None:
    """Put the whole service together in a folder of its own, and paint a tiny sketch in it."""
    with tempfile.TemporaryDirectory(prefix="limner-doctor-", ignore_cleanup_errors=True) as folder:
        tried = settings.model_copy(
            update={
                "home": Path(folder),
                "database_url": f"sqlite:///{folder}/limner.sqlite",
                "failpoints": [],
                # Whether the service may listen elsewhere, the settings' own check says.
                "host": "127.0.0.1",
            }
        )
        processes = WorkerProcesses(1)
        try:
            await _check_worker(report, processes)
            await _check_providers(report, tried, processes)
        finally:
            await processes.close()


async def _check_worker(report: Report, processes: WorkerProcesses) -> None:
    sketch = Sketch(
        prompt="a lighthouse", negative_prompt="", seed=1, width=64, height=64, style=None,
        detail="draft",
    )  # fmt: skip
    try:
        async with asyncio.timeout(PAINTING_SECONDS):
            picture = await processes.run(paint_png, sketch)
    except TimeoutError:
        report.fail(
            "worker", f"nothing was painted within {PAINTING_SECONDS:.0f} s", _WORKER_REMEDY
        )
    except (Unavailable, OSError) as exc:
        report.fail("worker", f"it cannot paint: {exc}", _WORKER_REMEDY)
    else:
        report.ok("worker", f"a process painted a tiny sketch ({len(picture)} bytes)")


_WORKER_REMEDY = (
    "See that the machine has memory left and lets this user start processes"
    " (LIMNER_LOCAL__WORKER_PROCESSES says how many)."
)


async def _check_providers(report: Report, tried: Settings, processes: WorkerProcesses) -> None:
    try:
        async with running(tried, processes) as limner:
            providers = limner.providers
    except Misconfigured as exc:
        report.fail("providers", str(exc), f"Name in {exc.variable} only these.")
        return
    except (Unavailable, OSError) as exc:
        report.fail(
            "providers",
            f"the service cannot be put together in {tried.home}: {exc}",
            "See that the folder for temporary files (TMPDIR) can be written.",
        )
        return
    for name in sorted(providers.by_name):
        default = ", the default" if name == providers.default else ""
        report.ok("providers", f"{name}{default}: ready")
    for name, stand_in in sorted(providers.stand_ins.items()):
        told = f"{name} has no key: {stand_in} paints in its place, offline and without AI"
        if name == providers.default:
            report.warn("providers", told, "Set LIMNER_DEFAULT_PROVIDER=sketch to mean it.")
        else:
            report.ok("providers", told)
