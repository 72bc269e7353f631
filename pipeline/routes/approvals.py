"""Make approval links, and the page that each leads to. GET shows, only POST decides."""

from datetime import timedelta
from uuid import UUID

from fastapi import APIRouter, Response

from pipeline.approval import Draft, approval_links, check_blog, decide, draft_of
from pipeline.errors import PipelineError
from pipeline.links import APPROVALS as PATH
from pipeline.links import Link, read
from pipeline.routes import approval_page as page
from pipeline.routes.dependencies import BaseUrl, Running, Tenant
from pipeline.wiring import Limner
from schemas.replies import ApprovalLinksResponse
from schemas.requests import ApprovalLinksRequest

router = APIRouter(tags=["jobs"])


@router.post("/api/v1/images/jobs/{job_id}/approval-links")
async def make_approval_links(
    job_id: UUID,
    limner: Running,
    tenant: Tenant,
    base_url: BaseUrl,
    asked: ApprovalLinksRequest | None = None,
) -> ApprovalLinksResponse:
    """Links that approve or reject a completed draft, for a mail or a chat. Whoever has one may
    use it without a login, until it expires. The first decision stands; a final that failed or was
    cancelled may be approved again."""
    asked = asked or ApprovalLinksRequest()
    return await approval_links(
        job_id,
        tenant,
        lifetime=timedelta(seconds=asked.expires_in_seconds),
        secret=limner.link_secret,
        journal=limner.journal,
        address=lambda token: f"{base_url}{PATH}/{token}",
    )


@router.get(PATH + "/{token}", include_in_schema=False)
async def show_approval(token: str, limner: Running) -> Response:
    return await _answered(token, limner, act=False)


@router.post(PATH + "/{token}", include_in_schema=False)
async def decide_approval(token: str, limner: Running) -> Response:
    return await _answered(token, limner, act=True)


async def _answered(token: str, limner: Limner, *, act: bool) -> Response:
    link = read(token, limner.link_secret)
    if link is None:
        return page.refusal(
            404,
            "This link is not valid",
            "It may have been cut off on its way. Nothing was decided. Open the whole link, or ask"
            " for a new one.",
        )
    if link.expires_at <= limner.journal.now():
        return page.refusal(
            410,
            "This link has expired",
            "Nothing was decided by it now. Ask whoever sent it for a new one.",
        )
    try:
        return await _decided_or_asked(link, limner, act=act)
    except PipelineError as exc:
        return page.refusal(exc.status, exc.title, str(exc))


async def _decided_or_asked(link: Link, limner: Limner, *, act: bool) -> Response:
    async def looked() -> Draft:
        return await draft_of(
            link, journal=limner.journal, blobs=limner.blobs, providers=limner.providers
        )

    draft = await looked()
    if draft.decided is not None:
        return page.outcome(draft, note="It was decided before.")
    await check_blog(draft, limner.journal)
    if not act:
        return page.question(draft, link.purpose, link.expires_at)
    try:
        await decide(link, journal=limner.journal, ids=limner.ids, providers=limner.providers)
    except PipelineError:
        # Somebody else may have decided in this very moment; then that is what there is to say.
        draft = await looked()
        if draft.decided is None:
            raise
        return page.outcome(draft, note="It was decided a moment ago.")
    return page.outcome(await looked(), note="Thank you.")
