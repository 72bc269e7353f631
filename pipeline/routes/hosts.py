"""Answer under our own names only, so that no page of another site reaches the local service."""

from collections.abc import Collection
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Receive, Scope, Send

from pipeline.routes.problems import problem


class KnownHosts:
    """ASGI middleware: 400 for a request that was sent to another name than *names*."""

    def __init__(self, app: ASGIApp, names: Collection[str]) -> None:
        self._app = app
        self._names = names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket") or self._is_ours(scope):
            await self._app(scope, receive, send)
            return
        response = problem(
            400,
            "foreign_host",
            "The Host header is not ours",
            f"This service answers under {', '.join(self._names)} only. Nothing was stored."
            " Call it by one of these.",
            field="Host",
        )
        await response(scope, receive, send)

    def _is_ours(self, scope: Scope) -> bool:
        hosts = [value for name, value in scope["headers"] if name == b"host"]
        try:
            return len(hosts) == 1 and urlsplit(f"//{hosts[0].decode()}").hostname in self._names
        except ValueError:  # brackets that do not close, or bytes that are no text
            return False
