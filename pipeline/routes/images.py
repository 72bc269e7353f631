"""Ask for pictures, and fetch them."""

from datetime import timedelta
from typing import Annotated, Any
from uuid import UUID

import structlog
from fastapi import APIRouter, Body, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import RedirectResponse
from pydantic import ValidationError

from adapters.errors import NoSuchObject
from adapters.store import picture_reads
from pipeline.batch import submit_batch
from pipeline.delete import delete_image
from pipeline.errors import BlogIdsDisagree, NoSuchImage, PictureMissing
from pipeline.quote import quote
from pipeline.routes.dependencies import BaseUrl, Running, Tenant
from pipeline.routes.waiting import JOB_INSTEAD, WAIT_SECONDS, Key, WaitSeconds, when_done
from pipeline.submit import submit
from pipeline.wiring import Limner
from schemas.replies import (
    BatchImageGenerationResponse,
    CreateImageJobResponse,
    GeneratedImagesResponse,
    QuoteResponse,
)
from schemas.requests import (
    BatchImageGenerationRequest,
    ImageGenerationRequest,
    Name,
)

log = structlog.get_logger(__name__)
router = APIRouter(prefix="/api/v1/images", tags=["images"])

# Where the picture store serves pictures itself, callers are sent there.
SIGNED_FOR = timedelta(minutes=15)
REDIRECTED = {"Cache-Control": "private, max-age=300", "Referrer-Policy": "no-referrer"}

QUOTED = {
    "required": True,
    "content": {
        "application/json": {
            "schema": {
                "anyOf": [
                    {"$ref": f"#/components/schemas/{form.__name__}"}
                    for form in (ImageGenerationRequest, BatchImageGenerationRequest)
                ]
            }
        }
    },
}


@router.post("/generate-async", status_code=202)
async def generate_async(
    request: ImageGenerationRequest,
    response: Response,
    limner: Running,
    tenant: Tenant,
    idempotency_key: Key = None,
    blog_id: Annotated[Name | None, Query()] = None,
) -> CreateImageJobResponse:
    """Create an image job. 202 means that it is stored and will be worked on, come what may."""
    if blog_id is not None:
        if request.blog_id not in (None, blog_id):
            raise BlogIdsDisagree(str(request.blog_id), blog_id)
        request = request.model_copy(update={"blog_id": blog_id})
    accepted = await submit(
        request,
        tenant=tenant,
        idempotency_key=idempotency_key,
        journal=limner.journal,
        ids=limner.ids,
        providers=limner.providers,
        estimate=limner.estimates.total_seconds,
    )
    response.headers["Location"] = f"/api/v1/images/jobs/{accepted.reply.job_id}"
    if accepted.replayed:
        response.headers["Idempotency-Replayed"] = "true"
    return accepted.reply


@router.post(
    "/generate",
    responses=JOB_INSTEAD,
)
async def generate(
    request: ImageGenerationRequest,
    response: Response,
    limner: Running,
    tenant: Tenant,
    base_url: BaseUrl,
    idempotency_key: Key = None,
    blog_id: Annotated[Name | None, Query()] = None,
    wait_seconds: WaitSeconds = WAIT_SECONDS,
) -> GeneratedImagesResponse | CreateImageJobResponse:
    """Create an image job and wait for its pictures: 200. What takes longer than `wait_seconds` is
    a job as of `generate-async`: 202. Whoever goes away meanwhile loses nothing but the wait."""
    accepted = await generate_async(
        request, response, limner, tenant, idempotency_key=idempotency_key, blog_id=blog_id
    )
    return await when_done(accepted, response, limner, tenant, base_url, wait_seconds)


@router.post("/batch-generate", status_code=202)
async def batch_generate(
    request: BatchImageGenerationRequest,
    response: Response,
    limner: Running,
    tenant: Tenant,
    idempotency_key: Key = None,
    blog_id: Annotated[Name | None, Query()] = None,
) -> BatchImageGenerationResponse:
    """Create the jobs of several pictures, all or none. 202 means that all of them are stored."""
    if blog_id is not None:
        if request.blog_id not in (None, blog_id):
            raise BlogIdsDisagree(str(request.blog_id), blog_id)
        request = request.model_copy(update={"blog_id": blog_id})
    accepted = await submit_batch(
        request,
        tenant=tenant,
        idempotency_key=idempotency_key,
        most_images=limner.settings.max_batch_images,
        journal=limner.journal,
        ids=limner.ids,
        providers=limner.providers,
        estimate=limner.estimates.batch_seconds,
    )
    response.headers["Location"] = f"/api/v1/images/batches/{accepted.reply.batch_id}"
    if accepted.replayed:
        response.headers["Idempotency-Replayed"] = "true"
    return accepted.reply


@router.post("/quote", openapi_extra={"requestBody": QUOTED})
async def quote_request(
    body: Annotated[dict[str, Any], Body()], limner: Running, tenant: Tenant
) -> QuoteResponse:
    """What a request would cost, how it would be painted, and whether the budgets would admit it.
    The body is that of `generate-async` (also with `draft_job_id`) or of `batch-generate`; nothing
    is stored."""
    return await quote(
        _quoted(body),
        tenant=tenant,
        most_images=limner.settings.max_batch_images,
        journal=limner.journal,
        ids=limner.ids,
        providers=limner.providers,
        estimates=limner.estimates,
    )


def _quoted(body: dict[str, Any]) -> ImageGenerationRequest | BatchImageGenerationRequest:
    """The body in its form, told apart by `images`, so that errors name fields of one form only."""
    form = BatchImageGenerationRequest if "images" in body else ImageGenerationRequest
    try:
        return form.model_validate(body)
    except ValidationError as exc:
        errors = [error | {"loc": ("body", *error["loc"])} for error in exc.errors()]
        raise RequestValidationError(errors) from exc


@router.delete("/{image_id}", status_code=204)
async def remove_image(image_id: UUID, limner: Running, tenant: Tenant) -> None:
    """Delete a picture. Refused (409) while it stands in a blog post."""
    await delete_image(image_id, tenant=tenant, journal=limner.journal, blobs=limner.blobs)


@router.head("/{image_id}/content", include_in_schema=False)
@router.get("/{image_id}/content", response_class=Response)
async def get_picture(
    image_id: UUID, request: Request, limner: Running, tenant: Tenant
) -> Response:
    """The bytes of a picture. They never change; `ETag` is their SHA-256."""
    return await _content(image_id, None, request, limner, tenant)


@router.head("/{image_id}/content/{variant}", include_in_schema=False)
@router.get("/{image_id}/content/{variant}", response_class=Response)
async def get_variant(
    image_id: UUID, variant: str, request: Request, limner: Running, tenant: Tenant
) -> Response:
    """The bytes of a smaller WebP rendition, such as `w640`."""
    return await _content(image_id, variant, request, limner, tenant)


async def _content(
    image_id: UUID, variant: str | None, request: Request, limner: Limner, tenant: str
) -> Response:
    image = await limner.journal.read(picture_reads.image, tenant, image_id)
    if image is None:
        raise NoSuchImage(image_id)
    key, sha256, content_type = image.key, image.sha256, image.content_type
    if variant is not None:
        found = next((one for one in image.variants if one["name"] == variant), None)
        if found is None:
            raise NoSuchImage(image_id, variant)
        key, sha256, content_type = found["key"], found["sha256"], found["content_type"]
    etag = f'"{sha256}"'
    headers = {
        "ETag": etag,
        # A picture's bytes never change under its address.
        "Cache-Control": "private, max-age=31536000, immutable",
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": "default-src 'none'; sandbox",
        "Content-Disposition": "inline",
    }
    if _matches(request.headers.get("if-none-match"), etag):
        return Response(status_code=304, headers=headers)
    if request.method == "GET":
        signed = await limner.blobs.signed_url(key, SIGNED_FOR)
        if signed is not None:
            return RedirectResponse(signed, 307, headers=REDIRECTED)
    try:
        data = await limner.blobs.get(key)
    except NoSuchObject as exc:
        log.error("picture_missing", image_id=str(image_id), key=key)
        raise PictureMissing(image_id) from exc
    return Response(data, media_type=content_type, headers=headers)


def _matches(if_none_match: str | None, etag: str) -> bool:
    if if_none_match is None:
        return False
    offered = {part.strip().removeprefix("W/") for part in if_none_match.split(",")}
    return etag in offered or "*" in offered
