"""The address, the database and its lock: who answers, and who holds it."""

import re
import socket

from sqlalchemy.engine import make_url

from adapters.errors import AlreadyRunning, SchemaOutdated, Unavailable
from adapters.store.database import check_schema, held_alone
from pipeline.cli.doctor.report import Report
from pipeline.cli.reach import http_client, is_missing, local_address
from pipeline.cli.start import CommandFailed
from pipeline.settings import Settings
from schemas.migrations import head


async def check_server(report: Report, settings: Settings, named: str | None) -> bool:
    """Whether a Limner answers on its address; if nobody does, whether the port is free."""
    address = named or local_address(settings)
    if address is None:
        report.ok("port", "any free one (LIMNER_PORT=0)")
        return False
    check = "server" if named else "port"
    try:
        async with http_client(address) as client:
            if await client.is_alive():
                report.ok(check, f"Limner answers on {address}")
                return True
    except CommandFailed as exc:
        if named:
            report.fail(check, str(exc), "Name Limner's address with --server.")
        else:
            report.fail(
                check,
                f"port {settings.port} is taken by another program",
                "Stop that program, or choose another port with --port or LIMNER_PORT.",
            )
        return False
    if named:
        report.fail(
            check,
            f"nothing answers on {address}",
            "Start `limner serve` there, or name another address with --server.",
        )
        return False
    problem = _listens_on(settings.host, settings.port)
    if problem is not None:
        report.fail(
            check,
            f"{settings.host}:{settings.port} cannot be listened on: {problem}",
            "Choose another port with --port or LIMNER_PORT.",
        )
    else:
        report.ok(check, f"{settings.host}:{settings.port} is free")
    return False


def _listens_on(host: str, port: int) -> str | None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        socket.create_server((host, port), family=family).close()
    except OSError as exc:
        return exc.strerror or str(exc)
    return None


async def check_database(
    report: Report, settings: Settings, *, limner_answers: bool, alone: bool
) -> None:
    """*alone* says whether Limner must be by itself on its database."""
    shown = make_url(settings.database_url).render_as_string()
    if is_missing(settings):
        report.ok("database", f"{shown}, not there yet; the first start makes it")
        return
    try:
        await check_schema(settings.database_url)
    except SchemaOutdated as exc:
        told = str(exc).partition(": run")[0]
        found = re.search(r"revision (\d+)", told)
        if found is not None and found[1] > head():
            report.fail(
                "database",
                f"{shown} was made by a newer Limner: {told}",
                "Install the newer Limner, or choose another database with --home or"
                " LIMNER_DATABASE_URL.",
            )
            return
        report.warn(
            "database",
            f"{shown}: {told}",
            "Run `limner migrate`" + ("; `limner serve` does so by itself." if alone else "."),
        )
    except Unavailable as exc:
        report.fail(
            "database",
            # SQLAlchemy adds a line that leads to its own documentation.
            str(exc).partition("\n")[0],
            "Start the database or give this user the right to it, or correct LIMNER_DATABASE_URL"
            " (sqlite:///PATH or postgresql://USER@HOST/DATABASE).",
        )
        return
    else:
        report.ok("database", f"{shown}, its schema is up to date")
    if not alone:
        return
    try:
        async with held_alone(settings.database_url, lambda: None):
            report.ok("lock", "nobody holds the database")
    except AlreadyRunning as exc:
        if limner_answers:
            report.ok("lock", str(exc))
        else:
            report.warn(
                "lock",
                f"{exc}, and it does not answer here",
                "Name its address with --server, or stop it.",
            )
    except (Unavailable, OSError) as exc:
        report.fail("lock", f"it cannot be taken: {exc}", "Give this user the right to write it.")
