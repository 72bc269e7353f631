"""What routes take from the running service, and who is calling."""

from typing import Annotated, cast

from fastapi import Depends, Request

from pipeline.wiring import Limner


def _limner(request: Request) -> Limner:
    return cast(Limner, request.app.state.limner)


def _tenant(request: Request) -> str:
    """The caller's tenant. The local profile has one, until keys name others."""
    return _limner(request).settings.tenant


def _base_url(request: Request) -> str:
    """Where pictures are fetched: the public address, or the one that was called."""
    return (_limner(request).settings.public_url or str(request.base_url)).rstrip("/")


Running = Annotated[Limner, Depends(_limner)]
Tenant = Annotated[str, Depends(_tenant)]
BaseUrl = Annotated[str, Depends(_base_url)]
