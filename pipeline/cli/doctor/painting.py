"""Whether a picture can be painted, and by whom."""

import asyncio

from adapters.errors import Unavailable
from adapters.local.processes import WorkerProcesses
from adapters.providers.sketch.request import Sketch, paint_png
from pipeline.cli.doctor.report import Report
from pipeline.providers import Providers
from pipeline.settings import Misconfigured, Settings
from pipeline.wiring import providers_alone

PAINTING_SECONDS = 60.0


async def check_painting(report: Report, settings: Settings) -> None:
    """Paint a tiny sketch, and ask the wiring who else would paint."""
    processes = WorkerProcesses(1)
    try:
        await _check_worker(report, processes)
        await _check_providers(report, settings, processes)
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


async def _check_providers(report: Report, settings: Settings, processes: WorkerProcesses) -> None:
    try:
        async with providers_alone(settings, processes) as providers:
            _tell(report, providers)
    except Misconfigured as exc:
        report.fail("providers", str(exc), f"Name in {exc.variable} only these.")
    except (Unavailable, OSError) as exc:
        report.fail("providers", f"they cannot be opened: {exc}", "Correct their settings.")


def _tell(report: Report, providers: Providers) -> None:
    for name in sorted(providers.by_name):
        default = ", the default" if name == providers.default else ""
        report.ok("providers", f"{name}{default}: ready")
    for name, stand_in in sorted(providers.stand_ins.items()):
        told = f"{name} has no key: {stand_in} paints in its place, offline and without AI"
        if name == providers.default:
            report.warn("providers", told, "Set LIMNER_DEFAULT_PROVIDER=sketch to mean it.")
        else:
            report.ok("providers", told)
