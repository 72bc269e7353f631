"""The base of every row's shape, and the rows themselves as the journal handles them.

The journal makes tens of rows a job and reads each of them often. An instance of a pydantic model
takes 20 µs to make without validation, and reading one of its fields three times as long as of an
ordinary object. So rows in memory are such objects: they have the columns of their table, pass for
instances of it, and are not validated.
"""

from collections.abc import Iterable
from functools import cache
from types import FunctionType
from typing import Any, ClassVar, Self

from sqlmodel import SQLModel


class Row(SQLModel):
    # Columns that are written once, with the row; no update sends them again.
    WRITTEN_ONCE: ClassVar[frozenset[str]] = frozenset()

    @classmethod
    def of(cls, **values: Any) -> Self:
        """Make a row from trusted values; what is not named has its default."""
        light, defaults = _made_of(cls)
        row = light()
        row.__dict__ = defaults | values
        row._made_of = None
        return row  # type: ignore[return-value]  # it passes for one

    @classmethod
    def of_all(cls, values: dict[str, Any]) -> Self:
        """Make a row of a dictionary that names every column; the row keeps it.

        `isinstance` takes it for one of its class, which its `__class__` is too; it has the methods
        of that class, and nothing of pydantic's.
        """
        row = _made_of(cls)[0]()
        row.__dict__ = values
        row._made_of = None
        return row  # type: ignore[return-value]  # it passes for one

    def changed(self, **changes: Any) -> Self:
        """The same row with other values; the row itself stays as it is."""
        return self.of_all(self.__dict__ | changes)

    def take_named_since(self, before: Any) -> Iterable[str] | None:
        return None  # nobody knows what an instance of this very class was made of


class _Light:
    """An ordinary object that passes for an instance of the class of rows in its `__class__`."""

    # Beside the columns: the row of which it was made, and what was named then.
    __slots__ = ("__dict__", "_made_of")
    _made_of: "tuple[_Light, dict[str, Any]] | None"

    def changed(self, **changes: Any) -> "_Light":
        row = type(self)()
        row.__dict__ = self.__dict__ | changes
        row._made_of = (self, changes)
        return row

    def take_named_since(self, before: Any) -> Iterable[str] | None:
        """The columns that `changed` was given as it made this row of *before*; None where this was
        made otherwise. It is told once: the row before is let go of."""
        made_of, self._made_of = self._made_of, None
        return made_of[1] if made_of is not None and made_of[0] is before else None

    def __eq__(self, other: object) -> bool:
        if self.__class__ is not other.__class__:
            return NotImplemented
        return self.__dict__ == other.__dict__

    __hash__ = None  # type: ignore[assignment]  # its values are no key

    def __repr__(self) -> str:
        values = ", ".join(f"{name}={value!r}" for name, value in self.__dict__.items())
        return f"{self.__class__.__name__}({values})"


def _light(row: type[Row]) -> type[_Light]:
    own: dict[str, Any] = {"__class__": row}
    for base in row.__mro__:
        if issubclass(base, Row):
            own = {name: one for name, one in vars(base).items() if _is_method(name, one)} | own
    for name in ("changed", "take_named_since"):
        del own[name]  # `_Light` has its own
    return type(row.__name__, (_Light,), own)


def _is_method(name: str, member: Any) -> bool:
    return isinstance(member, FunctionType | property) and not name.startswith("_")


@cache
def _made_of(row: type[Row]) -> tuple[type[_Light], dict[str, Any]]:
    return _light(row), _defaults(row)


def _defaults(row: type[SQLModel]) -> dict[str, Any]:
    # Rows are never changed in place, so a default list may be shared.
    return {
        name: field.get_default(call_default_factory=True, validated_data={})
        for name, field in row.model_fields.items()
        if not field.is_required()
    }
