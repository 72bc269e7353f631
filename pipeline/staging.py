"""Keep what a provider delivered before anything else can go wrong: bytes first, manifest last.

Once the manifest lies in the blob store the result is paid, safe and found again after any death;
without it the call's outcome is unknown. Objects are created once and named by their content.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from uuid import UUID

import structlog
from pydantic import BaseModel, ConfigDict, ValidationError

from adapters.errors import KeyTaken, NoSuchObject
from adapters.ports import BlobStore, Painting
from schemas.provenance import SourceType
from schemas.tables import JobRow

log = structlog.get_logger(__name__)

EXTENSIONS = {"image/png": "png", "image/jpeg": "jpg", "image/webp": "webp"}


class StagedPicture(BaseModel):
    model_config = ConfigDict(frozen=True)

    key: str
    content_type: str
    sha256: str
    seed: int


class Manifest(BaseModel):
    """What one paid call delivered: which bytes, by which model, at what price (USD)."""

    model_config = ConfigDict(frozen=True)

    job_id: UUID
    attempt: int
    provider: str
    model: str
    cost: Decimal | None
    # Version of the book of that price.
    price_book: str | None = None
    warnings: tuple[str, ...] = ()
    elapsed_seconds: float
    pictures: tuple[StagedPicture, ...]
    source_type: SourceType = SourceType.TRAINED


@dataclass(frozen=True, slots=True)
class Staged:
    """The manifest that stands, and the bytes that were stored just now, by object key."""

    manifest: Manifest
    at_hand: Mapping[str, bytes] = field(repr=False)


def manifest_key(job_id: UUID, attempt: int) -> str:
    return f"jobs/{job_id}/{attempt}/manifest.json"


def sent_keys(job: JobRow) -> list[str]:
    """Where the pictures lie that were sent with the job's request."""
    return [job.request[name] for name in ("source_key", "mask_key") if name in job.request]


async def stage(
    painting: Painting,
    *,
    job_id: UUID,
    attempt: int,
    provider: str,
    elapsed_seconds: float,
    blobs: BlobStore,
    price_book: str | None = None,
) -> Staged:
    """Store the pictures and their manifest; return the manifest that stands.

    When another worker staged this attempt first, its manifest stands and ours is surplus.
    Raises `BlobStoreUnavailable`; the same call may then be tried again.
    """
    pictures, at_hand = [], {}
    for picture in painting.pictures:
        digest = hashlib.sha256(picture.data).hexdigest()
        extension = EXTENSIONS.get(picture.content_type, "bin")
        stored = await blobs.put(
            f"jobs/{job_id}/{attempt}/{digest}.{extension}",
            picture.data,
            content_type=picture.content_type,
        )
        at_hand[stored.key] = picture.data
        pictures.append(
            StagedPicture(
                key=stored.key, content_type=picture.content_type, sha256=digest, seed=picture.seed
            )
        )
    manifest = Manifest(
        job_id=job_id,
        attempt=attempt,
        provider=provider,
        model=painting.model,
        cost=painting.cost,
        price_book=price_book,
        warnings=painting.warnings,
        elapsed_seconds=round(elapsed_seconds, 3),
        source_type=painting.source_type,
        pictures=tuple(pictures),
    )
    key = manifest_key(job_id, attempt)
    try:
        await blobs.put(key, manifest.model_dump_json().encode(), content_type="application/json")
    except KeyTaken:
        manifest = await load_manifest(key, blobs)
    return Staged(manifest, at_hand)


async def load_manifest(key: str, blobs: BlobStore) -> Manifest:
    return Manifest.model_validate_json(await blobs.get(key))


async def find_manifest(job_id: UUID, attempt: int, blobs: BlobStore) -> Manifest | None:
    """The staged result of an attempt, if it got that far and can be read."""
    key = manifest_key(job_id, attempt)
    try:
        return await load_manifest(key, blobs)
    except NoSuchObject:
        return None
    except ValidationError:
        log.error("manifest_unreadable", key=key, meaning="its bytes are kept, but not used")
        return None
