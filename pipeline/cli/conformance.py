"""`limner conformance`: does a subscriber that somebody wrote keep to what events promise?"""

from typing import Any, NoReturn

import httpx2
from rich.table import Table
from rich.text import Text

from adapters.http import is_loopback
from adapters.kit.conformance import HttpTarget, Report, Unreachable, examine, http_effects
from adapters.kit.conformance.targets import SUBJECT, Form
from adapters.kit.signature import key_of
from pipeline.cli.output import Output, clean
from pipeline.cli.reach import address_of
from pipeline.cli.start import CommandFailed, WrongUsage, finish

REPLY_SECONDS = 10.0
STYLES = {"ok": "green", "failed": "red", "not made": "yellow"}


def run_conformance(url: str, effects: str | None, *, as_json: bool, **options: Any) -> NoReturn:
    out = Output(as_json=as_json)

    async def run() -> int:
        return await _examine(out, url, effects, **options)

    finish(run, out.failed)


async def _examine(
    out: Output,
    url: str,
    effects: str | None,
    *,
    form: str,
    secret: str | None,
    subscription: str | None,
    authorization: str | None,
) -> int:
    """Exit code 1 where any check failed."""
    named = {"subscription": subscription} if subscription is not None else {}
    _check_url("URL", url)
    if effects is not None:
        _check_url("--effects", effects)
        if SUBJECT not in effects:
            raise WrongUsage(f"--effects: it must have {SUBJECT} where the subject belongs")
    if form not in set(Form):
        raise WrongUsage(f"--form: it must be {' or '.join(Form)}")
    if secret is not None:
        try:
            key_of(secret)
        except ValueError as exc:
            raise WrongUsage(f"--secret: {exc}") from None
    async with httpx2.AsyncClient(
        timeout=REPLY_SECONDS, trust_env=not is_loopback(url), follow_redirects=False
    ) as http:
        target = HttpTarget(http, url, Form(form), secret, authorization=authorization, **named)
        try:
            report = await examine(target, http_effects(http, effects) if effects else None)
        except Unreachable as exc:
            raise CommandFailed(str(exc)) from exc
    _show(out, report)
    return 0 if report.passed else 1


def _check_url(name: str, url: str) -> None:
    try:
        address_of(url.partition("?")[0])
    except WrongUsage:
        raise WrongUsage(f"{name}: {url!r} is no address; one is http://127.0.0.1:9000/") from None


def _show(out: Output, report: Report) -> None:
    rows = [(one.check, _word(one.passed), one.detail) for one in report.findings]
    if out.as_json:
        findings = [dict(zip(("check", "result", "detail"), row, strict=True)) for row in rows]
        out.document({"passed": report.passed, "findings": findings})
        return
    if not out.for_person:
        for row in rows:
            out.line(*row)
        return
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for check, word, detail in rows:
        table.add_row(check, Text(word, style=STYLES[word]), clean(detail))
    out.person(table)


def _word(passed: bool | None) -> str:
    return {True: "ok", False: "failed", None: "not made"}[passed]
