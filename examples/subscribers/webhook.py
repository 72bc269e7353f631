"""Take events as webhooks, with Python's own HTTP server. `python webhook.py [PORT]`

WEBHOOK_SECRET is what the registration of the webhook gave: whsec_…
"""

import json
import os
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from gallery import effects, open_gallery

from adapters.kit.webhook import MOST_BODY_BYTES, TOO_LARGE, Webhook

if not os.environ.get("WEBHOOK_SECRET"):
    sys.exit("WEBHOOK_SECRET is not set: it is the secret that the webhook's registration gave")
webhook = Webhook(open_gallery(), [os.environ["WEBHOOK_SECRET"]])


class Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        length = int(self.headers.get("content-length") or 0)
        if length > MOST_BODY_BYTES:
            self.close_connection = True
            self.answer(TOO_LARGE)
            return
        self.answer(webhook.take_now(dict(self.headers), self.rfile.read(length)))

    def do_GET(self) -> None:
        asked = parse_qs(urlsplit(self.path).query).get("subject", [""])[0]
        self.answer(200, json.dumps(effects(asked)).encode())

    def answer(self, status: int, body: bytes = b"") -> None:
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Quiet: refusals and failures are logged by the kit."""


server = ThreadingHTTPServer(
    ("127.0.0.1", int(sys.argv[1]) if len(sys.argv) > 1 else 9000), Handler
)
print(f"takes webhooks at http://127.0.0.1:{server.server_port}/", flush=True)
try:
    server.serve_forever()
except KeyboardInterrupt:
    server.server_close()
