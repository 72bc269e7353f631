"""A double of Stability AI: a real HTTP server on loopback that knows the service's written rules,
misbehaves when it is told to, and counts on its own side which calls it would charge.
"""

import base64
import io
import json
import re
import socket
import struct
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from decimal import Decimal
from email.parser import BytesParser
from email.policy import HTTP
from enum import Enum
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from PIL import Image

from tests.fakes import stability_operations as operations

KEY = "sk-of-the-double"
CREDITS = Decimal(1000)
PATIENCE_SECONDS = 30.0

SIZES = {
    "21:9": (1536, 640), "16:9": (1344, 768), "3:2": (1216, 832), "5:4": (1152, 896),
    "1:1": (1024, 1024), "4:5": (896, 1152), "2:3": (832, 1216), "9:16": (768, 1344),
    "9:21": (640, 1536),
}  # fmt: skip
STYLES = {
    "enhance", "anime", "photographic", "digital-art", "comic-book", "fantasy-art", "line-art",
    "analog-film", "neon-punk", "isometric", "low-poly", "origami", "modeling-compound",
    "cinematic", "3d-model", "pixel-art", "tile-texture",
}  # fmt: skip
CORE = {"prompt", "negative_prompt", "aspect_ratio", "seed", "style_preset", "output_format"}
FIELDS = {
    "core": CORE,
    "ultra": CORE | {"image", "strength"},
    "sd3": CORE | {"mode", "image", "strength", "model", "cfg_scale"},
}
PRICES = {
    "core": Decimal(3),
    "ultra": Decimal(8),
    "sd3.5-large": Decimal("6.5"),
    "sd3.5-large-turbo": Decimal(4),
    "sd3.5-medium": Decimal("3.5"),
    "sd3.5-flash": Decimal("2.5"),
}
V1_PRICE, V1_STEPS = Decimal("0.9"), 30
CREATIVE_PRICE, CREATIVE_SIZE = Decimal(60), (2048, 2048)
CREATIVE = "/v2beta/stable-image/upscale/creative"


class Misbehaviour(Enum):
    RATE_LIMITED = "429 with Retry-After"
    RATE_LIMITED_SILENTLY = "429 without Retry-After"
    NO_BALANCE_V1 = "429 insufficient_balance"
    UNAUTHORIZED = "401"
    OUT_OF_CREDIT = "402"
    MODERATED = "403 content_moderation"
    NO_PERMISSION = "403 permission_denied"
    RETIRED = "404"
    TOO_LARGE = "413"
    BROKEN = "500, charged"
    BROKEN_BEFORE = "500, not charged"
    BROKEN_AND_LYING = "500 that names itself content_moderation, charged"
    ERROR_CUT = "401 whose body is cut"
    REDIRECTED = "a redirect"
    SLOW = "no answer before it is released, charged"
    CUT_BODY = "half of the picture, charged"
    RESET_BEFORE = "the connection is reset before the request is processed"
    RESET_AFTER = "the connection is reset after the picture was painted, charged"
    WRONG_TYPE = "a web page with status 200, charged"
    GIANT = "a body without end, charged"
    EMPTY = "200 without a body, charged"
    GARBAGE = "bytes that are no picture, called a PNG, charged"
    FILTERED = "200 with a blurred picture, charged"
    UNSAID = "200 with a picture, and not whether it was filtered, charged"


M = Misbehaviour
# name of the error, as v2 tells it
REFUSALS: Mapping[Misbehaviour, tuple[int, str]] = {
    M.RATE_LIMITED: (429, "rate_limit_exceeded"),
    M.RATE_LIMITED_SILENTLY: (429, "rate_limit_exceeded"),
    M.NO_BALANCE_V1: (429, "insufficient_balance"),
    M.UNAUTHORIZED: (401, "unauthorized"),
    M.OUT_OF_CREDIT: (402, "payment_required"),
    M.MODERATED: (403, "content_moderation"),
    M.NO_PERMISSION: (403, "permission_denied"),
    M.RETIRED: (404, "not_found"),
    M.TOO_LARGE: (413, "payload_too_large"),
    M.BROKEN_BEFORE: (500, "internal_error"),
}
RETRY_AFTER_SECONDS = 17
BLUR = (1, 2, 3)


class Wrong(Exception):
    """A request that the service would refuse with 400."""


@dataclass(frozen=True)
class Call:
    """A request for a picture, as it came."""

    path: str
    fields: Mapping[str, Any]
    credits: Decimal
    # The caller's side of the connection.
    port: int


@dataclass
class StabilityDouble:
    """Enter it; `url` is the service. `script` says how the next calls are answered, one each."""

    script: list[Misbehaviour] = field(default_factory=list)
    asked: list[Call] = field(default_factory=list)
    paid: list[Call] = field(default_factory=list)
    # What every call waits for that is told to be slow.
    release: threading.Event = field(default_factory=threading.Event)
    # Set as soon as a slow call has come and been charged.
    slow_came: threading.Event = field(default_factory=threading.Event)
    # A charged call, as soon as it is; for tests that kill the caller then.
    on_paid: Callable[[], None] = lambda: None
    # Of operations that the service runs by itself: whether it tells under which id, how often it
    # then says that it is not done, how it answers the polls after these, and what was polled.
    tells_id: bool = True
    polls_in_vain: int = 0
    poll_script: list[Misbehaviour] = field(default_factory=list)
    polled: list[str] = field(default_factory=list)
    started: dict[str, Call] = field(default_factory=dict)

    def __enter__(self) -> Self:
        handler = type("Handler", (_Handler,), {"double": self})
        self._server = _Server(("127.0.0.1", 0), handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.release.set()
        self._server.shutdown()
        self._thread.join(PATIENCE_SECONDS)
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    @property
    def spent(self) -> Decimal:
        return sum((call.credits for call in self.paid), Decimal(0))


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, *_: Any) -> None:
        """A caller that has gone is none of the service's business."""


class _Handler(BaseHTTPRequestHandler):
    double: StabilityDouble
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None: ...

    def do_GET(self) -> None:
        if found := re.fullmatch(r"/v2beta/results/(.+)", self.path):
            if self._authorized():
                self._poll(found[1])
        elif self.path != "/v1/user/balance":
            self._refuse(404, "not_found")
        elif self._authorized():
            left = CREDITS - self.double.spent
            self._reply(200, "application/json", json.dumps({"credits": float(left)}).encode())

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if not self._authorized():
            return
        try:
            call, size, v1 = self._read(body)
        except Wrong as exc:
            self._refuse(400, "bad_request", str(exc))
            return
        double = self.double
        double.asked.append(call)
        told = double.script.pop(0) if double.script else None
        if told is M.RESET_BEFORE:
            self._reset()
        elif told is M.REDIRECTED:
            self.send_response(307)
            self.send_header("location", f"{double.url}{self.path}")
            self.send_header("content-length", "0")
            self.end_headers()
        elif told is M.ERROR_CUT:
            self._cut(401, b'{"id": "1", "name": "unauthorized", "errors": ["no')
        elif told in REFUSALS:
            self._refuse(*REFUSALS[told], seconds=told is M.RATE_LIMITED, v1=v1)
        else:
            double.paid.append(call)
            double.on_paid()
            self._paid(told, call, size, v1)

    def _poll(self, name: str) -> None:
        double = self.double
        double.polled.append(name)
        call = double.started.get(name)
        if call is None:
            self._refuse(404, "not_found")
            return
        if double.polled.count(name) <= double.polls_in_vain:
            status = json.dumps({"id": name, "status": "in-progress"}).encode()
            self._reply(202, "application/json", status)
            return
        told = double.poll_script.pop(0) if double.poll_script else None
        if told is M.RESET_BEFORE:
            self._reset()
        elif told in REFUSALS:
            self._refuse(*REFUSALS[told], seconds=told is M.RATE_LIMITED)
        else:
            self._painted(told, call, CREATIVE_SIZE, v1=False)

    def _paid(self, told: Misbehaviour | None, call: Call, size: tuple[int, int], v1: bool) -> None:
        """Everything after the call was charged."""
        if call.path == CREATIVE and told is None:
            name = f"{len(self.double.paid):064x}"
            self.double.started[name] = call
            started = {"id": name} if self.double.tells_id else {"status": "in-progress"}
            self._reply(200, "application/json", json.dumps(started).encode())
        else:
            self._painted(told, call, size, v1)

    def _painted(
        self, told: Misbehaviour | None, call: Call, size: tuple[int, int], v1: bool
    ) -> None:
        """The picture of a charged call, or what comes in its place."""
        seed = int(call.fields.get("seed", 0)) or 4242
        form = "JPEG" if call.fields.get("output_format") == "jpeg" else "PNG"
        picture = painted(size, BLUR if told is M.FILTERED else (seed % 256, 120, 40), form)
        reason = "CONTENT_FILTERED" if told is M.FILTERED else "SUCCESS"
        match told:
            case M.BROKEN:
                self._refuse(500, "internal_error")
                return
            case M.BROKEN_AND_LYING:
                self._refuse(500, "content_moderation")
                return
            case M.RESET_AFTER:
                self._reset()
                return
            case M.SLOW:
                self.double.slow_came.set()
                self.double.release.wait(PATIENCE_SECONDS)
            case M.WRONG_TYPE:
                self._reply(200, "text/html", b"<html>Welcome</html>", {"finish-reason": reason})
                return
            case M.GIANT:
                self._pour()
                return
            case M.GARBAGE | M.EMPTY:
                picture = b"no picture at all" if told is M.GARBAGE else b""
        kind, headers = f"image/{form.lower()}", {"finish-reason": reason, "seed": str(seed)}
        data = picture
        if v1:
            artifact = {
                "base64": base64.b64encode(picture).decode(),
                "finishReason": reason,
                "seed": seed,
            }
            kind, headers = "application/json", {}
            if told is M.UNSAID:
                del artifact["finishReason"]
            data = json.dumps({"artifacts": [artifact]}).encode()
        if told is M.UNSAID:
            headers = {}
        if told is M.CUT_BODY:
            self._cut(200, data[: len(data) // 2], len(data), kind, headers)
        else:
            self._reply(200, kind, data, headers)

    # --- requests

    def _authorized(self) -> bool:
        if self.headers.get("authorization") == f"Bearer {KEY}":
            return True
        # The real one does not repeat the key; this one is worse, for whoever logs errors.
        said = f"key {self.headers.get('authorization')} is not known"
        self._refuse(401, "unauthorized", said)
        return False

    def _read(self, body: bytes) -> tuple[Call, tuple[int, int], bool]:
        """The call, the size of its picture, and whether it is one of v1; or raises `Wrong`."""
        if self.path == CREATIVE:
            return self._read_creative(self._form(body))
        if operations.is_one(self.path):
            return self._read_operation(self._form(body))
        if found := re.fullmatch(r"/v2beta/stable-image/generate/(core|ultra|sd3)", self.path):
            return self._read_v2(found[1], self._form(body))
        pattern = r"/v1/generation/stable-diffusion-xl-1024-v1-0/(text|image)-to-image"
        if found := re.fullmatch(pattern, self.path):
            return self._read_v1(found[1], body)
        raise Wrong(f"there is no {self.path}")

    def _read_v2(self, name: str, fields: dict[str, Any]) -> tuple[Call, tuple[int, int], bool]:
        _need(fields.keys() <= FIELDS[name], f"unknown fields {fields.keys() - FIELDS[name]}")
        prompt = fields.get("prompt", "")
        _need(1 <= len(prompt) <= 10_000, "prompt")
        _need(0 <= int(fields.get("seed", 0)) <= 4_294_967_294, "seed")
        _need(fields.get("style_preset", "anime") in STYLES, "style_preset")
        formats = {"png", "jpeg"} if name == "sd3" else {"png", "jpeg", "webp"}
        _need(fields.get("output_format", "png") in formats, "output_format")
        _need(fields.get("aspect_ratio", "1:1") in SIZES, "aspect_ratio")
        _need(("image" in fields) == ("strength" in fields), "image without strength")
        if name == "sd3":
            mode = fields.get("mode", "text-to-image")
            _need(mode in {"text-to-image", "image-to-image"}, "mode")
            _need((mode == "image-to-image") == ("image" in fields), f"{mode} and image")
            _need(not ("image" in fields and "aspect_ratio" in fields), "aspect_ratio with image")
            _need(1 <= float(fields.get("cfg_scale", 4)) <= 10, "cfg_scale")
        model = fields.get("model", "sd3.5-large") if name == "sd3" else name
        _need(model in PRICES, "model")
        size = SIZES[fields.get("aspect_ratio", "1:1")]
        if "image" in fields:
            _need(0 <= float(fields["strength"]) <= 1, "strength")
            if "aspect_ratio" not in fields:
                size = _size_of(fields["image"])
        return Call(self.path, fields, PRICES[model], self.client_address[1]), size, False

    def _read_creative(self, fields: dict[str, Any]) -> tuple[Call, tuple[int, int], bool]:
        known = {"image", "prompt", "negative_prompt", "seed", "style_preset", "output_format",
                 "creativity"}  # fmt: skip
        _need(fields.keys() <= known, f"unknown fields {fields.keys() - known}")
        _need(1 <= len(fields.get("prompt", "")) <= 10_000, "prompt")
        _need(0 <= int(fields.get("seed", 0)) <= 4_294_967_294, "seed")
        _need(fields.get("style_preset", "anime") in STYLES, "style_preset")
        _need(fields.get("output_format", "png") in {"png", "jpeg", "webp"}, "output_format")
        width, height = _size_of(fields.get("image"))
        _need(min(width, height) >= 64 and width * height <= 1_048_576, "size")
        call = Call(self.path, fields, CREATIVE_PRICE, self.client_address[1])
        return call, CREATIVE_SIZE, False

    def _read_operation(self, fields: dict[str, Any]) -> tuple[Call, tuple[int, int], bool]:
        fault = operations.fault_of(self.path, fields)
        _need(fault is None, str(fault))
        _need(0 <= int(fields.get("seed", 0)) <= 4_294_967_294, "seed")
        _need(fields.get("style_preset", "anime") in STYLES, "style_preset")
        price, size = operations.price_of(self.path), operations.size_of(self.path, fields)
        return Call(self.path, fields, price, self.client_address[1]), size, False

    def _read_v1(self, kind: str, body: bytes) -> tuple[Call, tuple[int, int], bool]:
        if kind == "text":
            _need(self.headers["content-type"] == "application/json", "content-type")
            fields = json.loads(body)
            known = {"text_prompts", "width", "height", "cfg_scale", "samples", "steps", "seed",
                     "style_preset"}  # fmt: skip
            _need(fields.keys() <= known, "unknown fields")
            size = (fields["width"], fields["height"])
            _need(all(prompt["text"] for prompt in fields["text_prompts"]), "text_prompts")
        else:
            fields = self._form(body)
            size = _size_of(fields["init_image"])
            _need(0 <= float(fields["image_strength"]) <= 1, "image_strength")
            _need("text_prompts[0][text]" in fields, "text_prompts")
        _need(size in SIZES.values(), "size")
        steps = int(fields.get("steps", V1_STEPS))
        _need(10 <= steps <= 50, "steps")
        credits = V1_PRICE * max(steps, V1_STEPS) / V1_STEPS
        return Call(self.path, fields, credits, self.client_address[1]), size, True

    def _form(self, body: bytes) -> dict[str, Any]:
        """The fields of a multipart form: text, or the bytes of a file."""
        kind = self.headers.get("content-type", "")
        _need(kind.startswith("multipart/form-data"), "multipart/form-data is needed")
        head = f"content-type: {kind}\r\n\r\n".encode()
        form: dict[str, Any] = {}
        for part in BytesParser(policy=HTTP).parsebytes(head + body).iter_parts():
            data = part.get_payload(decode=True)
            assert isinstance(data, bytes)
            name = part.get_param("name", header="content-disposition")
            form[str(name)] = data if part.get_filename() else data.decode()
        return form

    # --- replies

    def _refuse(
        self, status: int, name: str, said: str = "refused", *, seconds: bool = False,
        v1: bool = False,
    ) -> None:  # fmt: skip
        told: dict[str, Any] = {"id": "1", "name": name}
        told |= {"message": said} if v1 else {"errors": [said]}
        headers = {"retry-after": str(RETRY_AFTER_SECONDS)} if seconds else {}
        self._reply(status, "application/json", json.dumps(told).encode(), headers)

    def _reply(
        self, status: int, kind: str, body: bytes, headers: Mapping[str, str] | None = None
    ) -> None:
        self._head(status, kind, len(body), headers or {})
        self.wfile.write(body)

    def _head(self, status: int, kind: str, length: int | None, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        self.send_header("content-type", kind)
        for name, value in headers.items():
            self.send_header(name, value)
        if length is not None:
            self.send_header("content-length", str(length))
        self.end_headers()

    def _cut(
        self,
        status: int,
        beginning: bytes,
        length: int = 1000,
        kind: str = "application/json",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self._head(status, kind, length, headers or {})
        self.wfile.write(beginning)
        self.close_connection = True

    def _pour(self) -> None:
        """A body that ends only when the caller hangs up."""
        self._head(200, "image/png", None, {"finish-reason": "SUCCESS"})
        self.close_connection = True
        with suppress(OSError):
            while True:
                self.wfile.write(b"\x89PNG" * 65536)

    def _reset(self) -> None:
        reset(self)


def reset(handler: BaseHTTPRequestHandler) -> None:
    """End the connection by RST, so that its other side sees no orderly end."""
    linger = struct.pack("ii", 1, 0)
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    handler.close_connection = True
    handler.connection.close()


def _need(condition: bool, what: str) -> None:
    if not condition:
        raise Wrong(what)


def _size_of(picture: Any) -> tuple[int, int]:
    _need(isinstance(picture, bytes), "the picture must be a file")
    return Image.open(io.BytesIO(picture)).size


@cache
def painted(size: tuple[int, int], colour: tuple[int, int, int], form: str = "PNG") -> bytes:
    """A plain picture."""
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, form, compress_level=1)
    return buffer.getvalue()
