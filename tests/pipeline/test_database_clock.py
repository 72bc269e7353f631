"""The database's clock: what it is corrected by, and what happens when it cannot be asked."""

from datetime import datetime, timedelta

from adapters.errors import StoreUnavailable
from pipeline.database_clock import REFRESHED_AFTER, DatabaseClock
from tests.fakes.clock import FakeClock


class _Database:
    """Its clock is an hour ahead; to ask takes two seconds."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock, self.ahead, self.looks = clock, timedelta(hours=1), 0
        self.is_away = False

    async def time(self) -> datetime:
        self.looks += 1
        if self.is_away:
            raise StoreUnavailable("away")
        await self.clock.advance(1)
        theirs = self.clock.now() + self.ahead
        await self.clock.advance(1)
        return theirs


async def looked_at() -> tuple[FakeClock, _Database, DatabaseClock]:
    clock = FakeClock()
    database = _Database(clock)
    time = DatabaseClock(database.time, clock)
    await time.look()
    return clock, database, time


async def test_half_of_the_round_trip_is_added() -> None:
    clock, _, time = await looked_at()
    assert time.now() == clock.now() + timedelta(hours=1)


async def test_it_is_looked_at_again_after_a_minute() -> None:
    clock, database, time = await looked_at()
    database.ahead = timedelta(hours=2)
    await clock.advance(REFRESHED_AFTER.total_seconds() - 1)
    await time.refresh()
    assert database.looks == 1
    await clock.advance(1)
    await time.refresh()
    assert time.now() == clock.now() + timedelta(hours=2)


async def test_where_it_cannot_be_asked_time_goes_on_as_before() -> None:
    clock, database, time = await looked_at()
    database.is_away = True
    await clock.advance(REFRESHED_AFTER.total_seconds())
    await time.refresh()
    await time.refresh()
    assert database.looks == 2, "and it is not asked again at once"
    assert time.now() == clock.now() + timedelta(hours=1)
