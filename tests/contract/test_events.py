"""The contract of events: what is published is what is sent, and what was sent is read for ever."""

import asyncio
import copy
import json
import re
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from cloudevents.core.formats.json import JSONFormat
from pydantic import ValidationError

from schemas.contract import PUBLISHED, asyncapi, data_schema, envelope_schema, example
from schemas.event_data import DATA, data_of
from schemas.events import CloudEvent, EventType, dataschema
from tests.contract.compatible import Schema, breaks, refusal
from tests.contract.record import RELEASES
from tests.contract.story import told

RECORDED = sorted(RELEASES.glob("*/events/*.json"))


@pytest.fixture(scope="module")
def sent(tmp_path_factory: pytest.TempPathFactory) -> list[CloudEvent]:
    """All events of a real run in which every type is sent."""
    return asyncio.run(told(tmp_path_factory.mktemp("story") / "home"))


@cache
def validator(name: str) -> jsonschema.Draft202012Validator:
    """Of a published file: the type's data, or what is around it."""
    schema = json.loads((PUBLISHED / "events" / f"{name}.json").read_text("utf-8"))
    checker = jsonschema.Draft202012Validator.FORMAT_CHECKER
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema, format_checker=checker)


def members(schema: Schema, whole: Schema) -> set[str]:
    """Every member that *schema* knows, those of members included."""
    if "$ref" in schema:
        schema = whole["$defs"][schema["$ref"].removeprefix("#/$defs/")]
    found = set(schema.get("properties", {}))
    parts = [*schema.get("properties", {}).values(), *schema.get("anyOf", ())]
    parts += [schema["items"]] if "items" in schema else []
    return found.union(*(members(part, whole) for part in parts))


def used(value: Any) -> set[str]:
    if isinstance(value, dict):
        return set(value).union(*map(used, value.values()))
    return set().union(*map(used, value)) if isinstance(value, list) else set()


def test_every_event_of_a_real_run_is_what_is_published(sent: list[CloudEvent]) -> None:
    assert {event.type for event in sent} == set(EventType)
    for event in sent:
        document = event.model_dump(mode="json")
        validator("cloudevent").validate(document)
        validator(event.type).validate(document["data"])
        # Nothing is sent of which the contract does not tell.
        schema = data_schema(EventType(event.type))
        assert used(document["data"]) <= members(schema, schema), event.type
        assert event.dataschema == schema["$id"]
        assert type(data_of(event)) is DATA[EventType(event.type)]


def test_a_stranger_reads_every_event_as_a_cloudevent(sent: list[CloudEvent]) -> None:
    for event in sent:
        read = JSONFormat().read(None, event.model_dump_json().encode())
        found = (read.get_id(), read.get_source(), read.get_type(), read.get_specversion())
        assert found == (str(event.id), "/limner", event.type, "1.0")
        assert (read.get_subject(), read.get_time()) == (event.subject, event.time)
        assert (read.get_extension("sequence"), read.get_data()) == (event.sequence, event.data)
        # An absolute URI, as CloudEvents 1.0 wants it.
        assert re.fullmatch(r"[a-z][a-z0-9+.-]*:\S+", read.get_dataschema() or "")


def test_no_event_of_a_real_run_has_an_address_in_it(sent: list[CloudEvent]) -> None:
    for event in sent:
        assert not re.search(r"https?://|[?&](sig|token|expires)", json.dumps(event.data))


def test_sequences_of_a_subject_have_no_gap(sent: list[CloudEvent]) -> None:
    subjects: dict[str, list[int]] = {}
    for event in sent:
        subjects.setdefault(event.subject, []).append(event.seq)
    assert len(subjects) > 5
    for found in subjects.values():
        assert found == list(range(1, len(found) + 1))


@pytest.mark.parametrize("event_type", EventType)
def test_the_example_of_a_type_is_complete(event_type: EventType) -> None:
    shown = example(event_type)
    validator("cloudevent").validate(shown)
    validator(event_type).validate(shown["data"])
    missing = set(DATA[event_type].model_fields) - set(shown["data"])
    assert not missing, f"record examples anew: python -m tests.contract.record ({missing})"
    assert (shown["type"], shown["dataschema"]) == (event_type, dataschema(event_type))


def test_an_event_without_a_required_attribute_is_none() -> None:
    shown = example(EventType.JOB_COMPLETED)
    for name in ("specversion", "id", "source", "type", "subject", "time", "sequence", "tenant"):
        lacking = {key: value for key, value in shown.items() if key != name}
        with pytest.raises(jsonschema.ValidationError, match=name):
            validator("cloudevent").validate(lacking)
    assert set(envelope_schema()["required"]) == set(shown)


def test_the_asyncapi_document_is_understood_by_a_stranger() -> None:
    with warnings.catch_warnings(action="ignore"):  # of the library's own models
        from asyncapi3 import AsyncAPI3
    text = (PUBLISHED / "asyncapi.yaml").read_text("utf-8")
    document = yaml.safe_load(text)
    assert document == json.loads(json.dumps(asyncapi()))
    read = AsyncAPI3.model_validate(document)
    assert read.asyncapi == "3.0.0"
    wrong = copy.deepcopy(document)
    wrong["operations"]["publish"]["actoin"] = "send"
    with pytest.raises(ValidationError):
        AsyncAPI3.model_validate(wrong)


def test_every_reference_of_the_asyncapi_document_leads_somewhere() -> None:
    document = asyncapi()

    def follow(value: Any) -> int:
        if isinstance(value, list):
            return sum(map(follow, value))
        if not isinstance(value, dict):
            return 0
        found = document
        if "$ref" in value:
            for part in value["$ref"].removeprefix("#/").split("/"):
                found = found[part]
        return ("$ref" in value) + sum(map(follow, value.values()))

    assert follow(document) > 4 * len(EventType)


@pytest.mark.parametrize("event_type", EventType)
def test_the_asyncapi_document_describes_the_events_that_are_sent(event_type: EventType) -> None:
    document = asyncapi()
    message = document["components"]["messages"][DATA[event_type].__name__]
    schema = message["payload"] | {"components": document["components"]}
    (shown,) = message["examples"]
    jsonschema.Draft202012Validator(schema).validate(shown["payload"])
    other = shown["payload"] | {"type": "image.job.other"}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(schema).validate(other)


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: f"{path.parts[-3]}-{path.stem}")
def test_events_of_every_release_are_read_for_ever(path: Path) -> None:
    event = CloudEvent.model_validate_json(path.read_bytes())
    read = data_of(event)
    assert read.model_dump(mode="json").items() >= event.data.items()


def test_no_schema_breaks_those_who_read_the_last_release() -> None:
    release = max(RELEASES.iterdir(), key=lambda one: [int(part) for part in one.name.split(".")])
    schemas = sorted((release / "schemas").glob("*.json"))
    assert schemas
    for path in schemas:
        released = json.loads(path.read_text("utf-8"))
        if path.stem == "cloudevent":
            present = envelope_schema()
        elif path.stem in set(EventType):
            present = data_schema(EventType(path.stem))
        else:
            pytest.fail(refusal(path.stem, release.name, ["  the type is sent no more"]))
        if released["$id"] == present["$id"] and (lines := breaks(released, present)):
            pytest.fail(refusal(path.stem, release.name, lines), pytrace=False)


Change = Callable[[Schema], object]


def remove(name: str) -> Change:
    return lambda schema: schema["properties"].pop(name)


def put(name: str, member: Schema, *, required: bool = True) -> Change:
    def change(schema: Schema) -> None:
        schema["properties"][name] = member
        schema["required"] = [one for one in schema["required"] if one != name]
        schema["required"] += [name] if required else []

    return change


def in_images(change: Change) -> Change:
    return lambda schema: change(schema["$defs"]["ImageData"])


def one_state_less(schema: Schema) -> None:
    schema["$defs"]["ImageJobStatus"]["enum"].pop()


BREAKING: dict[str, tuple[Change, str]] = {
    "a member removed": (remove("cost"), "data.cost was removed"),
    "a member of a member removed": (
        in_images(remove("sha256")), "data.images[].sha256 was removed",
    ),
    "a type narrowed": (
        put("blog_id", {"type": "string"}),
        "data.blog_id was string or null and is now string",
    ),
    "a type widened": (
        put("job_id", {"anyOf": [{"type": "string", "format": "uuid"}, {"type": "null"}]}),
        'data.job_id was string {"format": "uuid"} and is now',
    ),
    "another type": (
        in_images(put("width", {"type": "string"})),
        "data.images[].width was integer and is now string",
    ),
    "a new required member": (
        put("extra", {"type": "string"}), "data.extra is new and required",
    ),
    "a member that may be missing": (
        put("model", {"type": "string"}, required=False),
        "data.model was always there and may now be missing",
    ),
    "a word less": (one_state_less, "data.state was one of queued,"),
}  # fmt: skip


@pytest.mark.parametrize("name", BREAKING)
def test_a_breaking_change_is_found_and_named(name: str) -> None:
    change, expected = BREAKING[name]
    released = data_schema(EventType.JOB_COMPLETED)
    present = copy.deepcopy(released)
    change(present)
    (line,) = breaks(released, present)
    assert expected in line
    words = refusal("image.job.completed", "0.1.0", [line])
    assert "release 0.1.0" in words
    assert "DATA_VERSIONS" in words


def test_what_is_added_or_only_explained_breaks_nobody() -> None:
    released = data_schema(EventType.JOB_COMPLETED)
    present = copy.deepcopy(released)
    put("further", {"type": "string"}, required=False)(present)
    present["properties"]["cost"]["description"] = "other words"
    present["description"] = "other words"
    in_images(put("further", {"type": "integer"}, required=False))(present)
    assert breaks(released, present) == []
