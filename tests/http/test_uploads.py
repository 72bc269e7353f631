"""Pictures that are sent with a request: as files of a form, decoded before anything is stored."""

import asyncio
import io
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageDraw

from adapters.pictures import codec, xmp
from pipeline.settings import Settings
from tests.fakes.stability import KEY, StabilityDouble
from tests.hostile import REFUSED
from tests.http.test_bad_input import assert_problem
from tests.http.test_operations import IMAGES, painted
from tests.service import Here, served

SIZE = (256, 144)


def png(size: tuple[int, int] = SIZE, mode: str = "RGB", **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, size, 90).save(buffer, "PNG", **options)
    return buffer.getvalue()


def mask(size: tuple[int, int] = SIZE) -> bytes:
    drawn = Image.new("L", size, 0)
    ImageDraw.Draw(drawn).rectangle((40, 40, 80, 80), fill=255)
    buffer = io.BytesIO()
    drawn.save(buffer, "PNG")
    return buffer.getvalue()


async def sent(
    here: Here, path: str, image: bytes | None, fields: dict[str, str], **more: Any
) -> Any:
    files = {"image": ("photo.png", image, "image/png")} if image is not None else {}
    files |= {name: ("x.png", data, "image/png") for name, data in more.pop("files", {}).items()}
    # httpx sends a form as multipart only with files; a field is a file without a name.
    parts = [*files.items(), *((name, (None, value)) for name, value in fields.items())]
    return await here.http.post(f"{IMAGES}/{path}", files=parts, **more)


def objects(here: Here) -> set[str]:
    """What lies in the picture store."""
    root = here.limner.settings.home / "pictures"
    return {str(one.relative_to(root)) for one in root.rglob("*") if one.is_file()}


@pytest.mark.parametrize("place", ["", "quote/"])
async def test_the_fields_of_a_form_are_those_of_the_json_body(tmp_path: Path, place: str) -> None:
    async with served(Settings(home=tmp_path / "home")) as here:
        fields = {
            "scale": "4", "seed": "7", "prompt": "a mill", "blog_id": "post", "role": "hero",
            "position": "1", "deadline_seconds": "600", "alt_text": "",
        }  # fmt: skip
        reply = await sent(here, f"{place}upscale", png(), fields)
        assert reply.status_code == 200, reply.text
        if place:
            assert reply.json()["price_usd"] == "0.004"
            assert (here.count("jobs"), len(objects(here))) == (0, 0)
            return
        (image,) = reply.json()["images"]
        assert (image["width"], image["height"]) == (1024, 576)
        job = await here.status(reply.json()["job_id"])
        assert (job["blog_id"], job["role"], job["position"]) == ("post", "hero", 1)
        assert (job["result"]["seed"], job["source_image_id"]) == (7, None)


async def test_a_picture_and_its_mask_are_edited(tmp_path: Path) -> None:
    async with served(Settings(home=tmp_path / "home")) as here:
        fields = {"operation": "inpaint", "prompt": "a mill"}
        reply = await sent(here, "edit", png(), fields, files={"mask": mask()})
        assert reply.status_code == 200, reply.text
        picture = (await here.http.get(reply.json()["images"][0]["url"])).content
        edited = Image.open(io.BytesIO(picture))
        assert edited.getpixel((10, 10)) == (90, 0, 0)
        assert edited.getpixel((60, 60)) != (90, 0, 0)
        # A mask may be sent for a picture that is named.
        draft = await painted(here)
        named = fields | {"job_id": draft["job_id"]}
        reply = await sent(here, "edit", None, named, files={"mask": mask((512, 288))})
        assert reply.status_code == 200, reply.text


async def test_a_repeated_form_is_done_once_and_another_picture_refused(tmp_path: Path) -> None:
    async with served(Settings(home=tmp_path / "home")) as here:
        key = {"Idempotency-Key": "once"}
        first = await sent(here, "upscale", png(), {"scale": "2"}, headers=key)
        kept = objects(here)
        assert sum("/source-" in one for one in kept) == 1
        again = await sent(here, "upscale", png(), {"scale": "2"}, headers=key)
        assert again.json()["job_id"] == first.json()["job_id"]
        assert objects(here) == kept
        other = await sent(here, "upscale", png((255, 144)), {"scale": "2"}, headers=key)
        assert_problem(other, 422, "idempotency_key_reused")
        assert here.count("jobs") == 1


async def test_what_is_refused_leaves_neither_rows_nor_bytes(tmp_path: Path) -> None:
    async with served(Settings(home=tmp_path / "home", max_upload_bytes=200_000)) as here:
        draft = await painted(here)
        before, kept = here.stored(), objects(here)
        image_id = draft["images"][0]["image_id"]
        inpaint = {"operation": "inpaint", "prompt": "a mill"}
        cases: list[tuple[str, bytes | None, dict[str, str], dict[str, bytes], int, str]] = [
            ("upscale", None, {}, {}, 422, "no_picture"),
            ("upscale", png(), {"image_id": image_id}, {}, 422, "picture_given_twice"),
            ("upscale", png(), {"scale": "three"}, {}, 422, "invalid_request"),
            ("upscale", png(), {"scale": "3"}, {}, 422, "invalid_request"),
            ("upscale", png(), {"factor": "2"}, {}, 422, "invalid_request"),
            ("upscale", png(), {}, {"mask": mask()}, 422, "mask_not_usable"),
            ("upscale", png(), {}, {"other": mask()}, 400, "invalid_form"),
            ("upscale", b"", {}, {}, 422, "bad_picture"),
            ("upscale", png((8192, 100)), {}, {}, 422, "result_too_large"),
            ("upscale", png((4000, 3000)), {}, {}, 422, "result_too_large"),
            # Nobody knows what it was painted of.
            ("upscale", png(), {"mode": "creative"}, {}, 422, "prompt_missing"),
            ("variations", png(), {}, {}, 422, "prompt_missing"),
            ("edit", png(), inpaint, {}, 422, "mask_not_usable"),
            ("edit", png(), inpaint, {"mask": mask((144, 256))}, 422, "mask_not_usable"),
            ("edit", png(), inpaint, {"mask": b"no picture"}, 422, "bad_picture"),
            ("upscale", png((1000, 1000), compress_level=0), {}, {}, 413, "body_too_large"),
        ]
        for path, image, fields, files, status, code in cases:
            body = fields or {"seed": "1"}
            reply = await sent(here, path, image, body, files=files)
            problem = assert_problem(reply, status, code)
            assert "Nothing was stored" in problem["detail"], (path, fields)
        await here.http.put(f"{IMAGES}/budgets", json={"limit": "0.003"})
        before |= {"budgets": 1, "spend": here.stored()["spend"]}
        reply = await sent(here, "upscale", png(), {"seed": "1"})
        assert_problem(reply, 402, "budget_exceeded")
        assert here.stored() == before
        assert objects(here) == kept


async def test_no_hostile_picture_is_taken(tmp_path: Path) -> None:
    async with served(Settings(home=tmp_path / "home")) as here:
        for name, (reason, make) in REFUSED.items():
            if len(make()) > here.limner.settings.max_upload_bytes:
                continue
            reply = await sent(here, "upscale", make(), {"seed": "1"})
            assert assert_problem(reply, 422, "bad_picture")["reason"] == reason, name
        assert here.count("jobs") == 0
        assert objects(here) == set()


async def test_a_form_that_cannot_be_read_or_that_another_site_sent_is_refused(
    tmp_path: Path,
) -> None:
    async with served(Settings(home=tmp_path / "home")) as here:
        url = f"{IMAGES}/upscale"
        form = {"Content-Type": "multipart/form-data; boundary=b"}
        part = b'--b\r\nContent-Disposition: form-data; name="scale"\r\n\r\n2\r\n'
        for headers, body in (
            ({"Content-Type": "multipart/form-data"}, part),
            (form, b"no form at all"),
            (form, part + part + b"--b--\r\n"),
            (form, part.replace(b"scale", b"image") + b"--b--\r\n"),
            (form, part.replace(b"2", b"2" * 70_000) + b"--b--\r\n"),
            (form, part * 60 + b"--b--\r\n"),
        ):
            reply = await here.http.post(url, content=body, headers=headers)
            assert_problem(reply, 400, "invalid_form")
        for kind in ("undefined", "punycode", "nothing-known"):
            told = {"Content-Type": f"multipart/form-data; boundary=b; charset={kind}"}
            reply = await here.http.post(url, content=part + b"--b--\r\n", headers=told)
            assert reply.status_code in (400, 422), reply.text
        strange = ("http://[", "http://a]b")
        for origin in ("https://other.example", "null", "http://127.0.0.1:9999", *strange):
            reply = await sent(here, "upscale", png(), {"seed": "1"}, headers={"Origin": origin})
            assert_problem(reply, 403, "foreign_form")
        assert here.count("jobs") == 0
        own = await sent(
            here, "upscale", png(), {"seed": "1"}, headers={"Origin": "http://127.0.0.1"}
        )
        assert own.status_code == 200


async def test_one_form_too_many_is_refused_and_one_that_does_not_end_gives_its_place_back(
    tmp_path: Path,
) -> None:
    async with served(Settings(home=tmp_path / "home")) as here:
        begun, go_on = asyncio.Event(), asyncio.Event()

        async def unending() -> AsyncIterator[bytes]:
            yield b'--b\r\nContent-Disposition: form-data; name="image"; filename="x"\r\n\r\n'
            begun.set()
            await go_on.wait()

        here.limner.uploads.most = 1
        here.limner.uploads.patience_seconds = 0.2
        headers = {"Content-Type": "multipart/form-data; boundary=b"}
        slow = asyncio.create_task(
            here.http.post(f"{IMAGES}/upscale", content=unending(), headers=headers)
        )
        await begun.wait()
        refused = await sent(here, "upscale", png(), {"seed": "1"})
        assert "Nothing was stored" in assert_problem(refused, 503, "too_many_uploads")["detail"]
        assert int(refused.headers["Retry-After"]) > 0
        assert_problem(await slow, 408, "upload_too_slow")
        reply = await sent(here, "upscale", png(), {"seed": "1"})
        assert reply.status_code == 200
        assert here.count("jobs") == 1


async def test_a_picture_tells_that_a_part_of_it_was_sent(tmp_path: Path) -> None:
    with StabilityDouble() as double:
        stability = {"api_key": KEY, "base_url": double.url}
        async with served(Settings(home=tmp_path / "home", stability=stability)) as here:

            async def source_type(reply: Any) -> str | None:
                (image,) = reply.json()["images"]
                data = (await here.http.get(image["url"])).content
                packet = codec.packet_of(data)
                told = xmp.read(packet).digital_source_type if packet else None
                return told.removeprefix(xmp.SOURCE_TYPES) if told else None

            inpaint = {"operation": "inpaint", "prompt": "a mill"}
            edited = await sent(here, "edit", png(), inpaint, files={"mask": mask()})
            assert await source_type(edited) == "compositeSynthetic"
            # What is made of it keeps a part of it, unless it is painted anew.
            of_it = {"job_id": edited.json()["job_id"]}
            larger = await here.http.post(f"{IMAGES}/upscale", json=of_it)
            assert await source_type(larger) == "compositeSynthetic"
            words = of_it | {"prompt": "a mill"}
            like_it = await here.http.post(f"{IMAGES}/variations", json=words | {"strength": 0})
            assert await source_type(like_it) == "compositeSynthetic"
            styled = await here.http.post(f"{IMAGES}/variations", json=words | {"keep": "style"})
            assert await source_type(styled) == "algorithmicMedia"
            creative = {"mode": "creative", "prompt": "a mill"}
            assert await source_type(await sent(here, "upscale", png(), creative)) == (
                "compositeSynthetic"
            )
            theirs = of_it | {"operation": "remove-background", "provider": "stability_ai"}
            cut = await here.http.post(f"{IMAGES}/edit", json=theirs)
            assert await source_type(cut) == "compositeWithTrainedAlgorithmicMedia"
            ours = {"job_id": (await painted(here))["job_id"], "provider": "stability_ai"}
            cut = await here.http.post(f"{IMAGES}/edit", json=theirs | ours)
            assert await source_type(cut) == "trainedAlgorithmicMedia"
            # What a model has painted stays so, whoever scales it.
            again = {"job_id": cut.json()["job_id"], "provider": "sketch"}
            scaled = await here.http.post(f"{IMAGES}/upscale", json=again)
            assert await source_type(scaled) == "trainedAlgorithmicMedia"


async def test_only_these_routes_take_large_bodies_and_only_as_forms(tmp_path: Path) -> None:
    async with served(Settings(home=tmp_path / "home")) as here:
        large = png((400, 400), compress_level=0)
        reply = await sent(here, "generate", large, {"prompt": "a mill"})
        assert_problem(reply, 413, "body_too_large")
        headers = {"Content-Type": "application/json"}
        reply = await here.http.post(f"{IMAGES}/upscale", content=large, headers=headers)
        assert_problem(reply, 413, "body_too_large")
        both = [*headers.items(), ("Content-Type", "multipart/form-data; boundary=b")]
        for types in (both, both[::-1]):
            reply = await here.http.post(f"{IMAGES}/upscale", content=large, headers=types)
            assert_problem(reply, 413, "body_too_large")


async def test_a_file_that_was_not_chosen_was_not_sent(tmp_path: Path) -> None:
    async with served(Settings(home=tmp_path / "home")) as here:
        draft = await painted(here)
        none = b'; filename=""\r\nContent-Type: application/octet-stream\r\n\r\n\r\n'
        disposition = b'--b\r\nContent-Disposition: form-data; name="%s"'
        body = disposition % b"image" + none + disposition % b"mask" + none
        body += disposition % b"job_id" + b"\r\n\r\n" + draft["job_id"].encode()
        headers = {"Content-Type": "multipart/form-data; boundary=b"}
        reply = await here.http.post(
            f"{IMAGES}/upscale", content=body + b"\r\n--b--\r\n", headers=headers
        )
        assert reply.status_code == 200, reply.text
        job = await here.status(reply.json()["job_id"])
        assert job["source_image_id"] == draft["images"][0]["image_id"]


async def test_what_was_sent_is_done_by_whoever_can_where_the_default_provider_cannot(
    tmp_path: Path,
) -> None:
    openai = {"api_key": "key-of-nobody", "base_url": "http://127.0.0.1:9/v1"}
    settings = Settings(home=tmp_path / "home", openai=openai, default_provider="openai")
    async with served(settings) as here:
        reply = await sent(here, "upscale", png(), {"seed": "1"})
        told = reply.json()
        assert told["provider"] == "sketch"
        assert told["warnings"] == ["openai does no upscale-fast; sketch does it"]
