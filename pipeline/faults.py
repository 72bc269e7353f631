"""What is wrong with a value that somebody gave, in words that say what it must be.

Routes and commands tell it alike; without it callers would read pydantic's words, which speak to
the programmer of the model.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from schemas.requests import KEY_PATTERN, NAME_PATTERN

PATTERNS: Mapping[str, str] = {
    NAME_PATTERN: "it must have no spaces and none of / ? #",
    KEY_PATTERN: "it must be visible ASCII characters without spaces",
}


def _too_long(context: Mapping[str, Any]) -> str:
    what = "entries" if context.get("field_type") == "List" else "characters"
    actual = context.get("actual_length")
    had = f"it has {actual} {what}; " if actual else ""
    return f"{had}at most {context.get('max_length')} {what} are allowed; shorten it"


WORDS: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "extra_forbidden": lambda _: "there is no such field; remove it or correct its name",
    "missing": lambda _: "the field is required; add it",
    "enum": lambda context: f"it must be {context.get('expected')}",
    "too_short": lambda _: "it must not be empty",
    "string_too_short": lambda _: "it must not be empty",
    "too_long": _too_long,
    "string_too_long": _too_long,
    "string_type": lambda _: "it must be text",
    "string_pattern_mismatch": lambda context: PATTERNS.get(
        context["pattern"], f"it must match {context['pattern']}"
    ),
    "greater_than_equal": lambda context: f"it must be at least {context['ge']}",
    "less_than_equal": lambda context: f"it must be at most {context['le']}",
    "int_type": lambda _: "it must be a whole number",
    "int_parsing": lambda _: "it must be a whole number",
    "int_from_float": lambda _: "it must be a whole number",
    "float_type": lambda _: "it must be a number",
    "float_parsing": lambda _: "it must be a number",
    "bool_type": lambda _: "it must be true or false",
    "bool_parsing": lambda _: "it must be true or false",
    "list_type": lambda _: "it must be a list",
    "dict_type": lambda _: "it must be a JSON object",
    "model_type": lambda _: "it must be a JSON object",
    "model_attributes_type": lambda _: "it must be a JSON object",
}
# What has many types in pydantic and one meaning here, by the beginning of the type.
FAMILIES: Mapping[str, str] = {
    "datetime": "it must be a time with its offset, such as 2026-12-24T18:00:00Z",
    "timezone": "it must be a time with its offset, such as 2026-12-24T18:00:00Z",
    "decimal": "it must be an amount such as '12.50', with 6 places and 14 digits at most",
    "finite_number": "it must be an amount such as '12.50'",
    "date": "it must be a day such as 2026-12-24",
    "uuid": "it must be an id (a UUID), as replies give it",
}


def fault(error: Mapping[str, Any]) -> str:
    """One of pydantic's errors, told without its field's name and without a full stop."""
    kind = error["type"]
    if kind in WORDS:
        return WORDS[kind](error.get("ctx", {}))
    for beginning, words in FAMILIES.items():
        if kind.startswith(beginning):
            return words
    return str(error["msg"]).removeprefix("Value error, ")


def summary(errors: Sequence[Mapping[str, str]]) -> str:
    """The first of *errors*, by its field, and how many more there are."""
    first = errors[0]
    more = f" ({len(errors) - 1} more in `errors`)" if len(errors) > 1 else ""
    return f"{first['field']}: {first['message']}{more}."
