"""`limner provenance`, of files of ours, of others, and of whatever else a path may lead to."""

import json
import os
from pathlib import Path
from uuid import UUID

import pytest

from adapters.pictures import codec, xmp
from schemas.provenance import Provenance, SourceType
from tests.hostile import REFUSED
from tests.pictures import painting, saved
from tests.service import command

IMAGE_ID = UUID("01a2092c-6fdb-759d-b0af-1a1c80689790")
PROVENANCE = Provenance(SourceType.TRAINED, "stability_ai", "sd3.5-flash", IMAGE_ID)
FOREIGN = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF'
    ' xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description'
    ' xmlns:i="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"'
    ' xmlns:t="http://ns.adobe.com/xap/1.0/" t:CreatorTool="A \x07camera"'
    ' i:DigitalSourceType="http://cv.iptc.org/newscodes/digitalsourcetype/digitalCapture"/>'
    "</rdf:RDF></x:xmpmeta>"
).replace("\x07", "&#10;")


def test_a_picture_of_ours_and_each_variant_tell_it(tmp_path: Path) -> None:
    picture, variants = codec.take_in(saved(painting(), "PNG"), xmp.written(PROVENANCE))
    for number, one in enumerate((picture, variants[0])):
        path = tmp_path / f"{number}.bin"
        path.write_bytes(one.data)
        done = command("provenance", str(path), "--json")
        assert (done.returncode, done.stderr) == (0, "")
        assert json.loads(done.stdout) == {
            "file": str(path),
            "made_by_limner": True,
            "digital_source_type": xmp.SOURCE_TYPES + "trainedAlgorithmicMedia",
            "provider": "stability_ai",
            "model": "sd3.5-flash",
            "image_id": str(IMAGE_ID),
            "creator_tool": "Limner",
            "unreadable": None,
        }
    done = command("provenance", str(path))
    assert "made_by_limner\tyes, it says\n" in done.stdout
    assert "(made by a trained model)" in done.stdout
    assert "no proof" in done.stderr


def test_a_picture_of_somebody_else_is_not_taken_for_ours(tmp_path: Path) -> None:
    path = tmp_path / "theirs.jpg"
    path.write_bytes(saved(painting(), "JPEG", xmp=FOREIGN.encode()))
    done = command("provenance", str(path))
    assert done.returncode == 0
    assert "made_by_limner\tit does not say so\n" in done.stdout
    assert "digitalCapture (taken by a camera)" in done.stdout
    assert "creator_tool\tA camera\n" in done.stdout.replace("\N{REPLACEMENT CHARACTER}", "")


def test_a_picture_that_says_nothing_is_told_so(tmp_path: Path) -> None:
    path = tmp_path / "plain.webp"
    path.write_bytes(saved(painting(), "WEBP"))
    done = command("provenance", str(path))
    assert (done.returncode, done.stderr) == (0, "It says nothing of how it came to be.\n")
    path.write_bytes(saved(painting(), "WEBP", xmp=b"<!DOCTYPE x []><x/>"))
    done = command("provenance", str(path), "--json")
    told = json.loads(done.stdout)
    assert (done.returncode, told["made_by_limner"]) == (0, False)
    assert "document type" in told["unreadable"]


@pytest.mark.parametrize("name", ["nothing", "svg", "png bomb", "more bytes than allowed"])
def test_what_is_no_picture_is_one_clear_line(tmp_path: Path, name: str) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(REFUSED[name][1]())
    done = command("provenance", str(path))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"limner: {path} is no picture that can be read: ")
    assert done.stderr.count("\n") == 1


def test_a_path_that_leads_to_no_file_is_one_clear_line(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path, said in (("absent", "cannot be read: No such file"), (".", "no file"), (
        "fifo", "no file")):  # fmt: skip
        done = command("provenance", str(tmp_path / path))
        assert (done.returncode, done.stdout) == (1, "")
        assert said in done.stderr
        assert done.stderr.count("\n") == 1
