"""What answers at the address itself: which service this is, and every route that it has."""

from html import escape
from importlib.metadata import version

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.responses import HTMLResponse
from pydantic import BaseModel

router = APIRouter()

DISTRIBUTION = "limner"
OPENAPI = "/openapi.json"
# For callers inside the deployment only.
INTERNAL = "internal"


class RouteResponse(BaseModel):
    method: str
    path: str
    does: str


class HomeResponse(BaseModel):
    service: str
    version: str
    openapi: str
    """Where every field of every request and reply is described."""
    routes: list[RouteResponse]


@router.get("/", include_in_schema=False)
async def home(request: Request) -> Response:
    """The routes, as a page for a browser and as JSON for everybody else."""
    told = HomeResponse(
        service="limner",
        version=version(DISTRIBUTION),
        openapi=OPENAPI,
        routes=_routes(request.app),
    )
    if "text/html" in request.headers.get("accept", ""):
        return _page(told)
    return Response(told.model_dump_json(), media_type="application/json")


def _routes(app: FastAPI) -> list[RouteResponse]:
    return [
        RouteResponse(
            method=method.upper(), path=path, does=_first_sentence(operation["description"])
        )
        for path, operations in app.openapi()["paths"].items()
        for method, operation in operations.items()
        if INTERNAL not in operation["tags"]
    ]


def _first_sentence(text: str) -> str:
    return " ".join(text.split()).partition(". ")[0].rstrip(".")


def _page(told: HomeResponse) -> HTMLResponse:
    rows = "".join(
        f"<tr><td>{one.method}</td><td><code>{escape(one.path)}</code></td>"
        f"<td>{escape(one.does)}</td></tr>"
        for one in told.routes
    )
    document = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        "<title>Limner</title><style>:root { color-scheme: light dark; font-family: system-ui; }"
        " body { max-width: 70rem; margin: 2rem auto; padding: 0 1.2rem; }"
        " td { padding: .2rem .8rem .2rem 0; vertical-align: top; }</style></head><body><main>"
        f"<h1>Limner {told.version}</h1><p>Limner illustrates blogs. <a href='{told.openapi}'>"
        f"{told.openapi}</a> describes every request and reply.</p>"
        f"<table>{rows}</table></main></body></html>\n"
    )
    return HTMLResponse(document)
