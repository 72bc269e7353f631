"""Have something done to a picture that exists."""

from contextlib import nullcontext
from typing import Any

from fastapi import APIRouter, Request, Response

from pipeline import addresses
from pipeline.operate import Operating, asked_operation, operate
from pipeline.quote import quoted
from pipeline.routes.dependencies import BaseUrl, Running, Tenant
from pipeline.routes.forms import FILES, MULTIPART, Form, read
from pipeline.routes.waiting import JOB_INSTEAD, WAIT_SECONDS, Key, WaitSeconds, when_done
from pipeline.sources import Sources
from pipeline.wiring import Limner
from schemas.operations import EditRequest, PictureRequest, UpscaleRequest, VariationRequest
from schemas.replies import CreateImageJobResponse, GeneratedImagesResponse, QuoteResponse

Reply = GeneratedImagesResponse | CreateImageJobResponse

PREFIX = "/api/v1/images"
# Who takes forms with pictures.
UPLOADS = frozenset(
    f"{PREFIX}/{quote}{name}"
    for quote in ("", "quote/")
    for name in ("variations", "upscale", "edit")
)
router = APIRouter(prefix=PREFIX, tags=["images"])


def _described(form: type[PictureRequest]) -> dict[str, Any]:
    """What the document says of a body that the route reads by itself."""
    in_json = _inlined(form)
    file = {"type": "string", "format": "binary"}
    in_form = in_json | {
        "title": f"{form.__name__}Form",
        "properties": in_json["properties"] | dict.fromkeys(FILES, file),
    }
    content = {"application/json": {"schema": in_json}, MULTIPART: {"schema": in_form}}
    return {"requestBody": {"required": True, "content": content}}


def _inlined(form: type[PictureRequest]) -> dict[str, Any]:
    """The schema of *form*, complete in itself: what it refers to are plain enumerations."""
    schema = form.model_json_schema()
    named = schema.pop("$defs", {})

    def whole(part: Any) -> Any:
        if isinstance(part, list):
            return [whole(one) for one in part]
        if not isinstance(part, dict):
            return part
        own = {name: whole(value) for name, value in part.items() if name != "$ref"}
        reference = part.get("$ref")
        return named[reference.rpartition("/")[2]] | own if reference is not None else own

    found: dict[str, Any] = whole(schema)
    return found


@router.post("/variations", responses=JOB_INSTEAD, openapi_extra=_described(VariationRequest))
async def variations(
    request: Request,
    response: Response,
    limner: Running,
    tenant: Tenant,
    base_url: BaseUrl,
    idempotency_key: Key = None,
    wait_seconds: WaitSeconds = WAIT_SECONDS,
) -> Reply:
    """Paint a picture like another one. Answers as `generate` does: 200 with the pictures, or 202
    with the job where it takes longer than `wait_seconds`."""
    asked = await read(request, VariationRequest)
    return await _done(asked, response, limner, tenant, base_url, idempotency_key, wait_seconds)


@router.post("/upscale", responses=JOB_INSTEAD, openapi_extra=_described(UpscaleRequest))
async def upscale(
    request: Request,
    response: Response,
    limner: Running,
    tenant: Tenant,
    base_url: BaseUrl,
    idempotency_key: Key = None,
    wait_seconds: WaitSeconds = WAIT_SECONDS,
) -> Reply:
    """Make a picture 2 or 4 times as wide and as high. An upscaled draft takes the draft's place in
    its post, unless another one is named. Answers as `generate` does."""
    asked = await read(request, UpscaleRequest)
    return await _done(asked, response, limner, tenant, base_url, idempotency_key, wait_seconds)


@router.post("/edit", responses=JOB_INSTEAD, openapi_extra=_described(EditRequest))
async def edit(
    request: Request,
    response: Response,
    limner: Running,
    tenant: Tenant,
    base_url: BaseUrl,
    idempotency_key: Key = None,
    wait_seconds: WaitSeconds = WAIT_SECONDS,
) -> Reply:
    """Change a part of a picture; `operation` says how. Answers as `generate` does."""
    asked = await read(request, EditRequest)
    return await _done(asked, response, limner, tenant, base_url, idempotency_key, wait_seconds)


@router.post("/quote/variations", openapi_extra=_described(VariationRequest))
async def quote_variation(
    request: Request, limner: Running, tenant: Tenant, base_url: BaseUrl
) -> QuoteResponse:
    """What a variation would cost, and whether the budgets would admit it; stores nothing."""
    return await _quoted(request, VariationRequest, limner, tenant, base_url)


@router.post("/quote/upscale", openapi_extra=_described(UpscaleRequest))
async def quote_upscale(
    request: Request, limner: Running, tenant: Tenant, base_url: BaseUrl
) -> QuoteResponse:
    """What an upscale would cost, and whether the budgets would admit it; stores nothing."""
    return await _quoted(request, UpscaleRequest, limner, tenant, base_url)


@router.post("/quote/edit", openapi_extra=_described(EditRequest))
async def quote_edit(
    request: Request, limner: Running, tenant: Tenant, base_url: BaseUrl
) -> QuoteResponse:
    """What an edit would cost, and whether the budgets would admit it; stores nothing."""
    return await _quoted(request, EditRequest, limner, tenant, base_url)


async def _quoted(
    request: Request,
    form: type[PictureRequest],
    limner: Limner,
    tenant: str,
    base_url: addresses.BaseUrl,
) -> QuoteResponse:
    asked, files = await read(request, form)
    async with files, limner.uploads if files.has_files else nullcontext():
        job = await asked_operation(asked, await files.sent(), _operating(limner, tenant, base_url))
    return await quoted(
        [job],
        tenant=tenant,
        journal=limner.journal,
        providers=limner.providers,
        estimates=limner.estimates,
    )


def _operating(limner: Limner, tenant: str, base_url: addresses.BaseUrl) -> Operating:
    sources = Sources(tenant, limner.journal, limner.worker.pictures, limner.fetcher, base_url)
    return Operating(
        sources,
        limner.blobs,
        limner.ids,
        limner.providers,
        limner.estimates.total_seconds,
    )


async def _done(
    form: tuple[PictureRequest, Form],
    response: Response,
    limner: Limner,
    tenant: str,
    base_url: addresses.BaseUrl,
    idempotency_key: str | None,
    wait_seconds: float,
) -> Reply:
    asked, files = form
    async with files, limner.uploads if files.has_files else nullcontext():
        accepted = await operate(
            asked,
            await files.sent(),
            idempotency_key=idempotency_key,
            operating=_operating(limner, tenant, base_url),
        )
    response.headers["Location"] = f"/api/v1/images/jobs/{accepted.reply.job_id}"
    if accepted.replayed:
        response.headers["Idempotency-Replayed"] = "true"
    return await when_done(accepted.reply, response, limner, tenant, base_url, wait_seconds)
