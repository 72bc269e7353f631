"""What must exist in the cloud, and the rights in it."""

from adapters.errors import Unavailable
from adapters.providers.sketch.provider import NAME as SKETCH
from adapters.site import Part, Right, Standing
from pipeline.cli.doctor.report import Report
from pipeline.settings import Misconfigured, Settings
from pipeline.wiring import site_of

CHECK = "cloud"


def check_profile(report: Report, settings: Settings) -> None:
    """What the profile lets pass, and may not be meant."""
    if settings.default_provider == SKETCH:
        report.warn(
            "profile",
            "sketch paints where a request names nobody: offline, without AI",
            "Set LIMNER_DEFAULT_PROVIDER, or mean it.",
        )


async def check_cloud(report: Report, settings: Settings) -> None:
    try:
        async with site_of(settings) as site:
            if site is None:
                return
            for part in await site.look():
                _tell_part(report, part)
            for right in await site.rights():
                _tell_right(report, right)
    except Misconfigured:
        return  # told of the profile
    except (Unavailable, OSError, ValueError) as exc:
        report.fail(
            CHECK,
            str(exc).partition("\n")[0],
            "Sign in (`gcloud auth application-default login`), or let"
            " GOOGLE_APPLICATION_CREDENTIALS name a key file.",
        )


def _tell_part(report: Report, part: Part) -> None:
    told = "; ".join((part.name, *part.details))
    match part.standing:
        case Standing.FITS:
            report.ok(CHECK, f"{told}: as it must be")
        case Standing.CREATE:
            report.fail(CHECK, f"{told}: it is not there", _provision(part))
        case Standing.UPDATE:
            report.warn(CHECK, told, _provision(part))
        case Standing.STUCK:
            report.fail(CHECK, told, part.remedy or "")
        case Standing.UNKNOWN:
            report.warn(CHECK, f"{told}: it cannot be looked at", part.remedy or "")


def _provision(part: Part) -> str:
    return f"Run `limner provision`, or: {part.command}"


def _tell_right(report: Report, right: Right) -> None:
    told = f"{right.name}: {right.detail}" if right.detail else right.name
    if right.held:
        report.ok("rights", told)
    elif right.held is None:
        report.warn("rights", told, f"See that it is granted: {right.remedy}")
    else:
        report.fail("rights", told, f"Grant it: {right.remedy}")
