"""What each provider can paint, how and at which price, told before anything is asked of it."""

from collections.abc import Collection

from adapters.ports import ImageProvider
from pipeline.journal import Journal
from pipeline.key_words import key_rows
from pipeline.providers import Providers
from schemas.operations import VARIATIONS, Operation
from schemas.prices import DOCUMENT_MODELS
from schemas.replies import (
    OperationResponse,
    PaintingResponse,
    ProviderListResponse,
    ProviderResponse,
)
from schemas.requests import AspectRatio, Quality, Strategy

FINALS = (Quality.STANDARD, Quality.HIGH, Quality.ULTRA)


async def provider_list(providers: Providers, journal: Journal) -> ProviderListResponse:
    """All configured providers, the default one first."""
    rows = await key_rows(providers, journal)
    retired = {name: row.retired.keys() for name, row in rows.items()}
    default, _ = providers.choose(None)
    others = [one for name, one in providers.by_name.items() if name != default.name]
    return ProviderListResponse(
        default=default.name,
        fallback=list(providers.fallback),
        providers=[
            _provider(one, providers, default.name, retired.get(one.name, ()))
            for one in (default, *others)
        ],
    )


def _provider(
    provider: ImageProvider, providers: Providers, default: str, retired: Collection[str]
) -> ProviderResponse:
    own = provider.aspect_ratios
    stands_in_for = [
        name for name, stand_in in providers.stand_ins.items() if stand_in == provider.name
    ]
    return ProviderResponse(
        name=provider.name,
        is_default=provider.name == default,
        stands_in_for=stands_in_for,
        styles=sorted(provider.styles),
        aspect_ratios=list(own),
        cropped_aspect_ratios=[ratio for ratio in AspectRatio if ratio not in own],
        strategies=list(provider.strategies),
        price_book=provider.price_book.version,
        models=[
            _painting(provider, quality, strategy, retired)
            for quality in Quality
            for strategy in provider.strategies
            # A draft is made of nothing but its prompt.
            if quality is not Quality.DRAFT or strategy is Strategy.REGENERATE
        ],
        operations=[
            _operation(provider, operation, quality, retired)
            for operation in provider.operations
            for quality in (FINALS if operation in VARIATIONS else (Quality.STANDARD,))
        ],
    )


def _operation(
    provider: ImageProvider, operation: Operation, quality: Quality, retired: Collection[str]
) -> OperationResponse:
    quoted = provider.quote(quality, operation)
    model = provider.resolve_model(quality, operation)
    return OperationResponse(
        operation=operation,
        quality=quality,
        model=model,
        price_usd=quoted.usd if quoted is not None else None,
        price_credits=quoted.credits if quoted is not None else None,
        retired=model in retired,
    )


def _painting(
    provider: ImageProvider, quality: Quality, strategy: Strategy, retired: Collection[str]
) -> PaintingResponse:
    quoted = provider.quote(quality, strategy)
    model = provider.resolve_model(quality, strategy)
    return PaintingResponse(
        quality=quality,
        strategy=strategy,
        requested_model=DOCUMENT_MODELS[quality],
        resolved_model=model,
        price_usd=quoted.usd if quoted is not None else None,
        price_credits=quoted.credits if quoted is not None else None,
        retired=model in retired,
    )
