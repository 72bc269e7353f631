"""What a worker process is told to do. Loads no Pillow: the service itself never needs it."""

from typing import NamedTuple

from adapters.pictures.limits import Limits, kept


class Rendition(NamedTuple):
    data: bytes
    content_type: str
    width: int
    height: int


def take_in(data: bytes, packet: bytes, limits: Limits) -> tuple[Rendition, tuple[Rendition, ...]]:
    """Take a picture in, in whichever process this is called; see `codec.take_in`.

    In a worker process it keeps to *limits*.
    """
    from adapters.pictures import codec

    with kept(limits):
        return codec.take_in(data, packet)


def compare(draft: bytes, final: bytes) -> tuple[float, int]:
    """Hold a final against its draft; see `fidelity.compare`."""
    from adapters.pictures import fidelity

    return fidelity.compare(draft, final)
