"""Price books: what a picture costs, in US dollars. Decimal, versioned, never a float."""

from decimal import Decimal

from schemas.requests import Quality

# The price list of the requirements document 1.3.4, which the offline provider quotes.
DOCUMENT_1_3_4: dict[Quality, Decimal] = {
    Quality.DRAFT: Decimal("0.002"),
    Quality.STANDARD: Decimal("0.004"),
    Quality.HIGH: Decimal("0.006"),
    Quality.ULTRA: Decimal("0.008"),
}

# The same document's models and seconds for each quality.
DOCUMENT_MODELS: dict[Quality, str] = {
    Quality.DRAFT: "stable-diffusion-xl-turbo",
    Quality.STANDARD: "stable-diffusion-xl-1024-v1-0",
    Quality.HIGH: "stable-diffusion-xl-1024-v1-0",
    Quality.ULTRA: "stable-diffusion-3.5-large",
}
DOCUMENT_SECONDS: dict[Quality, int] = {
    Quality.DRAFT: 5,
    Quality.STANDARD: 15,
    Quality.HIGH: 20,
    Quality.ULTRA: 30,
}
