"""What each provider can paint, how and at which price, told before anything is asked of it."""

from collections.abc import Collection

from adapters.ports import ImageProvider
from adapters.store import reads
from pipeline.journal import Journal
from pipeline.providers import Providers
from schemas.prices import DOCUMENT_MODELS
from schemas.replies import PaintingResponse, ProviderListResponse, ProviderResponse
from schemas.requests import AspectRatio, Quality, Strategy


async def provider_list(providers: Providers, journal: Journal) -> ProviderListResponse:
    """All configured providers, the default one first."""
    keys = await journal.read(reads.provider_keys)
    retired = {(row.provider, row.fingerprint): row.retired.keys() for row in keys}
    default, _ = providers.choose(None)
    others = [one for name, one in providers.by_name.items() if name != default.name]
    return ProviderListResponse(
        default=default.name,
        fallback=list(providers.fallback),
        providers=[
            _provider(one, providers, default.name, retired.get(_key(one), ()))
            for one in (default, *others)
        ],
    )


def _key(provider: ImageProvider) -> tuple[str, str]:
    limits = provider.limits
    return provider.name, limits.fingerprint if limits is not None else ""


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
