"""What a blog's pictures cost, told by the ledger, and what drafting first has saved."""

from collections.abc import Sequence
from decimal import Decimal

from adapters.store import reads
from adapters.store.reads import Charge
from pipeline.errors import NoSuchBlog
from pipeline.journal import Journal
from pipeline.ledger import CHARGED, MAYBE_CHARGED, Spending, spending
from schemas.replies import BlogCostsResponse, DraftSaving, QualityCost
from schemas.requests import Quality
from states.table import State

SHARE_PLACES = Decimal("0.0001")


async def blog_costs(blog_id: str, *, tenant: str, journal: Journal) -> BlogCostsResponse:
    """The costs of a blog, a deleted one included: what was spent stays spent."""
    if await journal.read(reads.blog, tenant, blog_id) is None:
        raise NoSuchBlog(blog_id)
    charges = await journal.read(reads.charges_of_blog, tenant, blog_id)
    by_quality = [
        _of_quality(quality, found)
        for quality in Quality
        if (found := [one for one in charges if one.quality == quality])
    ]
    return BlogCostsResponse(
        blog_id=blog_id,
        drafts=_completed([one for one in charges if one.is_draft]),
        finals=_completed([one for one in charges if not one.is_draft]),
        price_books=sorted({one.price_book for one in charges if one.price_book is not None}),
        by_quality=by_quality,
        saving=_saving(charges),
        **_spending(charges)._asdict(),
    )


def _of_quality(quality: Quality, charges: Sequence[Charge]) -> QualityCost:
    asked = [one for one in charges if one.call_state in CHARGED | MAYBE_CHARGED]
    return QualityCost(
        quality=quality,
        jobs=len({one.job_id for one in asked}),
        **_spending(asked)._asdict(),
    )


def _spending(charges: Sequence[Charge]) -> Spending:
    return spending((one.call_state, one.amount) for one in charges)


def _saving(charges: Sequence[Charge]) -> DraftSaving | None:
    """1 - (D + F) / (n * F / m) of n drafts that cost D and their m finals that cost F."""
    charged = [one for one in charges if one.call_state in CHARGED]
    drafts = [one for one in charged if one.is_draft]
    finals = [one for one in charged if not one.is_draft and one.draft_job_id is not None]
    tries, made = _completed(drafts), _completed(finals)
    if not tries or not made or any(one.amount is None for one in (*drafts, *finals)):
        return None
    drafts_spent = _spending(drafts).cost_confirmed
    finals_spent = _spending(finals).cost_confirmed
    all_final = finals_spent * tries / made
    saved = all_final - drafts_spent - finals_spent
    return DraftSaving(
        tries=tries,
        finals=made,
        drafts_spent=drafts_spent,
        finals_spent=finals_spent,
        all_final=_rounded(all_final),
        saved=_rounded(saved),
        share=(saved / all_final).quantize(SHARE_PLACES) if all_final else None,
    )


def _completed(charges: Sequence[Charge]) -> int:
    return len({one.job_id for one in charges if one.job_state is State.COMPLETED})


def _rounded(amount: Decimal) -> Decimal:
    return amount.quantize(Decimal("0.000001"))
