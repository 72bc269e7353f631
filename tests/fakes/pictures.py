"""Pictures that are taken in at once, for tests that are not about pictures."""

from collections.abc import Callable

from adapters.ports import TakenPicture, Variant
from schemas.fidelity import Fidelity
from schemas.provenance import Provenance


class InstantPictures:
    """Set `trouble` to a function that may raise, called with the bytes."""

    def __init__(self) -> None:
        self.trouble: Callable[[bytes], None] = lambda data: None

    async def take_in(self, data: bytes, provenance: Provenance | None = None) -> TakenPicture:
        self.trouble(data)
        variants = tuple(
            Variant(f"w{width}", data + str(width).encode(), "image/webp", width, width // 2)
            for width in (320, 640, 1280)
        )
        return TakenPicture(data, "image/png", 1280, 640, variants)

    async def compare(self, draft: bytes, final: bytes) -> Fidelity:
        self.trouble(draft)
        return Fidelity.judged(0.97, 2)
