"""A receiver of webhooks: a real HTTP server on loopback that misbehaves when it is told to."""

import socket
import ssl
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

PATIENCE_SECONDS = 30.0


class Answer(Enum):
    OK = "200"
    NO_CONTENT = "204"
    BROKEN = "500"
    REFUSED = "400"
    GONE = "410"
    BUSY = "429 with Retry-After"
    AWAY = "503 with Retry-After"
    REDIRECTED = "a redirect to /elsewhere"
    SLOW = "no answer before it is released"
    DRIPPING = "200, and a body of which a byte comes and no other before it is released"
    CUT = "half of a head, and the end of the connection"
    CUT_BODY = "200 with half of its body"
    GIANT = "200 with a body without end"
    RESET = "the connection is reset"
    GARBAGE = "bytes that are no HTTP"


A = Answer
STATUSES = {
    A.OK: 200, A.NO_CONTENT: 204, A.BROKEN: 500, A.REFUSED: 400, A.GONE: 410, A.BUSY: 429,
    A.AWAY: 503, A.REDIRECTED: 307,
}  # fmt: skip
RAW = {
    A.CUT: b"HTTP/1.1 200 OK\r\ncontent-le",
    A.CUT_BODY: b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf",
    A.GARBAGE: b"SSH-2.0-OpenSSH_9.9\r\n",
}


@dataclass(frozen=True)
class Received:
    """One request as it came; names of *headers* are small letters."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def webhook_id(self) -> str:
        return self.headers["webhook-id"]


@dataclass
class Receiver:
    """Enter it; `url` is its address. `script` says how the next requests are answered."""

    script: list[Answer] = field(default_factory=list)
    # How it answers once the script is over.
    otherwise: Answer = Answer.OK
    retry_after: str = "600"
    # What it answers with, where it has a body.
    body: bytes = b"ok"
    received: list[Received] = field(default_factory=list)
    # What every slow answer waits for.
    release: threading.Event = field(default_factory=threading.Event)
    slow_came: threading.Event = field(default_factory=threading.Event)
    # Makes the server speak TLS.
    tls: ssl.SSLContext | None = None
    on_request: Callable[[Received], None] = lambda _: None

    def __enter__(self) -> Self:
        handler = type("Handler", (_Handler,), {"receiver": self})
        self._server = _Server(("127.0.0.1", 0), handler)
        if self.tls is not None:
            self._server.socket = self.tls.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.release.set()
        self._server.shutdown()
        self._thread.join(PATIENCE_SECONDS)
        self._server.server_close()

    @property
    def port(self) -> int:
        return int(self._server.server_port)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hooks?from=limner"

    @property
    def ids(self) -> list[str]:
        """The `webhook-id` of every request, in the order in which they came."""
        return [one.webhook_id for one in self.received]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def handle_error(self, *_: Any) -> None:
        """A sender that has gone is none of the receiver's business."""


class _Handler(BaseHTTPRequestHandler):
    receiver: Receiver
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None: ...

    def do_GET(self) -> None:
        self.do_POST()

    def do_POST(self) -> None:
        receiver = self.receiver
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        came = Received(self.path, headers, body)
        told = receiver.script.pop(0) if receiver.script else receiver.otherwise
        receiver.received.append(came)
        receiver.on_request(came)
        if told in RAW:
            self.wfile.write(RAW[told])
            self.close_connection = True
        elif told is A.RESET:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True
            self.connection.close()
        elif told is A.GIANT:
            self._pour()
        elif told is A.DRIPPING:
            self.wfile.write(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n.")
            self.wfile.flush()
            self._wait()
        else:
            if told is A.SLOW:
                self._wait()
            self._answer(STATUSES.get(told, 200))

    def _answer(self, status: int) -> None:
        self.send_response(status)
        if status in (429, 503):
            self.send_header("retry-after", self.receiver.retry_after)
        if status == 307:
            self.send_header("location", f"http://127.0.0.1:{self.receiver.port}/elsewhere")
        self.send_header("content-length", "0" if status == 204 else str(len(self.receiver.body)))
        self.end_headers()
        if status != 204:
            self.wfile.write(self.receiver.body)

    def _wait(self) -> None:
        self.receiver.slow_came.set()
        self.receiver.release.wait(PATIENCE_SECONDS)

    def _pour(self) -> None:
        """A body that ends only when the sender hangs up."""
        self.wfile.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n\r\n")
        self.close_connection = True
        with suppress(OSError):
            while True:
                self.wfile.write(b"more " * 65536)
