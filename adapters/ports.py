"""What the pipeline asks of the world: small protocols, each described by its promise.

An adapter satisfies one by its shape; one contract suite a port is run against every adapter.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar
from uuid import UUID

from sqlmodel import Session

from schemas.events import CloudEvent
from schemas.fidelity import Fidelity
from schemas.operations import Operands, Operation, Way
from schemas.prices import Price, PriceBook
from schemas.provenance import Provenance, SourceType
from schemas.requests import AspectRatio, Strategy
from schemas.step import Outcome, Step
from schemas.tables import EventRow
from schemas.tasks import ImageTask

P = ParamSpec("P")
T = TypeVar("T")


class Clock(Protocol):
    def now(self) -> datetime:
        """The time of day, aware, in UTC."""

    def monotonic(self) -> float:
        """Seconds that never go back; only differences mean something."""

    async def sleep(self, seconds: float) -> None: ...


class Ids(Protocol):
    """Everything random. A test hands over a seeded one and gets the same run again."""

    def new(self) -> UUID:
        """A UUIDv7, greater than every one that this source gave before."""

    def token(self) -> str:
        """A fresh secret of at least 128 bits, for leases."""

    def seed(self) -> int:
        """A picture's seed, 1 … 4294967294."""

    def jitter(self, seconds: float) -> float:
        """A wait between half of *seconds* and all of it."""


def nothing() -> None:
    """Do nothing."""


class Store(Protocol):
    """The database. Writes go through `commit` only, reads through `read`."""

    # Whether it works in another process, so that this one has time for other things meanwhile.
    works_beside: bool

    async def decide(self, group: Sequence[Step[Any]]) -> Any:
        """Decide *group* before its turn to be written, by what can be known without locks.

        The group before it may be on its way, and is taken for committed. Gives what `commit`
        takes as *decided*, or None where that could not be, or would be of no use.
        """

    async def commit(
        self,
        group: Sequence[Step[Any]],
        decided: Any = None,
        meanwhile: Callable[[], None] = nothing,
    ) -> list[Outcome]:
        """Decide and write all steps of *group* in one transaction.

        What was *decided* is written, unless something is not as it was then: the group is then
        decided anew, under locks. *meanwhile* is called at the latest when the group is on its way,
        perhaps more than once, and perhaps never where this raises.

        Either every outcome is durable when this returns, or nothing is and it raises:
        `StoreConflict` (repeat from look), `StoreRejected` (some step's data is bad),
        `StoreUnavailable` (nothing was written), `CommitUnknown` (ask `settle`).
        Keys of the group's steps are disjoint.
        """

    def send_only(self, types: frozenset[str] | None) -> None:
        """Keep for sending (in the outbox) only events of *types* from now on; None: of all."""

    async def settle(self, ticket: str) -> list[Outcome] | None:
        """Say what became of an ambiguous commit: its outcomes, or None when it was rolled back.

        Raises `StoreUnavailable` while the database cannot tell.
        """

    async def read(
        self, query: Callable[Concatenate[Session, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run one function of `adapters.store.reads` on a read-only session."""

    async def time(self) -> datetime:
        """The database's own clock."""

    async def prepare(self) -> None:
        """Do once at the start what a restored database needs before it is written."""

    async def listen(self, on_news: Callable[[], None]) -> None:
        """Call *on_news* whenever another process has committed, until cancelled.

        Calls may be missed while the database is away; *on_news* is called when it is back.
        """

    async def close(self) -> None: ...


class TaskQueue(Protocol):
    """Delivers tasks to the worker, at least once, within its rate and concurrency."""

    @property
    def incarnation(self) -> str:
        """Names this queue's memory: a task sent to another incarnation is gone."""

    async def create_image_generation_task(
        self, task: ImageTask, *, not_before: datetime | None = None
    ) -> None:
        """Take one task. Idempotent per name: a task whose name was taken counts as sent.

        Raises `QueueUnavailable` when the same call may be tried again.
        """


class EventBus(Protocol):
    @property
    def wanted(self) -> frozenset[str] | None:
        """The types of events that a subscriber wants; None where only the other side knows."""

    async def publish(self, events: Sequence[EventRow]) -> list[Exception | None]:
        """Hand over stored events, which travel as `CloudEvent`s.

        Answers for each, in the same order, None or why it did not leave. None means durable on
        the other side: no subscriber will miss it, whatever dies now.
        """


@dataclass(frozen=True, slots=True)
class StoredObject:
    key: str
    size_bytes: int
    sha256: str
    content_type: str


class BlobStore(Protocol):
    async def put(self, key: str, data: bytes, *, content_type: str) -> StoredObject:
        """Store one object; it is visible only when complete, and durable on return.

        *key* is relative to the bucket. Storing other bytes under a taken key raises `KeyTaken`;
        the same bytes are a success. Raises `BlobStoreUnavailable` when the same call may be
        tried again (a full disk included); then nothing is stored.
        """

    async def get(self, key: str) -> bytes:
        """Return an object's bytes; raise `NoSuchObject` or `BlobStoreUnavailable`."""

    async def exists(self, key: str) -> bool: ...

    async def delete(self, key: str) -> None:
        """Remove an object; an absent one is a success."""

    async def free_bytes(self) -> int | None:
        """Room that is left, where the store has a limit that it knows."""

    def location(self, key: str) -> str:
        """Where a person finds the object: a path or a `gs://` address. Never a signed URL."""

    async def signed_url(self, key: str, lifetime: timedelta) -> str | None:
        """An address under which anybody may fetch the object for *lifetime*, at most 15 minutes.

        None where the store has none: the bytes are then served by whoever has them.
        """


class CallerCheck(Protocol):
    async def check(self, authorization: str | None) -> None:
        """Return when the `Authorization` header is of whom we expect; never trust anything else.

        Raises `CallerRefused`, or `Unavailable` when that cannot be told now.
        """


@dataclass(frozen=True, slots=True)
class Variant:
    """A smaller rendition. *name* is `w<width>`."""

    name: str
    data: bytes = field(repr=False)
    content_type: str
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class TakenPicture:
    """A picture that was decoded, measured and stripped of metadata."""

    data: bytes = field(repr=False)
    content_type: str
    width: int
    height: int
    variants: tuple[Variant, ...]


class Pictures(Protocol):
    async def take_in(self, data: bytes, provenance: Provenance | None = None) -> TakenPicture:
        """Decode under limits, measure, strip metadata, make WebP variants, narrowest first.

        The picture and its variants tell *provenance*, where it is given. The delivered pixels are
        kept as they came wherever the format can be stripped without encoding again.
        Deterministic: the same bytes and provenance give the same answer. Raises `BadPicture` for
        what is no picture, and `Unavailable` when the worker process died.
        """

    async def compare(self, draft: bytes, final: bytes) -> Fidelity:
        """Say how much of *draft* is kept in *final*, both as `take_in` left them.

        Deterministic. Raises as `take_in` does.
        """


# A provider can do these only with the draft's picture.
MADE_OF_SOURCE = frozenset({Strategy.IMAGE_TO_IMAGE, Strategy.UPSCALE})


@dataclass(frozen=True, slots=True)
class PaintRequest:
    """What a provider is asked for. Sizes are pixels; *seed* is always given."""

    job_id: UUID
    attempt: int
    prompt: str
    negative_prompt: str
    quality: str
    style: str | None
    aspect_ratio: str
    seed: int
    # For a final: how it is made of its draft, and the draft's picture where it is made of that.
    strategy: Strategy = Strategy.REGENERATE
    source: bytes | None = field(default=None, repr=False)
    # For whatever else is made of a picture: *source* is that one. A mask is white where to change.
    operation: Operation | None = None
    operands: Operands = Operands()
    mask: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class PaintedPicture:
    data: bytes = field(repr=False)
    content_type: str
    seed: int


@dataclass(frozen=True, slots=True)
class Painting:
    """A provider's answer. *cost* is what it charges (USD); None where the price is unknown."""

    pictures: tuple[PaintedPicture, ...]
    model: str
    cost: Decimal | None
    warnings: tuple[str, ...] = ()
    # What the pictures are said to be, to everybody who gets them.
    source_type: SourceType = SourceType.TRAINED


@dataclass(frozen=True, slots=True)
class KeyLimits:
    """How often a provider may be asked with one API key, by all processes together.

    *fingerprint* tells keys apart and gives none of them away.
    """

    fingerprint: str
    requests: int
    window: timedelta


@dataclass(frozen=True, slots=True)
class Accepted:
    """A provider's answer where it goes on by itself: ask again, by its own name for the call."""

    provider_ref: str
    ask_again_after: timedelta


@dataclass(frozen=True, slots=True)
class Parameters:
    """With which parameters a model is asked; None for one that it does not take.

    *warnings* name what is usual for the quality and is left out or changed.
    """

    steps: int | None = None
    cfg_scale: float | None = None
    warnings: tuple[str, ...] = ()


class ImageProvider(Protocol):
    @property
    def name(self) -> str: ...

    @property
    def repeatable(self) -> bool:
        """Free, and the same seed paints the same picture: a lost answer is simply asked again."""

    @property
    def styles(self) -> frozenset[str]: ...

    @property
    def strategies(self) -> tuple[Strategy, ...]:
        """How it makes finals of drafts, the best way first; `regenerate` is always among them."""

    @property
    def operations(self) -> tuple[Operation, ...]:
        """What it does to pictures beside that."""

    @property
    def aspect_ratios(self) -> tuple[AspectRatio, ...]:
        """What it has itself; any other is cropped of the nearest, and the painting warns of it."""

    @property
    def price_book(self) -> PriceBook: ...

    @property
    def limits(self) -> KeyLimits | None:
        """None where it may be asked at any time: such a provider has no rate and no circuit."""

    def resolve_model(self, quality: str, way: Way = Strategy.REGENERATE) -> str:
        """The model that paints this quality in this way."""

    def parameters(self, quality: str, way: Way = Strategy.REGENERATE) -> Parameters:
        """With what that model is asked."""

    def quote(self, quality: str, way: Way = Strategy.REGENERATE) -> Price | None:
        """What one picture costs by the price book; None when it is not known, never 0 for that."""

    def price(self, quality: str, way: Way = Strategy.REGENERATE) -> Decimal | None:
        """The same in US dollars."""

    async def generate(self, request: PaintRequest) -> Painting | Accepted:
        """Paint. Raises `ProviderBusy`, `ProviderRefused` or `OutcomeUnknown`, nothing else."""

    async def poll(self, provider_ref: str, request: PaintRequest) -> Painting | Accepted:
        """Ask what became of an accepted *request*. Free, and may be repeated.

        Raises `ResultGone` where it will never be told, `ProviderRefused` where there will be no
        picture; after `ProviderBusy` and `OutcomeUnknown` the same call may be tried again.
        """


@dataclass(frozen=True, slots=True)
class WebReply:
    """What a caller's URL answered; redirects are answers. Names of *headers* are small letters."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)
    # False: the body was longer than asked for, or broke off.
    whole: bool


class Web(Protocol):
    """Whatever lies behind addresses that callers name: requests leave only as the guard allows."""

    async def check(self, url: str) -> None:
        """Raise `AddressRefused` for a URL that `send` would refuse now, `NoReply` if in doubt."""

    async def send(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        body: bytes,
        within: timedelta,
        max_bytes: int,
    ) -> WebReply:
        """Send one request, once; follows no redirect, reads at most *max_bytes* of the reply.

        Raises `AddressRefused` before anything left, `NoReply` when no status came *within*.
        """


class Fetcher(Protocol):
    """Takes pictures from addresses that callers name."""

    async def fetch(self, url: str) -> bytes:
        """Bytes that begin as a picture, at most as many as a picture may have.

        Raises `AddressRefused` before anything left, `NoReply`, and `NotFetched` where what came
        is no picture. No text names the address, or where it leads.
        """


class Processes(Protocol):
    """A few worker processes for work that would hold up the event loop."""

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a module-level function elsewhere. Raises `Unavailable` when its process died."""

    async def close(self) -> None: ...


TaskHandler = Callable[[ImageTask], Awaitable["TaskAnswer"]]
EventHandler = Callable[[CloudEvent], Awaitable[None]]
HandlerOfMany = Callable[[Sequence[CloudEvent]], Awaitable[Sequence[Exception | None]]]


@dataclass(frozen=True, slots=True)
class TaskAnswer:
    """What the worker tells its queue: done (whatever came of the job), or send it again."""

    done: bool
    reason: str

    @property
    def status_code(self) -> int:
        return 200 if self.done else 503


@dataclass(frozen=True, slots=True)
class Backoff:
    """Waits that double from *first* up to *most*."""

    first: timedelta = timedelta(seconds=0.1)
    most: timedelta = timedelta(seconds=60)

    def after(self, failures: int) -> float:
        """Seconds to wait after the *failures*-th failure in a row, 1 being the first."""
        doublings = min(failures - 1, 32)
        return min(self.first.total_seconds() * 2.0**doublings, self.most.total_seconds())
