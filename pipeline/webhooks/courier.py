"""The courier: collects what has happened for endpoints, and sends it until it has arrived.

One in every process; a delivery is claimed in a commit before it is sent, so that two do not send
the same one, and is taken over when whoever claimed it has died. While no endpoint is enabled it
only looks now and then whether there is one.
"""

import asyncio
from collections import Counter
from collections.abc import Coroutine, Sequence
from datetime import datetime
from uuid import UUID

import structlog

from adapters.errors import Unavailable
from adapters.store import webhook_reads
from pipeline.journal import Journal, JournalClosed
from pipeline.webhooks.attempt import DeliveryMoved, Sender
from pipeline.webhooks.collect import collect
from pipeline.webhooks.rows import SUBSCRIBER, delivery_key, update_delivery, webhook_key
from schemas.step import Look, RowKey, Step, Writes
from schemas.tables import DeliveryRow, EventRow, WebhookRow

log = structlog.get_logger(__name__)

# How soon an endpoint that another process registered, and what another one left, is seen.
LOOK_SECONDS = 5.0
SENDS_AT_ONCE = 64
# One endpoint that hangs must leave room for the others.
SENDS_TO_ONE_AT_ONCE = 8
TAKEN_OVER_AT_ONCE = 500

Claimed = list[tuple[DeliveryRow, WebhookRow]]


class Courier:
    def __init__(self, sender: Sender, *, alone: bool = False) -> None:
        """*alone*: no other process has this database, so at the start nothing is being sent."""
        self.sender = sender
        self._alone = alone
        self._is_wanted = False
        self._woken = asyncio.Event()
        self._sends: dict[tuple[UUID, UUID], asyncio.Task[None]] = {}

    @property
    def _journal(self) -> Journal:
        return self.sender.journal

    @property
    def sends(self) -> set[asyncio.Task[None]]:
        """What is being sent now."""
        return set(self._sends.values())

    def wake(self) -> None:
        """An endpoint was changed, or there is something to send."""
        self._woken.set()

    def take(self, committed: Sequence[Writes]) -> None:
        """Called by the journal after each commit; without endpoints nothing is looked at."""
        if self._is_wanted and any(
            isinstance(row, EventRow) for writes in committed for _, row in writes.inserts
        ):
            self._woken.set()

    def hear(self) -> None:
        """Another process has committed something; without endpoints nothing is looked at."""
        if self._is_wanted:
            self._woken.set()

    async def run(self) -> None:
        """Collect and send until cancelled; `sends` go on then."""
        if self._alone:
            await self._guarded(self.take_over())
        while True:
            self._woken.clear()
            await self._guarded(self.round())
            await self._wait()

    async def once(self) -> None:
        """One round, with all that it sends done."""
        await self.round()
        while self._sends:
            await asyncio.gather(*self.sends)

    async def round(self) -> None:
        """Store what has happened since, then begin to send what is due."""
        while True:
            webhooks, more = await collect(self._journal)
            self._is_wanted = bool(webhooks)
            if not more:
                break
        now = self._journal.now()
        busy = Counter(webhook_id for webhook_id, _ in self._sends)
        room = {
            one.id: SENDS_TO_ONE_AT_ONCE - busy[one.id]
            for one in webhooks
            if (one.paused_until is None or one.paused_until <= now)
            and busy[one.id] < SENDS_TO_ONE_AT_ONCE
        }
        if room:
            await self._send_due(room, now)

    async def take_over(self) -> None:
        """What an earlier process was sending when it died is due now."""
        now = self._journal.now()
        while left := await self._journal.read(
            webhook_reads.deliveries_being_sent, SUBSCRIBER, TAKEN_OVER_AT_ONCE
        ):
            keys = [delivery_key(one.target_id, one.event_id) for one in left]

            def decide(look: Look, writes: Writes, keys: Sequence[RowKey] = keys) -> None:
                for key in keys:
                    row = look.get(DeliveryRow, *key.key)
                    if row is not None and row.sending:
                        update_delivery(writes, row.changed(sending=False, due_at=now))

            await self._journal.record(Step("take_over_deliveries", decide, tuple(keys)))

    async def _send_due(self, room: dict[UUID, int], now: datetime) -> None:
        due = await self._journal.read(webhook_reads.due_deliveries, SUBSCRIBER, room, now)
        chosen = self._fairly(due)[: max(0, SENDS_AT_ONCE - len(self._sends))]
        if chosen:
            for row, hook in await self._claim(chosen, now):
                self._send_soon(row, hook)

    def _fairly(self, due: Sequence[DeliveryRow]) -> list[DeliveryRow]:
        """Those first whose endpoint has the least in hand."""
        in_hand = Counter(webhook_id for webhook_id, _ in self._sends)
        ranked = []
        for row in due:
            ranked.append((in_hand[row.target_id], row))
            in_hand[row.target_id] += 1
        return [row for _, row in sorted(ranked, key=lambda one: one[0])]

    async def _claim(self, due: Sequence[DeliveryRow], now: datetime) -> Claimed:
        """Take deliveries that are still due; until the lease ends they are nobody else's."""
        keys = tuple(delivery_key(one.target_id, one.event_id) for one in due)
        until = now + self.sender.lease

        def decide(look: Look, writes: Writes) -> Claimed:
            claimed: Claimed = []
            for key in keys:
                row, hook = look.get(DeliveryRow, *key.key), look.get(WebhookRow, key.key[1])
                if row is None or row.due_at is None or row.due_at > now:
                    continue
                if hook is None or hook.disabled_at is not None or hook.deleted_at is not None:
                    continue
                row = row.changed(attempts=row.attempts + 1, sending=True, due_at=until)
                update_delivery(writes, row)
                claimed.append((row, hook))
            return claimed

        hooks = tuple({webhook_key(one.target_id): None for one in due})
        return await self._journal.record(Step("claim_deliveries", decide, keys, hooks))

    def _send_soon(self, row: DeliveryRow, hook: WebhookRow) -> None:
        task = asyncio.create_task(self._send(row, hook))
        self._sends[row.target_id, row.event_id] = task

    async def _send(self, row: DeliveryRow, hook: WebhookRow) -> None:
        try:
            tried = await self.sender.attempt(row, hook)
            await self.sender.settle(row, hook, tried)
        except DeliveryMoved:
            log.info("delivery_moved", webhook_id=str(hook.id), event_id=str(row.event_id))
        except (Unavailable, JournalClosed) as exc:  # when its lease is over it is sent again
            log.warning("delivery_not_settled", webhook_id=str(hook.id), error=str(exc))
        except Exception:
            log.exception("delivery_not_settled", webhook_id=str(hook.id))
        finally:
            del self._sends[row.target_id, row.event_id]
            self._woken.set()  # there is room for the next

    async def _guarded(self, work: Coroutine[None, None, None]) -> None:
        try:
            await work
        except (Unavailable, JournalClosed) as exc:
            log.warning("courier_interrupted", error=str(exc))
        except Exception:
            log.exception("courier_failed")

    async def _wait(self) -> None:
        timer = asyncio.ensure_future(self.sender.clock.sleep(LOOK_SECONDS))
        woken = asyncio.ensure_future(self._woken.wait())
        try:
            await asyncio.wait({timer, woken}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            timer.cancel()
            woken.cancel()
