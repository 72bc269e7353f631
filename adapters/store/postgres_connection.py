"""Connections to PostgreSQL, and what their errors mean for the journal."""

import asyncio

import asyncpg
from sqlalchemy.engine import URL

from adapters.errors import StoreConflict, StoreRejected, StoreUnavailable

CONNECT_TIMEOUT_SECONDS = 5.0
STATEMENT_TIMEOUT_SECONDS = 30.0
# A backend whose client vanished between BEGIN and COMMIT must not hold its locks for ever.
IDLE_IN_TRANSACTION_SECONDS = 20.0
# One for each mixture of tables and columns that a group has had.
STATEMENTS_KEPT = 500


async def connect(url: URL) -> "asyncpg.Connection[asyncpg.Record]":
    """Open a connection of our own, with the time limits that the journal relies on."""
    return await asyncio.wait_for(
        asyncpg.connect(
            url.set(drivername="postgresql").render_as_string(hide_password=False),
            timeout=CONNECT_TIMEOUT_SECONDS,
            command_timeout=STATEMENT_TIMEOUT_SECONDS,
            statement_cache_size=STATEMENTS_KEPT,
            server_settings={
                "application_name": "limner",
                "idle_in_transaction_session_timeout": f"{IDLE_IN_TRANSACTION_SECONDS:.0f}s",
                "jit": "off",  # set-based statements over small groups never earn it back
                # Every statement of this connection finds rows by their keys. Planned once, while
                # a table is small, it must not settle on reading all of it.
                "plan_cache_mode": "force_generic_plan",
                "enable_seqscan": "off",
                "enable_hashjoin": "off",
                "enable_mergejoin": "off",
            },
        ),
        CONNECT_TIMEOUT_SECONDS * 2,
    )


# InternalClientError: the protocol was interrupted, as when the backend was ended under a query.
ASYNCPG_ERRORS = (
    OSError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)

# Division by zero: by it a write says that a row is not as it was found.
_NOT_AS_FOUND = "22012"
# 23505 unique, 40001 serialization, 40P01 deadlock, 55P03 lock not available
_CONFLICT = frozenset({"23505", "40001", "40P01", "55P03"})
# 22 data, 23 integrity: the statement was understood and its data refused.
_REJECTED = ("22", "23")


def lost(exc: Exception) -> bool:
    """Whether the connection itself is gone: classes 08 (connection) and 57P (shutdown)."""
    state = getattr(exc, "sqlstate", None)
    return state is None or state.startswith(("08", "57P"))


def refused(exc: Exception) -> bool:
    """Whether nothing was done: the server says so, or what it was to be sent never left."""
    if isinstance(exc, asyncpg.PostgresError):
        return not lost(exc)
    return isinstance(exc, asyncpg.InterfaceError) and isinstance(exc, ValueError)


def translated(exc: Exception) -> Exception:
    state = getattr(exc, "sqlstate", None)
    if state == _NOT_AS_FOUND:
        return StoreConflict("a row of the group is not as it was found")
    # Not str(exc): its DETAIL holds the row's values, and those hold prompts.
    said = f"{type(exc).__name__} {getattr(exc, 'constraint_name', None) or ''}".strip()
    if state in _CONFLICT:
        return StoreConflict(said)
    if state is not None and state.startswith(_REJECTED):
        return StoreRejected(f"PostgreSQL refuses a row: {said}")
    if isinstance(exc, asyncpg.InterfaceError) and isinstance(exc, ValueError):
        return StoreRejected(f"asyncpg cannot send a value: {said}")
    return StoreUnavailable(f"PostgreSQL cannot write: {said}")
