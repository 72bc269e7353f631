"""`limner vary`, `upscale` and `edit`: have something done to a picture that exists."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx2

from pipeline.cli.client import Client, Refused
from pipeline.cli.output import Output
from pipeline.cli.reach import Place
from pipeline.cli.start import WrongUsage, checked
from pipeline.cli.submit import ask_for, show_quote
from schemas.operations import EditRequest, PictureRequest, UpscaleRequest, VariationRequest

# By the last part of the routes' addresses.
FORMS: Mapping[str, type[PictureRequest]] = {
    "variations": VariationRequest,
    "upscale": UpscaleRequest,
    "edit": EditRequest,
}
# Named as the command line names it.
ARGUMENTS = ("operation",)


async def run_operation(
    place: Place,
    out: Output,
    *,
    path: str,
    picture: str,
    request: dict[str, Any],
    mask: str | None = None,
    idempotency_key: str | None,
    wait: bool,
    quote: bool,
) -> int:
    """*picture* is a file, an address, or the id of a job or of a picture; *mask* a file or id."""
    request = {name: value for name, value in request.items() if value is not None}
    files: dict[str, bytes] = {}
    named: UUID | None = None
    if picture.startswith(("http://", "https://")):
        request["image_url"] = picture
    elif (named := _id(picture)) is None:
        files["image"] = _read("PICTURE", picture)
    if mask is not None and (mask_id := _id(mask)) is not None:
        request["mask_image_id"] = str(mask_id)
    elif mask is not None:
        files["mask"] = _read("--mask", mask)
    checked(FORMS[path], request, arguments=ARGUMENTS)
    async with place.reached(works=wait and not quote, creates=True) as reached:
        if named is not None:
            request[await _kind_of(named, reached.client)] = str(named)
        if quote:
            show_quote(out, await reached.client.quote_operation(path, request, files))
            return 0
        send = partial(reached.client.operate, path, request, files)
        return await ask_for(send, reached, out, idempotency_key=idempotency_key, wait=wait)


def _id(told: str) -> UUID | None:
    try:
        return UUID(told)
    except ValueError:
        return None


def _read(name: str, file: str) -> bytes:
    try:
        return Path(file).read_bytes()
    except OSError as exc:
        reason = exc.strerror or "it cannot be read"
        raise WrongUsage(
            f"{name}: {file}: {reason}. Name a file, or the id of a picture"
            + (", the id of a completed job, or an address" if name == "PICTURE" else "")
        ) from None


async def _kind_of(named: UUID, client: Client) -> str:
    """The field of a request that says it; ids of jobs and of pictures look alike."""
    try:
        await client.job(named)
    except Refused as exc:
        if exc.problem.status != httpx2.codes.NOT_FOUND:
            raise
        return "image_id"
    return "job_id"
