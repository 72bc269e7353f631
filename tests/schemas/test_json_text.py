"""JSON as it is stored: the same text whichever library writes it, and read back as it was."""

import json
import math
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pydantic_core
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.local.clock import SystemClock
from adapters.local.ids import RandomIds, SystemEntropy
from schemas.json_text import from_json, to_json
from states.table import State

PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.text()
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)
AN_ID = "0192f5c0-1111-7222-8333-444455556666"


@given(PLAIN)
def test_what_is_plain_json_comes_back_and_reads_the_same_elsewhere(value: Any) -> None:
    text = to_json(value)
    assert text == pydantic_core.to_json(value).decode()
    assert json.loads(text) == value
    if not _holds_large_integer(value):
        assert from_json(text) == value


def _holds_large_integer(value: Any) -> bool:
    """One that 64 bits do not hold is read as a float; none of ours is."""
    if isinstance(value, dict):
        return any(map(_holds_large_integer, value.values()))
    if isinstance(value, list):
        return any(map(_holds_large_integer, value))
    return isinstance(value, int) and not -(2**63) <= value < 2**64


@pytest.mark.parametrize(
    "value",
    [
        {"at": datetime(2026, 11, 30, 1, 2, 3, 4, tzinfo=UTC)},
        {"amount": Decimal("0.0100")},
        {"id": UUID(AN_ID)},
        {"id": RandomIds(SystemClock(), SystemEntropy()).new()},
        {"state": State.RUNNING, 1: "a key that is no text"},
        ["ä 画 🖼", "\x00\x1f\u2028", 0.1, 1e22, -0.0],
    ],
)
def test_it_is_written_as_pydantic_writes_it(value: Any) -> None:
    assert to_json(value) == pydantic_core.to_json(value).decode()


@pytest.mark.parametrize("text", ["", "{", "nul", b"\xff"])
def test_what_is_no_json_is_refused(text: str | bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        from_json(text)


def test_no_number_is_null() -> None:
    assert to_json([float("nan"), float("inf")]) == "[null,null]"
    assert to_json([float("nan"), Decimal(1)]) == '[null,"1"]'


def test_what_may_be_stored_can_be_read() -> None:
    """A row that cannot be read fails every step that names it."""
    assert from_json(to_json(10**400)) == 10**400
    assert from_json(to_json(2**70)) == float(2**70)
    assert math.isnan(from_json("[NaN]")[0])  # as it was written before


def test_what_json_cannot_hold_is_refused() -> None:
    with pytest.raises(ValueError, match=r".+"):
        to_json({"text": "\ud800"})
