"""Every variable of the environment that the program reads, as its settings define them."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from pipeline.settings import Settings


@dataclass(frozen=True)
class Variable:
    name: str
    default: str | None
    """As it would be written; empty where there is none, None where it differs by machine."""
    secret: bool = False


def variables(model: type[BaseModel] = Settings, prefix: str = "LIMNER_") -> Iterator[Variable]:
    for name, field in model.model_fields.items():
        section = field.annotation
        if isinstance(section, type) and issubclass(section, BaseModel):
            yield from variables(section, f"{prefix}{name.upper()}__")
        else:
            own = field.validation_alias or prefix + name.upper()
            assert isinstance(own, str)
            secret = field.annotation == SecretStr | None
            yield Variable(own, _written(field), secret)


def _written(field: FieldInfo) -> str | None:
    default: Any = field.default
    if default is PydanticUndefined:
        return None
    if default is None:
        return ""
    if isinstance(default, frozenset | tuple):
        return json.dumps(sorted(default))
    if isinstance(default, dict):
        return json.dumps(default)
    return str(getattr(default, "value", default))
