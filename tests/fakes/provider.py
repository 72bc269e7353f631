"""A provider that does as it is told and counts its paid calls on its own side."""

from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import timedelta
from decimal import Decimal
from uuid import UUID

from adapters.ports import (
    Accepted,
    KeyLimits,
    PaintedPicture,
    Painting,
    PaintRequest,
    Parameters,
)
from schemas.operations import Operation, Way
from schemas.prices import Price, PriceBook, PriceEntry
from schemas.requests import AspectRatio, Strategy

COST = Decimal("0.025")
Answer = Callable[[PaintRequest], Awaitable[Painting | Accepted]]


async def paints(request: PaintRequest) -> Painting:
    data = f"{request.job_id}/{request.attempt}/{request.seed}".encode()
    return Painting((PaintedPicture(data, "image/png", request.seed),), "paid-1", COST)


class ScriptedProvider:
    """Gives the scripted answers in turn, then paints. Not free, not repeatable, unless told so."""

    styles = frozenset({"plain"})
    strategies = (Strategy.REGENERATE,)
    operations = tuple(Operation)
    aspect_ratios = tuple(AspectRatio)
    price_book = PriceBook("paid-1", (PriceEntry(Price(COST)),))

    def __init__(
        self, *, repeatable: bool = False, name: str = "paid", limits: KeyLimits | None = None
    ) -> None:
        self.name = name
        self.repeatable = repeatable
        # What it says before it paints; None where nobody knows.
        self.asks: Decimal | None = COST
        self.limits = limits
        self.script: list[Answer] = []
        self.calls: Counter[tuple[UUID, int]] = Counter()
        self.poll_script: list[Answer] = []
        self.polls: Counter[str] = Counter()

    def resolve_model(self, quality: str, way: Way = Strategy.REGENERATE) -> str:
        return "paid-1"

    def parameters(self, quality: str, way: Way = Strategy.REGENERATE) -> Parameters:
        return Parameters()

    def quote(self, quality: str, way: Way = Strategy.REGENERATE) -> Price | None:
        return Price(self.asks) if self.asks is not None else None

    def price(self, quality: str, way: Way = Strategy.REGENERATE) -> Decimal | None:
        return self.asks

    async def generate(self, request: PaintRequest) -> Painting | Accepted:
        self.calls[request.job_id, request.attempt] += 1
        answer = self.script.pop(0) if self.script else paints
        return await answer(request)

    async def poll(self, provider_ref: str, request: PaintRequest) -> Painting | Accepted:
        """What was accepted is done, unless the script of polls says otherwise."""
        self.polls[provider_ref] += 1
        answer = self.poll_script.pop(0) if self.poll_script else paints
        return await answer(request)


async def accepts(request: PaintRequest) -> Accepted:
    """Accepted under the name of its job and attempt, to be asked about again in 10 seconds."""
    return Accepted(f"{request.job_id}-{request.attempt}", timedelta(seconds=10))


def raises(error: Exception) -> Answer:
    async def answer(_: PaintRequest) -> Painting:
        raise error

    return answer
