"""Take a picture from an address that a caller names, or say why not and how else to give it."""

from adapters.errors import AddressRefused, NoReply, NotFetched
from adapters.ports import Fetcher
from pipeline.errors import PictureNotFetched


async def fetch_picture(url: str, fetcher: Fetcher, *, field: str = "image_url") -> bytes:
    """Bytes that begin as a picture; *field* of the request named them.

    Hold no database connection and nothing of a job meanwhile: it may take its time.
    """
    try:
        return await fetcher.fetch(url)
    except (AddressRefused, NoReply, NotFetched) as exc:
        raise PictureNotFetched(str(exc), field) from exc
