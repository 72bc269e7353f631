"""The FastAPI application over a running Limner."""

from importlib.metadata import version

from fastapi import FastAPI
from fastapi.telemetry import TelemetryConfig

from pipeline.links import may_see_picture
from pipeline.roles import Part
from pipeline.routes import (
    approvals,
    batches,
    blogs,
    budgets,
    calls,
    dead_letters,
    dispatch,
    events,
    health,
    home,
    images,
    jobs,
    operations,
    providers,
    push,
    replay,
    retention,
    webhooks,
    worker,
)
from pipeline.routes.callers import KnownCallers
from pipeline.routes.hosts import KnownHosts
from pipeline.routes.limits import BodyLimit
from pipeline.routes.problems import PROBLEMS, install_problems
from pipeline.telemetry.start import SILENT, measured
from pipeline.wiring import Limner

DESCRIPTION = """\
Limner illustrates blogs. A request for a picture becomes a durable job: once it is accepted (202)
it is never lost. Poll the job, or look at the blog's pictures.
"""


# What each part of the service answers; whether it is well, every process tells.
ROUTES = (
    (budgets, Part.CALLERS),  # before pictures, whose ids stand in the same place of an address
    (images, Part.CALLERS),
    (operations, Part.CALLERS),
    (batches, Part.CALLERS),
    (jobs, Part.CALLERS),
    (approvals, Part.CALLERS),
    (events, Part.CALLERS),
    (replay, Part.CALLERS),
    (retention, Part.CALLERS),
    (dead_letters, Part.CALLERS),
    (blogs, Part.CALLERS),
    (calls, Part.CALLERS),
    (providers, Part.CALLERS),
    (dispatch, Part.CALLERS),
    (webhooks, Part.CALLERS),
    (worker, Part.TASKS),
    (push, Part.PUSHES),
    (health, Part.NONE),
    (home, Part.CALLERS),
)


def create_api(parts: Part = Part.ALL, telemetry: TelemetryConfig = SILENT) -> FastAPI:
    """The routes of *parts* alone; of all, as `schemas/published/openapi.json` describes them."""
    public = Part.CALLERS in parts
    app = FastAPI(
        title="Limner",
        version=version(home.DISTRIBUTION),
        description=DESCRIPTION,
        responses=PROBLEMS,
        # Clients are generated from the document: an operation is called what its function is.
        generate_unique_id_function=lambda route: route.name,
        redoc_url=None,
        docs_url=None,
        openapi_url=home.OPENAPI if public else None,
        telemetry=telemetry,
    )
    for module, part in ROUTES:
        if part in parts:
            app.include_router(module.router)
    install_problems(app)
    return app


def create_app(limner: Limner) -> FastAPI:
    """What *limner* answers, by its parts. Errors are problem+json everywhere (RFC 9457)."""
    app = create_api(limner.parts, measured(limner.telemetry))
    app.state.limner = limner
    # FastAPI has a limit of its own, but answers it in plain text where Content-Length tells.
    app.add_middleware(
        BodyLimit,
        max_bytes=limner.settings.max_body_bytes,
        max_upload_bytes=limner.settings.max_upload_bytes,
        uploads=operations.UPLOADS,
    )
    key = limner.settings.api_key
    if key is None and limner.world.alone:
        # Without it a page of another site could reach the local service under a name of its own.
        app.add_middleware(KnownHosts, names=("127.0.0.1", "localhost", "::1"))
    else:
        app.add_middleware(
            KnownCallers,
            key=key.get_secret_value() if key is not None else None,
            worker=limner.world.worker_caller if Part.TASKS in limner.parts else None,
            push=limner.world.push_caller if Part.PUSHES in limner.parts else None,
            signed=lambda path, query: may_see_picture(
                path, query, limner.link_secret, limner.journal.now()
            ),
        )
    return app
