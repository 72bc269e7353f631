"""JSON as it is stored and as it travels: compact, in UTF-8."""

from typing import Any

import orjson
import pydantic_core

# pydantic writes moments with a Z, and so it stays.
_AS_PYDANTIC_WRITES = orjson.OPT_PASSTHROUGH_DATETIME


def to_json(value: Any) -> str:
    """The text of *value*. Amounts, ids and moments are strings in it, and what is no number null.

    Raises `ValueError` for what JSON cannot hold.
    """
    try:
        return orjson.dumps(value, None, _AS_PYDANTIC_WRITES).decode()
    except TypeError:  # amounts, ids, keys that are no text: rare, and known to pydantic
        return pydantic_core.to_json(value, inf_nan_mode="null").decode()


def from_json(text: str | bytes) -> Any:
    """The value of *text*; raises `ValueError` for what is no JSON.

    An integer that 64 bits do not hold is read as a float, where a float holds it.
    """
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return pydantic_core.from_json(text)
