"""The settings: every bad one and every misspelled name."""

import difflib
import os
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_settings import SettingsError

from adapters.providers.sketch.provider import SketchSettings
from pipeline.cli.doctor.report import Report
from pipeline.cli.start import CommandFailed
from pipeline.faults import fault
from pipeline.refusals import check_start
from pipeline.roles import Part
from pipeline.settings import Misconfigured, Settings

PREFIX = "LIMNER_"
# Read by the command line, not by the service.
COMMAND_LINE_NAMES = {"LIMNER_SERVER"}
# Settings that bear the name of somebody else's service.
FOREIGN_PREFIXES: dict[str, tuple[str, ...]] = {
    "stability": ("STABILITY_AI_",),
    "gcp": (
        "GOOGLE_CLOUD_PROJECT",
        "CLOUD_TASKS_",
        "CLOUD_RUN_",
        "PUBSUB_EMULATOR_HOST",
        "STORAGE_EMULATOR_HOST",
    ),
}


def check_settings(report: Report, home: Path | None, connect: str | None = None) -> Settings:
    """Name every bad setting; return the settings with the defaults in the place of bad ones."""
    options: dict[str, Any] = {} if home is None else {"home": home}
    if connect is not None:
        options["connect"] = connect
    before = len(report.findings)
    settings = None
    while settings is None:
        try:
            settings = Settings(**options)
        except ValidationError as exc:
            bad = {_blame(report, error) for error in exc.errors()}
        except SettingsError as exc:  # the text names the field between quotes
            bad = {str(exc).split('"')[1]}
            variable = PREFIX + next(iter(bad)).upper()
            report.fail("settings", f"{variable}: it is not JSON", _unset(variable))
        if settings is None and not _forget(bad, options):
            raise CommandFailed("the settings cannot be read, whatever is left out of them")
    _check_names(report)
    try:
        check_start(settings, settings.connect(settings), Part.ALL)
    except Misconfigured as exc:
        for reason in exc.args:
            report.fail(
                "settings", reason, "Set it so; until then `limner serve` refuses to start."
            )
    if settings.failpoints:
        report.warn(
            "settings",
            f"{len(settings.failpoints)} failpoints are armed: they break the service for tests",
            "Unset LIMNER_FAILPOINTS.",
        )
    if settings.sketch != SketchSettings():
        report.warn(
            "settings",
            f"sketch is told to misbehave ({settings.sketch})",
            "Unset every LIMNER_SKETCH__… but in tests.",
        )
    if len(report.findings) == before:
        given = sorted(name for name in os.environ if name.upper().startswith(PREFIX))
        report.ok("settings", f"valid; set: {', '.join(given) or 'none'}")
    return settings


def _blame(report: Report, error: Any) -> str:
    """Tell one bad setting; return the name of its field."""
    message = fault(error)
    places = [str(part) for part in error["loc"]]
    if not places:  # told of all settings at once: the text begins with the one it means
        places = [message.split()[0].rstrip(":")]
        message = message.removeprefix(f"{places[0]}:").strip()
    variable = PREFIX + "__".join(places).upper()
    for section, foreign in FOREIGN_PREFIXES.items():
        if message.startswith(foreign):  # the variable that it means is told by the section itself
            places = [section]
            variable, _, message = message.partition(": ")
        elif places[0].startswith(foreign):
            places, variable = [section], places[0]
    report.fail("settings", f"{variable}: {message}", _unset(variable, places[0]))
    return places[0]


def _unset(variable: str, name: str | None = None) -> str:
    known = Settings.model_fields.get(name or "")
    default = known.get_default() if known is not None else None
    told = f" (its default is {default})" if isinstance(default, str | int) and default else ""
    # What is wrong with a section was said by variables with longer names.
    foreign = FOREIGN_PREFIXES.get(name or "")
    beginnings = (variable, f"{PREFIX}{name}__".upper(), *foreign) if foreign else variable
    said = sorted(one for one in os.environ if one.upper().startswith(beginnings)) or [variable]
    return f"Correct {' or '.join(said)}, or unset it{told}; pipeline/settings.py describes it."


def _forget(names: set[str], options: dict[str, Any]) -> bool:
    """Take the settings *names* out of the environment and *options*; whether there were any."""
    found = False
    for name in names:
        found |= options.pop(name, None) is not None
        for variable in list(os.environ):
            setting = variable.upper().removeprefix(PREFIX).partition("__")[0].lower()
            foreign = FOREIGN_PREFIXES.get(name.lower())
            ours = variable.upper().startswith(PREFIX) and setting == name.lower()
            if ours or (foreign is not None and variable.upper().startswith(foreign)):
                del os.environ[variable]
                found = True
    return found


def _check_names(report: Report) -> None:
    """A misspelled variable is no error to anybody: its value is just not taken."""
    known = {PREFIX + name.upper() for name in Settings.model_fields} | COMMAND_LINE_NAMES
    for variable in sorted(os.environ):
        head = variable.upper().partition("__")[0]
        if head.startswith(PREFIX) and head not in known:
            near = difflib.get_close_matches(head, known, 1)
            meant = f"Did you mean {near[0]}? Rename it" if near else "Correct its name"
            report.warn(
                "settings", f"{variable}: there is no such setting", f"{meant}, or unset it."
            )
