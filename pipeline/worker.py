"""What the generation step, the settlements and the sweep's rescues work with."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from adapters.ports import Backoff, BlobStore, Clock, Ids, Pictures
from pipeline.journal import Journal
from pipeline.providers import Providers


@dataclass(frozen=True, slots=True)
class TimeBudgets:
    """provider < worker < lease < dispatch deadline; checked when the program starts."""

    provider: timedelta = timedelta(seconds=90)
    worker: timedelta = timedelta(seconds=120)
    lease: timedelta = timedelta(seconds=150)
    dispatch_deadline: timedelta = timedelta(seconds=180)
    # How long a provider may work on what it has accepted; polls are bounded by `provider`.
    accepted: timedelta = timedelta(hours=1)

    def __post_init__(self) -> None:
        if not self.provider < self.worker < self.lease < self.dispatch_deadline:
            raise ValueError(
                "the time budgets must rise: provider < worker < lease < dispatch deadline;"
                f" they are {self.provider}, {self.worker}, {self.lease}, {self.dispatch_deadline}"
            )


@dataclass(frozen=True, slots=True)
class Worker:
    """What the generation step and the sweep's rescues work with."""

    journal: Journal
    clock: Clock
    ids: Ids
    providers: Providers
    blobs: BlobStore
    pictures: Pictures
    budgets: TimeBudgets = TimeBudgets()
    # Whether jobs are to be left alone for now; what is already asked goes on.
    is_paused: Callable[[], bool] = lambda: False
    # Between two tries to store bytes or to commit them; the paid call is never repeated.
    backoff: Backoff = Backoff(timedelta(milliseconds=200), timedelta(seconds=5))
