"""Take webhooks: from any HTTP server, give headers and body, and answer the status."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime

import structlog

from adapters.delivery import Verdict
from adapters.kit.signature import Unsigned, key_of, verify
from adapters.kit.subscriber import Subscriber

log = structlog.get_logger()

# Events are far smaller.
MOST_BODY_BYTES = 1_000_000
STATUS: Mapping[Verdict, int] = {Verdict.DONE: 204, Verdict.AGAIN: 503, Verdict.REFUSED: 400}
UNSIGNED, TOO_LARGE = 401, 413


class Webhook:
    """*secrets* are those of the webhook's registration; two while one is being replaced."""

    def __init__(
        self,
        subscriber: Subscriber,
        secrets: Sequence[str],
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        if not secrets or not all(map(key_of, secrets)):
            raise ValueError("without a secret anybody could send events")
        self._subscriber = subscriber
        self._secrets = tuple(secrets)
        self._now = now

    async def take(self, headers: Mapping[str, str], body: bytes) -> int:
        """Handle one request; the status to answer. Any body does not matter."""
        refusal = self._refusal(headers, body)
        return refusal or STATUS[await self._subscriber.take(body)]

    def take_now(self, headers: Mapping[str, str], body: bytes) -> int:
        """`take` for programs without an event loop."""
        refusal = self._refusal(headers, body)
        return refusal or STATUS[self._subscriber.take_now(body)]

    def _refusal(self, headers: Mapping[str, str], body: bytes) -> int | None:
        if len(body) > MOST_BODY_BYTES:
            return TOO_LARGE
        try:
            verify(self._secrets, headers, body, self._now())
        except Unsigned as exc:
            log.warning("webhook_refused", subscriber=self._subscriber.name, reason=str(exc))
            return UNSIGNED
        return None
