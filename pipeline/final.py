"""The final of a draft: the same picture again, better; what is not asked for anew is the draft's.

One function makes it, whoever asks for it, so that place, seed, texts and strategy are always kept
in the same way.
"""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from adapters.ports import ImageProvider
from pipeline.errors import DraftNotUsable, UnknownStrategy
from pipeline.fallback import LIST, WANTED, asked_of
from pipeline.new_job import chosen_fallback, chosen_provider, new_job
from pipeline.providers import Providers
from schemas.operations import Operation, Way
from schemas.requests import ImageGenerationRequest, OnUnknown, Quality, Strategy
from schemas.tables import JobRow
from states.table import State

# What a final takes of its draft's request, where its own does not say otherwise.
INHERITED = (
    "prompt",
    "negative_prompt",
    "provider",
    "style",
    "aspect_ratio",
    "alt_text",
    "caption",
)
DEFAULT_QUALITY = Quality.HIGH


def check_draft(draft: JobRow) -> None:
    """Raise `DraftNotUsable` for what has no final. A completed draft stays one for ever."""
    if not draft.is_draft:
        raise DraftNotUsable(draft.id, f"it is a {draft.quality} picture, not a draft")
    if draft.state is not State.COMPLETED:
        raise DraftNotUsable(draft.id, f"it is {draft.state.value}, not completed")


def asked_final(
    draft: JobRow,
    asked: Mapping[str, Any],
    *,
    job_id: UUID,
    now: datetime,
    providers: Providers,
) -> JobRow:
    """The final that *asked* (fields of a request, only those that were given) makes of *draft*.

    Raises `UnknownProvider`, `UnknownStyle`, `UnknownStrategy`.
    """
    request = _request(draft, asked)
    if request.provider is None:  # the draft's painter, whatever the default is by now
        request = request.model_copy(update={"provider": draft.provider})
    provider, warnings = chosen_provider(request, providers)
    if request.fallback is not None or provider.name != draft.provider:
        fallback = chosen_fallback(request, provider, providers)
    else:
        fallback = _fallback(draft)
    strategy = resolved_strategy(request.strategy or _wanted(draft, "strategy"), provider)
    on_unknown = providers.on_unknown.promised(
        request.on_unknown or _wanted(draft, "on_unknown"), provider, is_draft=False
    )
    return _final(
        draft, request, provider.name, fallback, strategy, on_unknown, warnings, job_id, now
    )


def owed_final(draft: JobRow, *, job_id: UUID, now: datetime) -> JobRow:
    """The final that the draft's batch asked for when it was accepted."""
    request = _request(draft, {})
    strategy, fallback = _wanted(draft, "strategy"), _fallback(draft)
    on_unknown = _wanted(draft, "on_unknown")
    return _final(draft, request, draft.provider, fallback, strategy, on_unknown, [], job_id, now)


def resolved_strategy(wanted: str | None, provider: ImageProvider) -> Strategy:
    """*wanted*, or the best that *provider* has."""
    if wanted is None:
        return provider.strategies[0]
    if wanted not in provider.strategies:
        raise UnknownStrategy(wanted, provider.name, [known.value for known in provider.strategies])
    return Strategy(wanted)


def strategy_of(job: JobRow) -> Strategy:
    """How the job's picture is made; a picture without a draft is painted anew."""
    return Strategy(asked_of(job).get("strategy", Strategy.REGENERATE))


def way_of(job: JobRow) -> Way:
    """The operation that makes the job's picture of another one, else its strategy."""
    operation = asked_of(job).get("operation")
    return Operation(operation) if operation is not None else strategy_of(job)


def job_price(job: JobRow, providers: Providers) -> Decimal | None:
    """What an attempt of *job* costs (USD) at present prices; None where that is not known."""
    provider = providers.by_name.get(job.provider)
    return provider.price(job.quality, way_of(job)) if provider is not None else None


def final_price(draft: JobRow, provider: ImageProvider) -> Decimal | None:
    """What the draft's final costs (USD) where nobody asks for another; None where unknown."""
    return provider.price(final_quality(draft), final_strategy(draft, provider))


def final_strategy(draft: JobRow, provider: ImageProvider) -> Strategy:
    """How the draft's final is made where nobody asks for another way."""
    return Strategy(_wanted(draft, "strategy") or provider.strategies[0])


def final_quality(draft: JobRow) -> Quality:
    """The quality of the draft's final where nobody asks for another."""
    return Quality(_wanted(draft, "quality") or DEFAULT_QUALITY)


def _wanted(draft: JobRow, name: str) -> Any:
    return asked_of(draft).get(WANTED, {}).get(name)


def _fallback(draft: JobRow) -> list[str]:
    """Who may paint the draft's final instead of its own painter."""
    return [name for name in draft.request.get(LIST, ()) if name != draft.provider]


def _request(draft: JobRow, asked: Mapping[str, Any]) -> ImageGenerationRequest:
    asked_before = asked_of(draft)
    own = {name: asked_before[name] for name in INHERITED if name in asked_before}
    places = {
        "blog_id": draft.blog_id,
        "blog_job_id": draft.blog_job_id,
        "role": draft.role,
        "position": draft.position,
        "quality": final_quality(draft),
    }
    given = {name: value for name, value in asked.items() if value is not None}
    return ImageGenerationRequest.model_validate(own | places | given | {"draft_job_id": draft.id})


def _final(
    draft: JobRow,
    request: ImageGenerationRequest,
    provider: str,
    fallback: list[str],
    strategy: str | None,
    on_unknown: str | None,
    warnings: list[str],
    job_id: UUID,
    now: datetime,
) -> JobRow:
    assert draft.result is not None
    seed = draft.request["seed"]
    if request.seed not in (0, seed):
        note = f"a final has its draft's seed, {seed}; {request.seed} is left out"
        warnings = [*warnings, note]
    return new_job(
        request,
        tenant=draft.tenant,
        job_id=job_id,
        now=now,
        seed=seed,
        provider=provider,
        warnings=warnings,
        fallback=fallback,
        batch_id=draft.batch_id,
        on_unknown=OnUnknown(on_unknown) if on_unknown is not None else None,
        strategy=strategy or Strategy.REGENERATE.value,
        source_image_id=draft.result["image_ids"][0],
    )
