"""Find the picture that an operation is to be done to: named, sent, or behind an address."""

import re
from dataclasses import dataclass, field
from urllib.parse import urlsplit
from uuid import UUID

from adapters.errors import BadPicture
from adapters.ports import Fetcher, Pictures
from adapters.store import job_reads, picture_reads
from pipeline.addresses import BaseUrl
from pipeline.fetch import fetch_picture
from pipeline.journal import Journal
from pipeline.operation_errors import (
    NoPictureGiven,
    PictureGivenTwice,
    SourceNotUsable,
    UploadNotUsable,
)
from schemas.operations import PaintingOf, PictureRequest
from schemas.provenance import SourceType
from schemas.tables import ImageRow, JobRow
from states.table import State

# The addresses that we mint; a variant's leads to its picture.
MINTED = re.compile(r"/api/v1/images/([0-9a-f-]{36})/content(?:/w\d{1,5})?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Found:
    """A picture that is there: of this service, by its id, or the bytes that were sent."""

    width: int
    height: int
    image_id: UUID | None = None
    data: bytes | None = field(default=None, repr=False)
    content_type: str = ""
    # Who made it; what was sent has none.
    job: JobRow | None = None

    @property
    def of(self) -> PaintingOf | None:
        """Of what it was made itself."""
        return PaintingOf.of(self.job.request) if self.job is not None else None

    @property
    def is_sent(self) -> bool:
        """Whether it came from outside, at least in part."""
        if self.job is None:
            return self.data is not None
        return self.of is not None and self.of.keeps_sent

    @property
    def source_type(self) -> SourceType | None:
        """How it came to be; None of what was sent. Of old jobs nobody has kept it."""
        if self.job is None:
            return None
        told = (self.job.result or {}).get("source_type")
        return SourceType(told) if told is not None else SourceType.TRAINED


@dataclass(frozen=True, slots=True)
class Sources:
    """What it takes to find pictures for callers of *tenant*."""

    tenant: str
    journal: Journal
    pictures: Pictures
    fetcher: Fetcher
    base_url: BaseUrl

    async def find(self, request: PictureRequest, sent: bytes | None) -> Found:
        """The picture of *request*, or the one that was *sent* with it."""
        named = request.image_id or request.job_id or request.image_url
        if sent is not None:
            if named is not None:
                raise PictureGivenTwice("image")
            return await self.taken_in(sent, "image")
        if request.image_id is not None:
            return await self.of_image(request.image_id, "image_id")
        if request.job_id is not None:
            return await self._of_job(request.job_id)
        if request.image_url is not None:
            return await self._at(request.image_url)
        raise NoPictureGiven

    async def taken_in(self, data: bytes, name: str) -> Found:
        """What somebody sent, decoded under limits and stripped."""
        try:
            taken = await self.pictures.take_in(data)
        except BadPicture as exc:
            raise UploadNotUsable(name, exc.reason, str(exc)) from exc
        return Found(taken.width, taken.height, data=taken.data, content_type=taken.content_type)

    async def of_image(self, image_id: UUID, name: str) -> Found:
        image = await self.journal.read(picture_reads.image, self.tenant, image_id)
        if image is None:
            raise SourceNotUsable(name, image_id, "there is no such picture, or it was deleted")
        return await self._found(image)

    async def _of_job(self, job_id: UUID) -> Found:
        job = await self.journal.read(job_reads.job, self.tenant, job_id)
        if job is None:
            raise SourceNotUsable("job_id", job_id, "there is no such job")
        if job.state is not State.COMPLETED:
            reason = f"it is {job.state.value}, not completed"
            raise SourceNotUsable("job_id", job_id, reason)
        images = await self.journal.read(picture_reads.images_of_jobs, self.tenant, [job_id])
        if not images:
            raise SourceNotUsable("job_id", job_id, "its picture was deleted")
        return _of(images[0], job)

    async def _at(self, url: str) -> Found:
        """An address of ours is looked up and never fetched, under whichever host it was given."""
        image_id, is_ours = self._minted(url)
        if image_id is not None:
            image = await self.journal.read(picture_reads.image, self.tenant, image_id)
            if image is not None:
                return await self._found(image)
        if is_ours:
            reason = "there is no such picture, or it was deleted"
            raise SourceNotUsable("image_url", image_id or "", reason)
        return await self.taken_in(await fetch_picture(url, self.fetcher), "image_url")

    def _minted(self, url: str) -> tuple[UUID | None, bool]:
        """The picture that *url* names where it has the form of our own, and whether it is ours."""
        try:
            parts, own = urlsplit(url), urlsplit(self.base_url.address)
            is_ours = (parts.scheme, parts.netloc) == (own.scheme, own.netloc)
            found = MINTED.fullmatch(parts.path.removeprefix(own.path))
            return (UUID(found[1]) if found is not None else None), is_ours
        except ValueError:
            return None, False

    async def _found(self, image: ImageRow) -> Found:
        return _of(image, await self.journal.read(job_reads.job, self.tenant, image.job_id))


def _of(image: ImageRow, job: JobRow | None) -> Found:
    return Found(image.width, image.height, image_id=image.id, job=job)
