"""What can go wrong outside, told as what the caller should do about it."""

from datetime import timedelta
from typing import Any


class AdapterError(Exception):
    """Base of everything that adapters raise on purpose. It crosses a process border whole."""

    def __reduce__(self) -> tuple[Any, ...]:
        # Exception's own would call `__init__` with the message alone.
        return _rebuilt, (type(self), self.args), self.__dict__


def _rebuilt(kind: type[AdapterError], args: tuple[Any, ...]) -> AdapterError:
    return kind.__new__(kind, *args)


class Unavailable(AdapterError):
    """The other side cannot be reached or cannot write now; the same call may be tried again."""


class StoreUnavailable(Unavailable):
    """The database took nothing of this call: unreachable, read-only, full."""


class StoreConflict(AdapterError):
    """The group lost to another transaction (unique, deadlock, serialization, or a row that is not
    as it was found): repeat from look."""


class StoreRejected(AdapterError):
    """The database refuses the data of some step in the group, however often it is repeated."""


class CommitUnknown(Unavailable):
    """No reply came to what commits the group. Ask the store to `settle` *ticket*."""

    def __init__(self, ticket: str) -> None:
        super().__init__("the connection was lost before the database confirmed the commit")
        self.ticket = ticket


class SchemaOutdated(AdapterError):
    """The database's schema is not this program's."""


class MigrationBlocked(Unavailable):
    """Others use what a migration must change, or migrate themselves; nothing was changed."""


class AlreadyRunning(AdapterError):
    """Another process holds the lock of this database."""


class QueueUnavailable(Unavailable):
    """The task queue did not take the task."""


class BusUnavailable(Unavailable):
    """The event bus did not take the event."""


class BlobStoreUnavailable(Unavailable):
    """Nothing was stored or read; the same call may be tried again."""


class AddressRefused(AdapterError):
    """The guard does not let anybody connect to this URL. The text says why, without its host."""


class NoReply(AdapterError):
    """A request to a caller's URL came to no reply; whether it arrived is not known."""


class NotFetched(AdapterError):
    """There was a reply from a caller's URL, and no picture in it. The text says why."""


class KeyTaken(AdapterError):
    """Other bytes lie under this key already; objects are never overwritten."""

    def __init__(self, key: str) -> None:
        super().__init__(f"other bytes lie under {key} already")
        self.key = key


class NoSuchObject(AdapterError):
    """No object lies under this key."""

    def __init__(self, key: str) -> None:
        super().__init__(f"no object lies under {key}")
        self.key = key


class CallerRefused(AdapterError):
    """Whoever calls has not shown who they are. The text is for the log, not for the caller."""


class BadPicture(AdapterError):
    """These bytes are not a picture that we take. *reason* is a short word, `detail` says more."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


class ProviderError(AdapterError):
    """Base of what a provider can answer instead of pictures."""


class ProviderBusy(ProviderError):
    """Nothing was charged; try again after *retry_after*.

    *of_key*: every request with this key has to wait, not only this one.
    """

    def __init__(self, detail: str, retry_after: timedelta, *, of_key: bool = False) -> None:
        super().__init__(detail)
        self.retry_after = retry_after
        self.of_key = of_key


class ProviderUnusable(ProviderBusy):
    """Nothing was charged, and no request will succeed before a person acts.

    *reason* is `unauthorized`, `permission_denied` or `out_of_credit`.
    """

    def __init__(self, reason: str, detail: str, retry_after: timedelta) -> None:
        super().__init__(detail, retry_after, of_key=True)
        self.reason = reason


class ProviderRefused(ProviderError):
    """The provider will never paint this request.

    *code* is `moderated`, `invalid_request` or `model_retired`. Nothing was charged, unless
    *may_be_charged*: it painted, and withheld the picture.
    """

    def __init__(self, code: str, detail: str, *, may_be_charged: bool = False) -> None:
        super().__init__(detail)
        self.code = code
        self.may_be_charged = may_be_charged


class OutcomeUnknown(ProviderError):
    """The call may or may not have been charged; its reply is lost for good."""


class ResultGone(OutcomeUnknown):
    """The provider no longer knows, or never gives out, what it had accepted."""
