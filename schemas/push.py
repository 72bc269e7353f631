"""What Pub/Sub posts to a push subscription's endpoint."""

import base64
import binascii
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict


def _base64(text: str) -> str:
    try:
        base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as exc:
        raise ValueError("it must be base64") from exc
    return text


class PushMessage(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    data: Annotated[str, AfterValidator(_base64)]

    @property
    def body(self) -> bytes:
        return base64.b64decode(self.data)


class PushEnvelope(BaseModel):
    """https://cloud.google.com/pubsub/docs/push#receive_push"""

    model_config = ConfigDict(extra="ignore", frozen=True)

    message: PushMessage
    subscription: str
