"""`limner provenance`: what a picture file says of how it came to be, whoever made it."""

from pathlib import Path
from typing import NoReturn

from adapters.errors import BadPicture
from adapters.pictures import codec, xmp
from pipeline.cli.output import Output, facts
from pipeline.cli.start import CommandFailed, finish

# https://cv.iptc.org/newscodes/digitalsourcetype/, the usual ones.
MEANINGS = {
    "trainedAlgorithmicMedia": "made by a trained model",
    "compositeWithTrainedAlgorithmicMedia": "partly made by a trained model",
    "algorithmicMedia": "computed, without a trained model",
    "algorithmicallyEnhanced": "enhanced by a program",
    "compositeSynthetic": "put together, some of it computed",
    "digitalCapture": "taken by a camera",
    "digitalCreation": "made by a person with a program",
    "humanEdits": "edited by a person",
    "negativeFilm": "scanned from film",
    "positiveFilm": "scanned from film",
    "print": "scanned from paper",
    "screenCapture": "a picture of a screen",
}
NO_PROOF = "Anybody can write this into a file: it is a statement, and no proof."


def run_provenance(path: Path, *, as_json: bool) -> NoReturn:
    out = Output(as_json=as_json)

    async def run() -> int:
        _show(out, path)
        return 0

    finish(run, out.failed)


def _show(out: Output, path: Path) -> None:
    packet = _packet(path)
    told, unreadable = xmp.Told(), None
    try:
        told = xmp.read(packet) if packet else told
    except BadPicture as exc:
        unreadable = str(exc)
    found = {
        "file": str(path),
        "made_by_limner": told.is_limners,
        "digital_source_type": told.digital_source_type,
        "provider": told.ai_system,
        "model": told.ai_system_version,
        "image_id": (told.image_guid or "").removeprefix("urn:uuid:") or None,
        "creator_tool": told.creator_tool,
    }
    if out.as_json:
        out.document(found | {"unreadable": unreadable})
        return
    shown = found | {
        "made_by_limner": "yes, it says" if told.is_limners else "it does not say so",
        "digital_source_type": _with_meaning(told.digital_source_type),
    }
    if out.for_person:
        out.person(facts((name.replace("_", " "), value) for name, value in shown.items()))
    else:
        for name, value in shown.items():
            out.line(name, value)
    if unreadable is not None:
        out.note(f"It has metadata that cannot be trusted: {unreadable}.")
    elif told == xmp.Told():
        out.note("It says nothing of how it came to be.")
    else:
        out.note(NO_PROOF)


def _packet(path: Path) -> bytes:
    if path.exists() and not path.is_file():
        raise CommandFailed(f"{path} is no file")
    try:
        with path.open("rb") as file:
            data = file.read(codec.MOST_BYTES + 1)
    except OSError as exc:
        raise CommandFailed(f"{path} cannot be read: {exc.strerror}") from exc
    try:
        return codec.packet_of(data)
    except BadPicture as exc:
        raise CommandFailed(f"{path} is no picture that can be read: {exc}") from exc


def _with_meaning(source_type: str | None) -> str | None:
    if source_type is None:
        return None
    meaning = MEANINGS.get(source_type.removeprefix(xmp.SOURCE_TYPES))
    return f"{source_type} ({meaning})" if meaning else source_type
