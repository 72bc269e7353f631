"""Where Pub/Sub pushes events: one address for each of our subscribers. Not for the public."""

from fastapi import APIRouter, Request, Response
from pydantic import ValidationError

from adapters.delivery import Verdict
from pipeline.routes.dependencies import Running
from pipeline.routes.problems import problem
from schemas.push import PushEnvelope

router = APIRouter(prefix="/api/v1/events", tags=["internal"])
ENVELOPE = {"type": "object", "required": ["message", "subscription"]}
BODY = {"requestBody": {"required": True, "content": {"application/json": {"schema": ENVELOPE}}}}


@router.post("/{subscriber}", status_code=204, openapi_extra=BODY)
async def take_event(subscriber: str, request: Request, limner: Running) -> Response:
    """Take one pushed event. 204: its effect is stored. 503: send it again. 400: it is no event,
    and sending it again will not help."""
    # Where nobody is known to push, nobody's events are believed.
    consumer = limner.consumers.get(subscriber) if limner.world.push_caller else None
    if consumer is None:
        return problem(
            404,
            "no_such_subscriber",
            "Nobody takes events here",
            "No subscriber of this service has that name, or its events are not pushed. Correct the"
            " push endpoint of the subscription.",
        )
    try:
        envelope = PushEnvelope.model_validate_json(await request.body())
    except ValidationError:
        consumer.refuse("it is no envelope of Pub/Sub")
        return _refusal("The body is no envelope of Pub/Sub.")
    if envelope.subscription != limner.world.subscription_path(subscriber):
        consumer.refuse("it is of another subscription")
        return _refusal("The envelope is of another subscription.")
    match await consumer.take(envelope.message.body):
        case Verdict.DONE:
            return Response(status_code=204)
        case Verdict.REFUSED:
            return _refusal("The message is no CloudEvent of ours.")
        case Verdict.AGAIN:
            return problem(
                503,
                "event_not_taken",
                "The event could not be taken now",
                "Nothing was stored. Send it again later.",
                headers={"Retry-After": "1"},
            )


def _refusal(detail: str) -> Response:
    return problem(
        400,
        "event_refused",
        "This is no event that can be taken",
        detail + " Nothing was stored; it is counted, and the log tells of it. After its last"
        " delivery the subscription's dead-letter topic has it.",
    )
