"""What pictures tell of how they came to be, as readers that know nothing of us find it."""

import io
from dataclasses import replace
from uuid import UUID
from xml.etree import ElementTree

import pytest
from PIL import Image

from adapters.errors import BadPicture, Unavailable
from adapters.local.processes import InlineProcesses
from adapters.pictures import codec, xmp
from adapters.pictures.worker import PillowPictures
from adapters.ports import PaintedPicture, Painting, PaintRequest, TakenPicture
from adapters.store import picture_reads
from pipeline.generate import generate
from schemas.provenance import Provenance, SourceType
from schemas.tasks import ImageTask
from states.table import State
from tests.fakes.clock import FakeClock
from tests.fakes.provider import COST
from tests.pictures import (
    DELIVERED,
    PROMPT,
    SECRETS,
    SIZE,
    exif,
    opened,
    painting,
    saved,
)
from tests.world import TENANT, world_on

PICTURES = PillowPictures(InlineProcesses())
IMAGE_ID = UUID("01a2092c-6fdb-759d-b0af-1a1c80689790")
PROVENANCE = Provenance(SourceType.TRAINED, "stability_ai", 'model "3" <&>', IMAGE_ID)
RDF = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"
IPTC = "{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}"
TRAINED = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"


def as_pillow_finds_it(data: bytes) -> dict[str, str]:
    packet = opened(data).info["xmp"]
    description = ElementTree.fromstring(packet.strip()).find(f"{RDF}RDF/{RDF}Description")
    assert description is not None
    return dict(description.attrib)


@pytest.mark.parametrize("name", DELIVERED)
async def test_a_picture_and_its_variants_tell_who_made_them(name: str) -> None:
    delivered = DELIVERED[name]()
    taken = await PICTURES.take_in(delivered, PROVENANCE)
    for data in (taken.data, *(one.data for one in taken.variants)):
        found = as_pillow_finds_it(data)
        assert found[f"{IPTC}DigitalSourceType"] == TRAINED
        assert found[f"{IPTC}AISystemUsed"] == "stability_ai"
        assert found[f"{IPTC}AISystemVersionUsed"] == 'model "3" <&>'
        assert found[f"{IPTC}DigImageGUID"] == f"urn:uuid:{IMAGE_ID}"
        assert xmp.read(codec.packet_of(data)).is_limners
        assert not any(secret in data for secret in SECRETS)


@pytest.mark.parametrize("name", DELIVERED)
async def test_provenance_changes_no_pixel_and_is_written_once(name: str) -> None:
    delivered = DELIVERED[name]()
    plain, taken = await PICTURES.take_in(delivered), await PICTURES.take_in(delivered, PROVENANCE)
    one, other = opened(plain.data), opened(taken.data)
    assert (one.mode, one.tobytes()) == (other.mode, other.tobytes())
    assert one.info.get("icc_profile") == other.info.get("icc_profile")
    for left, right in zip(plain.variants, taken.variants, strict=True):
        before, after = opened(left.data), opened(right.data)
        assert (before.mode, before.tobytes()) == (after.mode, after.tobytes())
    assert await PICTURES.take_in(taken.data, PROVENANCE) == taken
    another = Provenance(SourceType.ALGORITHMIC, "sketch", "sketch-1", IMAGE_ID)
    again = await PICTURES.take_in(taken.data, another)
    assert xmp.read(codec.packet_of(again.data)).ai_system == "sketch"
    assert again.data.count(b"W5M0MpCehiHzreSzNTczkc9d") == 1


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
async def test_a_picture_that_was_turned_tells_it_too(kind: str) -> None:
    taken = await PICTURES.take_in(saved(painting(), kind, exif=exif(6)), PROVENANCE)
    assert (taken.width, taken.height) == SIZE[::-1]
    assert as_pillow_finds_it(taken.data)[f"{IPTC}DigitalSourceType"] == TRAINED


@pytest.mark.parametrize("size", [(1, 1), (3, 2), (16_383, 1), (1, 16_383)])
@pytest.mark.parametrize(
    ("mode", "options"), [("RGB", {}), ("RGBA", {}), ("RGBA", {"lossless": True})]
)
async def test_a_webp_of_any_size_keeps_its_canvas(
    size: tuple[int, int], mode: str, options: dict[str, object]
) -> None:
    image = Image.new(mode, size, (9, 99, 199, 77)[: len(mode)])
    taken = await PICTURES.take_in(saved(image, "WEBP", **options), PROVENANCE)
    assert (opened(taken.data).size, opened(taken.data).mode) == (size, mode)
    assert await PICTURES.take_in(taken.data, PROVENANCE) == taken


# How other programs write the same.
HEAD = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF'
    ' xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about=""'
    ' xmlns:i="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"'
    ' xmlns:t="http://ns.adobe.com/xap/1.0/"'
)
TAIL = "</rdf:Description></rdf:RDF></x:xmpmeta>"
FOREIGN = {
    "attribute": f'{HEAD} i:DigitalSourceType="{TRAINED}" t:CreatorTool="A camera">{TAIL}',
    "element": f"{HEAD}><t:CreatorTool>A camera</t:CreatorTool>\n"
    f"<i:DigitalSourceType>\n {TRAINED}\n</i:DigitalSourceType>{TAIL}",
    "resource": f'{HEAD} t:CreatorTool="A camera"><i:DigitalSourceType'
    f' rdf:resource="{TRAINED}"/>{TAIL}',
    "list": f'{HEAD} t:CreatorTool="A camera"><i:DigitalSourceType><rdf:Bag>'
    f"<rdf:li>{TRAINED}</rdf:li><rdf:li>another</rdf:li></rdf:Bag></i:DigitalSourceType>{TAIL}",
    "told twice": f'{HEAD} i:DigitalSourceType="{TRAINED}" t:CreatorTool="A camera">'
    f"<i:DigitalSourceType>another</i:DigitalSourceType>{TAIL}",
}


@pytest.mark.parametrize("form", FOREIGN)
@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
def test_what_other_programs_wrote_is_read_and_not_taken_for_ours(kind: str, form: str) -> None:
    data = saved(painting(), kind, xmp=FOREIGN[form].encode())
    told = xmp.read(codec.packet_of(data))
    assert (told.digital_source_type, told.creator_tool) == (TRAINED, "A camera")
    assert not told.is_limners


ENTITIES = "".join(f'<!ENTITY e{n + 1} "{f"&e{n};" * 10}">' for n in range(9))
HOSTILE = {
    "nothing": b"",
    "no xml": b"\xff\xfe\x00binary",
    "a prompt": PROMPT,
    "cut": FOREIGN["element"].encode()[:-9],
    "an entity bomb": f'<!DOCTYPE x [<!ENTITY e0 "ha">{ENTITIES}]><x>&e9;</x>'.encode(),
    "a file of ours": b'<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><x>&e;</x>',
    "a dtd of theirs": b'<!DOCTYPE x SYSTEM "https://example.com/x.dtd"><x/>',
    "two roots": b"<x/><x/>",
    "too long": FOREIGN["element"].encode() + b" " * 70_000,
    "another encoding": '<?xml version="1.0" encoding="utf-16"?><x/>'.encode("utf-16"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_packet_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(BadPicture) as refused:
        xmp.read(HOSTILE[name])
    assert refused.value.reason == "metadata"


def test_a_packet_of_any_depth_or_length_is_read_within_bounds() -> None:
    deep = (HEAD + ">" + "<a>" * 9_000 + "</a>" * 9_000 + TAIL).encode()
    assert xmp.read(deep) == xmp.Told()
    long = FOREIGN["element"].replace("A camera", "A" * 50_000).encode()
    assert xmp.read(long).creator_tool == "A" * xmp.MOST_TEXT_CHARACTERS


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_a_picture_without_any_has_an_empty_packet(kind: str) -> None:
    assert codec.packet_of(saved(painting(), kind)) == b""


def test_only_names_and_an_id_are_written() -> None:
    long = Provenance(SourceType.TRAINED, "p\n\x00\x1b" + "q" * 500, "m", IMAGE_ID)
    packet = xmp.written(long)
    assert len(packet) < 1_200
    assert xmp.read(packet).ai_system == "p   " + "q" * 196
    assert io.BytesIO(packet).readline() == packet


class DiesOnce(PillowPictures):
    """Its worker process dies over the second picture, once."""

    taken = 0

    async def take_in(self, data: bytes, provenance: Provenance | None = None) -> TakenPicture:
        self.taken += 1
        if self.taken == 2:
            raise Unavailable("a worker process died")
        return await super().take_in(data, provenance)


async def test_what_is_done_again_after_a_death_has_the_same_bytes(sqlite_url: str) -> None:
    """Otherwise the first round's objects would be left behind, under other names."""

    async def two(request: PaintRequest) -> Painting:
        made = [saved(painting("L" if grey else "RGB"), "PNG") for grey in (False, True)]
        painted = [PaintedPicture(data, "image/png", request.seed) for data in made]
        return Painting(tuple(painted), "paid-1", COST)

    async with world_on(sqlite_url) as world:
        assert isinstance(world.clock, FakeClock)
        worker = replace(world.worker, pictures=DiesOnce(InlineProcesses()))
        world.provider.script = [two]
        job_id = await world.submit()
        await generate(ImageTask(job_id=job_id, attempt=1), worker)
        first = {key for key in world.blobs.objects if key.startswith("images/")}
        assert len(first) == 4
        await world.clock.advance(151)
        await generate(ImageTask(job_id=job_id, attempt=1), worker)
        assert (await world.job(job_id)).state is State.COMPLETED
        images = await world.store.read(picture_reads.images_of_jobs, TENANT, [job_id])
        told = [xmp.read(codec.packet_of(world.blobs.objects[one.key])) for one in images]
        assert [one.image_guid for one in told] == [one.id.urn for one in images]
        assert {(one.ai_system, one.ai_system_version) for one in told} == {("paid", "paid-1")}
        kept = {key for key in world.blobs.objects if key.startswith("images/")}
        assert kept > first
        assert len(kept) == 8
