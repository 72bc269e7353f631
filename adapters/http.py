"""Speak HTTP to a service that charges: each failure is told as what it means for the money.

Without this every adapter would have its own idea of when a request was certainly not charged.
"""

import asyncio
import json
import re
from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from email.utils import parsedate_to_datetime
from typing import Any

import httpx2

from adapters.errors import (
    OutcomeUnknown,
    ProviderBusy,
    ProviderError,
    ProviderRefused,
    ProviderUnusable,
)

CONNECT_SECONDS = 10.0
# Error replies are short; of a longer one the beginning says enough.
MOST_ERROR_BYTES = 64 * 1024
MOST_DETAIL_CHARACTERS = 500

# How long to wait where the service does not say.
UNREACHABLE_FOR = timedelta(seconds=10)
RATE_LIMITED_FOR = timedelta(seconds=10)
# A person has to do something first.
UNUSABLE_FOR = timedelta(minutes=5)
MOST_RETRY_AFTER = timedelta(hours=1)

# Raised only before the first byte of a request leaves. Whatever else goes wrong may have been
# charged, so this list is closed: what is not in it is unknown.
NEVER_SENT = (
    httpx2.ConnectError,
    httpx2.ConnectTimeout,
    httpx2.PoolTimeout,
    httpx2.ProxyError,
)


@dataclass(frozen=True, slots=True)
class Meaning:
    """Which error a reply becomes; *code* tells a refusal's or an unusable service's reason."""

    error: type[ProviderError]
    code: str = ""


UNKNOWN = Meaning(OutcomeUnknown)
BUSY = Meaning(ProviderBusy)
INVALID = Meaning(ProviderRefused, "invalid_request")
MODERATED = Meaning(ProviderRefused, "moderated")

# Of a reply whose body names no error that the service's own table knows. A status that does not
# stand here (5xx above all) may have been charged.
STATUS_TO_ERROR: Mapping[int, Meaning] = {
    400: INVALID,
    401: Meaning(ProviderUnusable, "unauthorized"),
    402: Meaning(ProviderUnusable, "out_of_credit"),
    403: Meaning(ProviderUnusable, "permission_denied"),
    404: Meaning(ProviderRefused, "model_retired"),
    413: INVALID,
    422: INVALID,
    429: BUSY,
}


@dataclass(frozen=True, slots=True)
class Reply:
    """A reply with status 200, or another one that its caller takes."""

    headers: Mapping[str, str]
    body: bytes = field(repr=False)
    status: int = httpx2.codes.OK

    @property
    def content_type(self) -> str:
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()


def open_client(base_url: str, headers: Mapping[str, str]) -> httpx2.AsyncClient:
    """The one client of a service; close it."""
    return httpx2.AsyncClient(
        base_url=base_url,
        # A compressed body could unfold to more than the cap before it is counted.
        headers={"accept-encoding": "identity", **headers},
        follow_redirects=False,
        # A kept connection may be closed by the other side just as a request is written to it,
        # which nobody can tell from a paid request whose answer is lost.
        limits=httpx2.Limits(max_connections=None, max_keepalive_connections=0),
        trust_env=not is_loopback(base_url),
        # Reading the certificates takes longer than a request to this machine.
        verify=base_url.startswith("https:"),
    )


def is_loopback(url: str) -> bool:
    return httpx2.URL(url).host in {"127.0.0.1", "localhost", "::1"}


def is_plain_loopback(url: str) -> bool:
    """Whether *url* is one of this machine's without encryption, as doubles and local servers."""
    return url.startswith("http://") and is_loopback(url)


def fits_header(key: str) -> bool:
    return bool(key) and key.isascii() and key.isprintable() and " " not in key


class ChargingService:
    """*name* is what people call it, *names* the errors that it names in its replies' bodies."""

    def __init__(
        self, name: str, client: httpx2.AsyncClient, secret: str, names: Mapping[str, Meaning]
    ) -> None:
        self._name = name
        self._client = client
        self._secret = secret
        self._names = names

    async def ask(
        self,
        method: str,
        path: str,
        *,
        within: timedelta,
        max_bytes: int,
        taken: Container[int] = (httpx2.codes.OK,),
        **content: Any,
    ) -> Reply:
        """Send one request, once, and return its reply, whose status is one of *taken*.

        Raises `ProviderBusy` and `ProviderUnusable` only where nothing can have been charged,
        `ProviderRefused` for what the service says it will not do, else `OutcomeUnknown`.
        """
        seconds = within.total_seconds()
        timeout = httpx2.Timeout(None, connect=min(CONNECT_SECONDS, seconds / 2))
        try:
            async with (
                asyncio.timeout(seconds),
                self._client.stream(method, path, timeout=timeout, **content) as response,
            ):
                if response.status_code not in taken:
                    raise self._error(response, await _beginning(response))
                body = await _whole(response, max_bytes)
        except NEVER_SENT as exc:
            reason = f"{self._name} cannot be reached ({type(exc).__name__}); nothing was sent"
            raise ProviderBusy(reason, UNREACHABLE_FOR) from exc
        except TimeoutError as exc:
            raise OutcomeUnknown(f"{self._name} gave no answer within {seconds:.0f} s") from exc
        except (httpx2.HTTPError, httpx2.StreamError, httpx2.InvalidURL) as exc:
            reason = f"the connection to {self._name} broke ({type(exc).__name__})"
            raise OutcomeUnknown(f"{reason} after the request was sent") from exc
        return Reply(dict(response.headers), body, response.status_code)

    def _error(self, response: httpx2.Response, body: bytes) -> ProviderError:
        status = response.status_code
        said = _told(body)
        meaning = STATUS_TO_ERROR.get(status, UNKNOWN)
        name = next((one for one in said.names if one in self._names), "")
        # A server that broke may have charged, whatever it calls its error.
        if name and status < httpx2.codes.INTERNAL_SERVER_ERROR:
            meaning = self._names[name]
        name = name or next(iter(said.names), "")
        told = ": ".join(part for part in (name, said.words) if part) or "it did not say why"
        told = told.replace(self._secret, "***") if self._secret else told
        detail = f"{self._name} answered {status}: {told[:MOST_DETAIL_CHARACTERS]}"
        if meaning.error is ProviderBusy:
            wait = retry_after(response.headers) or said.wait or RATE_LIMITED_FOR
            return ProviderBusy(detail, wait, of_key=True)
        if meaning.error is ProviderUnusable:
            return ProviderUnusable(meaning.code, detail, UNUSABLE_FOR)
        if meaning.error is ProviderRefused:
            return ProviderRefused(meaning.code, detail)
        return OutcomeUnknown(detail)


def retry_after(headers: Mapping[str, str], most: timedelta = MOST_RETRY_AFTER) -> timedelta | None:
    """How long a reply asks to wait, at most *most*: seconds, or a time against its own `Date`."""
    given = headers.get("retry-after", "").strip()
    if given.isascii() and given.isdigit() and len(given) < 10:
        return min(timedelta(seconds=int(given)), most)
    try:
        wait = parsedate_to_datetime(given) - parsedate_to_datetime(headers.get("date", ""))
    except (ValueError, TypeError, OverflowError):
        return None
    return min(max(wait, timedelta(0)), most)


async def _whole(response: httpx2.Response, max_bytes: int) -> bytes:
    body = bytearray()
    async for chunk in response.aiter_raw():
        body += chunk
        if len(body) > max_bytes:
            raise OutcomeUnknown(f"the reply has more than {max_bytes} bytes and was cut off")
    return bytes(body)


async def _beginning(response: httpx2.Response) -> bytes:
    """What came of an error's body; its status counts, even where the rest is lost."""
    body = bytearray()
    try:
        async for chunk in response.aiter_raw():
            body += chunk
            if len(body) >= MOST_ERROR_BYTES:
                break
    except httpx2.HTTPError:
        pass
    return bytes(body[:MOST_ERROR_BYTES])


@dataclass(frozen=True, slots=True)
class _Said:
    """What an error's body says: names, the most exact one first, words, and how long to wait."""

    names: tuple[str, ...] = ()
    words: str = ""
    wait: timedelta | None = None


def _told(body: bytes) -> _Said:
    """Read `{name, errors[] | message}`, or `{error: {code, type, status, message, details[]}}`."""
    try:
        told = json.loads(body)
    except (ValueError, RecursionError):
        return _Said()
    if isinstance(told, list) and len(told) == 1:
        (told,) = told
    if not isinstance(told, dict):
        return _Said()
    inner = told.get("error")
    if isinstance(inner, str):
        return _Said(words=inner)
    error = inner if isinstance(inner, dict) else told
    errors, details = error.get("errors"), error.get("details")
    known = details if isinstance(details, list) else []
    details = [one for one in known if isinstance(one, dict)]
    names = [one.get("reason") for one in details]
    names += [error.get(key) for key in ("name", "code", "type", "status")]
    parts = errors if isinstance(errors, list) else [error.get("message")]
    waits = (_seconds(one.get("retryDelay")) for one in details)
    return _Said(
        tuple(name for name in names if isinstance(name, str) and name),
        "; ".join(part for part in parts if isinstance(part, str)),
        next((wait for wait in waits if wait is not None), None),
    )


def _seconds(written: Any) -> timedelta | None:
    """`37s` or `37.5s`, as Google writes a duration."""
    found = re.fullmatch(r"(\d{1,6}(?:\.\d{1,9})?)s", written) if isinstance(written, str) else None
    return min(timedelta(seconds=float(found[1])), MOST_RETRY_AFTER) if found else None
