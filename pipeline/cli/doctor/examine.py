"""Run every check, and print what each found."""

import io
import platform
import sys
from dataclasses import asdict
from pathlib import Path
from typing import NoReturn

from rich.text import Text

from pipeline.cli.doctor.cloud import check_cloud, check_profile
from pipeline.cli.doctor.files import check_home
from pipeline.cli.doctor.keys import check_keys
from pipeline.cli.doctor.painting import check_painting
from pipeline.cli.doctor.report import Level, Report
from pipeline.cli.doctor.server import check_database, check_server
from pipeline.cli.doctor.settings import check_settings
from pipeline.cli.output import Output, clean
from pipeline.cli.reach import address_of
from pipeline.cli.start import finish
from pipeline.telemetry.logs import configure_logging

STYLES = {Level.OK: "green", Level.WARN: "yellow", Level.FAIL: "bold red"}


def examine(
    *, server: str | None, home: Path | None, connect: str | None, as_json: bool
) -> NoReturn:
    """Run every check, print what each found, exit with 0 when none failed.

    *connect* chooses the profile in the place of `LIMNER_CONNECT`.
    """
    # The checks start parts of the service, whose log belongs to no report.
    configure_logging(io.StringIO())
    out = Output(as_json=as_json)

    async def run() -> int:
        report = Report()
        named = address_of(server) if server is not None else None
        _check_python(report)
        settings = check_settings(report, home, connect)
        alone = settings.connect(settings).alone
        if alone:
            check_home(report, settings)
        else:
            check_profile(report, settings)
        answers = await check_server(report, settings, named)
        await check_database(report, settings, limner_answers=answers, alone=alone)
        await check_keys(report, settings)
        await check_painting(report, settings)
        await check_cloud(report, settings)
        _show(out, report)
        return 0 if report.healthy else 1

    finish(run, out.failed)


def _show(out: Output, report: Report) -> None:
    if out.as_json:
        found = [asdict(one) for one in report.findings]
        out.document({"healthy": report.healthy, "findings": found})
        return
    for one in report.findings:
        detail, remedy = clean(one.detail), clean(one.remedy) if one.remedy else ""
        if not out.for_person:
            out.line(f"{one.level:<4}  {one.check}: {detail}" + (f" -> {remedy}" if remedy else ""))
            continue
        line = Text.assemble((f"{one.level:<4}", STYLES[one.level]), f"  {one.check:<16}", detail)
        out.person(line)
        if remedy:
            out.person(Text.assemble(" " * 22, ("-> ", "dim"), (remedy, "bold")))


def _check_python(report: Report) -> None:
    # An older Python than pyproject.toml asks for does not come as far as here.
    report.ok("python", f"Python {platform.python_version()}, {sys.executable}")
