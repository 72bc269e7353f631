"""The creative upscale, the one operation that the service runs by itself: started, then polled.

It keeps a result for 24 hours, and wants to be asked at most once in 10 seconds.
"""

import re
from datetime import timedelta
from http import HTTPStatus

from adapters.errors import OutcomeUnknown
from adapters.http import Reply
from adapters.ports import Accepted, PaintRequest
from adapters.providers.replies import Drawn
from adapters.providers.stability.models import Wire
from adapters.providers.stability.wire import Asking, answer, fields_of, json_of

ASK_AGAIN_AFTER = timedelta(seconds=10)
# 202 where it is not done yet.
TAKEN = frozenset({HTTPStatus.OK, HTTPStatus.ACCEPTED})
# An id becomes part of an address.
ID = re.compile(r"[A-Za-z0-9_-]{1,200}")


def starting(request: PaintRequest, source: bytes) -> Asking:
    """The request that starts the operation on *source*; its reply is read by `accepted`."""
    form = {
        "prompt": request.prompt,
        "negative_prompt": request.negative_prompt,
        "seed": str(request.seed),
        "style_preset": request.style or "",
        "output_format": "png",
    }
    headers = {"accept": "application/json"}
    path = "/v2beta/stable-image/upscale/creative"
    return Asking(path, {"files": fields_of(form, "image", source), "headers": headers})


def accepted(reply: Reply) -> Accepted:
    """The name under which the result is fetched; without one the charged picture is lost."""
    told = json_of(reply).get("id")
    if not (isinstance(told, str) and ID.fullmatch(told)):
        raise OutcomeUnknown("Stability AI's reply names no id under which to ask again")
    return Accepted(told, ASK_AGAIN_AFTER)


def asking_about(provider_ref: str) -> Asking:
    return Asking(f"/v2beta/results/{provider_ref}", {"headers": {"accept": "image/*"}})


def finished(reply: Reply, seed: int) -> Drawn | None:
    """The picture, where it is done. Raises as `answer` does."""
    return answer(reply, Wire.CORE, seed) if reply.status == HTTPStatus.OK else None
