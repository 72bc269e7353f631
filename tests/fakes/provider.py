"""A provider that does as it is told and counts its paid calls on its own side."""

from collections import Counter
from collections.abc import Awaitable, Callable
from decimal import Decimal
from uuid import UUID

from adapters.ports import KeyLimits, PaintedPicture, Painting, PaintRequest
from schemas.prices import Price, PriceBook, PriceEntry
from schemas.requests import AspectRatio, Strategy

COST = Decimal("0.025")
Answer = Callable[[PaintRequest], Awaitable[Painting]]


async def paints(request: PaintRequest) -> Painting:
    data = f"{request.job_id}/{request.attempt}/{request.seed}".encode()
    return Painting((PaintedPicture(data, "image/png", request.seed),), "paid-1", COST)


class ScriptedProvider:
    """Gives the scripted answers in turn, then paints. Not free, not repeatable, unless told so."""

    styles = frozenset({"plain"})
    strategies = (Strategy.REGENERATE,)
    aspect_ratios = tuple(AspectRatio)
    price_book = PriceBook("paid-1", (PriceEntry(Price(COST)),))

    def __init__(
        self, *, repeatable: bool = False, name: str = "paid", limits: KeyLimits | None = None
    ) -> None:
        self.name = name
        self.repeatable = repeatable
        self.limits = limits
        self.script: list[Answer] = []
        self.calls: Counter[tuple[UUID, int]] = Counter()

    def resolve_model(self, quality: str, strategy: Strategy = Strategy.REGENERATE) -> str:
        return "paid-1"

    def quote(self, quality: str, strategy: Strategy = Strategy.REGENERATE) -> Price | None:
        return Price(COST)

    def price(self, quality: str, strategy: Strategy = Strategy.REGENERATE) -> Decimal | None:
        return COST

    async def generate(self, request: PaintRequest) -> Painting:
        self.calls[request.job_id, request.attempt] += 1
        answer = self.script.pop(0) if self.script else paints
        return await answer(request)


def raises(error: Exception) -> Answer:
    async def answer(_: PaintRequest) -> Painting:
        raise error

    return answer
