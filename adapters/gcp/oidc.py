"""Who is calling: the tokens that Google's services send are verified here.

Without it anybody could have the worker work and events believed. Only the token counts; headers
such as X-CloudTasks-QueueName can be sent by anyone.
"""

import asyncio
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import httpx2
import jwt
import structlog
from jwt.types import Options

from adapters.errors import CallerRefused, Unavailable
from adapters.http import is_loopback
from adapters.ports import Clock

log = structlog.get_logger()

ISSUERS = frozenset({"https://accounts.google.com", "accounts.google.com"})
ALGORITHM = "RS256"
LEEWAY_SECONDS = 10
MOST_TOKEN_CHARACTERS = 8_192
MOST_JWKS_BYTES = 256 * 1024
KEYS_GOOD_FOR_SECONDS = 3600.0
# A token can name any key; each such name must not cost a fetch.
FETCH_PAUSE_SECONDS = 30.0
# While there is no key at all.
FIRST_PAUSE_SECONDS = 1.0


# The claims are looked at here, and times by our own clock.
SIGNATURE_ONLY: Options = {
    "verify_aud": False,
    "verify_exp": False,
    "verify_iat": False,
    "verify_nbf": False,
}


class KeySet:
    """The public keys by which Google signs, fetched when they are needed and kept for an hour.

    A key that is not known has them fetched again, so that a rotation needs no restart. Where they
    cannot be fetched, those that are there stay good.
    """

    def __init__(self, url: str, clock: Clock, call_seconds: float) -> None:
        self._url = url
        self._clock = clock
        self._keys: Mapping[str, jwt.PyJWK] = {}
        self._fetched_at: float | None = None
        self._tried_at: float | None = None
        self._fetching = asyncio.Lock()
        self._client = httpx2.AsyncClient(
            timeout=call_seconds,
            follow_redirects=False,
            trust_env=not is_loopback(url),
            verify=url.startswith("https:"),
        )

    async def key(self, kid: str) -> jwt.PyJWK | None:
        """The key named *kid*, or None; raises `Unavailable` when none could ever be fetched."""
        if kid in self._keys and not self._are_old():
            return self._keys[kid]
        async with self._fetching:
            if (kid not in self._keys or self._are_old()) and self._may_fetch():
                await self._fetch()
        if not self._keys:
            raise Unavailable("the keys that verify callers cannot be fetched")
        return self._keys.get(kid)

    async def close(self) -> None:
        await self._client.aclose()

    def _are_old(self) -> bool:
        at = self._fetched_at
        return at is None or self._clock.monotonic() - at > KEYS_GOOD_FOR_SECONDS

    def _may_fetch(self) -> bool:
        at = self._tried_at
        pause = FETCH_PAUSE_SECONDS if self._keys else FIRST_PAUSE_SECONDS
        return at is None or self._clock.monotonic() - at > pause

    async def _fetch(self) -> None:
        self._tried_at = self._clock.monotonic()
        try:
            reply = await self._client.get(self._url)
            reply.raise_for_status()
            if len(reply.content) > MOST_JWKS_BYTES:
                raise ValueError("too long")
            found = jwt.PyJWKSet.from_dict(reply.json())
        except (httpx2.HTTPError, ValueError, TypeError, AttributeError, jwt.PyJWTError) as exc:
            log.warning("verification_keys_not_fetched", error=f"{type(exc).__name__}: {exc}")
            return
        self._keys = {one.key_id: one for one in found.keys if one.key_id is not None}
        self._fetched_at = self._tried_at


class OidcCheck:
    """Lets in who bears a token of *email*, made by Google for *audience*."""

    def __init__(self, keys: KeySet, clock: Clock, *, audience: str, email: str) -> None:
        self._keys = keys
        self._clock = clock
        self._audience = audience
        self._email = email

    async def check(self, authorization: str | None) -> None:
        scheme, _, token = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not token or len(token) > MOST_TOKEN_CHARACTERS:
            raise CallerRefused("no bearer token")
        claims = await self._verified(token.strip())
        if claims.get("iss") not in ISSUERS:
            raise CallerRefused("another issuer")
        # PyJWT would also take a list of audiences that holds ours among others.
        if claims.get("aud") != self._audience:
            raise CallerRefused("another audience")
        if claims.get("email") != self._email or claims.get("email_verified") is not True:
            raise CallerRefused("another account")
        now = self._clock.now()
        leeway = timedelta(seconds=LEEWAY_SECONDS)
        if _moment(claims, "exp") <= (now - leeway).timestamp():
            raise CallerRefused("expired")
        if _moment(claims, "iat") > (now + leeway).timestamp():
            raise CallerRefused("made in the future")

    async def _verified(self, token: str) -> Mapping[str, Any]:
        try:
            header = jwt.get_unverified_header(token)
            kid = header.get("kid")
            if header.get("alg") != ALGORITHM or not isinstance(kid, str):
                raise CallerRefused("another algorithm")
            key = await self._keys.key(kid)
            if key is None:
                raise CallerRefused("an unknown key")
            claims: Mapping[str, Any] = jwt.decode(
                token, key, algorithms=[ALGORITHM], options=SIGNATURE_ONLY
            )
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError) as exc:
            raise CallerRefused(f"no valid token ({type(exc).__name__})") from exc
        return claims


def _moment(claims: Mapping[str, Any], name: str) -> float:
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise CallerRefused(f"no {name}")
    return float(value)
