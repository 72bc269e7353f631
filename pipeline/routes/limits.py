"""Refuse a body that is too large by counting what arrives, whatever its headers say."""

from contextlib import suppress

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipeline.routes.problems import problem


class _TooLarge(Exception):
    pass


class BodyLimit:
    """ASGI middleware: 413 for a body of more than *max_bytes*.

    A form with pictures (multipart), to one of the paths of *uploads*, has *max_upload_bytes*.
    """

    def __init__(
        self,
        app: ASGIApp,
        max_bytes: int,
        max_upload_bytes: int = 0,
        uploads: frozenset[str] = frozenset(),
    ) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self._max_upload_bytes = max_upload_bytes
        self._uploads = uploads

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        # Of two types nobody knows which one is read.
        types = [value.lower() for name, value in scope["headers"] if name == b"content-type"]
        is_form = len(types) == 1 and types[0].startswith(b"multipart/form-data")
        most = self._max_bytes
        if is_form and scope["path"] in self._uploads:
            most = self._max_upload_bytes
        declared = headers.get(b"content-length", b"0")
        if declared.isdigit() and int(declared) > most:
            await self._refuse(scope, receive, send, most)
            return
        counted = 0
        refused = started = False

        async def counting_receive() -> Message:
            nonlocal counted, refused
            message = await receive()
            if message["type"] == "http.request":
                counted += len(message.get("body", b""))
                if counted > most:
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
            await self._refuse(scope, receive, send, most)

    async def _refuse(self, scope: Scope, receive: Receive, send: Send, most: int) -> None:
        response = problem(
            413,
            "body_too_large",
            "The body is too large",
            f"The body may have at most {most} bytes. Nothing was stored. "
            + (
                "Shorten the prompt; pictures are not sent in JSON."
                if most == self._max_bytes
                else "Send smaller pictures, or compress them more."
            ),
            headers={"Connection": "close"},
        )
        await response(scope, receive, send)
