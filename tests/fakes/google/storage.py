"""A double of Cloud Storage's XML API: buckets over HTTP, with preconditions and V4 signatures.

And of the JSON calls that look at buckets and rights; what is allowed is what `allowed` has.

fake-gcs-server is no help: it refuses the unsigned uploads of obstore ("invalid uploadType") and
checks no signature.
"""

import hashlib
import json
import threading
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15

from tests.fakes.google.login import key_pair

ACCOUNT = "limner@test-project.iam.gserviceaccount.com"
SIGNATURE = "X-Goog-Signature"
# obstore signs for the service itself, wherever it was told to find it.
SERVICE = "storage.googleapis.com"


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


class CloudStorage:
    """Objects by bucket and key, with their MIME types. `down` answers all with 503."""

    def __init__(self, *buckets: str) -> None:
        self.buckets: dict[str, dict[str, tuple[bytes, str]]] = {one: {} for one in buckets}
        self.down = False
        self.signed_reads = 0
        # What the JSON API tells of a bucket beside its name.
        self.about: dict[str, dict[str, Any]] = {}
        self.allowed = {
            "storage.buckets.get",
            "storage.objects.create",
            "storage.objects.get",
            "storage.objects.delete",
            "iam.serviceAccounts.actAs",
        }
        self._lock = threading.Lock()
        storage = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def answer(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                body = self.rfile.read(length)
                status, content, headers = storage.handle(
                    self.command, self.path, self.headers, body
                )
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(content)

            do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = answer

            def log_message(self, *_: object) -> None: ...

        self._handler = Handler

    def __enter__(self) -> Self:
        self._server = _Server(("127.0.0.1", 0), self._handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def credentials(self, folder: Path) -> Path:
        """A service account's key file, as GOOGLE_APPLICATION_CREDENTIALS names one."""
        private = key_pair().private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        path = folder / "service-account.json"
        told = {
            "type": "service_account",
            "client_email": ACCOUNT,
            "private_key_id": "first",
            "private_key": private.decode(),
            "token_uri": "https://oauth2.googleapis.com/token",
            "disable_oauth": True,
            "gcs_base_url": self.url,
        }
        path.write_text(json.dumps(told))
        return path

    def handle(
        self, method: str, target: str, headers: Mapping[str, str], body: bytes
    ) -> tuple[int, bytes, dict[str, str]]:
        if self.down:
            return 503, b"<Code>ServiceUnavailable</Code>", {}
        parts = urlsplit(target)
        bucket, _, key = unquote(parts.path).lstrip("/").partition("/")
        if parts.path.startswith(("/storage/v1/", "/v1/projects/")):
            status, told = self._json(unquote(parts.path), parts.query, body)
            return status, json.dumps(told).encode(), {"Content-Type": "application/json"}
        query = dict(parse_qsl(parts.query))
        if SIGNATURE in query:
            if not self._is_signed(method, parts.path, query):
                return 403, b"<Code>SignatureDoesNotMatch</Code>", {}
            self.signed_reads += 1
        elif "authorization" not in {name.lower() for name in headers}:
            return 401, b"<Code>AuthenticationRequired</Code>", {}
        if bucket not in self.buckets:
            return 404, b"<Code>NoSuchBucket</Code>", {}
        with self._lock:
            return _object(self.buckets[bucket], method, key, headers, body)

    def _json(self, path: str, query: str, body: bytes) -> tuple[int, dict[str, Any]]:
        """https://cloud.google.com/storage/docs/json_api/v1/buckets"""
        if path.startswith("/v1/projects/"):
            return 200, {"permissions": sorted(self.allowed & {*json.loads(body)["permissions"]})}
        bucket, _, call = path.removeprefix("/storage/v1/b/").partition("/")
        if bucket not in self.buckets:
            return 404, _error("The specified bucket does not exist.")
        if call == "iam/testPermissions":
            return 200, {"permissions": sorted(self.allowed & {v for _, v in parse_qsl(query)})}
        if "storage.buckets.get" not in self.allowed:
            return 403, _error(f"{ACCOUNT} does not have storage.buckets.get access")
        return 200, {"name": bucket} | self.about.get(bucket, {})

    def _is_signed(self, method: str, path: str, query: dict[str, str]) -> bool:
        """https://cloud.google.com/storage/docs/authentication/signatures"""
        signature = bytes.fromhex(query.pop(SIGNATURE))
        made = datetime.strptime(query["X-Goog-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        ends = made + timedelta(seconds=int(query["X-Goog-Expires"]))
        account, _, scope = query["X-Goog-Credential"].partition("/")
        if datetime.now(UTC) > ends or account != ACCOUNT:
            return False
        canonical = "\n".join(
            [
                method,
                path,
                "&".join(f"{quote(k, '')}={quote(v, '')}" for k, v in sorted(query.items())),
                f"host:{SERVICE}",
                "",
                "host",
                "UNSIGNED-PAYLOAD",
            ]
        )
        said = "\n".join(
            [
                query["X-Goog-Algorithm"],
                query["X-Goog-Date"],
                scope,
                hashlib.sha256(canonical.encode()).hexdigest(),
            ]
        )
        try:
            key_pair().public_key().verify(signature, said.encode(), PKCS1v15(), hashes.SHA256())
        except InvalidSignature:
            return False
        return True


def _object(
    objects: dict[str, tuple[bytes, str]],
    method: str,
    key: str,
    headers: Mapping[str, str],
    body: bytes,
) -> tuple[int, bytes, dict[str, str]]:
    found = objects.get(key)
    if method == "PUT":
        if found is not None and headers.get("x-goog-if-generation-match") == "0":
            return 412, b"<Code>PreconditionFailed</Code>", {}
        kind = headers.get("Content-Type") or "application/octet-stream"
        objects[key] = (body, kind)
        return 200, b"", {"ETag": _etag(body)}
    if found is None:
        return 404, b"<Code>NoSuchKey</Code>", {}
    if method == "DELETE":
        del objects[key]
        return 204, b"", {}
    data, kind = found
    about = {
        "ETag": _etag(data),
        "Content-Type": kind,
        "Last-Modified": datetime.now(UTC).strftime("%a, %d %b %Y %H:%M:%S GMT"),
        "x-goog-generation": "1",
    }
    return 200, data, about


def _error(message: str) -> dict[str, Any]:
    return {"error": {"message": message}}


def _etag(data: bytes) -> str:
    return f'"{hashlib.md5(data, usedforsecurity=False).hexdigest()}"'
