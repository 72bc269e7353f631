"""Prices are exact, carry the version of their book, and are never zero for want of knowledge."""

from decimal import Decimal

import pytest

from schemas.prices import DOCUMENT_1_3_4, PRICE_BOOKS, SDXL, STABILITY_2026_11, Price
from schemas.replies import dollars
from schemas.requests import Quality

HIGH = Quality.HIGH


@pytest.mark.parametrize(
    ("model", "steps", "usd", "credits"),
    [
        ("core", None, "0.03", "3"), ("ultra", None, "0.08", "8"),
        ("sd3.5-large", None, "0.065", "6.5"), ("sd3.5-large-turbo", None, "0.04", "4"),
        ("sd3.5-medium", None, "0.035", "3.5"), ("sd3.5-flash", None, "0.025", "2.5"),
        (SDXL, 20, "0.009", "0.9"), (SDXL, 30, "0.009", "0.9"),
        (SDXL, 40, "0.012", "1.2"), (SDXL, 50, "0.015", "1.5"),
    ],
)  # fmt: skip
def test_a_model_costs_its_credits_and_further_steps_in_proportion(
    model: str, steps: int | None, usd: str, credits: str
) -> None:
    found = STABILITY_2026_11.price(model, HIGH, steps=steps)
    assert found == Price(Decimal(usd), Decimal(credits))


@pytest.mark.parametrize(("model", "steps"), [("sd4", None), ("", None), (SDXL, None)])
def test_a_price_that_the_book_does_not_have_is_unknown_and_not_zero(
    model: str, steps: int | None
) -> None:
    assert STABILITY_2026_11.price(model, HIGH, steps=steps) is None


def test_the_documents_list_goes_by_quality() -> None:
    found = [DOCUMENT_1_3_4.price("any", quality) for quality in Quality]
    assert [str(one.usd) for one in found if one] == ["0.002", "0.004", "0.006", "0.008"]


def test_books_are_found_by_their_version() -> None:
    assert PRICE_BOOKS == {
        "document-1.3.4": DOCUMENT_1_3_4,
        "stability-2026-11": STABILITY_2026_11,
    }


def test_a_corrected_book_has_a_version_of_its_own_and_leaves_the_first_as_it_was() -> None:
    own = STABILITY_2026_11.corrected({SDXL: Decimal(3), "core": Decimal(4)})
    assert own.version == f"stability-2026-11+core=4,{SDXL}=3"
    assert own.price("core", HIGH) == Price(Decimal("0.04"), Decimal(4))
    assert own.price(SDXL, HIGH, steps=60) == Price(Decimal("0.06"), Decimal(6))
    assert own.price("ultra", HIGH) == STABILITY_2026_11.price("ultra", HIGH)
    assert STABILITY_2026_11.price("core", HIGH) == Price(Decimal("0.03"), Decimal(3))
    assert STABILITY_2026_11.corrected({}) is STABILITY_2026_11


@pytest.mark.parametrize(
    ("amount", "written"),
    [("0", "$0"), ("0.2", "$0.20"), ("0.065", "$0.065"), ("-1.50", "-$1.50"), ("100", "$100")],
)
def test_sums_are_written_as_people_write_them(amount: str, written: str) -> None:
    assert dollars(Decimal(amount)) == written
