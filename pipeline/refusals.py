"""Why the service must not start: without it a half-configured one would be open to the world."""

import ipaddress
from datetime import timedelta

from sqlalchemy.engine import make_url

from adapters.world import World
from pipeline.roles import Part
from pipeline.settings import Misconfigured, Settings


def check_start(settings: Settings, world: World, parts: Part) -> None:
    """Raise `Misconfigured` with every reason at once."""
    deadline = timedelta(seconds=settings.times.dispatch_deadline_seconds)
    reasons = list(world.lacks(deadline))
    reasons += _alone(settings) if world.alone else _shared(settings, parts)
    if reasons:
        raise Misconfigured(*reasons)


def _alone(settings: Settings) -> list[str]:
    """What is demanded where nothing but this machine's borders keeps others out."""
    if settings.api_key is not None or _is_loopback(settings.host):
        return []
    return [
        f"host {settings.host!r} is not a loopback address: without LIMNER_API_KEY the service may"
        " only listen on 127.0.0.1, ::1 or localhost"
    ]


def _shared(settings: Settings, parts: Part) -> list[str]:
    """What is demanded where several processes serve callers from elsewhere."""
    reasons = []
    if settings.api_key is None and Part.CALLERS in parts:
        reasons.append(
            "LIMNER_API_KEY: it is not set (nor LIMNER_API_KEY_FILE); outside the local profile"
            " every caller needs a key"
        )
    if settings.link_secret is None and Part.CALLERS in parts:
        reasons.append(
            "LIMNER_LINK_SECRET: it is not set; all processes must sign links by the same secret"
        )
    if settings.failpoints:
        reasons.append(
            "LIMNER_FAILPOINTS: it is set; failpoints break the service on purpose, and only the"
            " local profile takes them"
        )
    if make_url(settings.database_url).get_backend_name() == "sqlite":
        reasons.append(
            "LIMNER_DATABASE_URL: it names SQLite, which one process can use; several need"
            " postgresql://USER@HOST/DATABASE"
        )
    return reasons


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
