"""Google's sign-in as far as services use it: a key pair, its JWKS over HTTP, tokens on demand."""

import json
import threading
import time
from collections.abc import Mapping
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from jwt.algorithms import RSAAlgorithm

ISSUER = "https://accounts.google.com"
LIFETIME_SECONDS = 3600


@cache
def key_pair(number: int = 0) -> RSAPrivateKey:
    """Made once; making one takes longer than most tests."""
    return generate_private_key(65537, 2048)


class Login:
    """Set `keys` to rotate them; `fetches` counts how often somebody looked, `down` sends 503."""

    def __init__(self) -> None:
        self.keys: dict[str, RSAPrivateKey] = {"first": key_pair()}
        self.fetches = 0
        self.down = False

    def __enter__(self) -> Self:
        login = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                login.fetches += 1
                body = json.dumps(login.jwks()).encode()
                self.send_response(503 if login.down else 200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/certs"

    def jwks(self) -> Mapping[str, Any]:
        def public(key: RSAPrivateKey) -> dict[str, Any]:
            return RSAAlgorithm.to_jwk(key.public_key(), as_dict=True)

        return {
            "keys": [
                public(key) | {"kid": kid, "alg": "RS256", "use": "sig"}
                for kid, key in self.keys.items()
            ]
        }

    def token(
        self,
        *,
        email: str,
        audience: str,
        now: float | None = None,
        kid: str | None = None,
        headers: Mapping[str, Any] | None = None,
        key: Any = None,
        algorithm: str = "RS256",
        **claims: Any,
    ) -> str:
        """A token as Google mints it, unless it is told otherwise. A claim of None is left out."""
        issued = int(time.time() if now is None else now)
        kid = kid or next(iter(self.keys))
        said = {
            "iss": ISSUER,
            "aud": audience,
            "azp": "1234567890",
            "sub": "1234567890",
            "email": email,
            "email_verified": True,
            "iat": issued,
            "exp": issued + LIFETIME_SECONDS,
        } | claims
        return jwt.encode(
            {name: value for name, value in said.items() if value is not None},
            key if key is not None else self.keys.get(kid, key_pair()),
            algorithm=algorithm,
            headers={"kid": kid, **(headers or {})},
        )
