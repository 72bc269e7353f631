"""Takes pictures in through worker processes, so that no decoding holds up the event loop."""

from adapters.pictures import remote, xmp
from adapters.pictures.limits import Limits
from adapters.ports import Processes, TakenPicture, Variant
from schemas.fidelity import Fidelity
from schemas.provenance import Provenance


class PillowPictures:
    def __init__(self, processes: Processes, limits: Limits = Limits()) -> None:
        self._processes = processes
        self._limits = limits

    async def take_in(self, data: bytes, provenance: Provenance | None = None) -> TakenPicture:
        packet = xmp.written(provenance) if provenance is not None else b""
        picture, variants = await self._processes.run(remote.take_in, data, packet, self._limits)
        return TakenPicture(
            data=picture.data,
            content_type=picture.content_type,
            width=picture.width,
            height=picture.height,
            variants=tuple(
                Variant(f"w{one.width}", one.data, one.content_type, one.width, one.height)
                for one in variants
            ),
        )

    async def compare(self, draft: bytes, final: bytes) -> Fidelity:
        ssim, hash_distance = await self._processes.run(remote.compare, draft, final)
        return Fidelity.judged(ssim, hash_distance)
