"""Ask Limner and wait for it, with Python's standard library alone."""

import json
import os
import sys
import time
import urllib.error
import urllib.request
from typing import Any
from uuid import uuid4

SERVER = os.environ.get("LIMNER_SERVER", "http://127.0.0.1:8080")
POLL_SECONDS = 0.5
# Some requests wait for their pictures, up to 30 s.
TIMEOUT_SECONDS = 60.0
PATIENCE_SECONDS = 300.0


def get(path: str) -> dict[str, Any]:
    return _send(urllib.request.Request(SERVER + path))


def post(path: str, body: dict[str, Any]) -> dict[str, Any]:
    # Sent again with the same key, for want of a reply, a request is not done twice.
    headers = {"Content-Type": "application/json", "Idempotency-Key": str(uuid4())}
    return _send(urllib.request.Request(SERVER + path, json.dumps(body).encode(), headers))


def poll_job_status(job_id: str) -> dict[str, Any]:
    """Wait for a job; its status once it is completed. Ends the program when it is not."""
    status = poll(f"/api/v1/images/jobs/{job_id}", {"completed", "failed", "cancelled"})
    if status["status"] != "completed":
        sys.exit(f"job {job_id} {status['status']}: {status['error_message']}")
    return status


def poll(path: str, rest: set[str]) -> dict[str, Any]:
    """Ask again and again until the `status` is one of *rest*."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (found := get(path))["status"] not in rest:
        if time.monotonic() > deadline:
            sys.exit(f"{path} is still {found['status']} after {PATIENCE_SECONDS:.0f} s")
        time.sleep(POLL_SECONDS)
    return found


def _send(request: urllib.request.Request) -> dict[str, Any]:
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as reply:
            found: dict[str, Any] = json.load(reply)
            return found
    except urllib.error.HTTPError as error:
        problem = json.load(error)  # RFC 9457: what happened, and what to do
        sys.exit(f"{problem['title']}: {problem['detail']}")
    except urllib.error.URLError as error:
        sys.exit(f"{SERVER} cannot be reached ({error.reason}). Start it: limner serve")
