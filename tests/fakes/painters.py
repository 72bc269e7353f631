"""Doubles of Gemini and of OpenAI's images API: real HTTP servers on loopback that know the
services' written rules, misbehave when told to, and count themselves which calls they would charge.
"""

import base64
import json
import re
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from email.parser import BytesParser
from email.policy import HTTP
from enum import Enum
from http.server import BaseHTTPRequestHandler
from typing import Any, Self

from tests.fakes.stability import PATIENCE_SECONDS, Wrong, _need, _Server, _size_of, painted
from tests.fakes.stability import reset as reset_connection

KEY = "key-of-the-double"
RETRY_AFTER_SECONDS = 7


class Trouble(Enum):
    RATE_LIMITED = "429"
    UNAUTHORIZED = "the key is refused"
    NOT_ALLOWED = "the key may not use the model"
    OUT_OF_CREDIT = "no credit"
    MODERATED = "the prompt is refused"
    RETIRED = "404"
    INVALID = "400"
    BROKEN = "500, charged"
    BROKEN_BEFORE = "500, not charged"
    SLOW = "no answer before it is released, charged"
    RESET_AFTER = "the connection is reset after the picture was painted, charged"
    CUT_BODY = "half of the reply, charged"
    MALFORMED = "half of the JSON in a whole reply, charged"
    LIST = "JSON that is no object, charged"
    EMPTY = "a reply without a picture, charged"
    GARBAGE = "bytes that are no picture, called a PNG, charged"
    WRONG_TYPE = "a web page with status 200, charged"
    GIANT = "a body without end, charged"
    REDIRECTED = "a redirect"
    WITHHELD = "painted and withheld for its content, charged"
    ADDRESS = "an address in the place of the picture, charged"


UNCHARGED = {
    Trouble.RATE_LIMITED, Trouble.UNAUTHORIZED, Trouble.NOT_ALLOWED, Trouble.OUT_OF_CREDIT,
    Trouble.MODERATED, Trouble.RETIRED, Trouble.INVALID, Trouble.BROKEN_BEFORE, Trouble.REDIRECTED,
}  # fmt: skip


@dataclass(frozen=True)
class Asked:
    """A request that passed the double's rules. *source* is the size of its picture, if any."""

    path: str
    fields: Mapping[str, Any]
    size: tuple[int, int]
    source: tuple[int, int] | None = None
    port: int = 0


@dataclass
class PainterDouble:
    """Enter it; `url` is the service. `script` says how the next calls are answered, one each."""

    script: list[Trouble] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)
    paid: list[Asked] = field(default_factory=list)
    # What every call waits for that is told to be slow.
    release: threading.Event = field(default_factory=threading.Event)
    # A server of one's own may want no key.
    key: str | None = KEY
    handler: type["_Handler"] = field(init=False)

    def __enter__(self) -> Self:
        handler = type("Handler", (self.handler,), {"double": self})
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


class _Handler(BaseHTTPRequestHandler):
    double: PainterDouble
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None: ...

    # --- what a service says by itself

    def read(self, body: bytes) -> Asked:
        raise NotImplementedError

    def authorized(self) -> bool:
        raise NotImplementedError

    def refusal(self, told: Trouble) -> tuple[int, dict[str, Any]]:
        raise NotImplementedError

    def reply(self, told: Trouble | None, picture: bytes) -> dict[str, Any]:
        raise NotImplementedError

    def written(self, told: Trouble | None, picture: bytes) -> bytes:
        return json.dumps(self.reply(told, picture)).encode()

    # --- what all do

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if not self.authorized():
            self._refuse(Trouble.UNAUTHORIZED)
            return
        try:
            call = self.read(body)
        except (Wrong, KeyError, ValueError) as exc:
            self._refuse(Trouble.INVALID, f"{type(exc).__name__} {exc}")
            return
        double = self.double
        double.asked.append(call)
        told = double.script.pop(0) if double.script else None
        if told is Trouble.REDIRECTED:
            self._send(307, b"", {"location": f"{double.url}{self.path}"})
        elif told in UNCHARGED:
            self._refuse(told)
        else:
            double.paid.append(call)
            self._paid(told, call)

    def _paid(self, told: Trouble | None, call: Asked) -> None:
        picture = painted(call.size, (40, len(self.double.paid) % 256, 90))
        match told:
            case Trouble.BROKEN:
                self._refuse(told)
                return
            case Trouble.RESET_AFTER:
                reset_connection(self)
                return
            case Trouble.SLOW:
                self.double.release.wait(PATIENCE_SECONDS)
            case Trouble.GIANT:
                self._pour()
                return
            case Trouble.WRONG_TYPE:
                self._send(200, b"<html>Welcome</html>", {"content-type": "text/html"})
                return
            case Trouble.GARBAGE:
                picture = b"no picture at all"
        data = self.written(told, picture)
        if told is Trouble.LIST:
            data = b"[1, 2]"
        if told is Trouble.MALFORMED:
            data = data[: len(data) // 2]
        if told is Trouble.CUT_BODY:
            self._send(200, data[: len(data) // 2], {}, len(data))
        else:
            self._send(200, data)

    def _refuse(self, told: Trouble, why: str = "refused") -> None:
        status, error = self.refusal(told)
        # Not even a service that repeats the key may bring it into a log.
        error["message"] = f"{why} (key {KEY})"
        self._send(status, json.dumps({"error": error}).encode())

    def _send(
        self,
        status: int,
        body: bytes,
        headers: Mapping[str, str] | None = None,
        length: int | None = None,
    ) -> None:
        self.send_response(status)
        for name, value in {"content-type": "application/json", **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = length is not None

    def _pour(self) -> None:
        """A body that ends only when the caller hangs up."""
        self.send_response(200)
        self.end_headers()
        self.close_connection = True
        with suppress(OSError):
            self.wfile.write(b'{"data": "')
            while True:
                self.wfile.write(b"A" * 65536)


# --- Gemini

RATIOS = {
    "1:1": (1024, 1024), "2:3": (848, 1264), "3:2": (1264, 848), "3:4": (896, 1200),
    "4:3": (1200, 896), "4:5": (928, 1152), "5:4": (1152, 928), "9:16": (768, 1376),
    "16:9": (1376, 768), "21:9": (1584, 672),
}  # fmt: skip
SCALES = {"512": 0.5, "1K": 1.0, "2K": 2.0, None: 1.0}
STATUSES = {
    Trouble.RATE_LIMITED: (429, "RESOURCE_EXHAUSTED", None),
    Trouble.UNAUTHORIZED: (400, "INVALID_ARGUMENT", "API_KEY_INVALID"),
    Trouble.NOT_ALLOWED: (403, "PERMISSION_DENIED", None),
    Trouble.OUT_OF_CREDIT: (403, "PERMISSION_DENIED", "BILLING_DISABLED"),
    Trouble.RETIRED: (404, "NOT_FOUND", None),
    Trouble.INVALID: (400, "INVALID_ARGUMENT", None),
    Trouble.BROKEN: (500, "INTERNAL", None),
    Trouble.BROKEN_BEFORE: (503, "UNAVAILABLE", None),
}


class _Gemini(_Handler):
    def authorized(self) -> bool:
        return self.headers.get("x-goog-api-key") == KEY

    def read(self, body: bytes) -> Asked:
        found = re.fullmatch(r"/v1beta/models/(gemini-[\w.-]+):generateContent", self.path)
        _need(found is not None, f"there is no {self.path}")
        told = json.loads(body)
        config = told["generationConfig"]
        known = {"responseModalities", "candidateCount", "seed", "imageConfig"}
        _need(config.keys() <= known, f"unknown fields {config.keys() - known}")
        _need(config["responseModalities"] == ["IMAGE"], "responseModalities")
        _need(0 <= config["seed"] < 2**31, "seed")
        image = config["imageConfig"]
        across, down = RATIOS[image["aspectRatio"]]
        scale = SCALES[image.get("imageSize")]
        (content,) = told["contents"]
        text, *pictures = content["parts"]
        _need(bool(text["text"]), "text")
        source = None
        if pictures:
            (inline,) = pictures
            data = base64.urlsafe_b64decode(inline["inlineData"]["data"])
            source = _size_of(data)
        fields = {"prompt": text["text"], "seed": config["seed"], "imageConfig": image}
        size = (round(across * scale), round(down * scale))
        return Asked(self.path, fields, size, source, self.client_address[1])

    def _refuse(self, told: Trouble, why: str = "refused") -> None:
        if told is not Trouble.MODERATED:
            super()._refuse(told, why)
            return
        blocked = {"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}}
        self._send(200, json.dumps(blocked).encode())

    def refusal(self, told: Trouble) -> tuple[int, dict[str, Any]]:
        status, name, reason = STATUSES[told]
        details: list[dict[str, Any]] = []
        if reason is not None:
            kind = "type.googleapis.com/google.rpc.ErrorInfo"
            details.append({"@type": kind, "reason": reason, "domain": "googleapis.com"})
        if told is Trouble.RATE_LIMITED:
            kind = "type.googleapis.com/google.rpc.RetryInfo"
            details.append({"@type": kind, "retryDelay": f"{RETRY_AFTER_SECONDS}s"})
        return status, {"code": status, "status": name, "details": details}

    def reply(self, told: Trouble | None, picture: bytes) -> dict[str, Any]:
        image = {"mimeType": "image/png", "data": base64.b64encode(picture).decode()}
        thought = {
            "mimeType": "image/png",
            "data": base64.b64encode(painted((8, 8), (0, 0, 0))).decode(),
        }
        parts: list[dict[str, Any]] = [
            {"inlineData": thought, "thought": True},
            {"text": "Here is your picture."},
            {"inlineData": image},
        ]
        reason = "STOP"
        if told is Trouble.EMPTY:
            parts, reason = [{"text": "I cannot."}], "NO_IMAGE"
        if told is Trouble.WITHHELD:
            parts, reason = [], "IMAGE_SAFETY"
        if told is Trouble.ADDRESS:
            parts = [{"fileData": {"mimeType": "image/png", "fileUri": "https://x.example/1.png"}}]
        candidate = {
            "content": {"role": "model", "parts": parts},
            "finishReason": reason,
            "index": 0,
        }
        return {"candidates": [candidate], "modelVersion": "double"}


@dataclass
class GeminiDouble(PainterDouble):
    handler: type[_Handler] = field(init=False, default=_Gemini)


# --- OpenAI

ERRORS: dict[Trouble, tuple[int, str, str | None]] = {
    Trouble.RATE_LIMITED: (429, "requests", "rate_limit_exceeded"),
    Trouble.UNAUTHORIZED: (401, "invalid_request_error", "invalid_api_key"),
    # As an organization that has not been verified is answered.
    Trouble.NOT_ALLOWED: (403, "invalid_request_error", None),
    Trouble.OUT_OF_CREDIT: (429, "insufficient_quota", "insufficient_quota"),
    Trouble.MODERATED: (400, "image_generation_user_error", "moderation_blocked"),
    Trouble.RETIRED: (404, "invalid_request_error", "model_not_found"),
    Trouble.INVALID: (400, "invalid_request_error", None),
    Trouble.BROKEN: (500, "server_error", None),
    Trouble.BROKEN_BEFORE: (503, "server_error", None),
}
SIZES = {"1024x1024", "1536x1024", "1024x1536"}
OF_OPENAI = {"model", "prompt", "n", "size", "quality", "output_format"}
# What a server of one's own takes beside.
OF_OTHERS = {"model", "prompt", "n", "size", "response_format", "seed", "negative_prompt", "step"}


class _OpenAI(_Handler):
    def authorized(self) -> bool:
        key = self.double.key
        return key is None or self.headers.get("authorization") == f"Bearer {key}"

    def read(self, body: bytes) -> Asked:
        source = None
        _need(
            self.path in {"/v1/images/generations", "/v1/images/edits"}, f"there is no {self.path}"
        )
        if self.path.endswith("edits"):
            fields = self._form(body)
            source = _size_of(fields.pop("image"))
        else:
            _need(self.headers["content-type"] == "application/json", "content-type")
            fields = json.loads(body)
        strict = self.double.key is not None
        known = OF_OPENAI if strict else OF_OTHERS
        _need(fields.keys() <= known, f"unknown fields {fields.keys() - known}")
        _need(int(fields["n"]) == 1, "n")
        _need(1 <= len(fields["prompt"]) <= 32_000, "prompt")
        _need(not strict or fields["size"] in SIZES, "size")
        _need(not strict or fields["quality"] in {"low", "medium", "high"}, "quality")
        across, down = fields["size"].split("x")
        return Asked(self.path, fields, (int(across), int(down)), source, self.client_address[1])

    def _form(self, body: bytes) -> dict[str, Any]:
        kind = self.headers.get("content-type", "")
        _need(kind.startswith("multipart/form-data"), "multipart/form-data is needed")
        head = f"content-type: {kind}\r\n\r\n".encode()
        form: dict[str, Any] = {}
        for part in BytesParser(policy=HTTP).parsebytes(head + body).iter_parts():
            data = part.get_payload(decode=True)
            assert isinstance(data, bytes)
            name = str(part.get_param("name", header="content-disposition"))
            form[name] = data if part.get_filename() else data.decode()
        return form

    def refusal(self, told: Trouble) -> tuple[int, dict[str, Any]]:
        status, kind, code = ERRORS[told]
        return status, {"type": kind, "code": code, "param": None}

    def reply(self, told: Trouble | None, picture: bytes) -> dict[str, Any]:
        data = [{"b64_json": base64.b64encode(picture).decode()}]
        if told is Trouble.EMPTY:
            data = []
        if told is Trouble.ADDRESS:
            data = [{"url": f"{self.double.url}/pictures/1.png"}]
        return {"created": 1, "data": data, "output_format": "png"}


@dataclass
class OpenAIDouble(PainterDouble):
    handler: type[_Handler] = field(init=False, default=_OpenAI)

    @property
    def base_url(self) -> str:
        return f"{self.url}/v1"


# --- the service of docs/how-to/add-a-provider.md


class _Example(_Handler):
    def authorized(self) -> bool:
        return self.headers.get("x-api-key") == KEY

    def read(self, body: bytes) -> Asked:
        fields = json.loads(body)
        _need(self.path == "/paint", "path")
        _need(fields.keys() == {"model", "prompt", "ratio", "seed"}, "fields")
        across, down = fields["ratio"].split(":")
        return Asked(self.path, fields, (int(across) * 10, int(down) * 10))

    def refusal(self, told: Trouble) -> tuple[int, dict[str, Any]]:
        return (429, {}) if told is Trouble.RATE_LIMITED else (400, {"code": "nsfw_prompt"})

    def written(self, told: Trouble | None, picture: bytes) -> bytes:
        return picture


@dataclass
class ExampleDouble(PainterDouble):
    handler: type[_Handler] = field(init=False, default=_Example)
