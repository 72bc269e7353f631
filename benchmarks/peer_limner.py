"""Limner as a peer of the yardstick: its use cases on PostgreSQL, one worker process.

The submitter only commits; the worker is woken by NOTIFY and runs queue, bus and subscribers. The
provider answers the yardstick's `generate()`. Jobs are the drafts of batches (ten a post, one where
jobs are submitted one by one) whose finals wait for an approval; the two effects are blog-linking
and draft-promotion. The blob store and the pictures are stand-ins, since no peer handles bytes;
nothing else is left out or switched off.

Run through the yardstick's own `run.py`, with this file as the peer.
"""

import asyncio
import contextlib
import gc
import logging
import os
import sys
from collections.abc import AsyncIterator, Sequence
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

import asyncpg
import structlog
from common import DSN, PAYLOAD, Sub, arun, gather_bounded, generate, peer_main

from adapters.errors import NoSuchObject
from adapters.local.bus import LocalEventBus
from adapters.local.clock import SystemClock
from adapters.local.ids import RandomIds, SystemEntropy
from adapters.local.queue import LocalTaskQueue
from adapters.ports import (
    PaintedPicture,
    Painting,
    PaintRequest,
    Parameters,
    StoredObject,
    TakenPicture,
)
from adapters.store.database import AnyStore, migrate, open_store
from pipeline.batch import submit_batch
from pipeline.dispatch import Dispatching
from pipeline.generate import generate as generate_job
from pipeline.journal import Journal
from pipeline.providers import Providers
from pipeline.quarantine import quarantine
from pipeline.relay import Relay
from pipeline.subscribers import SUBSCRIBERS
from pipeline.sweep import Sweep
from pipeline.worker import Worker
from schemas.fidelity import Fidelity
from schemas.prices import Price, PriceBook, PriceEntry
from schemas.provenance import Provenance
from schemas.requests import (
    Approval,
    AspectRatio,
    BatchImageGenerationRequest,
    ImageGenerationRequest,
    Strategy,
)

structlog.configure(
    wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR),
    cache_logger_on_first_use=True,  # as `limner serve` does
)

TENANT = "default"
SUBMITTED_AT_ONCE = 20
JOBS_A_POST = 10

EFFECTS = """
ALTER TABLE inbox ADD COLUMN written_at timestamptz NOT NULL DEFAULT clock_timestamp();
DROP TABLE yard_effect;
CREATE VIEW yard_effect AS SELECT
    (SELECT j.blog_job_id FROM events e JOIN jobs j ON j.id = e.stream_id::uuid
      WHERE e.event_id = i.event_id) AS job_id,
    i.subscriber AS kind, i.written_at AS at FROM inbox i;
"""
# One effect, one note: the yardstick's client waits for the id that it submitted, twice. PostgreSQL
# gives equal notes of one transaction once, and both effects may share a commit; so they are told
# apart here, and passed on one by one (`passed_on`), which costs this peer a round trip.
NOTES = """
CREATE INDEX events_by_id ON events (event_id);
CREATE FUNCTION yard_note() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('effects', j.blog_job_id || ' ' || NEW.subscriber)
      FROM events e JOIN jobs j ON j.id = e.stream_id::uuid WHERE e.event_id = NEW.event_id;
    RETURN NULL;
END $$;
CREATE TRIGGER yard_note AFTER INSERT ON inbox FOR EACH ROW EXECUTE FUNCTION yard_note();
"""


class NoBlobs:
    """Takes what is put and keeps nothing; a worker has what it staged at hand."""

    async def put(self, key: str, data: bytes, *, content_type: str) -> StoredObject:
        return StoredObject(key, len(data), "0" * 64, content_type)

    async def get(self, key: str) -> bytes:
        raise NoSuchObject(key)

    async def exists(self, key: str) -> bool:
        return False

    async def delete(self, key: str) -> None:
        return

    async def free_bytes(self) -> int | None:
        return None

    def location(self, key: str) -> str:
        return key


class NoPictures:
    async def take_in(self, data: bytes, provenance: Provenance | None = None) -> TakenPicture:
        return TakenPicture(data, "image/png", 1024, 1024, ())

    async def compare(self, draft: bytes, final: bytes) -> Fidelity:
        return Fidelity.judged(1.0, 0)


class YardProvider:
    name = "yard"
    repeatable = False
    styles: frozenset[str] = frozenset()
    strategies = (Strategy.REGENERATE,)

    aspect_ratios = tuple(AspectRatio)
    price_book = PriceBook("yard", (PriceEntry(Price(Decimal("0.01"))),))
    limits = None

    def resolve_model(self, quality: str, strategy: Strategy = Strategy.REGENERATE) -> str:
        return "fake-xl"

    def parameters(self, quality: str, strategy: Strategy = Strategy.REGENERATE) -> Parameters:
        return Parameters()

    def quote(self, quality: str, strategy: Strategy = Strategy.REGENERATE) -> Price | None:
        return Price(Decimal("0.01"))

    def price(self, quality: str, strategy: Strategy = Strategy.REGENERATE) -> Decimal | None:
        return Decimal("0.01")

    async def generate(self, request: PaintRequest) -> Painting:
        result: dict[str, Any] = await generate(PAYLOAD)
        picture = PaintedPicture(str(result["url"]).encode(), "image/png", request.seed)
        return Painting((picture,), "fake-xl", Decimal("0.01"))


YARD = YardProvider()
IDS = RandomIds(SystemClock(), SystemEntropy())


def setup() -> None:
    async def make() -> None:
        await migrate(DSN)
        connection = await asyncpg.connect(DSN)
        await connection.execute(EFFECTS)
        if os.environ.get("YARD_WORK") == "w3":
            await connection.execute(NOTES)
        await connection.close()

    asyncio.run(make())


def worker(concurrency: int) -> None:
    async def work() -> None:
        store = open_store(DSN)
        await store.prepare()
        async with at_work(store, concurrency) as (sweep, _):
            await asyncio.gather(sweep.run(), store.listen(sweep.wake))

    arun(work())


def collect_as_served() -> None:
    """Collect garbage as seldom as `limner serve` does."""
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


@contextlib.asynccontextmanager
async def at_work(store: AnyStore, concurrency: int) -> AsyncIterator[tuple[Sweep, Journal]]:
    """Queue, bus, relay and subscribers on *store*; the sweep is the caller's to run."""
    collect_as_served()
    clock = SystemClock()
    ids = RandomIds(clock, SystemEntropy())
    journal = Journal(store, clock, ids)
    await journal.start()
    dispatching = Dispatching.unknown(journal)
    machine = Worker(
        journal,
        clock,
        ids,
        Providers({YARD.name: YARD}, YARD.name, {}),
        NoBlobs(),
        NoPictures(),
        is_paused=dispatching.is_paused,
    )
    queue = LocalTaskQueue(
        partial(generate_job, worker=machine),
        clock=clock,
        ids=ids,
        dispatches_per_second=None,
        concurrent_dispatches=concurrency,
    )
    bus = LocalEventBus(
        [one.subscription(journal, ids, machine.providers) for one in SUBSCRIBERS],
        clock=clock,
        ids=ids,
        quarantine=partial(quarantine, journal=journal),
        concurrency_per_subscriber=1_000,
    )
    relay = Relay(journal, queue, bus, clock, dispatching.is_paused)
    relay.start()
    sweep = Sweep(machine, relay, queue.incarnation, dispatching)
    await sweep.take_over()
    queue.start()
    yield sweep, journal
    await relay.stop()
    await journal.close()


@contextlib.asynccontextmanager
async def passed_on() -> AsyncIterator[None]:
    """While this lasts, each effect's note reaches the client in a transaction of its own."""
    notes: asyncio.Queue[str] = asyncio.Queue()
    connection, sender = await asyncpg.connect(DSN), await asyncpg.connect(DSN)

    def heard(_: object, __: int, ___: str, payload: object) -> None:
        notes.put_nowait(str(payload).split(" ")[0])

    async def send() -> None:
        while True:
            await sender.execute("SELECT pg_notify('yard', $1)", await notes.get())

    await connection.add_listener("effects", heard)
    sending = asyncio.create_task(send())
    yield
    sending.cancel()
    await connection.close()
    await sender.close()


@contextlib.asynccontextmanager
async def submitter() -> AsyncIterator[Sub]:
    collect_as_served()
    clock = SystemClock()
    store = open_store(DSN)
    journal = Journal(store, clock, RandomIds(clock, SystemEntropy()))
    # As where submitter and worker are one process, whose local bus knows what is wanted.
    journal.send_only(frozenset().union(*(s.types for s in SUBSCRIBERS)))
    await journal.start()

    async def one(job_id: str) -> None:
        await post(journal, [job_id])

    async def many(job_ids: Sequence[str]) -> None:
        await gather_bounded(SUBMITTED_AT_ONCE, posts(job_ids), partial(post, journal))

    async with passed_on() if os.environ.get("YARD_WORK") == "w3" else contextlib.nullcontext():
        yield Sub(one, many)
    await journal.close()
    await store.close()


def posts(job_ids: Sequence[str]) -> list[Sequence[str]]:
    return [job_ids[first : first + JOBS_A_POST] for first in range(0, len(job_ids), JOBS_A_POST)]


async def post(journal: Journal, job_ids: Sequence[str]) -> None:
    """Ask for one batch of drafts, whose finals wait for an approval."""
    request = BatchImageGenerationRequest(
        images=[
            ImageGenerationRequest(
                prompt=PAYLOAD["prompt"], seed=PAYLOAD["seed"], blog_job_id=job_id
            )
            for job_id in job_ids
        ],
        blog_id=f"post-{job_ids[0]}",
        approval=Approval.REQUIRED,
    )
    await submit_batch(
        request,
        tenant=TENANT,
        idempotency_key=None,
        most_images=JOBS_A_POST,
        journal=journal,
        ids=IDS,
        providers=Providers({YARD.name: YARD}, YARD.name, {}),
        estimate=lambda qualities: 20,
    )


if __name__ == "__main__":
    peer_main(setup, worker, submitter)
