"""The home and the pictures in it: written, hard-linked and removed where they will lie."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from pipeline.cli.doctor.report import Report
from pipeline.settings import Settings

LEAST_FREE_BYTES = 100 * 2**20
SPARE_FREE_BYTES = 2**30


def check_home(report: Report, settings: Settings) -> None:
    ground = _nearest(settings.home)
    if not ground.is_dir():
        report.fail(
            "home",
            f"{settings.home} cannot be a folder: {ground} is a file",
            "Choose another folder with --home or LIMNER_HOME, or move the file away.",
        )
        return
    problem = _writes_in(ground)
    if problem is not None:
        report.fail(
            "home",
            f"{settings.home} cannot be written: {problem}",
            "Give this user the right to write there, or choose another folder with --home"
            " or LIMNER_HOME.",
        )
    else:
        there = "writable" if settings.home == ground else "not there yet; the first start makes it"
        report.ok("home", f"{settings.home}, {there}")
    _check_room(report, ground)
    _check_pictures(report, settings.home / "pictures")


def _check_room(report: Report, ground: Path) -> None:
    free = shutil.disk_usage(ground).free
    shown = f"{free / 2**30:.1f} GiB free"
    remedy = "Free some room, or choose a folder on another disk with --home or LIMNER_HOME."
    if free < LEAST_FREE_BYTES:
        report.fail("room", shown, remedy)
    elif free < SPARE_FREE_BYTES:
        report.warn("room", shown, remedy)
    else:
        report.ok("room", shown)


def _check_pictures(report: Report, pictures: Path) -> None:
    ground = _nearest(pictures)
    problem = _writes_in(ground) if ground.is_dir() else f"{ground} is a file"
    if problem is not None:
        report.fail(
            "pictures",
            f"{pictures} cannot be written: {problem}",
            "Give this user the right to write there, or choose another folder with --home"
            " or LIMNER_HOME.",
        )
        return
    problem = _links_in(ground)
    if problem is not None:
        report.fail(
            "pictures",
            f"{pictures} lies on a file system without hard links: {problem}",
            "Choose a folder on another file system with --home or LIMNER_HOME.",
        )
        return
    report.ok("pictures", f"{pictures}, writable, with hard links")


def _nearest(path: Path) -> Path:
    """*path*, or what is there of the way to it."""
    for candidate in (path, *path.parents):
        with contextlib.suppress(OSError):
            if candidate.exists():
                return candidate
    return Path(path.anchor)


@contextlib.contextmanager
def _scratch(ground: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(
        dir=ground, prefix=".limner-doctor-", ignore_cleanup_errors=True
    ) as folder:
        yield Path(folder)


def _writes_in(ground: Path) -> str | None:
    """Why nothing can be written in *ground*; None where it can."""
    try:
        with _scratch(ground) as folder, (folder / "file").open("wb") as file:
            file.write(b"limner")
            file.flush()
            os.fsync(file.fileno())
    except OSError as exc:
        return exc.strerror or str(exc)
    return None


def _links_in(ground: Path) -> str | None:
    try:
        with _scratch(ground) as folder:
            (folder / "file").write_bytes(b"limner")
            os.link(folder / "file", folder / "link")
    except OSError as exc:
        return exc.strerror or str(exc)
    return None
