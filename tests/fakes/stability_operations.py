"""What the double of Stability AI takes for upscales, edits and controls, and what they cost."""

import io
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, NamedTuple

from PIL import Image

PATHS = re.compile(r"/v2beta/stable-image/(upscale|edit|control)/([a-z-]+)")
WORDS = {"prompt", "negative_prompt", "seed", "style_preset"}
PNG_OR_JPEG = {"png", "jpeg", "webp"}


class Form(NamedTuple):
    """Which fields beside the picture are needed, which may be there, and the price in credits."""

    needed: set[str]
    taken: set[str]
    credits: Decimal


FORMS: Mapping[tuple[str, str], Form] = {
    ("upscale", "fast"): Form(set(), set(), Decimal(2)),
    ("upscale", "conservative"): Form(
        {"prompt"}, {"negative_prompt", "seed", "creativity"}, Decimal(40)
    ),
    ("edit", "inpaint"): Form({"prompt", "mask"}, WORDS | {"grow_mask"}, Decimal(5)),
    ("edit", "erase"): Form({"mask"}, {"seed", "grow_mask"}, Decimal(5)),
    ("edit", "outpaint"): Form(
        set(),
        {"left", "right", "up", "down", "prompt", "seed", "style_preset", "creativity"},
        Decimal(4),
    ),
    ("edit", "search-and-replace"): Form({"prompt", "search_prompt"}, WORDS, Decimal(5)),
    ("edit", "search-and-recolor"): Form({"prompt", "select_prompt"}, WORDS, Decimal(5)),
    ("edit", "remove-background"): Form(set(), set(), Decimal(5)),
    ("control", "sketch"): Form({"prompt"}, WORDS | {"control_strength"}, Decimal(5)),
    ("control", "structure"): Form({"prompt"}, WORDS | {"control_strength"}, Decimal(5)),
    ("control", "style"): Form({"prompt"}, WORDS | {"fidelity", "aspect_ratio"}, Decimal(5)),
}
CONSERVATIVE_PIXELS = 4_194_304


def fault_of(path: str, fields: Mapping[str, Any]) -> str | None:
    """What the service would refuse the request for."""
    form = FORMS[_named(path)]
    known = form.needed | form.taken | {"image", "output_format"}
    if fields.keys() - known:
        return f"unknown fields {fields.keys() - known}"
    if missing := {name for name in form.needed | {"image"} if not fields.get(name)}:
        return f"missing fields {missing}"
    if fields.get("output_format", "png") not in PNG_OR_JPEG:
        return "output_format"
    if not all(isinstance(fields.get(name, b""), bytes) for name in ("image", "mask")):
        return "pictures must be files"
    width, height = picture_of(fields).size
    fast = _named(path) == ("upscale", "fast")
    if min(width, height) < (32 if fast else 64) or (fast and max(width, height) > 1536):
        return f"a side of {width} x {height}"
    if width * height > (1_048_576 if fast else 9_437_184):
        return f"{width} x {height} pixels"
    added = [int(fields.get(name, 0)) for name in ("left", "right", "up", "down")]
    if not all(0 <= one <= 2000 for one in added) or (path.endswith("outpaint") and not any(added)):
        return f"outpaint by {added}"
    shares = [float(fields.get(name, 0)) for name in ("control_strength", "fidelity", "creativity")]
    return None if all(0 <= one <= 1 for one in shares) else "a share beyond 0 … 1"


def price_of(path: str) -> Decimal:
    return FORMS[_named(path)].credits


def size_of(path: str, fields: Mapping[str, Any]) -> tuple[int, int]:
    """How large the result is."""
    width, height = picture_of(fields).size
    match _named(path):
        case ("upscale", "fast"):
            return 4 * width, 4 * height
        case ("upscale", "conservative"):
            grow = (CONSERVATIVE_PIXELS / (width * height)) ** 0.5
            return round(width * grow), round(height * grow)
        case ("edit", "outpaint"):
            left, right, up, down = (
                int(fields.get(name, 0)) for name in ("left", "right", "up", "down")
            )
            return width + left + right, height + up + down
    return width, height


def picture_of(fields: Mapping[str, Any]) -> Image.Image:
    return Image.open(io.BytesIO(fields["image"]))


def is_one(path: str) -> bool:
    found = PATHS.fullmatch(path)
    return found is not None and (found[1], found[2]) in FORMS


def _named(path: str) -> tuple[str, str]:
    found = PATHS.fullmatch(path)
    assert found is not None
    return found[1], found[2]
