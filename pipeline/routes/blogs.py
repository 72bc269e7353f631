"""The pictures of a blog post, place by place."""

from typing import Annotated

from fastapi import APIRouter, Path

from pipeline.delete import delete_blog
from pipeline.routes.dependencies import BaseUrl, Running, Tenant
from pipeline.status import blog_images
from schemas.replies import BlogImagesResponse, DeletedBlogResponse
from schemas.requests import Name

router = APIRouter(prefix="/api/v1/blogs", tags=["blogs"])


@router.delete("/{blog_id}")
async def remove_blog(
    blog_id: Annotated[Name, Path()], limner: Running, tenant: Tenant
) -> DeletedBlogResponse:
    """Delete a blog for good: its queued jobs are cancelled, running ones finish unlinked, and no
    job can be created for it any more. Deleting it again changes nothing."""
    deleted = await delete_blog(blog_id, tenant=tenant, journal=limner.journal, ids=limner.ids)
    return DeletedBlogResponse(
        blog_id=blog_id, deleted_at=deleted.deleted_at, cancelled_jobs=deleted.cancelled_jobs
    )


@router.get("/{blog_id}/images")
async def get_blog_images(
    blog_id: Annotated[Name, Path()], limner: Running, tenant: Tenant, base_url: BaseUrl
) -> BlogImagesResponse:
    """What stands in each place of the post. A post that nobody illustrated has no places."""
    return await blog_images(blog_id, tenant=tenant, journal=limner.journal, base_url=base_url)
