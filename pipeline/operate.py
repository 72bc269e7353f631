"""Take a request to do something to a picture: a job as any other, made of that picture.

The picture is looked at first: what does not fit is refused before anything is stored or paid.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import structlog
from pydantic import BaseModel

from adapters.errors import BlobStoreUnavailable, StoreRejected, StoreUnavailable
from adapters.ports import BlobStore, Ids, ImageProvider
from adapters.store import picture_reads
from pipeline.creation import Accepted, creation
from pipeline.errors import PipelineError, UnknownStyle
from pipeline.idempotency import earlier_reply
from pipeline.journal import Journal, JournalFull
from pipeline.new_job import new_job
from pipeline.operation_errors import (
    MaskNotUsable,
    PictureGivenTwice,
    PromptMissing,
    ResultTooLarge,
    UnknownOperation,
)
from pipeline.providers import Providers
from pipeline.sources import Found, Sources
from pipeline.staging import EXTENSIONS
from schemas.operations import (
    MASKED,
    REPAINTED,
    UPSCALES,
    VARIATIONS,
    WORDED,
    EditRequest,
    Operation,
    PaintingOf,
    PictureRequest,
)
from schemas.pictures import LONGEST_SIDE, MOST_PIXELS
from schemas.replies import CreateImageJobResponse
from schemas.requests import AspectRatio, ImageGenerationRequest, Quality
from schemas.tables import JobRow

log = structlog.get_logger(__name__)

# What a job's row tells of its request, whatever it was asked for.
COMMON = {
    "negative_prompt", "style", "provider", "seed", "blog_id", "blog_job_id", "role", "position",
    "alt_text", "caption", "not_before", "deadline_seconds", "on_unknown",
}  # fmt: skip
# After these nothing was stored. Of a journal that closed meanwhile only the database knows.
NOT_STORED = (PipelineError, JournalFull, StoreRejected, StoreUnavailable, BlobStoreUnavailable)
# Operations whose result shows what the picture shows.
OF_WHOLE = UPSCALES | VARIATIONS
# What an upscaled draft takes over: it is to stand where the draft is shown.
OF_PLACE = ("blog_id", "blog_job_id", "role", "position")
OF_TEXTS = ("alt_text", "caption")


@dataclass(frozen=True, slots=True)
class Sent:
    """The files of a form."""

    image: bytes | None = field(default=None, repr=False)
    mask: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Operating:
    """What it takes to accept operations."""

    sources: Sources
    blobs: BlobStore
    ids: Ids
    providers: Providers
    estimate: Callable[[Quality], int]

    @property
    def journal(self) -> Journal:
        return self.sources.journal


class _Described(ImageGenerationRequest):
    """What a job keeps of its request; a picture that was sent may come without words."""

    prompt: str = ""


class _Asked(BaseModel):
    """All of a request by which one is told from another."""

    body: dict[str, Any]
    image: str | None = None
    mask: str | None = None


@dataclass(frozen=True, slots=True)
class _Prepared:
    """A job that may be stored, and what was sent for it, by the keys under which it is kept."""

    job: JobRow
    files: Mapping[str, Found]


async def operate(
    request: PictureRequest, sent: Sent, *, idempotency_key: str | None, operating: Operating
) -> Accepted:
    """Store a job for *request* and return the reply; durable when this returns.

    Raises whatever makes it unfit; then nothing is stored.
    """
    asked = _Asked(
        body=request.model_dump(mode="json", exclude_defaults=True),
        image=_digest(sent.image),
        mask=_digest(sent.mask),
    )
    if idempotency_key is not None:
        first = await earlier_reply(
            asked,
            CreateImageJobResponse,
            tenant=operating.sources.tenant,
            route=request.kind,
            key=idempotency_key,
            journal=operating.journal,
        )
        if first is not None:
            return Accepted(first, replayed=True)
    prepared = await _prepared(request, sent, operating)
    step = creation(
        prepared.job,
        asked,
        route=request.kind,
        key=idempotency_key,
        ids=operating.ids,
        providers=operating.providers,
        estimate=operating.estimate,
    )
    try:
        for key, file in prepared.files.items():
            assert file.data is not None
            await operating.blobs.put(key, file.data, content_type=file.content_type)
        accepted = await operating.journal.record(step)
    except NOT_STORED:  # no job will ever ask for them
        await _forget(prepared, operating)
        raise
    if accepted.replayed:
        await _forget(prepared, operating)
    return accepted


async def asked_operation(request: PictureRequest, sent: Sent, operating: Operating) -> JobRow:
    """The job that `operate` would store now; nothing is stored. Raises what makes it unfit."""
    return (await _prepared(request, sent, operating)).job


async def _forget(prepared: _Prepared, operating: Operating) -> None:
    for key in prepared.files:
        try:
            await operating.blobs.delete(key)
        except BlobStoreUnavailable as exc:  # nobody knows of it; only room is lost
            log.warning("sent_picture_left_behind", key=key, error=str(exc))


def _digest(data: bytes | None) -> str | None:
    return hashlib.sha256(data).hexdigest() if data is not None else None


async def _prepared(request: PictureRequest, sent: Sent, operating: Operating) -> _Prepared:
    operation = request.operation_asked
    if sent.mask is not None and operation not in MASKED:
        raise MaskNotUsable(f"{operation.value} takes no mask")
    source = await operating.sources.find(request, sent.image)
    provider, warnings = _provider(request, operation, source, operating.providers)
    mask = await _mask(request, sent.mask, source, operating.sources)
    prompt = request.prompt or _own_words(operation, source)
    if operation in WORDED and not prompt:
        raise PromptMissing(operation.value)
    operands = request.operands(source.width, source.height)
    _check_size(request, operands.width, operands.height)
    job_id = operating.ids.new()
    files: dict[str, Found] = {}
    of = PaintingOf(
        operation=operation,
        operands=operands,
        source_image_id=source.image_id,
        source_key=_kept(source, "source", job_id, files),
        mask_image_id=mask.image_id if mask is not None else None,
        mask_key=_kept(mask, "mask", job_id, files) if mask is not None else None,
        keeps_sent=operation not in REPAINTED and source.is_sent,
        keeps=source.source_type if operation not in REPAINTED else None,
        shows=_words_of(source) if operation not in OF_WHOLE else "",
    )
    described = _Described.model_validate(
        {
            **request.model_dump(include=COMMON, exclude_none=True),
            **await _place_of_draft(request, source, operating.journal),
            "prompt": prompt,
            "quality": request.quality_asked,
            "aspect_ratio": _nearest(operands.width, operands.height),
        }
    )
    promised = operating.providers.on_unknown.promised(request.on_unknown, provider, is_draft=False)
    job = new_job(
        described,
        tenant=operating.sources.tenant,
        job_id=job_id,
        now=operating.journal.now(),
        seed=request.seed or operating.ids.seed(),
        provider=provider.name,
        warnings=warnings,
        on_unknown=promised,
        kind=request.kind,
        requested_model=None,
        **of.model_dump(mode="json", exclude_none=True),
    )
    return _Prepared(job, files)


def _provider(
    request: PictureRequest, operation: Operation, source: Found, providers: Providers
) -> tuple[ImageProvider, list[str]]:
    """Who does it: the one that was named; else whoever can, the picture's own painter first."""
    able = [one.name for one in providers.by_name.values() if operation in one.operations]
    chosen, warnings = providers.choose(request.provider)
    if request.provider is None:
        painter = source.job.provider if source.job is not None else chosen.name
        first = next((name for name in (painter, chosen.name, *able) if name in able), None)
        if first is None:
            raise UnknownOperation(operation.value, None, able)
        if first != chosen.name:
            note = f"{chosen.name} does no {operation.value}; {first} does it"
            warnings = [note] if first != painter else []
            chosen = providers.by_name[first]
    elif operation not in chosen.operations:
        raise UnknownOperation(operation.value, chosen.name, able)
    if request.style is not None and request.style not in chosen.styles:
        raise UnknownStyle(request.style, chosen.name, sorted(chosen.styles))
    return chosen, warnings


async def _mask(
    request: PictureRequest, sent: bytes | None, source: Found, sources: Sources
) -> Found | None:
    if not isinstance(request, EditRequest) or request.operation_asked not in MASKED:
        return None
    if sent is not None:
        if request.mask_image_id is not None:
            raise PictureGivenTwice("mask")
        mask = await sources.taken_in(sent, "mask")
    elif request.mask_image_id is not None:
        mask = await sources.of_image(request.mask_image_id, "mask_image_id")
    else:
        raise MaskNotUsable(f"{request.operation.value} needs a mask")
    if (mask.width, mask.height) != (source.width, source.height):
        raise MaskNotUsable(
            f"The mask has {mask.width} x {mask.height} pixels, the picture"
            f" {source.width} x {source.height}"
        )
    return mask


def _own_words(operation: Operation, source: Found) -> str:
    """What the picture was painted of; edits are told in their own words."""
    return _words_of(source) if operation in OF_WHOLE else ""


def _words_of(source: Found) -> str:
    """What the whole picture shows: the prompt of an edit says what was changed, and no more."""
    if source.job is None:
        return ""
    if source.of is not None and source.of.operation not in OF_WHOLE:
        return source.of.shows
    words: str = source.job.request.get("prompt", "")
    return words


def _check_size(request: PictureRequest, width: int, height: int) -> None:
    field = "scale" if request.kind == "upscale" else "left"
    if max(width, height) > LONGEST_SIDE:
        raise ResultTooLarge(field, width, height, f"a side has at most {LONGEST_SIDE}")
    if width * height > MOST_PIXELS:
        raise ResultTooLarge(field, width, height, f"a picture has at most {MOST_PIXELS}")


def _kept(found: Found, name: str, job_id: UUID, files: dict[str, Found]) -> str | None:
    """The key under which what was sent is kept; None for a picture of this service."""
    if found.data is None:
        return None
    digest = hashlib.sha256(found.data).hexdigest()[:16]
    key = f"jobs/{job_id}/{name}-{digest}.{EXTENSIONS[found.content_type]}"
    files[key] = found
    return key


async def _place_of_draft(
    request: PictureRequest, source: Found, journal: Journal
) -> dict[str, Any]:
    """The place and the texts of a draft that is upscaled, where no place is named.

    In a post that was deleted there is none.
    """
    draft = source.job
    if request.kind != "upscale" or draft is None or not draft.is_draft or draft.blog_id is None:
        return {}
    if request.blog_id is not None or request.role is not None or request.position is not None:
        return {}
    blog = await journal.read(picture_reads.blog, draft.tenant, draft.blog_id)
    if blog is None or blog.deleted_at is not None:
        return {}
    own = {name: getattr(draft, name) for name in OF_PLACE}
    own |= {name: draft.request.get(name) for name in OF_TEXTS}
    return {name: value for name, value in own.items() if getattr(request, name) is None}


def _nearest(width: int, height: int) -> AspectRatio:
    """The usual ratio that the picture is nearest to."""

    def misses(ratio: AspectRatio) -> float:
        across, down = ratio.sides
        return max(width * down / (height * across), height * across / (width * down))

    return min(AspectRatio, key=misses)
