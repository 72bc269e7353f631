"""One attempt to deliver: send the signed message, and write down what came of it."""

from dataclasses import dataclass
from datetime import timedelta

import structlog

from adapters.errors import AddressRefused, NoReply
from adapters.http import retry_after
from adapters.ports import Clock, Ids, Web
from pipeline.journal import Journal
from pipeline.webhooks.rows import delivery_key, update_delivery, webhook_key
from pipeline.webhooks.signatures import signed
from pipeline.webhooks.verdict import (
    BUSY,
    MOST_RETRY_AFTER,
    Tried,
    judged,
    settled,
    wait_after,
)
from schemas.step import Look, Lost, Step, Writes
from schemas.tables import DeliveryRow, WebhookRow

log = structlog.get_logger(__name__)

# A CloudEvent in structured mode (https://github.com/cloudevents/spec, HTTP binding).
CONTENT_TYPE = "application/cloudevents+json; charset=utf-8"
USER_AGENT = "Limner-Webhooks/1"
# A status is all that counts; of the rest enough is read for a small reply to end in peace.
MOST_REPLY_BYTES = 16 * 1024
# How long after the end of an attempt its sender is given up for dead.
LEASE_MARGIN = timedelta(seconds=30)


class DeliveryMoved(Lost):
    """Somebody else has the delivery, or its endpoint was removed."""


@dataclass(frozen=True, slots=True)
class Sender:
    """What an attempt needs of the world; *timeout* bounds one from its first byte to its last."""

    journal: Journal
    clock: Clock
    ids: Ids
    web: Web
    timeout: timedelta

    @property
    def lease(self) -> timedelta:
        return self.timeout + LEASE_MARGIN

    async def attempt(self, row: DeliveryRow, hook: WebhookRow) -> Tried:
        """Send *row* to *hook*, once. Nothing is written."""
        at, began = self.journal.now(), self.clock.monotonic()
        body = row.body.encode()
        headers = {
            "content-type": CONTENT_TYPE,
            "user-agent": USER_AGENT,
            **signed(row.event_id, body, hook.secrets, at),
        }
        status = error = wait = None
        try:
            reply = await self.web.send(
                "POST",
                hook.url,
                headers=headers,
                body=body,
                within=self.timeout,
                max_bytes=MOST_REPLY_BYTES,
            )
        except AddressRefused as exc:
            error = f"the address may not be connected to: {exc}"
        except NoReply as exc:
            error = str(exc)
        except Exception as exc:  # a defect of ours: the delivery goes on as after any failure
            log.exception("webhook_sender_broken", webhook_id=str(hook.id))
            error = f"an error of the sender ({type(exc).__name__})"
        else:
            status = reply.status
            if status in BUSY:
                wait = retry_after(reply.headers, MOST_RETRY_AFTER)
            if not 200 <= status < 300:
                error = _told(status)
        elapsed_ms = round((self.clock.monotonic() - began) * 1000)
        return Tried(row.attempts, at, elapsed_ms, status, error, wait)

    async def settle(
        self, row: DeliveryRow, hook: WebhookRow, tried: Tried, *, counts: bool = True
    ) -> DeliveryRow:
        """Write down what came of the attempt that *row* is at; an attempt that *counts* also
        tells about its endpoint. Raises `DeliveryMoved` where somebody else has it by now."""
        now = self.journal.now()
        wait = timedelta(seconds=self.ids.jitter(wait_after(row).total_seconds()))
        key = delivery_key(row.target_id, row.event_id)

        def decide(look: Look, writes: Writes) -> tuple[DeliveryRow, bool]:
            present = look.get(DeliveryRow, *key.key)
            if present is None or not present.sending or present.attempts != row.attempts:
                raise DeliveryMoved
            after = settled(present, tried, now, wait)
            update_delivery(writes, after)
            endpoint = look.get(WebhookRow, hook.id)
            # What another address answers says nothing of this one.
            if not counts or endpoint is None or endpoint.url != hook.url:
                return after, False
            after_it = judged(endpoint, tried, now)
            writes.update(after_it, hook.id)
            return after, endpoint.disabled_at is None and after_it.disabled_at is not None

        step = Step("settle_delivery", decide, (key,), (webhook_key(hook.id),))
        after, disabled = await self.journal.record(step)
        self._tell(after, tried, disabled)
        return after

    def _tell(self, row: DeliveryRow, tried: Tried, disabled: bool) -> None:
        facts = {
            "webhook_id": str(row.target_id),
            "event_id": str(row.event_id),
            "attempt": tried.attempt,
            "status": tried.status,
            "elapsed_ms": tried.elapsed_ms,
        }
        if tried.succeeded:
            log.info("webhook_delivered", **facts)
        else:
            log.warning("webhook_not_delivered", **facts, error=tried.error, state=row.state.value)
        if disabled:
            log.error("webhook_disabled", webhook_id=str(row.target_id), status=tried.status)


def _told(status: int) -> str:
    if 300 <= status < 400:
        return f"it answered {status}; redirects are not followed, name the address itself"
    return f"it answered {status}"
