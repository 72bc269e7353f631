"""The base of every row's shape: a plain model, with two ways to make one without validation.

The journal handles tens of rows a job. Pydantic's `model_construct` and `model_copy` look at every
field each time; these two copy one dictionary (measured for a job: 3 µs instead of 20).
"""

from functools import cache
from typing import Any, ClassVar, Self

from sqlmodel import SQLModel

_set = object.__setattr__


class Row(SQLModel):
    # Columns that are written once, with the row; no update sends them again.
    WRITTEN_ONCE: ClassVar[frozenset[str]] = frozenset()

    @classmethod
    def of(cls, **values: Any) -> Self:
        """Make a row from trusted values; what is not named has its default."""
        return cls.of_all(_defaults(cls) | values)

    def changed(self, **changes: Any) -> Self:
        """The same row with other values; the row itself stays as it is."""
        return self.of_all(self.__dict__ | changes)

    @classmethod
    def of_all(cls, values: dict[str, Any]) -> Self:
        """Make a row of a dictionary that names every column; the row keeps it."""
        row = object.__new__(cls)
        _set(row, "__dict__", values)
        _set(row, "__pydantic_fields_set__", _names(cls))
        _set(row, "__pydantic_extra__", None)
        _set(row, "__pydantic_private__", None)
        return row


@cache
def _names(row: type[SQLModel]) -> set[str]:
    return set(row.model_fields)


@cache
def _defaults(row: type[SQLModel]) -> dict[str, Any]:
    # Rows are never changed in place, so a default list may be shared.
    return {
        name: field.get_default(call_default_factory=True, validated_data={})
        for name, field in row.model_fields.items()
        if not field.is_required()
    }
