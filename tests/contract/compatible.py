"""What a change of a schema would break for those who read events of before and after it."""

import json
from typing import Any

Schema = dict[str, Any]

# What explains and does not bind.
WORDS = {"$defs", "$id", "$schema", "default", "description", "examples", "title"}
REMEDY = (
    "Receivers of release {release} would break. Put it back (a member may be added, with a"
    " default), or raise the type's number in schemas.events.DATA_VERSIONS, keep"
    " schemas.event_data able to read the old form, and tell it in CHANGELOG.md."
)


def breaks(released: Schema, present: Schema) -> list[str]:
    """One line for each change by which a receiver or an old event could come to grief."""
    return list(_differ("data", _plain(released, released), _plain(present, present)))


def refusal(event_type: str, release: str, lines: list[str]) -> str:
    """What whoever made the change is told."""
    return "\n".join([f"{event_type}:", *lines, REMEDY.format(release=release)])


def _plain(schema: Any, whole: Schema) -> Any:
    """*schema* with every reference resolved, and without words."""
    if isinstance(schema, list):
        return [_plain(one, whole) for one in schema]
    if not isinstance(schema, dict):
        return schema
    if (reference := schema.get("$ref")) is not None:
        schema = whole["$defs"][reference.removeprefix("#/$defs/")] | {
            key: value for key, value in schema.items() if key != "$ref"
        }
    plain = {key: _plain(value, whole) for key, value in schema.items() if key not in WORDS}
    if "properties" in schema:  # a member may be called like a word
        members = schema["properties"].items()
        plain["properties"] = {name: _plain(one, whole) for name, one in members}
    return plain


def _differ(place: str, old: Schema, new: Schema) -> list[str]:
    if "properties" in old and "properties" in new:
        return _members_differ(place, old, new)
    if old.get("type") == new.get("type") == "array":
        return _differ(f"{place}[]", old["items"], new["items"])
    choices = old.get("anyOf"), new.get("anyOf")
    if all(choices):
        return _choices_differ(place, *choices)
    if old != new:
        return [f"  {place} was {_told(old)} and is now {_told(new)}"]
    return []


def _members_differ(place: str, old: Schema, new: Schema) -> list[str]:
    lines = []
    had, has = old.get("required", []), new.get("required", [])
    for name, schema in old["properties"].items():
        member = f"{place}.{name}"
        if name not in new["properties"]:
            lines.append(f"  {member} was removed")
            continue
        if name in had and name not in has:
            lines.append(f"  {member} was always there and may now be missing")
        if name not in had and name in has:
            lines.append(f"  {member} is now required, and events of before may lack it")
        lines += _differ(member, schema, new["properties"][name])
    for name in new["properties"]:
        if name not in old["properties"] and name in has:
            lines.append(f"  {place}.{name} is new and required: events of before lack it")
    return lines


def _choices_differ(place: str, old: list[Schema], new: list[Schema]) -> list[str]:
    """Of what may be null, or one of several: the objects are compared member by member."""
    structured = [[one for one in side if "properties" in one] for side in (old, new)]
    lines = []
    if all(len(side) == 1 for side in structured):
        lines = _members_differ(place, structured[0][0], structured[1][0])
        old, new = ([one for one in side if "properties" not in one] for side in (old, new))
    if sorted(map(json.dumps, old)) != sorted(map(json.dumps, new)):
        lines.append(f"  {place} was {_told({'anyOf': old})} and is now {_told({'anyOf': new})}")
    return lines


def _told(schema: Schema) -> str:
    if "anyOf" in schema:
        return " or ".join(_told(one) for one in schema["anyOf"])
    if "enum" in schema:
        return f"one of {', '.join(map(str, schema['enum']))}"
    rest = {key: value for key, value in schema.items() if key not in ("type", "properties")}
    kind = str(schema.get("type", "anything"))
    return f"{kind} {json.dumps(rest, sort_keys=True)}" if rest else kind
