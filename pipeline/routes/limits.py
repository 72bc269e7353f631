"""Refuse what is not for this service: a body that is too large, a host that is not its name."""

from collections.abc import Collection
from contextlib import suppress
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipeline.routes.problems import problem


class _TooLarge(Exception):
    pass


class BodyLimit:
    """ASGI middleware: 413 for a body of more than *max_bytes*."""

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self._app = app
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        if declared.isdigit() and int(declared) > self._max_bytes:
            await self._refuse(scope, receive, send)
            return
        counted = 0
        refused = started = False

        async def counting_receive() -> Message:
            nonlocal counted, refused
            message = await receive()
            if message["type"] == "http.request":
                counted += len(message.get("body", b""))
                if counted > self._max_bytes:
                    refused = True
                    raise _TooLarge
            return message

        async def watching_send(message: Message) -> None:
            nonlocal started
            # Whoever reads the body may turn the refusal into an answer of its own.
            if not refused or started:
                started = True
                await send(message)

        with suppress(_TooLarge):
            await self._app(scope, counting_receive, watching_send)
        if refused and not started:
            await self._refuse(scope, receive, send)

    async def _refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = problem(
            413,
            "body_too_large",
            "The body is too large",
            f"The body may have at most {self._max_bytes} bytes. Nothing was stored."
            " Shorten the prompt; pictures are not sent in JSON.",
            headers={"Connection": "close"},
        )
        await response(scope, receive, send)


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
