"""What a blog's pictures cost, told by the ledger, what drafting first has saved; a day's costs."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from itertools import groupby
from operator import itemgetter

from adapters.store import money_reads, picture_reads
from adapters.store.money_reads import Charge
from pipeline.errors import NoSuchBlog
from pipeline.journal import Journal
from pipeline.ledger import CHARGED, MAYBE_CHARGED, Calls, Spending, asked, spending
from pipeline.providers import Providers
from schemas.ledger import DayCostsResponse, ModelCost
from schemas.replies import BlogCostsResponse, DraftSaving, QualityCost
from schemas.requests import Quality
from states.table import State

SHARE_PLACES = Decimal("0.0001")


async def blog_costs(blog_id: str, *, tenant: str, journal: Journal) -> BlogCostsResponse:
    """The costs of a blog, a deleted one included: what was spent stays spent."""
    if await journal.read(picture_reads.blog, tenant, blog_id) is None:
        raise NoSuchBlog(blog_id)
    charges = await journal.read(money_reads.charges_of_blog, tenant, blog_id)
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


async def day_costs(
    day: date | None, *, tenant: str, journal: Journal, providers: Providers
) -> DayCostsResponse:
    """The costs of a day (in UTC), of today where none is named: of all that was asked on it."""
    day = day or journal.now().astimezone(UTC).date()
    begins = datetime.combine(day, time(), UTC)
    ends = begins + timedelta(days=1) if day < date.max else datetime.max.replace(tzinfo=UTC)
    found = await journal.read(money_reads.charges_of_day, tenant, begins, ends)
    by_model = [
        _of_model(provider, model, [Calls(*one[2:]) for one in charges], providers)
        for (provider, model), charges in groupby(found, key=itemgetter(0, 1))
    ]
    every = [Calls(*one[2:]) for one in found]
    return DayCostsResponse(
        day=day,
        calls=sum(one.number for one in asked(every)),
        by_model=[one for one in by_model if one.calls],
        **spending(every)._asdict(),
    )


def _of_model(provider: str, model: str, calls: Sequence[Calls], providers: Providers) -> ModelCost:
    spent = spending(calls)
    known = providers.by_name.get(provider)
    per_credit = known.price_book.usd_per_credit if known is not None else None
    return ModelCost(
        provider=provider,
        model=model,
        calls=sum(one.number for one in asked(calls)),
        **spent._asdict(),
        credits_confirmed=spent.cost_confirmed / per_credit if per_credit else None,
        credits_possible=spent.cost_possible / per_credit if per_credit else None,
    )


def _of_quality(quality: Quality, charges: Sequence[Charge]) -> QualityCost:
    counted = [one for one in charges if one.call_state in CHARGED | MAYBE_CHARGED]
    return QualityCost(
        quality=quality,
        jobs=len({one.job_id for one in counted}),
        **_spending(counted)._asdict(),
    )


def _spending(charges: Sequence[Charge]) -> Spending:
    return spending(Calls(one.call_state, one.amount) for one in charges)


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
