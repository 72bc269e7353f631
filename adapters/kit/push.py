"""Take what Pub/Sub pushes, in a FastAPI application."""

from fastapi import APIRouter, Request, Response
from pydantic import ValidationError

from adapters.errors import CallerRefused, Unavailable
from adapters.kit.subscriber import Subscriber
from adapters.kit.webhook import MOST_BODY_BYTES, STATUS, TOO_LARGE
from adapters.ports import CallerCheck
from schemas.push import PushEnvelope

REFUSED, UNKNOWN_CALLER, AGAIN = 400, 401, 503


def push_router(
    subscriber: Subscriber,
    *,
    path: str = "/events",
    subscription: str | None = None,
    check: CallerCheck | None = None,
) -> APIRouter:
    """One route for *subscriber*.

    *subscription* is the full name (`projects/…/subscriptions/…`) that is expected; *check* says
    who pushes, such as `adapters.gcp.oidc.OidcCheck`. Without it whoever reaches the route is
    believed: keep it from the public then.
    """
    router = APIRouter()

    @router.post(path, status_code=204, response_class=Response)
    async def take_event(request: Request) -> Response:
        if check is not None:
            try:
                await check.check(request.headers.get("authorization"))
            except CallerRefused:
                return Response(status_code=UNKNOWN_CALLER)
            except Unavailable:
                return Response(status_code=AGAIN)
        body = await _body(request)
        if body is None:
            return Response(status_code=TOO_LARGE)
        try:
            envelope = PushEnvelope.model_validate_json(body)
        except ValidationError:
            return Response(status_code=REFUSED)
        if subscription is not None and envelope.subscription != subscription:
            return Response(status_code=REFUSED)
        return Response(status_code=STATUS[await subscriber.take(envelope.message.body)])

    return router


async def _body(request: Request) -> bytes | None:
    """The body; None for one that is longer than any event could be."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MOST_BODY_BYTES:
            return None
    return bytes(body)
