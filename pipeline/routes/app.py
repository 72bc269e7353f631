"""The FastAPI application over a running Limner."""

from importlib.metadata import version

from fastapi import FastAPI

from pipeline.links import may_see_picture
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
    providers,
    push,
    replay,
    webhooks,
    worker,
)
from pipeline.routes.callers import KnownCallers
from pipeline.routes.hosts import KnownHosts
from pipeline.routes.limits import BodyLimit
from pipeline.routes.problems import PROBLEMS, install_problems
from pipeline.wiring import Limner

DESCRIPTION = """\
Limner illustrates blogs. A request for a picture becomes a durable job: once it is accepted (202)
it is never lost. Poll the job, or look at the blog's pictures.
"""


def create_api() -> FastAPI:
    """The routes alone, as `schemas/published/openapi.json` describes them."""
    app = FastAPI(
        title="Limner",
        version=version(home.DISTRIBUTION),
        description=DESCRIPTION,
        responses=PROBLEMS,
        # Clients are generated from the document: an operation is called what its function is.
        generate_unique_id_function=lambda route: route.name,
        redoc_url=None,
        docs_url=None,
    )
    modules = (
        budgets,  # before pictures, whose ids stand in the same place of an address
        images,
        batches,
        jobs,
        approvals,
        events,
        replay,
        dead_letters,
        blogs,
        calls,
        providers,
        dispatch,
        webhooks,
        worker,
        push,
        health,
        home,
    )
    for module in modules:
        app.include_router(module.router)
    install_problems(app)
    return app


def create_app(limner: Limner) -> FastAPI:
    """The interface of *limner*. Errors are problem+json everywhere (RFC 9457)."""
    app = create_api()
    app.state.limner = limner
    # FastAPI has a limit of its own, but answers it in plain text where Content-Length tells.
    app.add_middleware(BodyLimit, max_bytes=limner.settings.max_body_bytes)
    key = limner.settings.api_key
    if key is None:
        # Without it a page of another site could reach the local service under a name of its own.
        app.add_middleware(KnownHosts, names=("127.0.0.1", "localhost", "::1"))
    else:
        app.add_middleware(
            KnownCallers,
            key=key.get_secret_value(),
            worker=limner.world.worker_caller,
            push=limner.world.push_caller,
            signed=lambda path, query: may_see_picture(
                path, query, limner.link_secret, limner.journal.now()
            ),
        )
    return app


def create_health(limner: Limner) -> FastAPI:
    """What a process answers that serves no callers."""
    app = FastAPI(title="Limner", openapi_url=None, docs_url=None, redoc_url=None)
    app.state.limner = limner
    app.include_router(health.router)
    install_problems(app)
    return app
