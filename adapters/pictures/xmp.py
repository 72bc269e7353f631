"""Provenance as an XMP packet (ISO 16684-1) with the properties of IPTC Photo Metadata 2025.1.

That is where readers look for it: picture programs, search engines, exiftool. Reading trusts no
byte: packets are small, and entities are refused.
"""

from dataclasses import dataclass
from xml.parsers import expat
from xml.sax.saxutils import quoteattr

from adapters.errors import BadPicture
from adapters.pictures.stripped import MOST_PACKET_BYTES
from schemas.provenance import CREATOR_TOOL, Provenance

MOST_TEXT_CHARACTERS = 200

SOURCE_TYPES = "http://cv.iptc.org/newscodes/digitalsourcetype/"
RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
XMP = "http://ns.adobe.com/xap/1.0/"
IPTC = "http://iptc.org/std/Iptc4xmpExt/2008-02-29/"

PACKET = (
    '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
    '<x:xmpmeta xmlns:x="adobe:ns:meta/">'
    f'<rdf:RDF xmlns:rdf="{RDF}">'
    f'<rdf:Description rdf:about="" xmlns:xmp="{XMP}" xmlns:Iptc4xmpExt="{IPTC}"%s/>'
    '</rdf:RDF></x:xmpmeta><?xpacket end="r"?>'
)


@dataclass(frozen=True, slots=True)
class Told:
    """What a packet says, whoever wrote it; None for what it does not say."""

    digital_source_type: str | None = None
    creator_tool: str | None = None
    ai_system: str | None = None
    ai_system_version: str | None = None
    image_guid: str | None = None

    @property
    def is_limners(self) -> bool:
        return self.creator_tool == CREATOR_TOOL


# With the field of `Told` that each fills, as the parser names them.
PROPERTIES = {
    f"{IPTC} DigitalSourceType": "digital_source_type",
    f"{XMP} CreatorTool": "creator_tool",
    f"{IPTC} AISystemUsed": "ai_system",
    f"{IPTC} AISystemVersionUsed": "ai_system_version",
    f"{IPTC} DigImageGUID": "image_guid",
}


def written(provenance: Provenance) -> bytes:
    properties = {
        "xmp:CreatorTool": CREATOR_TOOL,
        "Iptc4xmpExt:DigitalSourceType": SOURCE_TYPES + provenance.source_type.value,
        "Iptc4xmpExt:AISystemUsed": provenance.provider,
        "Iptc4xmpExt:AISystemVersionUsed": provenance.model,
        "Iptc4xmpExt:DigImageGUID": provenance.image_id.urn,
    }
    attributes = "".join(f" {name}={quoteattr(_text(x))}" for name, x in properties.items())
    return (PACKET % attributes).encode()


def read(packet: bytes) -> Told:
    """Raises `BadPicture` for a packet that is none, or not one that is safe to read."""
    if len(packet) > MOST_PACKET_BYTES:
        raise BadPicture("metadata", f"the XMP packet has more than {MOST_PACKET_BYTES} bytes")
    reader = _Reader()
    parser = expat.ParserCreate("UTF-8", namespace_separator=" ")
    parser.StartDoctypeDeclHandler = _refuse_doctype
    parser.StartElementHandler = reader.begin
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.text
    try:
        parser.Parse(packet.strip(b" \t\r\n\0"), True)
    except expat.ExpatError as exc:
        raise BadPicture("metadata", f"the XMP packet cannot be read: {exc}") from exc
    texts = {name: text.strip()[:MOST_TEXT_CHARACTERS] for name, text in reader.found.items()}
    return Told(**{name: text for name, text in texts.items() if text})


class _Reader:
    """Finds properties in each form that RDF has: attribute, element, resource, list (its first).

    Of a property that is told twice the first counts.
    """

    def __init__(self) -> None:
        self.found: dict[str, str] = {}
        self._open: str | None = None
        self._depth = 0

    def begin(self, element: str, attributes: dict[str, str]) -> None:
        if self._open is not None:
            self._depth += 1
            return
        if element == f"{RDF} Description":
            for name, text in attributes.items():
                if name in PROPERTIES:
                    self.found.setdefault(PROPERTIES[name], text)
        name = PROPERTIES.get(element, "")
        if name and name not in self.found:
            self.found[name] = attributes.get(f"{RDF} resource", "")
            self._open, self._depth = name, 0

    def end(self, _: str) -> None:
        if self._open is None:
            return
        listed = self._depth and self.found[self._open].strip()
        if listed or self._depth == 0:
            self._open = None
        else:
            self._depth -= 1

    def text(self, text: str) -> None:
        if self._open is not None and len(self.found[self._open]) < MOST_TEXT_CHARACTERS:
            self.found[self._open] += text


def _refuse_doctype(*_: object) -> None:
    raise BadPicture("metadata", "the XMP packet declares a document type, which none needs")


def _text(value: str) -> str:
    """*value* as XML can hold it."""
    shown = "".join(char if char.isprintable() else " " for char in value)
    return shown[:MOST_TEXT_CHARACTERS]
