"""What the service does to pictures: which form each operation takes, and what it makes of sizes.

Each operation is named as the model that does it is in the price book, and, behind a word for its
kind, in its address.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from adapters.errors import ProviderRefused
from adapters.ports import PaintRequest
from adapters.providers import shapes
from adapters.providers.stability import creative
from adapters.providers.stability.shapes import nearest
from adapters.providers.stability.wire import Asking, fields_of
from schemas.operations import Operation
from schemas.requests import AspectRatio

if TYPE_CHECKING:
    from PIL import Image

MODELS = tuple(one for one in Operation if one is not Operation.VARIATION)

LEAST_SIDE, LEAST_SIDE_FAST = 64, 32
MOST_PIXELS = 9_437_184
# What is upscaled in one of these ways is scaled down to it first.
MOST_UPSCALED = 1_048_576
MOST_UPSCALED_SIDE = 1536
# The fast upscale always makes a picture so many times as wide.
FAST_SCALE = 4
# Larger results are asked for as JPEG: a PNG could be more than a reply may have.
MOST_PIXELS_AS_PNG = 8_000_000

WORDS = frozenset({"prompt", "negative_prompt", "seed", "style_preset"})
TAKES: Mapping[Operation, frozenset[str]] = {
    Operation.UPSCALE_FAST: frozenset(),
    Operation.UPSCALE_CONSERVATIVE: frozenset({"prompt", "negative_prompt", "seed"}),
    Operation.UPSCALE_CREATIVE: WORDS,
    Operation.INPAINT: WORDS,
    Operation.OUTPAINT: WORDS - {"negative_prompt"} | {"left", "right", "up", "down"},
    Operation.ERASE: frozenset({"seed"}),
    Operation.SEARCH_AND_REPLACE: WORDS | {"search_prompt"},
    Operation.SEARCH_AND_RECOLOR: WORDS | {"select_prompt"},
    Operation.REMOVE_BACKGROUND: frozenset(),
    Operation.CONTROL_SKETCH: WORDS | {"control_strength"},
    Operation.CONTROL_STRUCTURE: WORDS | {"control_strength"},
    Operation.CONTROL_STYLE: WORDS | {"fidelity", "aspect_ratio"},
}
# The fields of a request that an operation may not take, as callers know them.
OPTIONAL = {"negative_prompt": "negative_prompt", "style_preset": "style"}


@dataclass(frozen=True, slots=True)
class Size:
    width: int
    height: int

    @property
    def pixels(self) -> int:
        return self.width * self.height

    def __str__(self) -> str:
        return f"{self.width} x {self.height}"


def path_of(operation: Operation) -> str:
    name = operation.value
    for kind in ("upscale", "control"):
        if name.startswith(f"{kind}-"):
            return f"/v2beta/stable-image/{kind}/{name.removeprefix(f'{kind}-')}"
    return f"/v2beta/stable-image/edit/{name}"


def asking(request: PaintRequest, source: bytes, size: Size) -> Asking:
    """The request for an operation on *source*, which has *size*."""
    operation, told = request.operation, request.operands
    assert operation is not None
    if operation is Operation.UPSCALE_CREATIVE:
        return creative.starting(request, source)
    kept = None if told.strength is None else 1 - told.strength
    known = {
        "prompt": request.prompt,
        "negative_prompt": request.negative_prompt,
        "seed": str(request.seed),
        "style_preset": request.style or "",
        "search_prompt": told.search or "",
        "select_prompt": told.search or "",
        "control_strength": f"{kept:g}" if kept is not None else "",
        "fidelity": f"{kept:g}" if kept is not None else "",
        "aspect_ratio": nearest(AspectRatio(request.aspect_ratio)).value,
        **{name: str(getattr(told, name) or "") for name in ("left", "right", "up", "down")},
    }
    form = {name: value for name, value in known.items() if name in TAKES[operation]}
    form["output_format"] = "png"
    pixels = size.pixels
    if operation is Operation.UPSCALE_FAST:
        pixels *= FAST_SCALE**2
    elif operation is Operation.OUTPAINT:
        pixels = told.width * told.height
    if pixels > MOST_PIXELS_AS_PNG:
        form["output_format"] = "jpeg"
    fields = fields_of(form, "image", source)
    if request.mask is not None:
        fields += fields_of({}, "mask", request.mask)
    return Asking(path_of(operation), {"files": fields, "headers": {"accept": "image/*"}})


def dropped(request: PaintRequest) -> tuple[str, ...]:
    """What was asked for and is not taken."""
    operation = request.operation
    assert operation is not None
    given = {"negative_prompt": request.negative_prompt, "style_preset": request.style}
    return tuple(
        f"{operation.value} takes no {OPTIONAL[name]}; it is left out"
        for name, value in given.items()
        if value and name not in TAKES[operation]
    )


def checked(operation: Operation, size: Size) -> Size:
    """The size in which the service takes a picture of *size*. Raises `ProviderRefused`."""
    least = LEAST_SIDE_FAST if operation is Operation.UPSCALE_FAST else LEAST_SIDE
    if min(size.width, size.height) < least:
        raise _refused(f"the picture has {size} pixels; each side must have {least} at least")
    if operation in (Operation.UPSCALE_FAST, Operation.UPSCALE_CREATIVE):
        shrink = min(
            1.0,
            (MOST_UPSCALED / size.pixels) ** 0.5,
            MOST_UPSCALED_SIDE / max(size.width, size.height),
        )
        if shrink < 1:
            size = Size(int(size.width * shrink), int(size.height * shrink))
            if min(size.width, size.height) < least:
                raise _refused(f"the picture is too narrow to be scaled down to {size} pixels")
    elif size.pixels > MOST_PIXELS:
        raise _refused(f"the picture has {size} pixels; at most {MOST_PIXELS} are taken")
    return size


def _refused(reason: str) -> ProviderRefused:
    return ProviderRefused("invalid_request", reason)


# Called in worker processes, so that no decoding holds up the event loop; the service itself never
# loads Pillow.


def fitted(operation: Operation, data: bytes) -> tuple[Size, bytes]:
    """The size of a picture, and the picture as the service takes it, or nothing where it does not.

    Raises `BadPicture`.
    """
    from adapters.pictures import codec

    image = codec.decode(data)
    came = Size(*image.size)
    try:
        size = checked(operation, came)
    except ProviderRefused:
        return came, b""
    return came, data if size == came else _scaled(image, data, size)


def brought_to(size: Size, data: bytes, exactly: bool) -> tuple[Size, bytes]:
    """The size of a picture, and the picture in the size that was asked for.

    One that is no wider stays as it is, unless it is to have that size *exactly*. Raises
    `BadPicture`.
    """
    from adapters.pictures import codec

    image = codec.decode(data)
    came = Size(*image.size)
    if came == size or (not exactly and came.width <= size.width):
        return came, data
    return came, _scaled(image, data, size)


def _scaled(image: "Image.Image", data: bytes, size: Size) -> bytes:
    """*image*, which *data* holds, in exactly this size and in its own format."""
    from PIL import Image

    from adapters.pictures import codec

    large = codec.plain(image).resize((size.width, size.height), Image.Resampling.LANCZOS)
    name = codec.sniff(data).pillow_name
    return shapes.encoded(large.convert("RGB") if name == "JPEG" else large, name)
