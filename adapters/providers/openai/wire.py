"""What is written to an images API of OpenAI's form, and what it answers."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from adapters.errors import OutcomeUnknown, ProviderRefused, ProviderUnusable
from adapters.http import BUSY, MODERATED, Meaning, Reply
from adapters.ports import PaintRequest
from adapters.providers.openai.settings import Extra, OpenAISettings
from adapters.providers.replies import Drawn, content_type_of, decoded, json_of
from adapters.providers.words import in_words
from schemas.requests import AspectRatio, Quality

OUT_OF_CREDIT = Meaning(ProviderUnusable, "out_of_credit")
RETIRED = Meaning(ProviderRefused, "model_retired")
# By `code`, else by `type` of the error that a reply holds; else its status tells. The type
# `invalid_request_error` is said of nearly everything, and tells nothing.
NAMES: Mapping[str, Meaning] = {
    "moderation_blocked": MODERATED,
    "content_policy_violation": MODERATED,
    "insufficient_quota": OUT_OF_CREDIT,
    "billing_hard_limit_reached": OUT_OF_CREDIT,
    "billing_not_active": OUT_OF_CREDIT,
    "invalid_api_key": Meaning(ProviderUnusable, "unauthorized"),
    "model_not_found": RETIRED,
    "rate_limit_exceeded": BUSY,
}
# The API takes none that is better than high.
QUALITIES: Mapping[Quality, str] = {
    Quality.DRAFT: "low",
    Quality.STANDARD: "medium",
    Quality.HIGH: "high",
    Quality.ULTRA: "high",
}


@dataclass(frozen=True, slots=True)
class Asking:
    """One request: where it goes, and the arguments of the HTTP client that say it."""

    path: str
    content: dict[str, Any] = field(repr=False)


def asking(
    request: PaintRequest, model: str, ratio: AspectRatio, settings: OpenAISettings
) -> Asking:
    """*request* for *model*; with a source it is a form, which goes to another address."""
    takes = settings.fields
    told: dict[str, Any] = {
        "model": model,
        "prompt": in_words(request, negative=Extra.NEGATIVE_PROMPT not in takes),
        "n": 1,
        "size": settings.sizes[ratio],
        **settings.extra,
    }
    offered: dict[Extra, Any] = {
        Extra.QUALITY: QUALITIES[Quality(request.quality)],
        Extra.OUTPUT_FORMAT: "png",
        Extra.RESPONSE_FORMAT: "b64_json",
        Extra.SEED: request.seed,
        Extra.NEGATIVE_PROMPT: request.negative_prompt,
    }
    told |= {name.value: value for name, value in offered.items() if name in takes and value != ""}
    if request.source is None:
        return Asking("/images/generations", {"json": told})
    kind = content_type_of(request.source) or "application/octet-stream"
    form: list[tuple[str, Any]] = [
        (name, (None, (value if isinstance(value, str) else json.dumps(value)).encode()))
        for name, value in told.items()
    ]
    form.append(("image", (f"draft.{kind.rpartition('/')[2]}", request.source, kind)))
    return Asking("/images/edits", {"files": form})


def answer(service: str, reply: Reply, seed: int) -> Drawn:
    """The picture of a reply with status 200; by then it was charged, or may have been."""
    told = json_of(service, reply).get("data")
    if not (isinstance(told, list) and told and isinstance(told[0], dict)):
        raise OutcomeUnknown(f"{service}'s reply holds no picture")
    data = decoded(told[0].get("b64_json"))
    kind = content_type_of(data)
    if kind is None:
        if told[0].get("url"):
            raise OutcomeUnknown(
                f"{service} answered with an address instead of a picture, which is not fetched;"
                ' add "response_format" to LIMNER_OPENAI__FIELDS'
            )
        raise OutcomeUnknown(f"{service}'s reply says that it holds a picture and holds none")
    return Drawn(data, kind, seed)
