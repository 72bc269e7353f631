"""Have something done to a picture that exists."""

from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response

from pipeline.operate import Operating, asked_operation, operate
from pipeline.quote import quoted
from pipeline.routes.dependencies import BaseUrl, Running, Tenant
from pipeline.routes.forms import FILES, MULTIPART, received
from pipeline.routes.waiting import JOB_INSTEAD, WAIT_SECONDS, Key, WaitSeconds, when_done
from pipeline.sources import Sources
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


@dataclass(frozen=True, slots=True)
class _Asking:
    """Whoever asks, and whom."""

    request: Request
    limner: Running
    tenant: Tenant
    base_url: BaseUrl

    @property
    def operating(self) -> Operating:
        limner = self.limner
        pictures = limner.worker.pictures
        sources = Sources(self.tenant, limner.journal, pictures, limner.fetcher, self.base_url)
        estimate = limner.estimates.total_seconds
        return Operating(sources, limner.blobs, limner.ids, limner.providers, estimate)


Asking = Annotated[_Asking, Depends(_Asking)]


@router.post("/variations", responses=JOB_INSTEAD, openapi_extra=_described(VariationRequest))
async def variations(
    asking: Asking, response: Response, key: Key = None, wait_seconds: WaitSeconds = WAIT_SECONDS
) -> Reply:
    """Paint a picture like another one. Answers as `generate` does: 200 with the pictures, or 202
    with the job where it takes longer than `wait_seconds`."""
    return await _done(VariationRequest, asking, response, key, wait_seconds)


@router.post("/upscale", responses=JOB_INSTEAD, openapi_extra=_described(UpscaleRequest))
async def upscale(
    asking: Asking, response: Response, key: Key = None, wait_seconds: WaitSeconds = WAIT_SECONDS
) -> Reply:
    """Make a picture 2 or 4 times as wide and as high. An upscaled draft takes the draft's place in
    its post, unless another one is named. Answers as `generate` does."""
    return await _done(UpscaleRequest, asking, response, key, wait_seconds)


@router.post("/edit", responses=JOB_INSTEAD, openapi_extra=_described(EditRequest))
async def edit(
    asking: Asking, response: Response, key: Key = None, wait_seconds: WaitSeconds = WAIT_SECONDS
) -> Reply:
    """Change a part of a picture; `operation` says how. Answers as `generate` does."""
    return await _done(EditRequest, asking, response, key, wait_seconds)


@router.post("/quote/variations", openapi_extra=_described(VariationRequest))
async def quote_variation(asking: Asking) -> QuoteResponse:
    """What a variation would cost, and whether the budgets would admit it; stores nothing."""
    return await _quoted(VariationRequest, asking)


@router.post("/quote/upscale", openapi_extra=_described(UpscaleRequest))
async def quote_upscale(asking: Asking) -> QuoteResponse:
    """What an upscale would cost, and whether the budgets would admit it; stores nothing."""
    return await _quoted(UpscaleRequest, asking)


@router.post("/quote/edit", openapi_extra=_described(EditRequest))
async def quote_edit(asking: Asking) -> QuoteResponse:
    """What an edit would cost, and whether the budgets would admit it; stores nothing."""
    return await _quoted(EditRequest, asking)


async def _quoted(form: type[PictureRequest], asking: _Asking) -> QuoteResponse:
    limner = asking.limner
    async with received(asking.request, form, limner.uploads) as (asked, sent):
        job = await asked_operation(asked, sent, asking.operating)
    return await quoted(
        [job],
        tenant=asking.tenant,
        journal=limner.journal,
        providers=limner.providers,
        estimates=limner.estimates,
    )


async def _done(
    form: type[PictureRequest],
    asking: _Asking,
    response: Response,
    idempotency_key: str | None,
    wait_seconds: float,
) -> Reply:
    async with received(asking.request, form, asking.limner.uploads) as (asked, sent):
        accepted = await operate(
            asked, sent, idempotency_key=idempotency_key, operating=asking.operating
        )
    response.headers["Location"] = f"/api/v1/images/jobs/{accepted.reply.job_id}"
    if accepted.replayed:
        response.headers["Idempotency-Replayed"] = "true"
    return await when_done(
        accepted.reply, response, asking.limner, asking.tenant, asking.base_url, wait_seconds
    )
