"""The pictures of a blog post, place by place, and what they cost."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path

from pipeline.arrange import roll_back, unlink, update
from pipeline.blogs import blog_image, blog_images
from pipeline.costs import blog_costs
from pipeline.delete import delete_blog
from pipeline.legal_hold import hold_blog
from pipeline.routes.dependencies import BaseUrl, Running, Tenant
from pipeline.slots import Slot
from schemas.replies import (
    BlogCostsResponse,
    BlogImagesResponse,
    DeletedBlogResponse,
    SlotResponse,
)
from schemas.requests import MAX_POSITION, Name, Role, RollbackRequest, SlotUpdate
from schemas.retention import LegalHoldResponse

router = APIRouter(prefix="/api/v1/blogs", tags=["blogs"])


def _place(
    blog_id: Annotated[Name, Path()],
    role: Role,
    position: Annotated[int, Path(ge=1, le=MAX_POSITION)],
    tenant: Tenant,
) -> Slot:
    return Slot(tenant, blog_id, role.value, position)


Place = Annotated[Slot, Depends(_place)]
PLACE = "/{blog_id}/images/{role}/{position}"


@router.delete("/{blog_id}")
async def remove_blog(
    blog_id: Annotated[Name, Path()], limner: Running, tenant: Tenant
) -> DeletedBlogResponse:
    """Delete a blog for good: its queued jobs are cancelled, running ones finish unlinked, and no
    job can be created for it any more. Deleting it again changes nothing; 404 for one that never
    had a request."""
    deleted = await delete_blog(blog_id, tenant=tenant, journal=limner.journal, ids=limner.ids)
    return DeletedBlogResponse(
        blog_id=blog_id, deleted_at=deleted.deleted_at, cancelled_jobs=deleted.cancelled_jobs
    )


@router.put("/{blog_id}/legal-hold")
async def hold(
    blog_id: Annotated[Name, Path()], limner: Running, tenant: Tenant
) -> LegalHoldResponse:
    """Remove nothing of the post for its age: its drafts, raw bytes and events stay."""
    since = await hold_blog(blog_id, held=True, tenant=tenant, journal=limner.journal)
    return LegalHoldResponse(blog_id=blog_id, held=True, held_since=since)


@router.delete("/{blog_id}/legal-hold")
async def release_hold(
    blog_id: Annotated[Name, Path()], limner: Running, tenant: Tenant
) -> LegalHoldResponse:
    """Let the post age as others do. What is too old by then goes with the next sweep."""
    await hold_blog(blog_id, held=False, tenant=tenant, journal=limner.journal)
    return LegalHoldResponse(blog_id=blog_id, held=False, held_since=None)


@router.get("/{blog_id}/images")
async def get_blog_images(
    blog_id: Annotated[Name, Path()], limner: Running, tenant: Tenant, base_url: BaseUrl
) -> BlogImagesResponse:
    """What stands in each place of the post. A post that nobody illustrated has no places."""
    return await blog_images(blog_id, tenant=tenant, journal=limner.journal, base_url=base_url)


@router.get("/{blog_id}/costs")
async def get_blog_costs(
    blog_id: Annotated[Name, Path()], limner: Running, tenant: Tenant
) -> BlogCostsResponse:
    """What the post's pictures cost, by quality, and what drafting first has saved."""
    return await blog_costs(blog_id, tenant=tenant, journal=limner.journal)


@router.get(PLACE)
async def get_blog_image(place: Place, limner: Running, base_url: BaseUrl) -> SlotResponse:
    """One place of the post: what stands there, what might, what stood there."""
    return await blog_image(place, journal=limner.journal, base_url=base_url)


@router.patch(PLACE)
async def edit_blog_image(
    place: Place, changes: SlotUpdate, limner: Running, base_url: BaseUrl
) -> SlotResponse:
    """Set alt text, caption and focal point of a place. They stay when its picture is swapped."""
    await update(place, changes, journal=limner.journal, ids=limner.ids)
    return await blog_image(place, journal=limner.journal, base_url=base_url)


@router.post(PLACE + "/rollback")
async def roll_back_blog_image(
    place: Place, to: RollbackRequest, limner: Running, base_url: BaseUrl
) -> SlotResponse:
    """Put an earlier candidate back. Only finals that are requested after this replace it."""
    await roll_back(
        place, image_id=to.image_id, job_id=to.job_id, journal=limner.journal, ids=limner.ids
    )
    return await blog_image(place, journal=limner.journal, base_url=base_url)


@router.post(PLACE + "/unlink")
@router.delete(PLACE, operation_id="delete_blog_image")
async def unlink_blog_image(place: Place, limner: Running, base_url: BaseUrl) -> SlotResponse:
    """Empty a place; its candidates stay. Only finals that are requested after this fill it."""
    await unlink(place, journal=limner.journal, ids=limner.ids)
    return await blog_image(place, journal=limner.journal, base_url=base_url)
