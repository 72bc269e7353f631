"""One set of gRPC methods, served on loopback or called in place by a client's own channel.

In place nothing leaves the event loop, so a test whose time is a fake clock's stays deterministic.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import grpc


class Refused(Exception):
    """What a service answers instead of a response."""

    def __init__(self, code: grpc.StatusCode, details: str = "") -> None:
        super().__init__(details)
        self.code = code
        self.details = details


@dataclass(frozen=True)
class Method:
    """*call* takes a request and returns a response, or takes and gives a stream of them."""

    request: Any
    response: Any
    call: Callable[[Any], Any]
    streams: bool = False


Methods = Mapping[str, Method]


async def serve(*services: Methods) -> tuple[grpc.aio.Server, str]:
    """Serve on a free port of loopback; stop the server afterwards."""
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    server.add_generic_rpc_handlers([_Handlers(methods) for methods in services])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    return server, f"127.0.0.1:{port}"


class _Handlers(grpc.GenericRpcHandler):
    def __init__(self, methods: Methods) -> None:
        self._methods = methods

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        method = self._methods.get(details.method)
        if method is None:
            return None
        forms = {
            "request_deserializer": _of_bytes(method.request),
            "response_serializer": _to_bytes(method.response),
        }
        if method.streams:
            return grpc.stream_stream_rpc_method_handler(_streaming(method), **forms)
        return grpc.unary_unary_rpc_method_handler(_answering(method), **forms)


def _answering(method: Method) -> Callable[..., Awaitable[Any]]:
    async def answer(request: Any, context: grpc.aio.ServicerContext) -> Any:
        try:
            return await method.call(request)
        except Refused as exc:
            await context.abort(exc.code, exc.details)

    return answer


def _streaming(method: Method) -> Callable[..., AsyncIterator[Any]]:
    async def stream(
        requests: AsyncIterator[Any], context: grpc.aio.ServicerContext
    ) -> AsyncIterator[Any]:
        try:
            async for response in method.call(requests):
                yield response
        except Refused as exc:
            await context.abort(exc.code, exc.details)

    return stream


def _of_bytes(kind: Any) -> Callable[[bytes], Any]:
    return getattr(kind, "deserialize", None) or kind.FromString


def _to_bytes(kind: Any) -> Callable[[Any], bytes]:
    # Empty and those of IAM are plain protobuf messages; all others are proto-plus.
    return getattr(kind, "serialize", None) or kind.SerializeToString


def _as_it_is(kind: Any) -> Any:
    """Let *kind* be made although it lacks methods that the official clients never call."""
    kind.__abstractmethods__ = frozenset()
    return kind


@_as_it_is
class Channel(grpc.aio.Channel):
    """A client's channel that calls *methods* in place."""

    def __init__(self, *services: Methods) -> None:
        self._methods = {name: one for methods in services for name, one in methods.items()}
        self._unary_unary_interceptors: list[Any] = []  # the official transport adds its logging

    async def close(self, grace: float | None = None) -> None: ...

    def unary_unary(self, method: str, **forms: Any) -> Any:
        return _UnaryCaller(self._methods.get(method), **forms)

    def stream_stream(self, method: str, **forms: Any) -> Any:
        return _StreamCaller(self._methods.get(method), **forms)

    # No service here has such methods, but the official clients ask for all that they know.
    unary_stream = stream_unary = unary_unary


class _Caller:
    call: Any

    def __init__(
        self, method: Method | None, request_serializer: Any, response_deserializer: Any, **_: Any
    ) -> None:
        self._forms = (method, request_serializer, response_deserializer)

    def __call__(self, request: Any, **_: Any) -> Any:
        return self.call(request, *self._forms)


class _Call:
    def __init__(self, request: Any, method: Method, to_bytes: Any, of_bytes: Any) -> None:
        self._method, self._request = method, request
        self._to_bytes, self._of_bytes = to_bytes, of_bytes

    def _seen(self, request: Any) -> Any:
        """What the service gets: nothing that does not survive the wire."""
        return _of_bytes(self._method.request)(self._to_bytes(request))

    def _answer(self, response: Any) -> Any:
        return self._of_bytes(_to_bytes(self._method.response)(response))

    async def wait_for_connection(self) -> None: ...


@_as_it_is
class _Unary(_Call, grpc.aio.UnaryUnaryCall):
    def __await__(self) -> Any:
        return self._run().__await__()

    async def _run(self) -> Any:
        try:
            return self._answer(await self._method.call(self._seen(self._request)))
        except Refused as exc:
            raise _error(exc) from exc


@_as_it_is
class _Stream(_Call, grpc.aio.StreamStreamCall):
    def __aiter__(self) -> AsyncIterator[Any]:
        self._responses = self._run()
        return self._responses

    def cancel(self) -> bool:
        self._closing = asyncio.ensure_future(self._responses.aclose())
        return True

    async def _run(self) -> AsyncGenerator[Any]:
        async with aclosing(self._method.call(self._requests())) as responses:
            try:
                async for response in responses:
                    yield self._answer(response)
            except Refused as exc:
                raise _error(exc) from exc

    async def _requests(self) -> AsyncIterator[Any]:
        async for request in self._request:
            yield self._seen(request)


class _UnaryCaller(_Caller, grpc.aio.UnaryUnaryMultiCallable):
    call = _Unary


class _StreamCaller(_Caller, grpc.aio.StreamStreamMultiCallable):
    call = _Stream


def _error(refused: Refused) -> grpc.aio.AioRpcError:
    none = grpc.aio.Metadata()
    return grpc.aio.AioRpcError(refused.code, none, none, details=refused.details)
