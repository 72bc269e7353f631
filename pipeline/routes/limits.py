"""Refuse a body that is too large by counting what arrives, whatever its headers say."""

from contextlib import suppress

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
