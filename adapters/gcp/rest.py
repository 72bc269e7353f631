"""The few JSON calls about buckets and accounts that no client library of ours knows."""

import asyncio
from collections.abc import Collection
from functools import cached_property
from typing import Any
from urllib.parse import quote

import google.auth
import httpx2
from google.auth.exceptions import GoogleAuthError
from google.auth.transport.requests import Request

from adapters.errors import Unavailable

STORAGE = "https://storage.googleapis.com"
IAM = "https://iam.googleapis.com"
SCOPES = ("https://www.googleapis.com/auth/cloud-platform",)


class Refused(Exception):
    """The service answered something else than 2xx."""

    def __init__(self, status: int, told: str) -> None:
        super().__init__(f"{status} {told}")
        self.absent = status == httpx2.codes.NOT_FOUND
        self.denied = status in (httpx2.codes.UNAUTHORIZED, httpx2.codes.FORBIDDEN)


class GoogleRest:
    """Bears our own credentials, but to doubles (*storage* and *iam* are their addresses)."""

    def __init__(
        self, *, call_seconds: float, storage: str | None = None, iam: str | None = None
    ) -> None:
        self._storage = storage
        self._iam = iam
        self._http = httpx2.AsyncClient(timeout=call_seconds)

    async def close(self) -> None:
        await self._http.aclose()

    async def bucket(self, bucket: str) -> dict[str, Any]:
        return await self._call("GET", self._storage, STORAGE, _of(bucket))

    async def rights_on_bucket(self, bucket: str, wanted: Collection[str]) -> set[str]:
        """Those of the *wanted* permissions that whoever runs this has."""
        found = await self._call(
            "GET",
            self._storage,
            STORAGE,
            f"{_of(bucket)}/iam/testPermissions",
            params=[("permissions", one) for one in wanted],
        )
        return set(found.get("permissions") or ())

    async def rights_on_account(self, email: str, wanted: Collection[str]) -> set[str]:
        found = await self._call(
            "POST",
            self._iam,
            IAM,
            f"/v1/projects/-/serviceAccounts/{quote(email)}:testIamPermissions",
            json={"permissions": sorted(wanted)},
        )
        return set(found.get("permissions") or ())

    async def identity(self) -> str | None:
        """The email of the account that this program runs as, where its credentials say it."""
        try:
            credentials = await asyncio.to_thread(lambda: self._credentials)
        except GoogleAuthError:
            return None
        email = getattr(credentials, "service_account_email", None)
        return email if email and "@" in email else None

    @cached_property
    def _credentials(self) -> Any:
        return google.auth.default(scopes=SCOPES)[0]

    def _token(self) -> str:
        credentials = self._credentials
        if not credentials.valid:
            credentials.refresh(Request())
        token: str = credentials.token
        return token

    async def _call(
        self, method: str, emulator: str | None, base: str, path: str, **sent: Any
    ) -> dict[str, Any]:
        headers = {}
        try:
            if emulator is None:
                headers["Authorization"] = f"Bearer {await asyncio.to_thread(self._token)}"
            reply = await self._http.request(
                method, (emulator or base) + path, headers=headers, **sent
            )
        except GoogleAuthError as exc:
            raise Unavailable(f"no credentials for Google Cloud: {exc}") from exc
        except httpx2.HTTPError as exc:
            raise Unavailable(f"{base}: {type(exc).__name__}: {exc}") from exc
        try:
            told = reply.json()
        except ValueError:
            told = {}
        if not reply.is_success or not isinstance(told, dict):
            raise Refused(reply.status_code, _message(told) or reply.reason_phrase)
        return told


def _of(bucket: str) -> str:
    return f"/storage/v1/b/{quote(bucket, safe='')}"


def _message(told: Any) -> str | None:
    error = told.get("error") if isinstance(told, dict) else None
    return error.get("message") if isinstance(error, dict) else None
