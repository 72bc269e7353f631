"""Receive webhooks: `WEBHOOK_SECRET=whsec_… python3 examples/webhook_receiver.py [PORT]`"""

import base64
import hashlib
import hmac
import json
import os
import sys
import time
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TOLERANCE_SECONDS = 300


def is_from_limner(secret: str, headers: Mapping[str, str], body: bytes) -> bool:
    """Whether *body*, byte for byte as it came, was signed with *secret*, and just now."""
    message_id, timestamp = headers["webhook-id"], headers["webhook-timestamp"]
    if abs(time.time() - int(timestamp)) > TOLERANCE_SECONDS:
        return False
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = f"{message_id}.{timestamp}.".encode() + body
    wanted = "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()
    # Two signatures, while a secret is being changed.
    given = headers["webhook-signature"].split()
    return any(hmac.compare_digest(wanted.encode(), one.encode()) for one in given)


# Keep these where they outlive the program, in the commit of what you do about the event.
handled: set[str] = set()


class Receiver(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        try:
            genuine = is_from_limner(os.environ["WEBHOOK_SECRET"], self.headers, body)
        except (KeyError, TypeError, ValueError, AttributeError):  # a header lacks or is garbage
            genuine = False
        if not genuine:
            self.send_error(400, "The signature is not Limner's")
            return
        event = json.loads(body)
        if event["id"] not in handled:  # the same message may come again
            handled.add(event["id"])
            print(event["type"], event["subject"], event["sequence"], flush=True)
        # Answer soon and work later: after 15 s the message is taken for lost, and comes again.
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None: ...


if __name__ == "__main__":
    if "WEBHOOK_SECRET" not in os.environ:
        sys.exit("Set WEBHOOK_SECRET to what `limner webhooks add` printed (whsec_…).")
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 3000
    server = ThreadingHTTPServer(("127.0.0.1", port), Receiver)
    print(f"listening on http://127.0.0.1:{server.server_port}/", flush=True)
    server.serve_forever()
