"""Price books: what a picture costs, in US dollars and in the provider's credits. Decimal, never a
float; each book has a version, and a price that no book knows is unknown (None), never 0.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal

from schemas.requests import Quality


@dataclass(frozen=True, slots=True)
class Price:
    """What one picture costs; *credits* where the provider counts in them."""

    usd: Decimal
    credits: Decimal | None = None


@dataclass(frozen=True, slots=True)
class PriceEntry:
    """The price of what it names; a field that is None says nothing about it.

    With *steps_included* every further step costs in proportion.
    """

    price: Price
    model: str | None = None
    quality: Quality | None = None
    steps_included: int | None = None

    def names(self, model: str, quality: Quality) -> bool:
        return self.model in (None, model) and self.quality in (None, quality)

    def of_steps(self, steps: int | None) -> Price | None:
        if self.steps_included is None:
            return self.price
        if steps is None:
            return None
        share = Decimal(max(steps, self.steps_included)) / self.steps_included
        credits = self.price.credits
        return Price(self.price.usd * share, credits * share if credits is not None else None)


@dataclass(frozen=True, slots=True)
class PriceBook:
    version: str
    entries: tuple[PriceEntry, ...]
    usd_per_credit: Decimal | None = None

    def price(self, model: str, quality: Quality, *, steps: int | None = None) -> Price | None:
        """What one picture by *model* costs; None where this book does not know."""
        for entry in self.entries:
            if entry.names(model, quality):
                return entry.of_steps(steps)
        return None

    def price_of(self, model: str) -> Price | None:
        """What *model* costs where this book names it; prices of a quality say nothing of it."""
        return next((entry.price for entry in self.entries if entry.model == model), None)

    def corrected(self, credits: Mapping[str, Decimal]) -> "PriceBook":
        """This book with other prices (credits by model), under a version that tells so."""
        if not credits:
            return self
        assert self.usd_per_credit is not None
        # A model that was priced by its steps still is.
        steps = {entry.model: entry.steps_included for entry in self.entries}
        first = tuple(
            PriceEntry(Price(amount * self.usd_per_credit, amount), model, None, steps.get(model))
            for model, amount in credits.items()
        )
        kept = tuple(entry for entry in self.entries if entry.model not in credits)
        named = ",".join(f"{model}={amount}" for model, amount in sorted(credits.items()))
        return replace(self, version=f"{self.version}+{named}", entries=first + kept)


def book_of_qualities(
    version: str, known: Mapping[Quality, Decimal | None], own: Mapping[Quality, Decimal]
) -> PriceBook:
    """A book of prices (USD) by quality; *own* ones count before the *known*, and its version says
    so. A quality whose price nobody knows stands in no entry.
    """
    usd = {**known, **own}
    named = ",".join(f"{quality.value}={amount}" for quality, amount in sorted(own.items()))
    return PriceBook(
        f"{version}+{named}" if named else version,
        tuple(
            PriceEntry(Price(amount), quality=quality)
            for quality, amount in usd.items()
            if amount is not None
        ),
    )


# The price list of the requirements document 1.3.4, which the offline provider quotes.
DOCUMENT_1_3_4 = PriceBook(
    "document-1.3.4",
    tuple(
        PriceEntry(Price(Decimal(usd)), quality=quality)
        for quality, usd in {
            Quality.DRAFT: "0.002",
            Quality.STANDARD: "0.004",
            Quality.HIGH: "0.006",
            Quality.ULTRA: "0.008",
        }.items()
    ),
)

USD_PER_CREDIT = Decimal("0.01")
UPSCALE_CREATIVE = "upscale-creative"
SDXL = "stable-diffusion-xl-1024-v1-0"


def _credits(model: str, credits: str, steps_included: int | None = None) -> PriceEntry:
    price = Price(Decimal(credits) * USD_PER_CREDIT, Decimal(credits))
    return PriceEntry(price, model, steps_included=steps_included)


_FIVE = (
    "inpaint",
    "erase",
    "search-and-replace",
    "search-and-recolor",
    "remove-background",
    "control-sketch",
    "control-structure",
    "control-style",
)
# Stability AI's public prices as they were read in November 2026; nobody asked the live service.
STABILITY_2026_11 = PriceBook(
    "stability-2026-11",
    (
        _credits("core", "3"),
        _credits("ultra", "8"),
        _credits("sd3.5-large", "6.5"),
        _credits("sd3.5-large-turbo", "4"),
        _credits("sd3.5-medium", "3.5"),
        _credits("sd3.5-flash", "2.5"),
        _credits(UPSCALE_CREATIVE, "60"),
        _credits("upscale-conservative", "40"),
        _credits("upscale-fast", "2"),
        _credits("outpaint", "4"),
        *(_credits(model, "5") for model in _FIVE),
        _credits(SDXL, "0.9", steps_included=30),
    ),
    USD_PER_CREDIT,
)

PRICE_BOOKS = {book.version: book for book in (DOCUMENT_1_3_4, STABILITY_2026_11)}

# The same document's models and seconds for each quality.
DOCUMENT_MODELS: dict[Quality, str] = {
    Quality.DRAFT: "stable-diffusion-xl-turbo",
    Quality.STANDARD: SDXL,
    Quality.HIGH: SDXL,
    Quality.ULTRA: "stable-diffusion-3.5-large",
}
DOCUMENT_SECONDS: dict[Quality, int] = {
    Quality.DRAFT: 5,
    Quality.STANDARD: 15,
    Quality.HIGH: 20,
    Quality.ULTRA: 30,
}
