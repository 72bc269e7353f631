"""Who may call what: without it the API would be open to whoever reaches its port.

Refused before the body is read. Whatever is not named here needs the key, so that a new route is
closed until somebody decides otherwise.
"""

import hashlib
import hmac
from collections.abc import Callable

import structlog
from starlette.types import ASGIApp, Receive, Scope, Send

from adapters.errors import CallerRefused, Unavailable
from adapters.ports import CallerCheck
from pipeline.routes.problems import problem

log = structlog.get_logger(__name__)

WORKER = "/api/v1/images/worker"
PUSH = "/api/v1/events/"
# They say nothing of anybody's jobs; an approval link is a secret of its own.
OPEN = frozenset({"/", "/healthz", "/readyz", "/openapi.json"})
OPEN_BELOW = "/approvals/"


class KnownCallers:
    """ASGI middleware: 401 for a caller who does not show who they are.

    *worker* and *push* check those who deliver tasks and events; without them these routes need the
    *key* as all others do, and without a *key* nobody bears it. *signed* says of a path and a query
    whether anybody may read there.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        key: str | None,
        worker: CallerCheck | None,
        push: CallerCheck | None,
        signed: Callable[[str, str], bool],
    ) -> None:
        self._app = app
        self._key = _digest(key.encode()) if key is not None else None
        self._worker = worker
        self._push = push
        self._signed = signed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket") or self._is_open(scope):
            await self._app(scope, receive, send)
            return
        try:
            await self._check(scope)
        except CallerRefused as exc:
            log.warning("caller_refused", reason=str(exc), worker=scope["path"] == WORKER)
            response = problem(
                401,
                "unauthorized",
                "Who calls is not known",
                "The request bears no valid key. Nothing was stored or read. Send"
                " `Authorization: Bearer KEY` with the key of this service.",
                headers={"WWW-Authenticate": "Bearer"},
            )
            await response(scope, receive, send)
        except Unavailable as exc:
            log.error("caller_not_verified", error=str(exc))
            response = problem(
                503,
                "unavailable",
                "The caller cannot be verified now",
                "The keys that verify callers cannot be reached. Nothing was stored. Send the"
                " request again later.",
                headers={"Retry-After": "5"},
            )
            await response(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _is_open(self, scope: Scope) -> bool:
        path: str = scope["path"]
        if path in OPEN or path.startswith(OPEN_BELOW):
            return True
        reads = scope.get("method") in ("GET", "HEAD")
        return reads and self._signed(path, scope.get("query_string", b"").decode("latin-1"))

    async def _check(self, scope: Scope) -> None:
        path: str = scope["path"]
        given = [value for name, value in scope["headers"] if name == b"authorization"]
        if len(given) > 1:
            raise CallerRefused("several Authorization headers")
        authorization = given[0].decode("latin-1") if given else None
        posts = scope.get("method") == "POST"
        if self._worker is not None and path == WORKER:
            await self._worker.check(authorization)
        elif self._push is not None and path.startswith(PUSH) and posts:
            await self._push.check(authorization)
        else:
            self._check_key(authorization)

    def _check_key(self, authorization: str | None) -> None:
        scheme, _, key = (authorization or "").partition(" ")
        digest = _digest(key.strip().encode("latin-1"))
        known = self._key is not None and hmac.compare_digest(digest, self._key)
        if scheme.lower() != "bearer" or not known:
            raise CallerRefused("another key" if authorization else "no key")


def _digest(key: bytes) -> bytes:
    """Equally long for every key, so that comparing tells nothing of its length."""
    return hashlib.sha256(key).digest()
