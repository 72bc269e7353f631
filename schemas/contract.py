"""The contract of events, as others read it: JSON Schemas and an AsyncAPI document.

All of it is made of `event_data` and `events`; `python -m pipeline.publish` writes it.
"""

import json
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, models_json_schema

from schemas.event_data import DATA
from schemas.events import CloudEvent, EventType, dataschema

PUBLISHED = Path(__file__).parent / "published"
DIALECT = "https://json-schema.org/draft/2020-12/schema"
ENVELOPE = "CloudEvent"
MEDIA_TYPE = "application/cloudevents+json"

Document = dict[str, Any]


class _Untitled(GenerateJsonSchema):
    """Without titles that only repeat the member's name."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def example(event_type: EventType) -> Document:
    """One event of the type, as a real run sent it."""
    path = PUBLISHED / "examples" / f"{event_type}.json"
    found: Document = json.loads(path.read_text(encoding="utf-8"))
    return found


def envelope_schema() -> Document:
    """What every event has around its data."""
    schema = CloudEvent.model_json_schema(mode="serialization", schema_generator=_Untitled)
    return {"$schema": DIALECT, "$id": "urn:limner:schema:cloudevent:1", **schema}


def data_schema(event_type: EventType) -> Document:
    """What `data` of an event of the type is. Members that came later are not required in it: old
    events are sent again without them."""
    schema = DATA[event_type].model_json_schema(schema_generator=_Untitled)
    schema = {"$schema": DIALECT, "$id": dataschema(event_type), **schema}
    return schema | {"examples": [example(event_type)["data"]]}


def asyncapi() -> Document:
    """All events in one document: https://www.asyncapi.com/docs/reference/specification/v3.0.0"""
    names = [model.__name__ for model in DATA.values()]
    models: list[tuple[type[BaseModel], Literal["validation", "serialization"]]] = [
        (CloudEvent, "serialization"),
        *((model, "validation") for model in DATA.values()),
    ]
    _, generated = models_json_schema(
        models,
        ref_template="#/components/schemas/{model}",
        schema_generator=_Untitled,
    )
    channels = {
        "topic": {
            "address": "limner-events",
            "title": "The topic of Pub/Sub",
            "description": "Its name is the setting LIMNER_GCP__TOPIC. Attributes for filters:"
            " type, tenant, sequence, is_draft, blog_id, quality.",
        },
        "stream": {
            "address": "/api/v1/events",
            "title": "Server-Sent Events",
            "description": "`Last-Event-ID` goes on after the event whose `id` it is.",
        },
    }
    messages = {name: {"$ref": f"#/components/messages/{name}"} for name in names}
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Limner's events",
            "version": version("limner"),
            "description": "What happens to jobs, drafts, batches and the places of a blog post."
            " At least once, in no order: keep the ids that you have handled, and order by"
            " `sequence` within a `subject`. docs/events.md tells more.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": MEDIA_TYPE,
        "channels": {name: channel | {"messages": messages} for name, channel in channels.items()},
        "operations": {
            "publish": _operation("topic", "Publish what happened to whoever subscribes.", names),
            "stream": _operation("stream", "Tell what happens to whoever watches.", names),
        },
        "components": {
            "messages": {model.__name__: _message(one) for one, model in DATA.items()},
            "schemas": generated["$defs"],
        },
    }


def _operation(channel: str, summary: str, names: Iterable[str]) -> Document:
    return {
        "action": "send",
        "channel": {"$ref": f"#/channels/{channel}"},
        "summary": summary,
        "messages": [{"$ref": f"#/channels/{channel}/messages/{name}"} for name in names],
    }


def _message(event_type: EventType) -> Document:
    model_name = DATA[event_type].__name__
    return {
        "name": event_type.value,
        "summary": told(event_type),
        "contentType": MEDIA_TYPE,
        "payload": {
            "allOf": [
                {"$ref": f"#/components/schemas/{ENVELOPE}"},
                {
                    "type": "object",
                    "properties": {
                        "type": {"const": event_type.value},
                        "dataschema": {"const": dataschema(event_type)},
                        "data": {"$ref": f"#/components/schemas/{model_name}"},
                    },
                },
            ]
        },
        "examples": [{"payload": example(event_type)}],
    }


def told(event_type: EventType) -> str:
    """When an event of the type is sent."""
    return " ".join((DATA[event_type].__doc__ or "").split())
