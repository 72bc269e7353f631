"""Take what Pub/Sub pushes, in a FastAPI application. `python push.py [PORT]`

PUSH_AUDIENCE and PUSH_SERVICE_ACCOUNT are those of the subscription: with them the token of each
push is verified. Without them it listens on this machine alone and believes whoever reaches it.
"""

import os
import socket
import sys
from typing import Any

import uvicorn
from fastapi import FastAPI
from gallery import effects, open_gallery

from adapters.kit.push import push_router
from adapters.ports import CallerCheck


def check() -> CallerCheck | None:
    audience, email = os.environ.get("PUSH_AUDIENCE"), os.environ.get("PUSH_SERVICE_ACCOUNT")
    if not audience or not email:
        return None
    from adapters.gcp.oidc import KeySet, OidcCheck  # limner[gcp]
    from adapters.gcp.settings import GOOGLE_JWKS
    from adapters.local.clock import SystemClock

    clock = SystemClock()
    keys = KeySet(GOOGLE_JWKS, clock, call_seconds=10)
    return OidcCheck(keys, clock, audience=audience, email=email)


pushed_by = check()
app = FastAPI(title="gallery")
app.include_router(
    push_router(
        open_gallery(),
        path="/events",
        subscription=os.environ.get("PUSH_SUBSCRIPTION"),
        check=pushed_by,
    )
)


@app.get("/effects")
def tell_effects(subject: str) -> dict[str, Any]:
    return effects(subject)


if __name__ == "__main__":
    host = "0.0.0.0" if pushed_by else "127.0.0.1"
    listening = socket.create_server((host, int(sys.argv[1]) if len(sys.argv) > 1 else 9000))
    print(f"takes pushes at http://127.0.0.1:{listening.getsockname()[1]}/events", flush=True)
    uvicorn.Server(uvicorn.Config(app, log_level="warning")).run(sockets=[listening])
