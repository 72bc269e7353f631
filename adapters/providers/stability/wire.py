"""What is written to the service and what it answers, for each of its forms.

v2beta takes multipart forms, always, also where no file is sent; v1 takes JSON, and a form only
with a picture.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from adapters.errors import OutcomeUnknown, ProviderRefused, ProviderUnusable
from adapters.http import INVALID, MODERATED, Meaning, Reply
from adapters.ports import PaintRequest
from adapters.providers import replies
from adapters.providers.replies import Drawn, content_type_of, decoded
from adapters.providers.stability.models import Resolved, Wire
from adapters.providers.stability.shapes import V1_SIZES
from schemas.requests import AspectRatio

# Errors that the service names in its replies; what it names otherwise goes by its status.
NAMES: Mapping[str, Meaning] = {
    "bad_request": INVALID,
    "content_moderation": MODERATED,
    "permission_denied": Meaning(ProviderUnusable, "permission_denied"),
    "payment_required": Meaning(ProviderUnusable, "out_of_credit"),
    "insufficient_balance": Meaning(ProviderUnusable, "out_of_credit"),
}

STYLES = frozenset(
    {
        "enhance", "anime", "photographic", "digital-art", "comic-book", "fantasy-art", "line-art",
        "analog-film", "neon-punk", "isometric", "low-poly", "origami", "modeling-compound",
        "cinematic", "3d-model", "pixel-art", "tile-texture",
    }
)  # fmt: skip

# The service refuses longer requests; the form around the picture is small.
MOST_SOURCE_BYTES = 10 * 2**20 - 128 * 1024


@dataclass(frozen=True, slots=True)
class Asking:
    """One request: where it goes, and the arguments of the HTTP client that say it."""

    path: str
    content: dict[str, Any] = field(repr=False)


def asking(
    request: PaintRequest,
    source: bytes | None,
    resolved: Resolved,
    ratio: AspectRatio,
    strength: Decimal,
) -> Asking:
    """*request* in the form of its model; *ratio* is one that the service has."""
    if resolved.model.wire is Wire.V1:
        return _asking_v1(request, source, resolved, ratio, strength)
    wire = resolved.model.wire
    form = {
        "prompt": request.prompt,
        "negative_prompt": request.negative_prompt,
        "seed": str(request.seed),
        "style_preset": request.style or "",
        "output_format": "png",
        "cfg_scale": f"{resolved.cfg_scale:g}" if resolved.cfg_scale is not None else "",
    }
    if wire is Wire.SD3:
        form["model"] = resolved.model.name
        form["mode"] = "image-to-image" if source is not None else "text-to-image"
    # From a picture sd3 paints in that picture's shape, and takes no other.
    if not (wire is Wire.SD3 and source is not None):
        form["aspect_ratio"] = ratio.value
    if source is not None:
        form["strength"] = str(strength)
    fields = fields_of(form, "image", source)
    path = f"/v2beta/stable-image/generate/{wire.value}"
    return Asking(path, {"files": fields, "headers": {"accept": "image/*"}})


def _asking_v1(
    request: PaintRequest,
    source: bytes | None,
    resolved: Resolved,
    ratio: AspectRatio,
    strength: Decimal,
) -> Asking:
    engine = f"/v1/generation/{resolved.model.name}"
    prompts = [(request.prompt, 1.0)]
    if request.negative_prompt:
        prompts.append((request.negative_prompt, -1.0))
    headers = {"accept": "application/json"}
    asked: dict[str, Any] = {
        "cfg_scale": resolved.cfg_scale,
        "samples": 1,
        "seed": request.seed,
        "steps": resolved.steps,
    }
    if request.style:
        asked["style_preset"] = request.style
    if source is None:
        width, height = V1_SIZES[ratio]
        asked |= {"width": width, "height": height}
        asked["text_prompts"] = [{"text": text, "weight": weight} for text, weight in prompts]
        return Asking(f"{engine}/text-to-image", {"json": asked, "headers": headers})
    form = {name: f"{value:g}" if isinstance(value, float) else str(value)
            for name, value in asked.items()}  # fmt: skip
    for index, (text, weight) in enumerate(prompts):
        form[f"text_prompts[{index}][text]"] = text
        form[f"text_prompts[{index}][weight]"] = f"{weight:g}"
    # v1 counts the other way round: how much of the picture is kept.
    form["image_strength"] = str(1 - strength)
    fields = fields_of(form, "init_image", source)
    return Asking(f"{engine}/image-to-image", {"files": fields, "headers": headers})


def fields_of(form: Mapping[str, str], name: str, picture: bytes | None) -> list[tuple[str, Any]]:
    """The fields of a multipart form, empty ones left out; a field without a file name is text."""
    fields: list[tuple[str, Any]] = [
        (key, (None, value.encode())) for key, value in form.items() if value
    ]
    if picture is not None:
        kind = content_type_of(picture) or "application/octet-stream"
        fields.append((name, (f"draft.{kind.rpartition('/')[2]}", picture, kind)))
    return fields


def answer(reply: Reply, wire: Wire, seed: int) -> Drawn:
    """The picture of a reply with status 200; *seed* is what was asked for.

    Raises `ProviderRefused` where the service withheld it, and `OutcomeUnknown` where the reply is
    not what it should be: by then it was charged, or may have been.
    """
    if wire is Wire.V1:
        artifacts = json_of(reply).get("artifacts")
        if not (isinstance(artifacts, list) and artifacts and isinstance(artifacts[0], dict)):
            raise OutcomeUnknown("Stability AI's reply has no artifacts")
        told = artifacts[0]
        return _drawn(decoded(told.get("base64")), told.get("finishReason"), told.get("seed"), seed)
    if reply.content_type == "application/json":
        told = json_of(reply)
        return _drawn(decoded(told.get("image")), told.get("finish_reason"), told.get("seed"), seed)
    headers = reply.headers
    return _drawn(reply.body, headers.get("finish-reason"), headers.get("seed"), seed)


def _drawn(data: bytes, reason: Any, seed: Any, asked_seed: int) -> Drawn:
    if reason == "CONTENT_FILTERED":
        raise ProviderRefused(
            "moderated",
            "Stability AI painted the picture and withheld it for its content",
            may_be_charged=True,
        )
    if reason != "SUCCESS":
        # Only what is called a success is surely no blurred picture.
        raise OutcomeUnknown(f"Stability AI finished with {str(reason)[:50]!r}, not with SUCCESS")
    kind = content_type_of(data)
    if kind is None:
        raise OutcomeUnknown("Stability AI's reply says SUCCESS and holds no picture")
    painted = str(seed)
    known = painted.isascii() and painted.isdigit() and len(painted) <= 10
    return Drawn(data, kind, int(painted) if known else asked_seed)


def credits_of(reply: Reply) -> Decimal:
    """What a reply of the balance says."""
    told = json_of(reply, parse_float=Decimal).get("credits")
    if isinstance(told, bool) or not isinstance(told, int | Decimal):
        raise OutcomeUnknown("Stability AI's reply has no balance")
    return Decimal(told)


def json_of(reply: Reply, **options: Any) -> dict[str, Any]:
    return replies.json_of("Stability AI", reply, **options)
