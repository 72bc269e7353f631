"""The pictures of a blog post, place by place."""

from typing import Annotated

from fastapi import APIRouter, Path

from pipeline.routes.dependencies import BaseUrl, Running, Tenant
from pipeline.status import blog_images
from schemas.replies import BlogImagesResponse
from schemas.requests import Name

router = APIRouter(prefix="/api/v1/blogs", tags=["blogs"])


@router.get("/{blog_id}/images")
async def get_blog_images(
    blog_id: Annotated[Name, Path()], limner: Running, tenant: Tenant, base_url: BaseUrl
) -> BlogImagesResponse:
    """What stands in each place of the post. A post that nobody illustrated has no places."""
    return await blog_images(blog_id, tenant=tenant, journal=limner.journal, base_url=base_url)
