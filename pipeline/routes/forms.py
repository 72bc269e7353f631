"""Read a body that is JSON, or a form: the same fields as text, and pictures as files."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, TypeVar
from urllib.parse import urlsplit

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException

from pipeline.errors import PipelineError
from pipeline.operate import Sent
from pipeline.uploads import Uploads, UploadTooSlow
from schemas.operations import PictureRequest

R = TypeVar("R", bound=PictureRequest)

JSON, MULTIPART = "application/json", "multipart/form-data"
FILES = ("image", "mask")
MOST_FIELDS = 50
MOST_FIELD_BYTES = 64 * 1024


class BadForm(PipelineError):
    status, code, title = 400, "invalid_form", "The form cannot be read"

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"{reason}. Nothing was stored and nothing charged. Send multipart/form-data: the"
            " fields of the JSON body as text, each once, and pictures as the files image and mask."
        )


class ForeignForm(PipelineError):
    status, code, title = 403, "foreign_form", "A page of another site sent this form"

    def __init__(self, origin: str) -> None:
        super().__init__(
            f"The browser names {origin[:200]!r} as the page that sent it. Nothing was stored and"
            " nothing charged. Send forms from a page of this service, or from a program."
        )


def _media_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


@asynccontextmanager
async def received(
    request: Request, form: type[R], uploads: Uploads
) -> AsyncIterator[tuple[R, Sent]]:
    """The request in its *form*, and the pictures that came with it, which are gone afterwards."""
    if _media_type(request) != MULTIPART:
        _check_json(request)
        with _telling_the_field():
            asked = form.model_validate_json(await request.body(), strict=True)
        yield asked, Sent()
        return
    _check_origin(request)
    with uploads.place():
        data = await _read(request, uploads.patience_seconds)
        try:
            with _telling_the_field():
                asked = form.model_validate_strings(_texts(data))
            if not any(_is_there(data.get(name)) for name in FILES):
                yield asked, Sent()
                return
            async with uploads.turn():
                yield asked, Sent(**{name: await _file(data, name) for name in FILES})
        finally:
            await data.close()


async def _read(request: Request, seconds: float) -> FormData:
    """The form, its files on disk."""
    try:
        async with asyncio.timeout(seconds):
            return await request.form(
                max_files=len(FILES), max_fields=MOST_FIELDS, max_part_size=MOST_FIELD_BYTES
            )
    except HTTPException as exc:
        raise BadForm(str(exc.detail).rstrip(".")) from exc
    except (UnicodeError, LookupError) as exc:  # it names a charset that is none, or not its own
        raise BadForm("its texts are not in the charset that it names") from exc
    except TimeoutError as exc:
        raise UploadTooSlow(seconds) from exc


async def _file(data: FormData, name: str) -> bytes | None:
    found = data.get(name)
    return await found.read() if isinstance(found, UploadFile) and _is_there(found) else None


def _is_there(found: UploadFile | str | None) -> bool:
    """Browsers send a file that was not chosen as one without a name and without a byte."""
    return isinstance(found, UploadFile) and bool(found.filename or found.size)


@contextmanager
def _telling_the_field() -> Iterator[None]:
    """What is wrong in a body is told as of a body that the framework reads."""
    try:
        yield
    except ValidationError as exc:
        errors: list[Any] = [error | {"loc": ("body", *error["loc"])} for error in exc.errors()]
        raise RequestValidationError(errors) from exc


def _check_json(request: Request) -> None:
    """What is not called JSON is not read as such: any page could send it."""
    if _media_type(request) != JSON:
        raise RequestValidationError([{"type": "missing", "loc": ("body",), "msg": "no JSON"}])


def _check_origin(request: Request) -> None:
    """Browsers let any page send a form here, and say which one; of JSON they would ask first."""
    origin = request.headers.get("origin")
    if origin is not None and _host_of(origin) != request.headers.get("host"):
        raise ForeignForm(origin)


def _host_of(origin: str) -> str | None:
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return None


def _texts(data: FormData) -> dict[str, str]:
    """The fields that are no files; empty ones, as browsers send them, were not filled in."""
    texts: dict[str, str] = {}
    for name, value in data.multi_items():
        if name in texts or (isinstance(value, UploadFile) and len(data.getlist(name)) > 1):
            raise BadForm(f"{name[:100]!r} is there twice")
        if isinstance(value, UploadFile):
            if name not in FILES:
                raise BadForm(f"{name[:100]!r} is a file")
        elif name in FILES:
            raise BadForm(f"{name} is no file (it needs a filename)")
        else:
            texts[name] = value
    return {name: value for name, value in texts.items() if value}
