"""Say what a request would cost, how it would be painted and whether budgets would admit it.

The jobs are made as they would be stored, by the same functions, and thrown away.
"""

from collections.abc import Iterable, Sequence
from decimal import Decimal

from adapters.ports import Ids, ImageProvider
from adapters.store import job_reads, picture_reads
from pipeline.batch import asked_jobs
from pipeline.budget_limits import limits, refusal
from pipeline.errors import BatchCancelled, BlogDeleted, BudgetExceeded, PriceUnknown
from pipeline.estimates import Estimates, seconds_until
from pipeline.fallback import WANTED
from pipeline.final import final_quality, final_strategy, job_price, way_of
from pipeline.journal import Journal
from pipeline.providers import Providers
from pipeline.submit import asked_job
from schemas.operations import Operation, Way
from schemas.prices import DOCUMENT_MODELS
from schemas.replies import BudgetResponse, QuotedBudget, QuotedPicture, QuoteResponse
from schemas.requests import (
    AspectRatio,
    BatchImageGenerationRequest,
    ImageGenerationRequest,
    Quality,
    Strategy,
)
from schemas.tables import JobRow

ZERO = Decimal(0)


async def quote(
    request: ImageGenerationRequest | BatchImageGenerationRequest,
    *,
    tenant: str,
    most_images: int,
    journal: Journal,
    ids: Ids,
    providers: Providers,
    estimates: Estimates,
) -> QuoteResponse:
    """What *request* would cost now. Raises whatever would keep it from being accepted, save that
    a budget refuses it: that is part of the reply.
    """
    if isinstance(request, BatchImageGenerationRequest):
        jobs = asked_jobs(
            request,
            tenant=tenant,
            most_images=most_images,
            journal=journal,
            ids=ids,
            providers=providers,
        )
    else:
        job = await asked_job(
            request,
            tenant=tenant,
            journal=journal,
            ids=ids,
            providers=providers,
            estimate=estimates.total_seconds,
        )
        await _check_batch(job, tenant, journal)
        jobs = [job]
    return await quoted(
        jobs, tenant=tenant, journal=journal, providers=providers, estimates=estimates
    )


async def quoted(
    jobs: Sequence[JobRow],
    *,
    tenant: str,
    journal: Journal,
    providers: Providers,
    estimates: Estimates,
) -> QuoteResponse:
    """What *jobs*, which nobody has stored, would cost now."""
    await _check_blogs(jobs, tenant, journal)
    pictures = [_picture(job, providers) for job in jobs]
    finals = [_final(job, providers) for job in jobs if WANTED in job.request]
    prices = [job_price(job, providers) for job in jobs]
    asked = list(zip(jobs, prices, strict=True))
    refused, budgets = _admission(await limits(tenant, journal), asked)
    return QuoteResponse(
        price_usd=_sum(prices),
        price_credits=_credits(pictures),
        allowed=refused is None,
        refusal=str(refused) if refused is not None else None,
        budgets=budgets,
        estimated_completion_time=_seconds(jobs, estimates),
        pictures=pictures,
        finals=finals,
        finals_price_usd=_sum(one.price_usd for one in finals),
    )


async def _check_blogs(jobs: Sequence[JobRow], tenant: str, journal: Journal) -> None:
    for blog_id in dict.fromkeys(job.blog_id for job in jobs if job.blog_id is not None):
        blog = await journal.read(picture_reads.blog, tenant, blog_id)
        if blog is not None and blog.deleted_at is not None:
            raise BlogDeleted(blog_id)


async def _check_batch(final: JobRow, tenant: str, journal: Journal) -> None:
    """A final of a batch's draft belongs to that batch."""
    if final.batch_id is None:
        return
    batch = await journal.read(job_reads.batch, tenant, final.batch_id)
    if batch is not None and batch.cancelled_at is not None:
        raise BatchCancelled(batch.id)


def _admission(
    budgets: Iterable[BudgetResponse], asked: Sequence[tuple[JobRow, Decimal | None]]
) -> tuple[BudgetExceeded | PriceUnknown | None, list[QuotedBudget]]:
    """Why the budgets would not admit what is asked, as `hold` decides, and how it leaves them."""
    blogs = {None, *(job.blog_id for job, _ in asked)}
    before = [budget for budget in budgets if budget.blog_id in blogs]
    left = [budget.left for budget in before]
    known = [True for _ in before]
    refused = None
    for job, price in asked:
        if price == ZERO:
            continue
        places = [n for n, budget in enumerate(before) if budget.blog_id in (None, job.blog_id)]
        now = [_asked_of(before[place], left[place]) for place in places]
        refused = refused or refusal(now, price)
        for place in places:
            known[place] = known[place] and price is not None
            left[place] -= price or ZERO
    return refused, [
        QuotedBudget(**budget.model_dump(), left_after=left[n] if known[n] else None)
        for n, budget in enumerate(before)
    ]


def _asked_of(budget: BudgetResponse, left: Decimal) -> BudgetResponse:
    """The budget as it would stand with *left* after what was asked for before."""
    held = budget.held + budget.left - left
    return budget.model_copy(update={"held": held, "left": left})


def _picture(job: JobRow, providers: Providers) -> QuotedPicture:
    provider = providers.by_name[job.provider]
    return _quoted(job, provider, Quality(job.quality), way_of(job), job.warnings)


def _final(draft: JobRow, providers: Providers) -> QuotedPicture:
    provider = providers.by_name[draft.provider]
    return _quoted(draft, provider, final_quality(draft), final_strategy(draft, provider), [])


def _quoted(
    job: JobRow,
    provider: ImageProvider,
    quality: Quality,
    way: Way,
    warnings: Sequence[str],
) -> QuotedPicture:
    price, parameters = provider.quote(quality, way), provider.parameters(quality, way)
    operation = way if isinstance(way, Operation) else None
    ratio = AspectRatio(job.request["aspect_ratio"])
    # What is made of a picture has that picture's shape.
    has_ratio = operation is not None or ratio in provider.aspect_ratios
    cropped = [] if has_ratio else [f"cropped to {ratio.value}"]
    return QuotedPicture(
        quality=quality,
        blog_id=job.blog_id,
        provider=provider.name,
        requested_model=DOCUMENT_MODELS[quality] if operation is None else None,
        resolved_model=provider.resolve_model(quality, way),
        strategy=way if isinstance(way, Strategy) else None,
        operation=operation,
        steps=parameters.steps,
        cfg_scale=parameters.cfg_scale,
        price_usd=price.usd if price is not None else None,
        price_credits=price.credits if price is not None else None,
        price_book=provider.price_book.version,
        warnings=[*warnings, *parameters.warnings, *cropped],
    )


def _seconds(jobs: Sequence[JobRow], estimates: Estimates) -> int:
    wait = max(seconds_until(job.not_before, job.created_at) for job in jobs)
    if len(jobs) == 1:
        return estimates.total_seconds(Quality(jobs[0].quality)) + round(wait)
    return estimates.batch_seconds([Quality(job.quality) for job in jobs]) + round(wait)


def _sum(amounts: Iterable[Decimal | None]) -> Decimal | None:
    """None where one of them is not known."""
    total = ZERO
    for amount in amounts:
        if amount is None:
            return None
        total += amount
    return total


def _credits(pictures: Sequence[QuotedPicture]) -> Decimal | None:
    if len({one.provider for one in pictures}) > 1:
        return None
    return _sum(one.price_credits for one in pictures)
