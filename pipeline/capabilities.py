"""What each provider can paint, how and at which price, told before anything is asked of it."""

from adapters.ports import ImageProvider
from pipeline.providers import Providers
from schemas.prices import DOCUMENT_MODELS
from schemas.replies import PaintingResponse, ProviderListResponse, ProviderResponse
from schemas.requests import AspectRatio, Quality, Strategy


def provider_list(providers: Providers) -> ProviderListResponse:
    """All configured providers, the default one first."""
    default, _ = providers.choose(None)
    others = [one for name, one in providers.by_name.items() if name != default.name]
    return ProviderListResponse(
        default=default.name,
        providers=[_provider(one, providers, default.name) for one in (default, *others)],
    )


def _provider(provider: ImageProvider, providers: Providers, default: str) -> ProviderResponse:
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
            _painting(provider, quality, strategy)
            for quality in Quality
            for strategy in provider.strategies
            # A draft is made of nothing but its prompt.
            if quality is not Quality.DRAFT or strategy is Strategy.REGENERATE
        ],
    )


def _painting(provider: ImageProvider, quality: Quality, strategy: Strategy) -> PaintingResponse:
    quoted = provider.quote(quality, strategy)
    return PaintingResponse(
        quality=quality,
        strategy=strategy,
        requested_model=DOCUMENT_MODELS[quality],
        resolved_model=provider.resolve_model(quality, strategy),
        price_usd=quoted.usd if quoted is not None else None,
        price_credits=quoted.credits if quoted is not None else None,
    )
