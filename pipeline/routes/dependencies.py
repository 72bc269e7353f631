"""What routes take from the running service, and who is calling."""

from functools import partial
from typing import Annotated, cast

from fastapi import Depends, Request

from pipeline import addresses
from pipeline.links import sign_picture
from pipeline.wiring import Limner


def _limner(request: Request) -> Limner:
    return cast(Limner, request.app.state.limner)


def _tenant(request: Request) -> str:
    """The caller's tenant. The local profile has one, until keys name others."""
    return _limner(request).settings.tenant


def _base_url(request: Request) -> addresses.BaseUrl:
    """Where pictures are fetched: the public address, or the one that was called.

    Where callers need a key, the addresses are signed: a browser sends none for a picture.
    """
    limner = _limner(request)
    address = (limner.settings.public_url or str(request.base_url)).rstrip("/")
    if limner.settings.api_key is None:
        return addresses.BaseUrl(address)
    sign = partial(sign_picture, secret=limner.link_secret, now=limner.journal.now())
    return addresses.BaseUrl(address, sign)


Running = Annotated[Limner, Depends(_limner)]
Tenant = Annotated[str, Depends(_tenant)]
BaseUrl = Annotated[addresses.BaseUrl, Depends(_base_url)]
